import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from fwn_vocoder import load_vocoder
from fwn_vocoder.checkpoint import load_checkpoint
from fwn_vocoder.config import validate, write_yaml
from fwn_vocoder.errors import CheckpointError, ConfigError, SynthesisError
from fwn_vocoder.train import loop
from fwn_vocoder.train.config import Experiment, TrainConfig, learning_rate
from tests.conftest import TINY

TRAIN = {
    "max_steps": 8,
    "batch_size": 2,
    "segment_frames": 8,
    "schedule": "cosine",
    "warmup_steps": 2,
    "log_every": 2,
    "valid_every": 4,
    "valid_batches": 1,
}


def experiment(model=None, **train):
    content = {"vocoder_conf": {**TINY, **(model or {})}, "train": {**TRAIN, **train}}
    return validate(Experiment, content, "test")


def run(dump_dir, out, exp=None, **kwargs):
    return loop.train(exp or experiment(), dump_dir, dump_dir, out, **kwargs)


def states_of(out):
    path = (out / "latest.safetensors").resolve()
    trainer = path.with_name(path.name.replace(".safetensors", ".trainer.safetensors"))
    return load_checkpoint(path), load_checkpoint(trainer)


def assert_equal_states(a, b):
    for first, second in zip(a, b, strict=True):
        assert first.info == second.info
        assert first.tensors.keys() == second.tensors.keys()
        for name, value in first.tensors.items():
            assert torch.equal(value, second.tensors[name]), name


