"""A vocoder in a few lines: one sine at the centre of each band, as loud as the mel says."""

import torch

from fwn_vocoder.config import Config
from fwn_vocoder.mel import MelField, MelSpec, mel_center_frequencies
from fwn_vocoder.models.base import Vocoder


class SineConfig(Config):
    """Settings: the mel definition that is spoken."""

    mel: MelField = MelSpec()


class SineVocoder(Vocoder):
    """Selected by ``vocoder: sine`` once this package is installed."""

    config_class = SineConfig

    def __init__(self, config: SineConfig) -> None:
        self.config = config
        self.mel_spec = config.mel

    def synthesize(self, mel, *, temperature=None, generator=None, latent=None):
        """Return (B, T) samples for mels (B, n_mels, F)."""
        self.check_batch(mel)
        spec = self.mel_spec
        loudness = spec.to_log_magnitude(mel.transpose(1, 2)).exp().transpose(1, 2)  # (B, M, F)
        loudness = loudness.repeat_interleave(spec.hop_length, dim=2)  # (B, M, T)
        centers = torch.from_numpy(mel_center_frequencies(spec).copy()).to(mel)
        t = torch.arange(loudness.shape[2], device=mel.device, dtype=mel.dtype) / spec.sample_rate
        phases = 2 * torch.pi * centers[:, None] * t  # (M, T)
        return 0.05 * (loudness * phases.sin()).sum(dim=1).tanh()
