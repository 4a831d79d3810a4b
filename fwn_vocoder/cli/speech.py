"""Commands that speak, and that list what there is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fwn_vocoder.cli.options import Device, Seed, Temperature, VocoderName, app
from fwn_vocoder.errors import ConfigError


@app.command()
def say(
    text: Annotated[str | None, typer.Argument(help="What to say; - reads stdin.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="A .wav or .flac file.")] = Path(
        "out.wav"
    ),
    text_file: Annotated[
        Path | None, typer.Option(help="Kaldi `text` file: say each line into --out DIR.")
    ] = None,
    voice: Annotated[str | None, typer.Option(help="Voice directory or bundled name.")] = None,
    vocoder: VocoderName = None,
    picture: Annotated[Path | None, typer.Option(help="Draw waveform and mel to a PNG.")] = None,
    seed: Seed = 0,
    temperature: Temperature = None,
    speed: Annotated[float, typer.Option(help="1: the voice's own; 0.5 to 2.")] = 1.0,
    strict: Annotated[bool, typer.Option(help="Fail if something cannot be spoken.")] = False,
    device: Device = "auto",
) -> None:
    """Speak a text into a file, or each line of a Kaldi text file into a directory."""
    from fwn_vocoder.speak import speak_file, speak_text
    from fwn_vocoder.synthesizer import Synthesizer

    if (text is None) == (text_file is None):
        raise ConfigError("fwn say: give either a TEXT or --text-file")
    synthesizer = Synthesizer(voice=voice, vocoder=vocoder, device=device)
    if text_file is not None:
        for path in speak_file(synthesizer, text_file, out, seed, temperature, speed, strict):
            typer.echo(path)
        return
    content = sys.stdin.read() if text == "-" else text
    speak_text(synthesizer, content, out, seed, temperature, speed, strict, picture)
    typer.echo(out)


@app.command()
def vocode(
    files: Annotated[list[Path], typer.Argument(help="Audio (copy synthesis) or .npy mels.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for <stem>.wav.")],
    checkpoint: Annotated[Path | None, typer.Option(help="A .safetensors checkpoint.")] = None,
    vocoder: VocoderName = None,
    voice: Annotated[str | None, typer.Option(help="Use the vocoder of this voice.")] = None,
    seed: Seed = 0,
    temperature: Temperature = None,
    device: Device = "auto",
) -> None:
    """Vocode audio files (by way of their mels) or .npy mels of shape (frames, n_mels)."""
    from fwn_vocoder.decode import vocode_files
    from fwn_vocoder.speak import load_any_vocoder

    model = load_any_vocoder(vocoder, checkpoint, voice, device)
    for path in vocode_files(model, files, out, seed=seed, temperature=temperature):
        typer.echo(path)


@app.command()
def vocoders() -> None:
    """List the vocoders that can be selected by name."""
    from fwn_vocoder import available_vocoders

    for name in available_vocoders():
        typer.echo(name)


@app.command()
def voices() -> None:
    """List the bundled voices."""
    from fwn_vocoder.voices import available_voices

    for name in available_voices():
        typer.echo(name)


@app.command()
def doctor() -> None:
    """Check the installation; name the fix for each part that is missing."""
    from fwn_vocoder.doctor import check_installation

    complete = True
    for check in check_installation():
        state = "ok" if check.ok else "MISSING" if check.required else "absent"
        typer.echo(f"{state}\t{check.name}\t{check.detail}")
        complete = complete and (check.ok or not check.required)
    if not complete:
        raise typer.Exit(5)
