"""The contract that every vocoder keeps, built in or from a plugin."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from fwn_vocoder.config import Config
from fwn_vocoder.errors import DataError, SynthesisError
from fwn_vocoder.mel import MelSpec, check_mel


class Vocoder(ABC):
    """Maps mel spectrograms to waveforms of exactly ``frames * hop_length`` samples.

    A vocoder states the mel definition that it was made for in ``mel_spec``. Trainable vocoders are
    ``torch.nn.Module`` as well and add ``forward(wav, mel) -> nll`` with ``nll`` (B,) in nats per
    sample.
    """

    config_class: type[Config]
    config: Config
    mel_spec: MelSpec

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms in Hz."""
        return self.mel_spec.sample_rate

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that mels are converted to."""
        return torch.float32

    @abstractmethod
    def synthesize(
        self,
        mel: Tensor,
        *,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """Generate waveforms.

        Args:
            mel: (B, n_mels, F) values as ``mel_spec`` defines them.
            temperature: standard deviation of the latent noise; None for the vocoder's own.
            generator: source of the randomness; None for PyTorch's default one.
            latent: (B, 1, T) noise to use instead, for vocoders that have a latent.

        Returns:
            (B, T) samples in [-1, 1] nominally, ``T = F * hop_length``.
        """

    def vocode(
        self, mel: np.ndarray, *, seed: int = 0, temperature: float | None = None
    ) -> np.ndarray:
        """Generate one waveform (T,) float32 from one mel (F, n_mels), reproducibly.

        Raises:
            DataError: the mel has another shape or is not finite.
            SynthesisError: the model produced something that is not finite.
        """
        mel = check_mel(mel, self.mel_spec)
        batch = torch.from_numpy(mel.T[None]).to(self.device, self.dtype)  # (1, n_mels, F)
        generator = torch.Generator(self.device).manual_seed(seed)
        with torch.inference_mode():
            wav = self.synthesize(batch, temperature=temperature, generator=generator)
        return wav[0].float().cpu().numpy()

    def check_batch(self, mel: Tensor) -> None:
        """Raise ``DataError`` unless ``mel`` is a finite (B, n_mels, F) batch with F >= 1."""
        n_mels = self.mel_spec.n_mels
        if mel.dim() != 3 or mel.shape[1] != n_mels or mel.shape[2] == 0:
            raise DataError(
                f"mel has shape {tuple(mel.shape)}; this vocoder takes (B, {n_mels}, F) with F >= 1"
            )
        if not torch.isfinite(mel).all():
            raise DataError("mel contains NaN or infinite values")


def check_finite(wav: Tensor, cause: str) -> Tensor:
    """Return ``wav``, or raise ``SynthesisError`` naming the likely cause if it is not finite."""
    if not torch.isfinite(wav).all():
        raise SynthesisError(f"the vocoder produced NaN or infinite samples: {cause}")
    return wav
