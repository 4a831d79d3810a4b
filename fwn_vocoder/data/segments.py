"""Aligned random segments of waveform, mel and pitch for training."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fwn_vocoder.data.dump import PCM_SCALE, Dump
from fwn_vocoder.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Segments: wav (B, T), mel (B, n_mels, F), pitch (B, 3, F) or None; T = F * hop_length."""

    wav: Tensor
    mel: Tensor
    pitch: Tensor | None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        pitch = None if self.pitch is None else self.pitch.to(device)
        return Batch(self.wav.to(device), self.mel.to(device), pitch)


class SegmentSampler:
    """Draws batches of segments; batch ``step`` is a function of the seed and the step alone.

    So a resumed run sees the very batches that an uninterrupted one would have seen, and ranks of a
    distributed run draw different ones. Segments below ``min_rms`` are redrawn: silence has no
    finite likelihood to learn. Uniform noise of one 16-bit step makes the samples continuous.
    """

    MAX_REDRAWS = 50

    def __init__(
        self,
        dump: Dump,
        *,
        segment_frames: int,
        batch_size: int,
        min_rms: float,
        with_pitch: bool,
        seed: int,
    ) -> None:
        self.dump = dump
        self.segment_frames = segment_frames
        self.batch_size = batch_size
        self.min_rms = min_rms
        self.with_pitch = with_pitch
        self.seed = seed
        lengths = np.array([len(dump.mel(utt_id)) for utt_id in dump.utt_ids])
        usable = lengths >= segment_frames
        if not usable.any():
            raise DataError(
                f"{dump.directory}: no utterance has {segment_frames} frames; the longest has "
                f"{lengths.max()}: lower segment_frames"
            )
        if not usable.all():
            log.warning(
                "%s: %d of %d utterances are shorter than %d frames and are not used",
                dump.directory,
                (~usable).sum(),
                len(usable),
                segment_frames,
            )
        self.utt_ids = [u for u, ok in zip(dump.utt_ids, usable, strict=True) if ok]
        self.n_starts = lengths[usable] - segment_frames + 1
        self.cumulative = np.cumsum(self.n_starts)

    def batch(self, step: int, rank: int = 0) -> Batch:
        """Return the batch of a training step on a rank."""
        rng = np.random.default_rng((self.seed, step, rank))
        rows = [self._draw(rng) for _ in range(self.batch_size)]
        wav = np.stack([row[0] for row in rows])
        wav = (wav + rng.uniform(-0.5, 0.5, wav.shape)) / PCM_SCALE
        mel = np.stack([row[1].T for row in rows])  # (B, F, n_mels) -> (B, n_mels, F)
        pitch = np.stack([row[2] for row in rows]) if self.with_pitch else None
        return Batch(
            torch.from_numpy(wav.astype(np.float32)),
            torch.from_numpy(np.ascontiguousarray(mel)),
            None if pitch is None else torch.from_numpy(pitch),
        )

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        for _ in range(self.MAX_REDRAWS):
            position = int(rng.integers(self.cumulative[-1]))
            index = int(np.searchsorted(self.cumulative, position, side="right"))
            start = self.n_starts[index] - (self.cumulative[index] - position)
            row = self._cut(self.utt_ids[index], int(start))
            if np.sqrt(np.mean(np.square(row[0] / PCM_SCALE))) >= self.min_rms:
                return row
        raise DataError(
            f"{self.dump.directory}: {self.MAX_REDRAWS} segments in a row were below "
            f"min_rms={self.min_rms}: the recordings are silent, or min_rms is too high"
        )

    def _cut(self, utt_id: str, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        stop, hop = start + self.segment_frames, self.dump.mel_spec.hop_length
        wav = np.array(self.dump.wav(utt_id)[start * hop : stop * hop], dtype=np.float64)
        mel = np.array(self.dump.mel(utt_id)[start:stop])
        if len(wav) != self.segment_frames * hop:
            raise DataError(f"{self.dump.directory}: {utt_id}: waveform is shorter than its mel")
        pitch = np.array(self.dump.pitch(utt_id)[:, start:stop]) if self.with_pitch else None
        return wav, mel, pitch
