"""Commands that prepare data, and train, decode and evaluate vocoders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fwn_vocoder.cli.options import (
    Device,
    Job,
    MaxMinutes,
    MaxSteps,
    Resume,
    Seed,
    Temperature,
    VocoderName,
    app,
    is_auto,
)


@app.command("prepare-ljspeech")
def prepare_ljspeech_command(
    out: Annotated[Path, typer.Option(help="Directory for the data directories.")],
    db_root: Annotated[Path, typer.Option(help="LJSpeech's directory, with metadata.csv.")],
) -> None:
    """Write Kaldi data directories tr_no_dev, dev and eval1 of LJSpeech."""
    from fwn_vocoder.data.ljspeech import prepare_ljspeech

    for name, count in prepare_ljspeech(db_root, out).items():
        typer.echo(f"{name}\t{count}")


@app.command("download-ljspeech")
def download_ljspeech_command(
    out: Annotated[Path, typer.Option(help="Directory for the corpus.")],
    url: Annotated[str | None, typer.Option(help="Another place to download from.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Its SHA-256, for another place.")] = None,
) -> None:
    """Download, verify and unpack LJSpeech (2.6 GB)."""
    from fwn_vocoder.data import ljspeech

    typer.echo(ljspeech.download_ljspeech(out, url or ljspeech.URL, sha256 or ljspeech.SHA256))


@app.command()
def extract(
    config: Annotated[Path, typer.Option(help="Experiment file of the vocoder.")],
    data: Annotated[Path, typer.Option(help="Kaldi data directory.")],
    out: Annotated[Path, typer.Option(help="Dump directory.")],
    job: Job = "1/1",
) -> None:
    """Extract mels (and pitch, where the vocoder needs it) of a data directory."""
    from fwn_vocoder.data.kaldi import parse_job
    from fwn_vocoder.extract import extract_for

    typer.echo(extract_for(config, data, out, parse_job(job)))


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="Experiment file.")],
    train: Annotated[Path, typer.Option(help="Dump directory to train on.")],
    dev: Annotated[Path, typer.Option(help="Dump directory to validate on.")],
    out: Annotated[Path, typer.Option(help="Experiment directory.")],
    resume: Resume = "no",
    init_from: Annotated[Path | None, typer.Option(help="Start from this checkpoint.")] = None,
    max_steps: MaxSteps = None,
    max_minutes: MaxMinutes = None,
    device: Device = "auto",
) -> None:
    """Train a vocoder; under torchrun on several processes."""
    import torch

    from fwn_vocoder.train.config import read_experiment
    from fwn_vocoder.train.loop import train as run_training

    path = run_training(
        read_experiment(config),
        train,
        dev,
        out,
        resume=is_auto(resume),
        init_from=init_from,
        max_steps=max_steps,
        max_minutes=max_minutes,
        device=None if device == "auto" else torch.device(device),
    )
    typer.echo(path)


@app.command("calibrate")
def calibrate_command(
    checkpoint: Annotated[Path, typer.Option(help="A trained FloWaveNet.")],
    dump: Annotated[Path, typer.Option(help="Dump directory whose mels are sampled.")],
    out: Annotated[Path, typer.Option(help="The checkpoint to write.")],
) -> None:
    """Measure the faint tone that a FloWaveNet adds to everything, so that it is subtracted."""
    from fwn_vocoder.calibrate import calibrate

    calibrate(checkpoint, dump, out)
    typer.echo(out)


@app.command()
def decode(
    dump: Annotated[Path, typer.Option(help="Dump directory.")],
    out: Annotated[Path, typer.Option(help="Directory for <utt_id>.wav.")],
    checkpoint: Annotated[Path | None, typer.Option(help="A .safetensors checkpoint.")] = None,
    vocoder: VocoderName = None,
    job: Job = "1/1",
    seed: Seed = 0,
    temperature: Temperature = None,
    device: Device = "auto",
) -> None:
    """Vocode every mel of a dump directory."""
    from fwn_vocoder.data.dump import Dump
    from fwn_vocoder.data.kaldi import parse_job
    from fwn_vocoder.decode import decode_dump
    from fwn_vocoder.speak import load_any_vocoder

    spec = Dump.open(dump).mel_spec
    model = load_any_vocoder(vocoder, checkpoint, None, device, mel_spec=spec)
    shard = parse_job(job)
    typer.echo(decode_dump(model, dump, out, job=shard, seed=seed, temperature=temperature))


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Option(help="Dump directory of the recordings.")],
    system: Annotated[list[str], typer.Option(help="NAME=DIR with <utt_id>.wav; repeatable.")],
    out: Annotated[Path, typer.Option(help="Directory for RESULTS.md and results.json.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="FloWaveNet whose likelihood is reported.")
    ] = None,
) -> None:
    """Score systems against recordings; write RESULTS.md."""
    from fwn_vocoder.evaluate.report import evaluate as run_evaluation
    from fwn_vocoder.evaluate.report import parse_systems

    typer.echo(run_evaluation(reference, parse_systems(system), out, checkpoint))


@app.command()
def curves(
    runs: Annotated[list[Path], typer.Argument(help="Directories of training runs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A PNG file.")] = Path("curves.png"),
) -> None:
    """Draw the validation curves of vocoder and acoustic model trainings."""
    from fwn_vocoder.curves import save_curves

    save_curves(out, runs)
    typer.echo(out)


@app.command()
def bench(
    path: Annotated[Path, typer.Argument(help="A checkpoint, or an experiment file.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all cores.")] = None,
    frames: Annotated[int, typer.Option(help="Length of the mel to sample from.")] = 256,
    repeats: Annotated[int, typer.Option(help="Executions of each way; medians are shown.")] = 5,
    training: Annotated[bool, typer.Option(help="Time training steps too.")] = False,
    memory: Annotated[
        str | None, typer.Option(help="Also measure peak memory at these lengths: 1000,10000.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure speed and memory of a FloWaveNet: plain model and sampler, side by side."""
    import json

    from fwn_vocoder.bench import as_data, as_memory_table, as_table, parse_lengths, peak_memory
    from fwn_vocoder.bench import bench as run_bench
    from fwn_vocoder.files import atomic_write

    lengths = parse_lengths(memory)
    results = run_bench(
        path, device=device, threads=threads, frames=frames, repeats=repeats, training=training
    )
    typer.echo(as_table(results))
    peaks = [peak_memory(path, length) for length in lengths]
    if peaks:
        typer.echo(as_memory_table(peaks))
    if json_out is not None:
        with atomic_write(json_out) as temporary:
            content = {"times": as_data(results), "memory": as_data(peaks)}
            temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")


@app.command("import-reference")
def import_reference_command(
    source: Annotated[Path, typer.Argument(help="A .pth file of the 2019 release.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
) -> None:
    """Convert a checkpoint of the 2019 FloWaveNet release."""
    from fwn_vocoder.reference2019 import import_reference

    import_reference(source, target)
    typer.echo(target)
