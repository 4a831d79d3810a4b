"""Measured pitch tracks: fundamental frequency, voicing and phase of a recording (pyworld)."""

from __future__ import annotations

import math
import warnings

import numpy as np

from fwn_vocoder.errors import MissingDependencyError
from fwn_vocoder.mel import MelSpec

F0_RANGE_HZ = (65.0, 500.0)
PHASE_BANDWIDTH_HZ = 35.0


def extract_pitch(wav: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Measure the pitch track at the frames of a centred mel.

    The phase is that of the fundamental: the recording is demodulated at the integrated
    fundamental frequency and low-passed; the angle of the result is added to the integral.

    Args:
        wav: (T,) samples.

    Returns:
        (3, F) float32 with ``F = T // hop_length``: f0 in Hz (interpolated where unvoiced),
        voicing (0 or 1), phase in cycles in [0, 1).
    """
    from scipy.signal import butter, sosfiltfilt

    pyworld = _import_pyworld()
    wav = np.asarray(wav, dtype=np.float64)
    n_frames = len(wav) // spec.hop_length
    period_ms = 1000.0 * spec.hop_length / spec.sample_rate
    low, high = F0_RANGE_HZ
    f0, _ = pyworld.harvest(
        wav, spec.sample_rate, f0_floor=low, f0_ceil=high, frame_period=period_ms
    )
    f0 = f0[: n_frames + 1]
    voiced = f0 > 0
    frames = np.arange(len(f0))
    track = np.interp(frames, frames[voiced], f0[voiced]) if voiced.any() else np.full(len(f0), low)

    samples = np.arange(len(wav))
    per_sample = np.interp(samples, frames * spec.hop_length, track) / spec.sample_rate
    cycles = np.concatenate([[0.0], np.cumsum((per_sample[1:] + per_sample[:-1]) / 2)])
    carrier = np.exp(-2j * math.pi * cycles)
    lowpass = butter(2, PHASE_BANDWIDTH_HZ, fs=spec.sample_rate, output="sos")
    slow = sosfiltfilt(lowpass, wav * carrier)
    centers = np.minimum(frames[:n_frames] * spec.hop_length, len(wav) - 1)
    phase = (cycles[centers] + np.angle(slow[centers]) / (2 * math.pi)) % 1.0
    return np.stack([track[:n_frames], voiced[:n_frames], phase]).astype(np.float32)


def _import_pyworld():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pyworld 0.3.5 imports the deprecated pkg_resources
            import pyworld
    except ImportError as error:
        raise MissingDependencyError(
            "excitation: harmonic measures pitch with pyworld, which cannot be imported "
            f"({error}); install it with `pip install pyworld 'setuptools<82'`"
        ) from error
    return pyworld
