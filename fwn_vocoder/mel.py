"""Mel spectrograms: their definitions, extraction, and exact conversion between definitions.

Conventions: a mel is ``(frames, n_mels)`` float32, as in ESPnet and Kaldi. Two systems can exchange
mels only if every field of their definitions agrees, or differs by something that can be undone
exactly (log base, scaling, floor, statistics); anything else raises ``MelMismatchError``.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from fwn_vocoder.config import Config, validate
from fwn_vocoder.errors import ConfigError, DataError, MelMismatchError


class MelSpec(Config):
    """Everything that defines a log-mel spectrogram.

    The value of a band with mel energy ``S`` is
    ``clip(scale * log(max(S, floor)) + shift)``, then ``(value - mean) / std`` if statistics are
    given. ``S`` is a triangular filter bank applied to
    ``sqrt(max(|STFT|, magnitude_floor)**2 + power_offset) ** power``.
    """

    sample_rate: int = Field(22050, gt=0, description="Hz")
    n_fft: int = Field(1024, gt=0, description="samples")
    hop_length: int = Field(256, gt=0, description="samples")
    win_length: int = Field(1024, gt=0, description="samples")
    window: Literal["hann", "hamming", "blackman"] = "hann"
    padding: Literal["center", "same"] = Field(
        "center", description="pad by n_fft / 2 (len // hop + 1 frames) or (n_fft - hop) / 2"
    )
    pad_mode: Literal["reflect", "constant"] = "reflect"
    n_mels: int = Field(80, gt=0)
    fmin: float = Field(0.0, ge=0, description="Hz")
    fmax: float = Field(8000.0, gt=0, description="Hz")
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney"] | None = "slaney"
    power: Literal[1, 2] = 1
    magnitude_floor: float = Field(0.0, ge=0)
    power_offset: float = Field(0.0, ge=0, description="added to |STFT|**2")
    log_base: Literal["e", "2", "10"] = "e"
    floor: float = Field(1e-5, gt=0)
    scale: float = 1.0
    shift: float = 0.0
    clip: tuple[float, float] | None = None
    peak: float | None = Field(None, gt=0, description="normalise each clip to this peak first")
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> MelSpec:
        if self.fmax > self.sample_rate / 2:
            raise ValueError(f"fmax {self.fmax} Hz is above half of sample_rate {self.sample_rate}")
        if self.fmin >= self.fmax:
            raise ValueError(f"fmin {self.fmin} Hz is not below fmax {self.fmax} Hz")
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is longer than n_fft {self.n_fft}")
        if self.scale == 0:
            raise ValueError("scale is 0")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both or neither")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.n_mels:
                raise ValueError(f"{name} has {len(values)} values, n_mels is {self.n_mels}")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be positive in every band")
        return self

    def to_log_magnitude(self, mel: Any) -> Any:
        """Return the natural log of the mel magnitude, ``(..., n_mels)`` like ``mel``.

        Works on NumPy arrays and torch tensors alike. For power mels this is half the log power.
        """
        if self.mean is not None:
            mel = mel * _like(self.std, mel) + _like(self.mean, mel)
        return (mel - self.shift) * (_LOG_OF_BASE[self.log_base] / (self.scale * self.power))


PRESETS: dict[str, MelSpec] = {
    "tacotron2": MelSpec(),
    "espnet2": MelSpec(fmin=80.0, fmax=7600.0, log_base="10", floor=1e-10, magnitude_floor=1e-5),
    "hifigan": MelSpec(padding="same", power_offset=1e-9),
    "flowavenet2019": MelSpec(
        pad_mode="constant",
        fmin=125.0,
        fmax=7600.0,
        power=2,
        log_base="10",
        floor=1e-4,
        scale=0.2,
        shift=0.8,
        clip=(0.0, 1.0),
        peak=0.999,
    ),
}
"""Definitions of NVIDIA Tacotron 2 / WaveGlow, ESPnet2, HiFi-GAN V1 and the 2019 FloWaveNet."""

_LOG_OF_BASE = {"e": 1.0, "2": math.log(2.0), "10": math.log(10.0)}

_VALUE_FIELDS = {
    "magnitude_floor",
    "power_offset",
    "log_base",
    "floor",
    "scale",
    "shift",
    "clip",
    "mean",
    "std",
}
"""Fields that only change how a band's energy is written down; all others change the analysis."""


