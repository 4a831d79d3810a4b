"""The contract of acoustic models (sentence in, mel out), and how one is loaded by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fwn_vocoder.errors import ConfigError
from fwn_vocoder.mel import MelSpec


@dataclass(frozen=True)
class Utterance:
    """What an acoustic model made of a sentence.

    Attributes:
        mel: (F, n_mels) float32, as the model's ``mel_spec`` defines it.
        unspoken: pieces of the sentence that the model has no sounds for.
    """

    mel: np.ndarray
    unspoken: tuple[str, ...] = ()


class AcousticModel(ABC):
    """Maps a sentence to a mel spectrogram."""

    mel_spec: MelSpec

    @abstractmethod
    def __call__(self, sentence: str, speed: float = 1.0) -> Utterance:
        """Return the mel of one sentence.

        Args:
            speed: 1 is the model's own, 2 twice as fast.

        Raises:
            TextError: nothing in the sentence can be spoken.
            ConfigError: the model cannot change its speed, and ``speed`` is not 1.
        """


_BUILT_IN = {"espnet2": "fwn_vocoder.espnet.acoustic:EspnetAcousticModel"}


def load_acoustic(name: str, directory: Path, device: str, **conf: Any) -> AcousticModel:
    """Load an acoustic model; relative paths in ``conf`` are taken from ``directory``.

    Raises:
        ConfigError: unknown name or setting.
        CheckpointError: weights are missing or damaged.
    """
    if name not in _BUILT_IN:
        raise ConfigError(
            f"acoustic model {name!r} is unknown; available: {', '.join(sorted(_BUILT_IN))}"
        )
    module, _, attribute = _BUILT_IN[name].partition(":")
    return getattr(import_module(module), attribute).load(directory, device, **conf)
