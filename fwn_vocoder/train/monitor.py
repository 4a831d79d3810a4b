"""What a training run shows: TensorBoard curves, sample audio and mel pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fwn_vocoder.data.dump import PCM_SCALE, Dump
from fwn_vocoder.mel import extract_mel
from fwn_vocoder.models.base import Vocoder

SAMPLE_FRAMES = 300
"""Length of the sample that is synthesised at each validation (3.5 s at 256 / 22050)."""


class Monitor:
    """Writes scalars and samples under ``EXP/tensorboard``."""

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(directory / "tensorboard"))

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Add one value to each named curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def sample(self, vocoder: Vocoder, dump: Dump, step: int) -> None:
        """Synthesise the beginning of the first utterance; add audio and mels beside the real."""
        utt_id = dump.utt_ids[0]
        mel = np.array(dump.mel(utt_id)[:SAMPLE_FRAMES])
        wav = vocoder.vocode(mel, seed=0)
        real = np.array(dump.wav(utt_id)[: len(wav)]) / PCM_SCALE
        for name, samples in (("sample", wav), ("recording", real)):
            rate = vocoder.sample_rate
            self.writer.add_audio(name, torch.from_numpy(samples).clamp(-1, 1), step, rate)
        if len(wav) > vocoder.mel_spec.n_fft:
            pictures = [mel, extract_mel(wav, vocoder.mel_spec)[: len(mel)]]
            self.writer.add_image("mel/recording_above_sample", _picture(pictures), step)

    def close(self) -> None:
        """Flush and close the files."""
        self.writer.close()


def _picture(mels: list[np.ndarray]) -> np.ndarray:
    """Stack mels (F, n_mels) into one grey picture (1, H, W) in [0, 1], low bands at the bottom."""
    low, high = mels[0].min(), mels[0].max()
    rows = [np.clip((mel.T[::-1] - low) / max(high - low, 1e-6), 0, 1) for mel in mels]
    return np.concatenate(rows)[None]
