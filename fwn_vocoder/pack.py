"""Packing of a voice: acoustic model, vocoder, configuration and model card in one directory."""

from __future__ import annotations

from pathlib import Path

import torch

from fwn_vocoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fwn_vocoder.config import write_yaml
from fwn_vocoder.files import atomic_write
from fwn_vocoder.mel import MelSpec, plan_conversion, resolve_mel_spec
from fwn_vocoder.voices import VoiceConfig, experiment_files


def pack_voice(
    tts_dir: Path, vocoder_checkpoint: Path, out_dir: Path, name: str, notes: Path | None = None
) -> Path:
    """Write a voice directory from an ESPnet2 experiment and a vocoder checkpoint.

    Weights are stored in float16. A picture ``curves.png`` in ``out_dir`` is shown in the card.

    Args:
        notes: a Markdown file that is put into the model card.

    Raises:
        MelMismatchError: the vocoder cannot speak the acoustic model's mels.
        CheckpointError, ConfigError: a part is missing or damaged.
    """
    from fwn_vocoder.espnet.acoustic import EspnetAcousticModel

    acoustic = EspnetAcousticModel.from_experiment(*experiment_files(tts_dir))
    vocoder = load_checkpoint(vocoder_checkpoint)
    plan_conversion(acoustic.mel_spec, resolve_mel_spec(vocoder.config["mel"]))
    save_checkpoint(out_dir / "acoustic.safetensors", acoustic.to_checkpoint())
    save_checkpoint(out_dir / "vocoder.safetensors", vocoder.to(torch.float16))
    voice = VoiceConfig(
        name=name,
        acoustic_conf={"checkpoint": "acoustic.safetensors"},
        vocoder=vocoder.kind,
        vocoder_conf={"checkpoint": "vocoder.safetensors", "dtype": "auto"},
    )
    write_yaml(out_dir / "voice.yaml", voice.model_dump(mode="json"))
    card = _model_card(voice, acoustic.config, acoustic.mel_spec, vocoder, out_dir, notes)
    with atomic_write(out_dir / "README.md") as temporary:
        temporary.write_text(card, encoding="utf-8")
    return out_dir


def _model_card(
    voice: VoiceConfig,
    acoustic: dict,
    spec: MelSpec,
    vocoder: Checkpoint,
    directory: Path,
    notes: Path | None,
) -> str:
    def size(name: str) -> str:
        return f"{(directory / name).stat().st_size / 1e6:.1f} MB"

    n_weights = sum(tensor.numel() for tensor in vocoder.tensors.values())
    facts = "".join(f"| {key} | {value} |\n" for key, value in vocoder.info.items())
    curves = "\n![Training curves](curves.png)\n" if (directory / "curves.png").exists() else ""
    return f"""# Voice `{voice.name}`

| part | what | file |
|---|---|---|
| acoustic model | ESPnet2 {acoustic.get("tts")}, {len(acoustic["token_list"])} tokens | \
`acoustic.safetensors`, {size("acoustic.safetensors")} |
| vocoder | {vocoder.kind}, {n_weights / 1e6:.1f} M weights | \
`vocoder.safetensors`, {size("vocoder.safetensors")} |
| mel | {spec.n_mels} bands, {spec.fmin:g}-{spec.fmax:g} Hz, hop {spec.hop_length}, \
{spec.sample_rate} Hz | |

| vocoder training | |
|---|---|
{facts}{curves}
{notes.read_text(encoding="utf-8") if notes else ""}"""
