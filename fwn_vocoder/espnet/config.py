"""Experiment configurations of ESPnet2 TTS: our keys in them, and the mel that they define."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fwn_vocoder.config import Config, read_yaml, validate
from fwn_vocoder.errors import ConfigError, MelMismatchError
from fwn_vocoder.mel import PRESETS, MelSpec

OUR_KEYS = ("vocoder", "vocoder_conf", "text_frontend", "autocast")


class TtsKeys(Config):
    """Our keys in an ESPnet2 configuration; ESPnet itself never sees them in training.

    Attributes:
        vocoder: registry name of the vocoder that speaks the model's mels.
        vocoder_conf: its settings, for example ``checkpoint``.
        text_frontend: ``espnet`` for the model's own cleaner and tokenizer; ``phones`` for ours
    """

    vocoder: str = "griffin_lim"
    vocoder_conf: dict[str, Any] = {}
    text_frontend: Literal["espnet", "phones"] = "espnet"
    autocast: Literal["float32", "bfloat16"] = "float32"


def read_tts_config(path: str | Path) -> tuple[TtsKeys, dict[str, Any]]:
    """Read an ESPnet2 TTS configuration; return our keys and ESPnet's."""
    data = read_yaml(path)
    ours = {key: data.pop(key) for key in OUR_KEYS if key in data}
    return validate(TtsKeys, ours, str(path)), data


def mel_spec_of(config: dict[str, Any], origin: str = "config.yaml") -> MelSpec:
    """Return the mel definition of an ESPnet2 experiment (raw, not normalised features).

    Raises:
        MelMismatchError: the model does not work on ESPnet2's log-mel filter bank.
    """
    if config.get("feats_extract", "fbank") != "fbank":
        raise MelMismatchError(
            f"{origin}: feats_extract is {config['feats_extract']!r}; only 'fbank' (log-mel) "
            "models can drive a mel vocoder. End-to-end models such as VITS contain their own"
        )
    conf = config.get("feats_extract_conf") or {}
    n_fft = conf.get("n_fft", 1024)
    sample_rate = _sample_rate(conf.get("fs", 22050), origin)
    log_base = {None: "e", 2: "2", 10: "10"}.get(conf.get("log_base", 10.0), "unknown")
    fmax = conf.get("fmax", 7600)
    if log_base == "unknown" or conf.get("htk", False) or not conf.get("center", True):
        raise MelMismatchError(f"{origin}: feats_extract_conf {conf} is not supported")
    settings = {
        **PRESETS["espnet2"].model_dump(),
        "sample_rate": sample_rate,
        "n_fft": n_fft,
        "hop_length": conf.get("n_shift", conf.get("hop_length", 256)),
        "win_length": conf.get("win_length") or n_fft,
        "window": conf.get("window", "hann"),
        "n_mels": conf.get("n_mels", 80),
        "fmin": float(conf["fmin"]) if conf.get("fmin") is not None else 0.0,
        "fmax": float(fmax) if fmax is not None else sample_rate / 2,
        "log_base": log_base,
    }
    if "fmin" not in conf:
        settings["fmin"] = 80.0
    return validate(MelSpec, settings, origin)


def _sample_rate(value: int | str, origin: str) -> int:
    """Read ESPnet's rate, which may be written as ``22050`` or ``22.05k``."""
    text = str(value).lower()
    factor = 1000 if text.endswith("k") else 1
    try:
        return round(float(text.removesuffix("k")) * factor)
    except ValueError:
        raise ConfigError(f"{origin}: feats_extract_conf.fs is {value!r}, not a rate") from None
