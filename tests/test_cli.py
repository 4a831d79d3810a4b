"""The command line: exit codes, what goes to stdout, and no half-written files."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from fwn_vocoder.audio import write_wav
from tests.conftest import GOLDEN, ROOT, tone


def fwn(*arguments, stdin=None):
    command = [sys.executable, "-m", "fwn_vocoder.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, input=stdin, env=environment, timeout=300
    )


def test_version_and_help():
    assert fwn("--version").stdout.strip() == "0.1.0"
    assert "vocode" in fwn("--help").stdout


def test_lists():
    assert {"flowavenet", "griffin_lim"} <= set(fwn("vocoders").stdout.split())
    assert fwn("voices").stdout.split() == ["ljspeech"]


def test_say(tmp_path):
    done = fwn("say", "Hello there.", "-o", tmp_path / "x.wav", "--picture", tmp_path / "x.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "x.wav")
    assert soundfile.info(tmp_path / "x.wav").samplerate == 22050
    assert (tmp_path / "x.png").read_bytes()[1:4] == b"PNG"


def test_say_a_file_of_lines(tmp_path):
    (tmp_path / "text").write_text("u1 One.\nu2 Two.\n")
    done = fwn("say", "--text-file", tmp_path / "text", "--vocoder", "griffin_lim",
               "-o", tmp_path / "out")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["u1.wav", "u2.wav"]


def test_say_stdin(tmp_path):
    assert fwn("say", "-", "-o", tmp_path / "x.flac", stdin="Hello.").returncode == 0
    assert soundfile.info(tmp_path / "x.flac").frames > 1000


def test_vocode_audio_and_mels(tmp_path, tiny_checkpoint):
    write_wav(tmp_path / "a.wav", tone(0.5), 22050)
    np.save(tmp_path / "b.npy", np.full((7, 80), -2.0, np.float32))
    done = fwn("vocode", tmp_path / "a.wav", tmp_path / "b.npy", "-o", tmp_path / "out",
               "--checkpoint", tiny_checkpoint)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "out" / "a.wav").frames == 11025 // 256 * 256
    assert soundfile.info(tmp_path / "out" / "b.wav").frames == 7 * 256


def test_vocoding_a_dump_in_shards(dump_dir, tiny_checkpoint, tmp_path):
    options = ["decode", "--checkpoint", tiny_checkpoint, "--dump", dump_dir]
    assert fwn(*options, "--out", tmp_path / "whole").stdout.strip() == "3"
    for job in ("1/2", "2/2"):
        assert fwn(*options, "--out", tmp_path / "parts", "--job", job).returncode == 0
    for path in (tmp_path / "whole").glob("*.wav"):
        assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes()
    assert fwn(*options, "--out", tmp_path / "whole").stdout.strip() == "0"


def test_import_reference(tmp_path):
    source = GOLDEN / "flowavenet_reference_tiny.pth"
    done = fwn("import-reference", source, tmp_path / "x.safetensors")
    assert done.returncode == 0
    assert (tmp_path / "x.safetensors").exists()


def test_doctor():
    done = fwn("doctor")
    assert done.returncode == 0, done.stdout
    assert "ok\ttorch" in done.stdout
    assert "espnet" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["say", "-o", "OUT"], 2, "give either a TEXT or --text-file"),
        (["say", "", "-o", "OUT"], 3, "nothing to say in ''"),
        (["say", "日本", "-o", "OUT"], 3, "nothing can be spoken in '日本'"),
        (["say", "Hello 日本.", "--strict", "-o", "OUT"], 3, "--strict: not spoken: '日本'"),
        (["say", "Hello.", "--voice", "none", "-o", "OUT"], 5, "voice 'none' not found"),
        (["say", "Hello.", "--vocoder", "none", "-o", "OUT"], 2, "'none' is unknown; available"),
        (["say", "Hello.", "--temperature", "-1", "-o", "OUT"], 3, "temperature is -1"),
        (["say", "Hello.", "--sed", "1"], 2, "No such option"),
        (["vocode", "none.wav", "-o", "OUT"], 3, "none.wav: cannot read audio"),
        (["vocode", "BAD_MEL", "-o", "OUT"], 3, "mel has shape (7, 100)"),
        (["vocode", "x.wav", "--checkpoint", "none", "-o", "OUT"], 5, "no such checkpoint file"),
        (["extract", "--config", "BAD_CONFIG", "--data", "d", "--out", "OUT"], 2,
         "did you mean 'n_flows'"),
        (["extract", "--config", "CONFIG", "--data", "none", "--out", "OUT"], 3, "wav.scp: cannot"),
        (["decode", "--dump", "none", "--out", "OUT"], 3, "is not a dump"),
        (["train", "--config", "CONFIG", "--train", "none", "--dev", "none", "--out", "OUT",
          "--resume", "yes"], 2, "expected auto or no"),
    ],
)  # fmt: skip
def test_errors(arguments, code, message, tmp_path):
    np.save(tmp_path / "bad.npy", np.zeros((7, 100)))
    (tmp_path / "bad.yaml").write_text("vocoder_conf: {n_flow: 3}\n")
    names = {
        "OUT": tmp_path / "out.wav",
        "BAD_MEL": tmp_path / "bad.npy",
        "BAD_CONFIG": tmp_path / "bad.yaml",
        "CONFIG": ROOT / "egs/toy/conf/flowavenet.yaml",
    }
    done = fwn(*(names.get(argument, argument) for argument in arguments))
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out.wav").is_file()


def test_extraction_of_a_broken_file_is_partial(tmp_path, data_dir):
    source = tmp_path / "data"
    source.mkdir()
    (tmp_path / "bad.wav").write_bytes(b"x")
    (source / "wav.scp").write_text((data_dir / "wav.scp").read_text() + f"z {tmp_path}/bad.wav\n")
    config = ROOT / "egs/toy/conf/flowavenet.yaml"
    done = fwn("extract", "--config", config, "--data", source, "--out", tmp_path / "dump")
    assert done.returncode == 4
    assert "1 utterances could not be extracted" in done.stderr
