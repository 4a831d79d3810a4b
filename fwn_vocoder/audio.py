"""Reading, writing and resampling of audio files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import soundfile
import soxr

from fwn_vocoder.errors import DataError
from fwn_vocoder.files import atomic_write

log = logging.getLogger(__name__)

MAX_DURATION_S = 3600.0
"""Longest file that is read: compressed formats can hide hours in a few kilobytes."""


def read_wav(
    path: str | Path,
    sample_rate: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> tuple[np.ndarray, int]:
    """Read one-channel audio, whole or from ``start_s`` to ``end_s`` seconds.

    Args:
        sample_rate: resample to this rate in Hz, with a notice, if the file has another one.

    Returns:
        The samples (T,) float32 in [-1, 1], and their rate in Hz.

    Raises:
        DataError: missing, unreadable, truncated, empty, too long, not mono, or not finite.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate, n_samples = file.samplerate, file.frames
            if file.channels != 1:
                raise DataError(
                    f"{path}: has {file.channels} channels; one is needed. Mix it down first, for "
                    "example with `sox IN -c 1 OUT`"
                )
            if n_samples > MAX_DURATION_S * rate:
                raise DataError(
                    f"{path}: lasts {n_samples / rate:.0f} s, the limit is {MAX_DURATION_S:.0f} s; "
                    "cut it, or list its parts in a `segments` file"
                )
            first, last = _sample_range(path, rate, n_samples, start_s, end_s)
            file.seek(first)
            wav = file.read(last - first, dtype="float32")
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot read audio: {error}") from error
    if len(wav) != last - first or _is_truncated(path):
        raise DataError(f"{path}: is cut short: its header promises more samples than it holds")
    if len(wav) == 0:
        raise DataError(f"{path}: contains no samples")
    if not np.isfinite(wav).all():
        raise DataError(f"{path}: contains NaN or infinite samples")
    if sample_rate is not None and sample_rate != rate:
        log.info("%s: resampled from %d to %d Hz", path, rate, sample_rate)
        return resample(wav, rate, sample_rate), sample_rate
    return wav, rate


def write_wav(path: str | Path, wav: np.ndarray, sample_rate: int) -> None:
    """Write (T,) float samples as 16-bit PCM; the format follows the suffix (.wav, .flac).

    Samples outside [-1, 1] are limited, with a warning that counts them.

    Raises:
        DataError: no samples, not one channel, NaN or Inf, or an unknown suffix.
    """
    wav = np.asarray(wav, dtype=np.float32)
    if wav.ndim != 1 or len(wav) == 0:
        raise DataError(f"{path}: expected samples of shape (T,), given {wav.shape}")
    if not np.isfinite(wav).all():
        raise DataError(f"{path}: refusing to write NaN or infinite samples")
    clipped = int((np.abs(wav) > 1.0).sum())
    if clipped:
        log.warning("%s: limited %d of %d samples to [-1, 1]", path, clipped, len(wav))
    try:
        with atomic_write(path) as temporary:
            soundfile.write(temporary, np.clip(wav, -1.0, 1.0), sample_rate, subtype="PCM_16")
    except (soundfile.SoundFileError, TypeError, ValueError, OSError) as error:
        raise DataError(f"{path}: cannot write audio: {error}") from error


def resample(wav: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample (T,) float32 samples with soxr's highest quality; rates in Hz."""
    return soxr.resample(wav, from_rate, to_rate, quality="VHQ").astype(np.float32)


def _sample_range(
    path: str | Path, rate: int, n_samples: int, start_s: float, end_s: float | None
) -> tuple[int, int]:
    first = round(start_s * rate)
    last = n_samples if end_s is None else round(end_s * rate)
    # Segment times are rounded to milliseconds: allow the end to overshoot by that much.
    if n_samples < last <= n_samples + rate // 100:
        last = n_samples
    if not 0 <= first <= last <= n_samples:
        raise DataError(
            f"{path}: segment {start_s}..{end_s} s does not lie inside its {n_samples / rate:.3f} s"
        )
    return first, last


def _is_truncated(path: str | Path) -> bool:
    """Compare the data size in a RIFF header with the size of the file (libsndfile does not)."""
    with open(path, "rb") as file:
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
            return False
        size = Path(path).stat().st_size
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                # 0 and 2**32 - 1 stand for "unknown" in streamed files.
                return length not in (0, 0xFFFFFFFF) and file.tell() + length > size
            file.seek(length + length % 2, 1)
    return True
