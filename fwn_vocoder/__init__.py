"""FloWaveNet as the vocoder of Tacotron-style text-to-speech.

Importing this package imports neither torch nor espnet; its names load when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fwn_vocoder.registry import (
        available_vocoders,
        load_model,
        load_vocoder,
        register_vocoder,
    )
    from fwn_vocoder.synthesizer import Audio, Synthesizer

__version__ = "0.1.0"

__all__ = [
    "Audio",
    "Synthesizer",
    "__version__",
    "available_vocoders",
    "load_model",
    "load_vocoder",
    "register_vocoder",
]

_HOMES = {
    "Audio": "fwn_vocoder.synthesizer",
    "Synthesizer": "fwn_vocoder.synthesizer",
    "available_vocoders": "fwn_vocoder.registry",
    "load_model": "fwn_vocoder.registry",
    "load_vocoder": "fwn_vocoder.registry",
    "register_vocoder": "fwn_vocoder.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fwn_vocoder' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
