"""A check of the installation that names the fix for each missing part."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from fwn_vocoder.errors import MissingDependencyError
from fwn_vocoder.espnet.imports import import_espnet
from fwn_vocoder.voices import available_voices

_PACKAGES = (
    ("torch", "torch", True, "pip install torch"),
    ("librosa", "librosa", True, "pip install librosa"),
    ("soundfile", "soundfile", True, "pip install soundfile"),
    ("gruut", "gruut", False, "needed by voices on phones: pip install gruut gruut-lang-en"),
    ("pyworld", "pyworld", False, "needed to train with excitation: harmonic"),
    ("pocketsphinx", "pocketsphinx", False, "needed to align (recipe stage 5)"),
)


@dataclass(frozen=True)
class Check:
    """One part of the installation."""

    name: str
    ok: bool
    required: bool
    detail: str


def check_installation() -> Iterator[Check]:
    """Yield the state of each part, the required ones first."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", sys.version_info >= (3, 11), True, python)
    for name, module, required, fix in _PACKAGES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pyworld 0.3.5 imports a deprecated module
                import_module(module)
            yield Check(name, True, required, version(name))
        except (ImportError, PackageNotFoundError) as error:
            yield Check(name, False, required, f"{error}; {fix}")
    try:
        import_espnet("espnet2.tts.fastspeech2")
        yield Check("espnet", True, False, version("espnet"))
    except MissingDependencyError as error:
        yield Check("espnet", False, False, str(error))
    import torch

    gpus = torch.cuda.device_count()
    yield Check("cuda", gpus > 0, False, f"{gpus} GPUs" if gpus else "none; the CPU is used")
    names = available_voices()
    yield Check("voices", bool(names), False, ", ".join(names) or "no voice is bundled")
