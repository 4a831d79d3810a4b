"""Voices: directories that hold an acoustic model, a vocoder and a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fwn_vocoder.config import Config, read_yaml, validate
from fwn_vocoder.errors import CheckpointError, ConfigError

BUNDLED = Path(__file__).parent
DEFAULT = "ljspeech"


class VoiceConfig(Config):
    """``voice.yaml``: which models a voice consists of; relative paths start at its directory."""

    format_version: int = 1
    name: str
    language: str = "en"
    acoustic: str = "espnet2"
    acoustic_conf: dict[str, Any] = {}
    vocoder: str = "flowavenet"
    vocoder_conf: dict[str, Any] = {}


def available_voices() -> list[str]:
    """Return the names of the bundled voices."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/voice.yaml"))


def find_voice(voice: str | Path | None) -> tuple[Path, VoiceConfig]:
    """Return the directory and the configuration of a voice.

    Args:
        voice: a directory with ``voice.yaml``; an ESPnet2 experiment directory (``config.yaml`` and
            weights); the name of a bundled voice; or None for the default one.

    Raises:
        CheckpointError: there is no such voice; the message lists the bundled ones.
    """
    directory = Path(voice) if voice is not None else BUNDLED / DEFAULT
    is_voice = any((directory / name).is_file() for name in ("voice.yaml", "config.yaml"))
    if not is_voice and str(voice) in available_voices():
        directory = BUNDLED / str(voice)
    if (directory / "voice.yaml").is_file():
        path = directory / "voice.yaml"
        return directory, validate(VoiceConfig, read_yaml(path), str(path))
    if (directory / "config.yaml").is_file():
        return directory, _experiment_voice(directory)
    raise CheckpointError(
        f"voice {str(voice or DEFAULT)!r} not found: give a directory with voice.yaml (from `fwn "
        "pack`), an ESPnet2 experiment directory with config.yaml, or one of the bundled voices: "
        f"{', '.join(available_voices()) or 'none'}"
    )


def experiment_files(directory: Path) -> tuple[Path, Path]:
    """Return the training configuration and the weights of an ESPnet2 experiment.

    Raises:
        ConfigError: the directory is a packed voice.
        CheckpointError: there is no experiment, or it has no weights.
    """
    directory, voice = find_voice(directory)
    conf = voice.acoustic_conf
    if "train_config" not in conf:
        raise ConfigError(f"{directory}: is a packed voice already; give an ESPnet2 experiment")
    return directory / conf["train_config"], directory / conf["model_file"]


def _experiment_voice(directory: Path) -> VoiceConfig:
    """Describe an ESPnet2 experiment, whose configuration may name a vocoder, as a voice."""
    config = read_yaml(directory / "config.yaml")
    candidates = ("latest.pth", "train.loss.ave.pth", "valid.loss.ave.pth", "valid.loss.best.pth")
    weights = next((name for name in candidates if (directory / name).exists()), None)
    if weights is None:
        raise CheckpointError(f"{directory}: has no weights (looked for {', '.join(candidates)})")
    return VoiceConfig(
        name=directory.name,
        acoustic_conf={"train_config": "config.yaml", "model_file": weights},
        vocoder=config.get("vocoder", "griffin_lim"),
        vocoder_conf=config.get("vocoder_conf") or {},
    )
