"""Training of ESPnet2 acoustic models by ``espnet2.bin.tts_train`` (recipe stage 6)."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fwn_vocoder.config import dump_yaml, read_yaml, write_yaml
from fwn_vocoder.data.kaldi import read_table
from fwn_vocoder.errors import DataError, SynthesisError
from fwn_vocoder.espnet.config import TtsKeys, mel_spec_of, read_tts_config
from fwn_vocoder.espnet.imports import import_espnet
from fwn_vocoder.train.process import stop_signals

log = logging.getLogger(__name__)

_TYPES = {"durations": "text_int", "pitch": "npy", "energy": "npy"}


def train_tts(
    config_path: str | Path,
    data_dir: Path,
    out_dir: Path,
    *,
    train_set: str,
    dev_set: str,
    vocoder_checkpoint: Path | None = None,
    resume: bool = False,
    ngpu: int = 0,
    max_steps: int | None = None,
    max_minutes: float | None = None,
) -> Path:
    """Train an acoustic model on what ``prepare_tts`` wrote; return its newest weights.

    ``vocoder``, ``vocoder_conf`` and ``text_frontend`` are taken out of the configuration, which
    ESPnet would refuse, and merged into ``out_dir/config.yaml`` afterwards, where inference finds
    them.

    Args:
        vocoder_checkpoint: recorded there as ``vocoder_conf.checkpoint``.

    Raises:
        DataError: ``data_dir`` has not been prepared.
        SynthesisError: ESPnet failed; the end of its log is in the message.
    """
    import_espnet("espnet2")
    keys, config = read_tts_config(config_path)
    if vocoder_checkpoint is not None:
        conf = {**keys.vocoder_conf, "checkpoint": str(vocoder_checkpoint.absolute())}
        keys = keys.model_copy(update={"vocoder_conf": conf})
    mel_spec_of(config, str(config_path))
    if not (data_dir / "tokens.txt").exists():
        raise DataError(f"{data_dir}: has no tokens.txt; run stage 5 (`fwn prepare-tts`) first")
    if (out_dir / "checkpoint.pth").exists() and not resume:
        raise DataError(
            f"{out_dir}: holds a run already; continue it with `--resume auto`, or choose another "
            "--out"
        )
    clean = out_dir / "train.yaml"
    if max_steps is not None:
        before = read_yaml(clean) if resume and clean.exists() else config
        config |= _limited(before.get("num_iters_per_epoch"), max_steps)
    config |= _text_settings(config, data_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_yaml(clean, config)
    stats = out_dir / "stats"
    if not (stats / "train" / "feats_stats.npz").exists():
        _collect_stats(clean, config, data_dir, stats, train_set, dev_set)
    try:
        _train(
            clean, config, data_dir, stats, out_dir, train_set, dev_set, ngpu, resume,
            keys.autocast, max_minutes,
        )  # fmt: skip
    finally:
        _merge_keys(out_dir / "config.yaml", keys)
    weights = out_dir / "latest.pth"
    if not weights.exists():
        raise SynthesisError(f"{out_dir}: training ended before its first epoch was complete")
    return weights


def _limited(iterations: int | None, max_steps: int) -> dict[str, int]:
    """Return ESPnet's settings for ``max_steps`` iterations in epochs of ``iterations`` or fewer.

    >>> _limited(150, 400)
    {'num_iters_per_epoch': 150, 'max_epoch': 3}
    """
    iterations = min(max_steps, iterations or max_steps)
    return {"num_iters_per_epoch": iterations, "max_epoch": math.ceil(max_steps / iterations)}


def _text_settings(config: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    tokens = (data_dir / "tokens.txt").read_text(encoding="utf-8").splitlines()
    return {
        "token_list": tokens,
        "use_preprocessor": True,
        "token_type": config.get("token_type", "phn"),
        "cleaner": config.get("cleaner"),
        "g2p": config.get("g2p"),
    }


def _collect_stats(
    clean: Path, config: dict[str, Any], data_dir: Path, stats: Path, train_set: str, dev_set: str
) -> None:
    """Measure lengths and feature statistics; write pitch and energy if the model needs them."""
    needs_variance = "pitch_extract" in config
    arguments = ["--collect_stats", "true", "--write_collected_feats", str(needs_variance).lower()]
    arguments += ["--output_dir", str(stats), "--normalize", "none"]
    if needs_variance:
        arguments += ["--pitch_normalize", "none", "--energy_normalize", "none"]
    for split, name in (("train", train_set), ("valid", dev_set)):
        arguments += _data_arguments(split, data_dir / name)
        arguments += [f"--{split}_shape_file", str(data_dir / name / "text")]
    _run_espnet(clean, arguments, stats / "stats.log")
    n_tokens = len(config["token_list"])
    for split in ("train", "valid"):
        # Batch sizes are counted in bins: a token counts for as many as the vocabulary has entries.
        shapes = read_table(stats / split / "text_shape", "length")
        lines = "".join(f"{utt_id} {length},{n_tokens}\n" for utt_id, length in shapes.items())
        (stats / split / "text_shape.tokens").write_text(lines, encoding="utf-8")


def _train(
    clean: Path,
    config: dict[str, Any],
    data_dir: Path,
    stats: Path,
    out_dir: Path,
    train_set: str,
    dev_set: str,
    ngpu: int,
    resume: bool,
    dtype: str,
    max_minutes: float | None,
) -> None:
    arguments = ["--output_dir", str(out_dir), "--ngpu", str(ngpu), "--resume", str(resume).lower()]
    normalised = {"normalize": "feats"}
    if "pitch_extract" in config:
        normalised |= {"pitch_normalize": "pitch", "energy_normalize": "energy"}
    for option, feature in normalised.items():
        stats_file = stats / "train" / f"{feature}_stats.npz"
        arguments += [f"--{option}", "global_mvn", f"--{option}_conf", f"stats_file={stats_file}"]
    for split, name in (("train", train_set), ("valid", dev_set)):
        arguments += _data_arguments(split, data_dir / name)
        for feature in ("pitch", "energy"):
            scp = stats / split / "collect_feats" / f"{feature}.scp"
            if scp.exists():
                arguments += _data_argument(split, scp, feature, _TYPES[feature])
        for shape in ("text_shape.tokens", "speech_shape"):
            arguments += [f"--{split}_shape_file", str(stats / split / shape)]
    _run_espnet(clean, arguments, out_dir / "train.out", dtype, max_minutes)


def _data_arguments(split: str, directory: Path) -> list[str]:
    arguments = _data_argument(split, directory / "text", "text", "text")
    arguments += _data_argument(split, directory / "wav.scp", "speech", "sound")
    if (directory / "durations").exists():
        arguments += _data_argument(split, directory / "durations", "durations", "text_int")
    return arguments


def _data_argument(split: str, path: Path, name: str, kind: str) -> list[str]:
    return [f"--{split}_data_path_and_name_and_type", f"{path},{name},{kind}"]


def _run_espnet(
    config: Path,
    arguments: list[str],
    log_path: Path,
    dtype: str = "float32",
    max_minutes: float | None = None,
) -> None:
    """Run ESPnet's trainer in its own process; a signal or ``max_minutes`` end it."""
    command = [sys.executable, "-m", "fwn_vocoder.espnet.tts_train", dtype]
    command += ["--config", str(config), *arguments]
    log_path.parent.mkdir(parents=True, exist_ok=True)
    deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    log.info("running ESPnet; its log is %s", log_path)
    environment = {"PYTHONWARNINGS": "ignore", **os.environ}
    with open(log_path, "a", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        with stop_signals() as stop:
            while process.poll() is None:
                if stop or time.monotonic() >= deadline:
                    log.info("stopping ESPnet; its complete epochs are kept")
                    process.terminate()
                    process.wait()
                    return
                time.sleep(0.2)
    if process.returncode != 0:
        tail = "\n".join(log_path.read_text(encoding="utf-8").splitlines()[-15:])
        raise SynthesisError(
            f"ESPnet ended with code {process.returncode}; the end of {log_path}:\n{tail}"
        )


def _merge_keys(path: Path, keys: TtsKeys) -> None:
    """Put our keys into ESPnet's configuration of the experiment."""
    if path.exists():
        config = {**read_yaml(path), **keys.model_dump(mode="json")}
        path.write_text(dump_yaml(config), encoding="utf-8")
