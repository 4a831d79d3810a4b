"""Texts to files, and vocoders by any of their names, for the command line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from fwn_vocoder.data.kaldi import read_table
from fwn_vocoder.errors import ConfigError, TextError
from fwn_vocoder.mel import MelSpec
from fwn_vocoder.models.base import Vocoder
from fwn_vocoder.picture import save_picture
from fwn_vocoder.registry import load_vocoder
from fwn_vocoder.synthesizer import Audio, Synthesizer, resolve_device
from fwn_vocoder.voices import find_voice

log = logging.getLogger(__name__)


def speak_text(
    synthesizer: Synthesizer,
    text: str,
    path: Path,
    seed: int,
    temperature: float | None,
    speed: float,
    strict: bool,
    picture: Path | None = None,
) -> Audio:
    """Speak a text into a file; with ``strict`` everything in it must be speakable.

    Raises:
        TextError: nothing can be spoken, or with ``strict`` something cannot.
    """
    audio = synthesizer(text, seed=seed, temperature=temperature, speed=speed)
    if strict and audio.warnings:
        raise TextError("--strict: " + "; ".join(audio.warnings))
    audio.save(path)
    if picture is not None:
        title = text if len(text) <= 80 else text[:77] + "..."
        save_picture(picture, audio, synthesizer.vocoder.mel_spec, title)
    log.info("%s: %.2f s of speech, real-time factor %.3f", path, audio.duration, audio.rtf)
    return audio


def speak_file(
    synthesizer: Synthesizer,
    text_file: Path,
    out_dir: Path,
    seed: int,
    temperature: float | None,
    speed: float,
    strict: bool,
) -> Iterator[Path]:
    """Speak each line ``<utt_id> <text>`` into ``out_dir/<utt_id>.wav``; yield the paths."""
    for utt_id, text in read_table(text_file, "transcript").items():
        path = out_dir / f"{utt_id}.wav"
        speak_text(synthesizer, text, path, seed, temperature, speed, strict)
        yield path


def load_any_vocoder(
    name: str | None,
    checkpoint: Path | None,
    voice: str | None,
    device: str,
    mel_spec: MelSpec | None = None,
) -> Vocoder:
    """Load a vocoder by name, by checkpoint, or the one of a voice (the default voice if nothing).

    Args:
        mel_spec: definition for a vocoder without weights.

    Raises:
        ConfigError: contradictory choices.
    """
    device = resolve_device(device)
    if name is not None and name.endswith(".safetensors"):
        name, checkpoint = None, Path(name)
    if checkpoint is not None:
        return load_vocoder(name or "flowavenet", checkpoint=checkpoint, device=device)
    if name is not None and name != "flowavenet":
        conf = {} if mel_spec is None else {"mel": mel_spec}
        return load_vocoder(name, device=device, **conf)
    directory, config = find_voice(voice)
    if "checkpoint" not in config.vocoder_conf:
        raise ConfigError(f"voice {config.name!r} has no vocoder weights; give --checkpoint")
    conf = {**config.vocoder_conf, "checkpoint": directory / config.vocoder_conf["checkpoint"]}
    return load_vocoder(config.vocoder, device=device, **conf)
