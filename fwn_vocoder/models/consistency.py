"""Mel consistency: a filter that gives a waveform the very mel that it was made from.

A likelihood model leaves small errors of level in every band, and at a low temperature its noise is
too weak. Both can be heard, and both show: the mel of the sample is not the mel that was asked for.
Each pass measures it, and corrects each band of the short-time spectrum by the ratio; phases stay
those of the flow. (Griffin and Lim 1984 alternate in this way to find phases; here the flow has
found them.)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fwn_vocoder.mel import MelSpec, mel_center_frequencies, mel_filterbank

MAX_CORRECTION = 3.0
"""Nepers (26 dB) that one pass changes a band by at most."""


class MelConsistency:
    """Applies ``n_passes`` of the filter; see the top of this file.

    Frames beyond the last one are taken as missing, so the length may be any whole number of
    frames.
    """

    def __init__(self, spec: MelSpec, n_passes: int) -> None:
        self.spec = spec
        self.n_passes = n_passes
        bins = np.arange(spec.n_fft // 2 + 1) * (spec.sample_rate / spec.n_fft)
        centers = mel_center_frequencies(spec)
        self.filterbank = torch.from_numpy(mel_filterbank(spec).T.copy())  # (bins, n_mels)
        self.to_bins = torch.from_numpy(
            np.stack([np.interp(bins, centers, row) for row in np.eye(spec.n_mels)])
        )  # (n_mels, bins)
        window = {"hann": torch.hann_window, "hamming": torch.hamming_window,
                  "blackman": torch.blackman_window}[spec.window]  # fmt: skip
        missing = spec.n_fft - spec.win_length
        self.window = F.pad(
            window(spec.win_length, dtype=torch.float64), (missing // 2, missing - missing // 2)
        )

    @property
    def reach(self) -> int:
        """Frames on each side that a sample depends on."""
        return self.n_passes * 2 * math.ceil(self.spec.n_fft / 2 / self.spec.hop_length)

    def __call__(self, wav: Tensor, mel: Tensor) -> Tensor:
        """Filter waveforms (B, T) towards mels (B, n_mels, F), ``T = F * hop_length``."""
        filterbank, to_bins, window = (
            constant.to(wav) for constant in (self.filterbank, self.to_bins, self.window)
        )
        wanted = self.spec.to_log_magnitude(mel.transpose(1, 2))  # (B, F, n_mels)
        lowest = math.log(self.spec.floor) / self.spec.power
        for _ in range(self.n_passes):
            spectrum = torch.fft.rfft(self._frames(wav) * window)  # (B, F, bins)
            energy = spectrum.abs() ** self.spec.power @ filterbank
            found = energy.clamp(min=self.spec.floor).log() / self.spec.power
            # A band at the floor is only known to lie below it.
            gain = torch.where(
                wanted > lowest + 1e-3, wanted - found, (wanted - found).clamp(max=0)
            )
            gain = gain.clamp(-MAX_CORRECTION, MAX_CORRECTION) @ to_bins
            frames = torch.fft.irfft(spectrum * gain.exp(), n=self.spec.n_fft) * window
            wav = self._overlap_add(frames) / self._overlap_add(
                (window**2).expand_as(frames[:1])
            ).clamp(min=1e-3)
        return wav

    @property
    def _padding(self) -> int:
        spec = self.spec
        return spec.n_fft // 2 if spec.padding == "center" else (spec.n_fft - spec.hop_length) // 2

    def _frames(self, wav: Tensor) -> Tensor:
        """Cut (B, T) into the frames of the mel, (B, F, n_fft); silence lies outside."""
        padded = F.pad(wav, (self._padding, self.spec.n_fft))
        n_frames = wav.shape[1] // self.spec.hop_length
        return padded.unfold(1, self.spec.n_fft, self.spec.hop_length)[:, :n_frames]

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Undo ``_frames``, adding what overlaps: (B, F, n_fft) -> (B, T)."""
        n_frames, hop_length = frames.shape[1], self.spec.hop_length
        length = (n_frames - 1) * hop_length + self.spec.n_fft
        summed = F.fold(
            frames.transpose(1, 2), (1, length), (1, self.spec.n_fft), stride=(1, hop_length)
        )[:, 0, 0]
        n_samples = n_frames * hop_length
        summed = F.pad(summed, (0, max(0, self._padding + n_samples - length)))
        return summed[:, self._padding : self._padding + n_samples]
