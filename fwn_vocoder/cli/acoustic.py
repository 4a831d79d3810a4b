"""Commands for acoustic models: preparation, training, evaluation, packing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fwn_vocoder.cli.options import MaxMinutes, MaxSteps, Resume, app, is_auto


@app.command("prepare-tts")
def prepare_tts_command(
    config: Annotated[Path, typer.Option(help="ESPnet2 TTS configuration with our keys.")],
    data: Annotated[list[str], typer.Option(help="SET=DATA_DIR; repeat for each set.")],
    dump: Annotated[Path, typer.Option(help="Parent of the sets' dump directories.")],
    out: Annotated[Path, typer.Option(help="Directory for ESPnet's files.")],
) -> None:
    """Prepare the training of an ESPnet2 acoustic model: tokens, alignments, lists."""
    from fwn_vocoder.espnet.prepare import prepare_tts
    from fwn_vocoder.evaluate.report import parse_systems

    data_dirs = parse_systems(data)
    counts = prepare_tts(config, data_dirs, {name: dump / name for name in data_dirs}, out)
    for name, count in counts.items():
        typer.echo(f"{name}\t{count}")


@app.command("train-tts")
def train_tts_command(
    config: Annotated[Path, typer.Option(help="ESPnet2 TTS configuration with our keys.")],
    data: Annotated[Path, typer.Option(help="What prepare-tts wrote.")],
    train_set: Annotated[str, typer.Option(help="Name of the training set.")],
    dev_set: Annotated[str, typer.Option(help="Name of the development set.")],
    out: Annotated[Path, typer.Option(help="Experiment directory.")],
    vocoder_checkpoint: Annotated[
        Path | None, typer.Option(help="Set vocoder_conf.checkpoint in the experiment.")
    ] = None,
    resume: Resume = "no",
    ngpu: Annotated[int, typer.Option(help="Number of GPUs.")] = 0,
    max_steps: MaxSteps = None,
    max_minutes: MaxMinutes = None,
) -> None:
    """Train an ESPnet2 acoustic model by espnet2.bin.tts_train."""
    from fwn_vocoder.espnet.train import train_tts

    path = train_tts(
        config,
        data,
        out,
        train_set=train_set,
        dev_set=dev_set,
        vocoder_checkpoint=vocoder_checkpoint,
        resume=is_auto(resume),
        ngpu=ngpu,
        max_steps=max_steps,
        max_minutes=max_minutes,
    )
    typer.echo(path)


@app.command("predict-mels")
def predict_mels_command(
    tts: Annotated[Path, typer.Option(help="ESPnet2 experiment directory.")],
    data: Annotated[Path, typer.Option(help="What prepare-tts wrote for the set.")],
    dump: Annotated[Path, typer.Option(help="Dump directory of the set.")],
    out: Annotated[Path, typer.Option(help="Dump directory to write.")],
) -> None:
    """Add mels that an acoustic model predicts (teacher-forced) to a dump, for fine-tuning."""
    from fwn_vocoder.espnet.predict import predict_mels
    from fwn_vocoder.voices import experiment_files

    typer.echo(predict_mels(*experiment_files(tts), data, dump, out))


@app.command("evaluate-speech")
def evaluate_speech_command(
    data: Annotated[Path, typer.Option(help="Data directory with the texts and recordings.")],
    system: Annotated[list[str], typer.Option(help="NAME=DIR with <utt_id>.wav; repeatable.")],
    out: Annotated[Path, typer.Option(help="Directory for RESULTS.md and results.json.")],
) -> None:
    """Recognise synthesised speech; write word error rates beside the recordings' own."""
    from fwn_vocoder.evaluate.report import parse_systems
    from fwn_vocoder.evaluate.speech import evaluate_speech

    typer.echo(evaluate_speech(data, parse_systems(system), out))


@app.command()
def pack(
    tts: Annotated[Path, typer.Option(help="ESPnet2 experiment directory.")],
    vocoder: Annotated[Path, typer.Option(help="Vocoder checkpoint.")],
    out: Annotated[Path, typer.Option(help="Directory of the new voice.")],
    name: Annotated[str, typer.Option(help="Name of the new voice.")],
    notes: Annotated[Path | None, typer.Option(help="Markdown for the model card.")] = None,
) -> None:
    """Pack an acoustic model and a vocoder into a voice directory."""
    from fwn_vocoder.pack import pack_voice

    typer.echo(pack_voice(tts, vocoder, out, name, notes))
