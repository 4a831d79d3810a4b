"""Phase of the glottal pulses: where in its cycle a voice is at each frame of a recording."""

from __future__ import annotations

import math

import numpy as np
import torch

from fwn_vocoder.mel import MelSpec, extract_mel
from fwn_vocoder.models.linear_prediction import LinearPrediction, whiten

ORDER = 32
"""Of the linear prediction whose residual shows the pulses."""
HIGHEST_HARMONIC_HZ = 6000.0
MAX_HARMONICS = 30
WINDOW_MS = 20.0
POSITIONS = 64
"""Of a cycle, at which a pulse is looked for; a parabola finds it between them."""
JUMP = 0.06
"""Change of phase between frames, in cycles, that outweighs one standard deviation of height."""


def pulse_phase(wav: np.ndarray, f0: np.ndarray, voiced: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Return the phase of a recording's pulses at the frames of a centred mel.

    The residual of a linear prediction has one main peak in each cycle, near the closing of the
    glottis. It is averaged over some cycles around each frame, and its peak is followed from frame
    to frame (Viterbi). Peaks point up in some recordings and down in others: the side with the
    higher peaks is taken.

    Args:
        wav: (T,) samples.
        f0: (F,) fundamental frequency in Hz, everywhere positive; ``F = T // hop_length``.
        voiced: (F,) booleans.

    Returns:
        (F,) cycles in [0, 1): 0 at a pulse.
    """
    steps = (f0[1:] + f0[:-1]) * (spec.hop_length / spec.sample_rate / 2)
    phase = np.concatenate([[0.0], np.cumsum(steps)])
    cycles = _average_cycles(_residual(wav, spec), phase, f0, spec) * voiced[:, None]
    spread = cycles.std(axis=1, keepdims=True)
    cycles = np.divide(cycles, spread, out=np.zeros_like(cycles), where=spread > 0)
    ridges = [_follow(sign * cycles) for sign in (1, -1)]
    position, _ = max(ridges, key=lambda ridge: ridge[1])
    return (phase - position) % 1.0


def _residual(wav: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Return the residual (F * hop_length,) of the linear prediction that the mel gives."""
    n_frames = len(wav) // spec.hop_length
    mel = extract_mel(wav, spec)[:n_frames]
    prediction = LinearPrediction(spec, ORDER, mel_mean=0.0, mel_std=1.0)
    with torch.no_grad():
        filters = prediction(torch.from_numpy(mel.T[None]))  # (F, n_mels) -> (1, n_mels, F)
        wav = torch.from_numpy(wav[None, None, : n_frames * spec.hop_length])
        return whiten(wav, filters)[0][0, 0].numpy()


def _average_cycles(
    residual: np.ndarray, phase: np.ndarray, f0: np.ndarray, spec: MelSpec
) -> np.ndarray:
    """Return the average cycle around each frame, (F, POSITIONS), made of its lower harmonics."""
    from scipy.signal import oaconvolve

    frames = np.arange(len(f0)) * spec.hop_length
    carrier = np.exp(-2j * math.pi * np.interp(np.arange(len(residual)), frames, phase))
    window = np.hanning(round(WINDOW_MS * spec.sample_rate / 1000))
    harmonics = np.zeros((len(f0), MAX_HARMONICS + 1), dtype=complex)
    shifted = residual.astype(complex)
    for k in range(1, MAX_HARMONICS + 1):
        shifted = shifted * carrier
        audible = k * f0 < HIGHEST_HARMONIC_HZ
        if not audible.any():
            break
        harmonics[:, k] = oaconvolve(shifted, window, mode="same")[frames] * audible
    return np.fft.irfft(harmonics, n=POSITIONS, axis=1)


def _follow(cycles: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the position (F,) in cycles of the best ridge, and its mean height."""
    n_frames = len(cycles)
    index = np.arange(POSITIONS)
    jump = np.abs((index[:, None] - index + POSITIONS // 2) % POSITIONS - POSITIONS // 2)
    penalty = (jump / POSITIONS / JUMP) ** 2
    best, origins = cycles[0].copy(), np.zeros((n_frames, POSITIONS), dtype=np.int64)
    for i in range(1, n_frames):
        arriving = best[:, None] - penalty
        origins[i] = arriving.argmax(axis=0)
        best = arriving[origins[i], index] + cycles[i]
    ridge = np.empty(n_frames, dtype=np.int64)
    ridge[-1] = best.argmax()
    for i in range(n_frames - 1, 0, -1):
        ridge[i - 1] = origins[i, ridge[i]]
    rows = np.arange(n_frames)
    left, top, right = (cycles[rows, (ridge + d) % POSITIONS] for d in (-1, 0, 1))
    bend = left - 2 * top + right
    between = np.divide(left - right, 2 * bend, out=np.zeros(n_frames), where=bend < 0)
    return (ridge + between.clip(-0.5, 0.5)) / POSITIONS, float(top.mean())
