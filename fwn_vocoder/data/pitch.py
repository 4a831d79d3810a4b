"""Measured pitch tracks: fundamental frequency, voicing and phase of a recording."""

from __future__ import annotations

import warnings

import numpy as np

from fwn_vocoder.data.pulses import pulse_phase
from fwn_vocoder.errors import MissingDependencyError
from fwn_vocoder.mel import MelSpec

F0_RANGE_HZ = (65.0, 500.0)


def extract_pitch(wav: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Measure the pitch track at the frames of a centred mel.

    Fundamental frequency and voicing come from Harvest (Morise 2017, pyworld), the phase from
    ``data.pulses``.

    Args:
        wav: (T,) samples.

    Returns:
        (3, F) float32 with ``F = T // hop_length``: f0 in Hz (interpolated where unvoiced),
        voicing (0 or 1), phase in cycles in [0, 1), 0 at a glottal pulse.
    """
    pyworld = _import_pyworld()
    wav = np.asarray(wav, dtype=np.float64)
    n_frames = len(wav) // spec.hop_length
    period_ms = 1000.0 * spec.hop_length / spec.sample_rate
    low, high = F0_RANGE_HZ
    f0, _ = pyworld.harvest(
        wav, spec.sample_rate, f0_floor=low, f0_ceil=high, frame_period=period_ms
    )
    f0 = f0[:n_frames]
    voiced = f0 > 0
    frames = np.arange(n_frames)
    track = (
        np.interp(frames, frames[voiced], f0[voiced]) if voiced.any() else np.full(n_frames, low)
    )
    return np.stack([track, voiced, pulse_phase(wav, track, voiced, spec)]).astype(np.float32)


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