def test_a_run_leaves_what_is_needed(dump_dir, tmp_path):
    latest = run(dump_dir, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.yaml", "latest.safetensors", "best.safetensors", "tensorboard"} <= names
    assert latest.resolve().name == "checkpoint-8steps.safetensors"
    vocoder = load_vocoder("flowavenet", checkpoint=latest)
    assert len(vocoder.vocode(torch.zeros(3, 80).numpy())) == 3 * 256
    assert load_checkpoint(latest).info["steps"] == 8
    assert any((tmp_path / "tensorboard").iterdir())


def test_a_resumed_run_equals_an_uninterrupted_one(dump_dir, tmp_path):
    run(dump_dir, tmp_path / "whole")
    run(dump_dir, tmp_path / "parts", max_steps=3)
    run(dump_dir, tmp_path / "parts", max_steps=5, resume=True)
    run(dump_dir, tmp_path / "parts", resume=True)
    whole, parts = states_of(tmp_path / "whole"), states_of(tmp_path / "parts")
    for saved in (*whole, *parts):
        saved.info.pop("best_nll", None)  # the parts were validated more often
    assert_equal_states(whole, parts)


def test_nothing_is_overwritten(dump_dir, tmp_path):
    run(dump_dir, tmp_path, max_steps=1)
    with pytest.raises(ConfigError, match=r"holds a run already.*--resume auto"):
        run(dump_dir, tmp_path)


def test_resuming_another_model_is_refused(dump_dir, tmp_path):
    run(dump_dir, tmp_path, max_steps=1)
    with pytest.raises(CheckpointError, match=r"trained with other settings \(channels\)"):
        run(dump_dir, tmp_path, experiment({"channels": 16}), resume=True)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(dump_dir, tmp_path, caplog):
    run(dump_dir, tmp_path)
    newest = tmp_path / "checkpoint-8steps.trainer.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    caplog.set_level("INFO")
    run(dump_dir, tmp_path, resume=True)
    assert "trying the checkpoint before it" in caplog.text
    assert "continuing" in caplog.text
    assert "at step 4" in caplog.text


def test_all_damaged(dump_dir, tmp_path):
    run(dump_dir, tmp_path, max_steps=1)
    for path in tmp_path.glob("*.trainer.safetensors"):
        path.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        run(dump_dir, tmp_path, resume=True)


def test_old_checkpoints_go_and_the_best_stays(dump_dir, tmp_path):
    run(dump_dir, tmp_path, experiment(valid_every=1, keep=2))
    assert len(list(tmp_path.glob("*.trainer.safetensors"))) == 2
    assert (tmp_path / "best.safetensors").exists()
    assert len(list(tmp_path.glob("checkpoint-*steps.safetensors"))) <= 3


def test_steps_without_a_finite_gradient_are_skipped(dump_dir, tmp_path, monkeypatch, caplog):
    plain = loop.Objective.forward
    calls = []

    def sometimes_nan(self, batch):
        nll, pitch_loss = plain(self, batch)
        calls.append(1)
        return (nll * float("nan") if len(calls) in (2, 3) else nll), pitch_loss

    monkeypatch.setattr(loop.Objective, "forward", sometimes_nan)
    run(dump_dir, tmp_path)
    weights, trainer = states_of(tmp_path)
    assert trainer.info["skipped"] == 2
    assert caplog.text.count("step skipped") == 2
    assert all(v.isfinite().all() for v in weights.tensors.values())


def test_a_diverged_run_ends(dump_dir, tmp_path, monkeypatch):
    plain = loop.Objective.forward
    monkeypatch.setattr(loop, "MAX_SKIPS_IN_A_ROW", 3)
    monkeypatch.setattr(
        loop.Objective,
        "forward",
        lambda self, batch: tuple(x * float("nan") for x in plain(self, batch)),
    )
    with pytest.raises(SynthesisError, match="3 steps in a row had no finite gradient"):
        run(dump_dir, tmp_path)


def test_bfloat16_trains(dump_dir, tmp_path):
    run(dump_dir, tmp_path, experiment(dtype="bfloat16"))
    weights, _ = states_of(tmp_path)
    assert all(v.dtype != torch.bfloat16 and v.isfinite().all() for v in weights.tensors.values())


def test_time_limit(dump_dir, tmp_path):
    run(dump_dir, tmp_path, max_minutes=1e-9)
    assert (tmp_path / "checkpoint-0steps.safetensors").exists()


def test_init_from(dump_dir, tmp_path):
    first = run(dump_dir, tmp_path / "a", max_steps=2)
    run(dump_dir, tmp_path / "b", init_from=first, max_minutes=1e-9)
    torch.testing.assert_close(
        load_checkpoint(first).tensors,
        load_checkpoint(tmp_path / "b" / "latest.safetensors").tensors,
    )


def test_other_vocoders_cannot_be_trained(dump_dir, tmp_path):
    with pytest.raises(ConfigError, match="'griffin_lim' cannot be trained"):
        run(dump_dir, tmp_path, Experiment(vocoder="griffin_lim"))


def test_sigterm_saves_and_stops(dump_dir, tmp_path):
    config = experiment(max_steps=100_000, valid_every=50_000).model_dump(mode="json")
    write_yaml(tmp_path / "c.yaml", config)
    command = [sys.executable, "-m", "fwn_vocoder.cli", "train", "--config", tmp_path / "c.yaml"]
    command += ["--train", dump_dir, "--dev", dump_dir, "--out", tmp_path / "exp"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        for line in process.stderr:
            if "step 4 of" in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
        assert process.wait() == 0, rest
    assert "received signal 15" in rest
    assert load_checkpoint(tmp_path / "exp" / "latest.safetensors").info["steps"] >= 4


def test_two_processes_train_together(dump_dir, tmp_path):
    """torchrun over gloo: both ranks keep the same weights, one writes."""
    write_yaml(tmp_path / "c.yaml", experiment().model_dump(mode="json"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "fwn_vocoder.cli", "train", "--config", tmp_path / "c.yaml"]
    command += ["--train", dump_dir, "--dev", dump_dir, "--out", tmp_path / "exp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 300
    assert load_checkpoint(tmp_path / "exp" / "latest.safetensors").info["steps"] == 8


def test_schedules():
    step = TrainConfig(learning_rate=1e-3, halve_every=10)
    assert [learning_rate(s, step) for s in (0, 9, 10, 25)] == [1e-3, 1e-3, 5e-4, 2.5e-4]
    cosine = TrainConfig(learning_rate=1.0, schedule="cosine", warmup_steps=10, max_steps=110)
    assert learning_rate(0, cosine) == pytest.approx(0.1)
    assert learning_rate(10, cosine) == pytest.approx(1.0)
    assert learning_rate(60, cosine) == pytest.approx(0.5)
    assert learning_rate(110, cosine) == pytest.approx(0.0)
