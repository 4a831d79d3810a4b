"""The benchmark runs, and measures what it says. Nothing here depends on how fast."""

import json
import subprocess
import sys

import pytest

from fwn_vocoder.bench import bench, load_for_bench, peak_memory
from fwn_vocoder.errors import ConfigError
from tests.conftest import ROOT

TOY = ROOT / "egs" / "toy" / "conf" / "flowavenet.yaml"


def test_times_of_an_experiment_file():
    rows = bench(TOY, device="cpu", threads=None, frames=20, repeats=2, training=True)
    sampling = [row for row in rows if row.task == "sampling"]
    assert [row.way for row in sampling] == [
        "plain model, float32", "sampler, float32", "sampler, bfloat16",
    ]  # fmt: skip
    assert len(rows) == 6
    for row in rows:
        assert row.samples_per_s * row.rtf == pytest.approx(22050)
        baseline = next(r for r in rows if r.task == row.task)
        assert row.speedup == pytest.approx(baseline.seconds / row.seconds)


def test_random_weights_are_not_idle():
    model = load_for_bench(TOY)
    assert all(p.abs().max() > 0 for n, p in model.named_parameters() if n.endswith("out.scale"))


def test_memory_is_measured_in_a_new_process():
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    short, long = (peak_memory(TOY, frames) for frames in (50, 1000))
    assert 50 < short.loaded_mb < 2000
    assert long.above_mb > short.above_mb


def test_the_command_writes_figures(tmp_path):
    command = [sys.executable, "-m", "fwn_vocoder.cli", "bench", str(TOY), "--frames", "10"]
    command += ["--repeats", "1", "--json", str(tmp_path / "x.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| sampling | sampler, bfloat16 |" in done.stdout
    assert len(json.loads((tmp_path / "x.json").read_text())["times"]) == 3


def test_bad_requests(tmp_path):
    with pytest.raises(ConfigError, match="no CUDA device here"):
        bench(TOY, device="cuda:7", threads=None, frames=1, repeats=1, training=False)
    command = [sys.executable, "-m", "fwn_vocoder.cli", "bench", str(TOY), "--memory", "many"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "expected frame counts" in done.stderr
