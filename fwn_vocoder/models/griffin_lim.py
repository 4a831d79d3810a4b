"""Griffin-Lim: a weight-free baseline (Griffin and Lim 1984; librosa does the work)."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fwn_vocoder.config import Config
from fwn_vocoder.errors import ConfigError
from fwn_vocoder.mel import MelField, MelSpec, mel_filterbank
from fwn_vocoder.models.base import Vocoder


class GriffinLimConfig(Config):
    """Settings of Griffin-Lim."""

    mel: MelField = MelSpec()
    n_iter: int = Field(60, ge=1, description="iterations")
    momentum: float = Field(0.99, ge=0, description="of the fast variant (Perraudin et al. 2013)")


class GriffinLim(Vocoder):
    """Inverts the filter bank by non-negative least squares and finds a consistent phase."""

    config_class = GriffinLimConfig

    def __init__(self, config: GriffinLimConfig) -> None:
        if config.mel.padding != "center":
            raise ConfigError("griffin_lim needs a mel with padding: center")
        self.config = config
        self.mel_spec = config.mel

    def synthesize(
        self,
        mel: Tensor,
        *,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """Generate waveforms; the generator seeds the initial phase. See ``Vocoder.synthesize``.

        Raises:
            ConfigError: a temperature or a latent is given; Griffin-Lim has neither.
        """
        if latent is not None or temperature is not None:
            raise ConfigError("griffin_lim has no latent and no temperature; leave them out")
        self.check_batch(mel)
        seeds = torch.randint(2**31, (len(mel),), generator=generator, device=mel.device).tolist()
        wavs = [
            self._invert(item.T.cpu().numpy(), seed) for item, seed in zip(mel, seeds, strict=True)
        ]
        return torch.from_numpy(np.stack(wavs)).to(mel)

    def _invert(self, mel: np.ndarray, seed: int) -> np.ndarray:
        """Return (F * hop_length,) samples for (F, n_mels)."""
        import librosa

        spec = self.mel_spec
        energy = np.exp(spec.to_log_magnitude(mel.astype(np.float64)) * spec.power)
        # A centred STFT of F * hop samples has one frame more: repeat the last one.
        energy = np.pad(energy, ((0, 1), (0, 0)), mode="edge")
        power = librosa.util.nnls(mel_filterbank(spec), energy.T)
        return librosa.griffinlim(
            power ** (1.0 / spec.power),
            n_iter=self.config.n_iter,
            hop_length=spec.hop_length,
            win_length=spec.win_length,
            n_fft=spec.n_fft,
            window=spec.window,
            momentum=self.config.momentum,
            length=len(mel) * spec.hop_length,
            random_state=seed,
        ).astype(np.float32)
