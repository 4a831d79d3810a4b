"""The ``fwn`` command: each subcommand parses its arguments, calls one function, and prints.

stdout carries data only; logs and progress bars go to stderr. Exit codes: 0 done, 2 usage or
configuration, 3 bad input, 4 partial, 5 model.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from fwn_vocoder.errors import ConfigError, FwnError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)

Job = Annotated[str, typer.Option(help="Do part K of N only: K/N.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same samples.")]
Temperature = Annotated[
    float | None, typer.Option(help="Spread of the noise; default: the checkpoint's own.")
]
VocoderName = Annotated[
    str | None, typer.Option("--vocoder", help="Registry name, or a .safetensors checkpoint.")
]
Resume = Annotated[str, typer.Option(help="auto: continue a run if there is one; no: refuse.")]
MaxSteps = Annotated[int | None, typer.Option(help="Stop after this many steps in all.")]
MaxMinutes = Annotated[float | None, typer.Option(help="Stop after this time.")]


def main() -> None:
    """Run the command line; turn our errors into a message and an exit code."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s")
    try:
        app()
    except FwnError as error:
        print(f"fwn: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        from fwn_vocoder import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Log warnings only.")] = False,
) -> None:
    """FloWaveNet as the vocoder of Tacotron-style text-to-speech."""
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    # Ours alone: ESPnet and its kin report every layer that they initialise.
    logging.getLogger("fwn_vocoder").setLevel(level)


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
        resume=_is_auto(resume),
        init_from=init_from,
        max_steps=max_steps,
        max_minutes=max_minutes,
        device=None if device == "auto" else torch.device(device),
    )
    typer.echo(path)


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
        resume=_is_auto(resume),
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
    from fwn_vocoder.voices import find_voice

    directory, voice = find_voice(tts)
    conf = voice.acoustic_conf
    if "train_config" not in conf:
        raise ConfigError(f"{tts}: is a packed voice; --tts needs the ESPnet2 experiment itself")
    files = (directory / conf["train_config"], directory / conf["model_file"])
    typer.echo(predict_mels(*files, data, dump, out))


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


@app.command()
def curves(
    runs: Annotated[list[Path], typer.Argument(help="Directories of training runs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A PNG file.")] = Path("curves.png"),
) -> None:
    """Draw the validation curves of vocoder and acoustic model trainings."""
    from fwn_vocoder.curves import save_curves

    save_curves(out, runs)
    typer.echo(out)


@app.command("import-reference")
def import_reference_command(
    source: Annotated[Path, typer.Argument(help="A .pth file of the 2019 release.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
) -> None:
    """Convert a checkpoint of the 2019 FloWaveNet release."""
    from fwn_vocoder.reference2019 import import_reference

    import_reference(source, target)
    typer.echo(target)


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


def _is_auto(resume: str) -> bool:
    if resume not in ("auto", "no"):
        raise ConfigError(f"--resume {resume!r}: expected auto or no")
    return resume == "auto"


if __name__ == "__main__":
    main()