def resolve_mel_spec(value: str | dict[str, Any] | MelSpec) -> MelSpec:
    """Build a definition from a preset name, a mapping (``preset:`` plus changes), or itself.

    Raises:
        ConfigError: unknown preset or field, or inconsistent values.

    >>> resolve_mel_spec({"preset": "tacotron2", "fmax": 7600.0}).fmax
    7600.0
    """
    if isinstance(value, MelSpec):
        return value
    given = {"preset": value} if isinstance(value, str) else dict(value)
    preset = given.pop("preset", "tacotron2")
    if preset not in PRESETS:
        raise ConfigError(f"mel preset {preset!r} is unknown; available: {', '.join(PRESETS)}")
    return validate(MelSpec, {**PRESETS[preset].model_dump(), **given}, "mel")


MelField = Annotated[
    MelSpec, BeforeValidator(lambda v: resolve_mel_spec(v) if isinstance(v, str | dict) else v)
]
"""A definition as a field of another configuration: a preset name, a mapping, or a ``MelSpec``."""


def extract_mel(wav: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Compute the mel spectrogram of a waveform.

    Args:
        wav: (T,) float samples in [-1, 1] at ``spec.sample_rate`` Hz.

    Returns:
        (F, n_mels) float32, with ``F = T // hop_length + 1`` for ``padding="center"``
        and ``T // hop_length`` for ``padding="same"``.

    Raises:
        DataError: not one channel, not finite, or too short to be reflected at its ends.
    """
    import librosa

    wav = np.asarray(wav, dtype=np.float64)
    if wav.ndim != 1:
        raise DataError(f"wav has shape {wav.shape}; a mel is made from one channel, shape (T,)")
    if not np.isfinite(wav).all():
        raise DataError("wav contains NaN or infinite samples")
    pad = spec.n_fft // 2 if spec.padding == "center" else (spec.n_fft - spec.hop_length) // 2
    if len(wav) <= pad:
        raise DataError(
            f"wav has {len(wav)} samples; at least {pad + 1} are needed for n_fft={spec.n_fft}"
        )
    if spec.peak is not None:
        wav = wav * (spec.peak / max(np.abs(wav).max(), 1e-9))
    magnitude = np.abs(
        librosa.stft(
            np.pad(wav, pad, mode=spec.pad_mode),
            n_fft=spec.n_fft,
            hop_length=spec.hop_length,
            win_length=spec.win_length,
            window=spec.window,
            center=False,
        )
    )  # (n_fft / 2 + 1, F)
    power = np.maximum(magnitude, spec.magnitude_floor) ** 2 + spec.power_offset
    energy = mel_filterbank(spec) @ (power if spec.power == 2 else np.sqrt(power))
    return _write_down(np.log(np.maximum(energy, spec.floor)).T, spec)


@lru_cache(maxsize=8)
def mel_filterbank(spec: MelSpec) -> np.ndarray:
    """Return the triangular filter bank, (n_mels, n_fft / 2 + 1) float64."""
    import librosa

    return librosa.filters.mel(
        sr=spec.sample_rate,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        fmin=spec.fmin,
        fmax=spec.fmax,
        htk=spec.mel_scale == "htk",
        norm=spec.mel_norm,
        dtype=np.float64,
    )


def mel_center_frequencies(spec: MelSpec) -> np.ndarray:
    """Return the centre of each band in Hz, (n_mels,)."""
    import librosa

    return librosa.mel_frequencies(
        spec.n_mels + 2, fmin=spec.fmin, fmax=spec.fmax, htk=spec.mel_scale == "htk"
    )[1:-1]


def check_mel(mel: np.ndarray, spec: MelSpec, origin: str = "mel") -> np.ndarray:
    """Return ``mel`` as (F, n_mels) float32 after checking shape and finiteness.

    Raises:
        DataError: wrong rank or number of bands, no frames, or NaN/Inf values.
    """
    mel = np.asarray(mel)
    if mel.dtype.kind not in "fiu":
        raise DataError(f"{origin}: expected numbers, found dtype {mel.dtype}")
    if mel.ndim != 2 or mel.shape[1] != spec.n_mels:
        hint = " (it looks transposed)" if mel.ndim == 2 and mel.shape[0] == spec.n_mels else ""
        raise DataError(
            f"{origin}: mel has shape {mel.shape}{hint}; this vocoder takes "
            f"(frames, {spec.n_mels}) (n_mels={spec.n_mels}): extract again with its definition"
        )
    if len(mel) == 0:
        raise DataError(f"{origin}: mel has no frames")
    if not np.isfinite(mel).all():
        raise DataError(f"{origin}: mel contains NaN or infinite values")
    return mel.astype(np.float32)


def plan_conversion(src: MelSpec, dst: MelSpec) -> MelConversion:
    """Plan the exact conversion of mels from one definition to another.

    Raises:
        MelMismatchError: names each field that makes an exact conversion impossible.
    """
    problems = [
        f"{name}: {getattr(src, name)!r} given, {getattr(dst, name)!r} needed"
        for name in MelSpec.model_fields
        if name not in _VALUE_FIELDS and getattr(src, name) != getattr(dst, name)
    ]
    lost_below, wanted_below = _log_floor(src), _log_floor(dst)
    if not problems and lost_below > wanted_below + 1e-9:
        problems.append(
            f"floor: energies below {math.exp(lost_below):.3g} are already lost, "
            f"{math.exp(wanted_below):.3g} needed"
        )
    lost_above, wanted_above = _log_ceiling(src), _log_ceiling(dst)
    if not problems and lost_above < wanted_above - 1e-9:
        problems.append(
            f"clip: energies above {math.exp(lost_above):.3g} are already lost; the target keeps "
            "higher ones"
        )
    if problems:
        raise MelMismatchError(
            "mel definitions differ and cannot be converted exactly:\n  "
            + "\n  ".join(problems)
            + "\nExtract the mels with the vocoder's definition, or train a vocoder on yours."
        )
    return MelConversion(src=src, dst=dst)


class MelConversion(Config):
    """An exact conversion of mel values; apply it by calling."""

    src: MelSpec
    dst: MelSpec

    @property
    def is_identity(self) -> bool:
        """Whether both definitions write values down alike."""
        return self.src == self.dst

    def __call__(self, mel: np.ndarray) -> np.ndarray:
        """Convert (F, n_mels) values from ``src`` to ``dst``, float32."""
        if self.is_identity:
            return np.asarray(mel, dtype=np.float32)
        log_energy = self.src.to_log_magnitude(np.asarray(mel, np.float64)) * self.src.power
        return _write_down(np.maximum(log_energy, math.log(self.dst.floor)), self.dst)


def _write_down(log_energy: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Turn natural-log energies (F, n_mels) into the values that ``spec`` prescribes."""
    value = spec.scale * (log_energy / _LOG_OF_BASE[spec.log_base]) + spec.shift
    if spec.clip is not None:
        value = np.clip(value, *spec.clip)
    if spec.mean is not None:
        value = (value - np.asarray(spec.mean)) / np.asarray(spec.std)
    return value.astype(np.float32)


def _log_bound(spec: MelSpec, clipped_to: float) -> float:
    return (clipped_to - spec.shift) / spec.scale * _LOG_OF_BASE[spec.log_base]


def _log_floor(spec: MelSpec) -> float:
    """Natural log of the energy below which ``spec`` keeps no information."""
    bounds = [math.log(spec.floor)]
    if spec.clip is not None:
        bounds.append(_log_bound(spec, spec.clip[0] if spec.scale > 0 else spec.clip[1]))
    return max(bounds)


def _log_ceiling(spec: MelSpec) -> float:
    """Natural log of the energy above which ``spec`` keeps no information."""
    if spec.clip is None:
        return math.inf
    return _log_bound(spec, spec.clip[1] if spec.scale > 0 else spec.clip[0])


def _like(values: tuple[float, ...], mel: Any) -> Any:
    """Return ``values`` as an array or tensor of the kind, dtype and device of ``mel``."""
    if isinstance(mel, np.ndarray):
        return np.asarray(values, dtype=mel.dtype)
    return mel.new_tensor(values)
