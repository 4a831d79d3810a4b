"""Measures of copy synthesis against the recording.

Conventions: ``reference`` and ``estimate`` are (T,) float samples of the same rate; the longer one
is cut to the shorter. All are distances (0 for identical signals).
"""

from __future__ import annotations

import numpy as np

from fwn_vocoder.errors import DataError
from fwn_vocoder.mel import MelSpec, extract_mel

STFT_RESOLUTIONS = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))
"""(n_fft, hop_length, win_length) in samples (Yamamoto et al. 2020, Parallel WaveGAN)."""


def log_mel_distance(reference: np.ndarray, estimate: np.ndarray, spec: MelSpec) -> float:
    """Return the mean absolute difference of natural-log mel magnitudes."""
    reference, estimate = _same_length(reference, estimate)
    mels = [spec.to_log_magnitude(extract_mel(wav, spec)) for wav in (reference, estimate)]
    return float(np.abs(mels[0] - mels[1]).mean())


def multi_resolution_stft_distance(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return spectral convergence plus log-magnitude L1, averaged over three resolutions."""
    import librosa

    reference, estimate = _same_length(reference, estimate)
    total = 0.0
    for n_fft, hop_length, win_length in STFT_RESOLUTIONS:
        true, made = (
            np.maximum(
                np.abs(
                    librosa.stft(wav, n_fft=n_fft, hop_length=hop_length, win_length=win_length)
                ),
                1e-5,
            )
            for wav in (reference, estimate)
        )
        total += np.linalg.norm(true - made) / np.linalg.norm(true)
        total += np.abs(np.log(true) - np.log(made)).mean()
    return float(total / len(STFT_RESOLUTIONS))


def _same_length(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = min(len(a), len(b))
    if length == 0:
        raise DataError("cannot compare with an empty waveform")
    return np.asarray(a[:length], np.float64), np.asarray(b[:length], np.float64)
