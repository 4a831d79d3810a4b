"""Evaluation of systems against the recordings of a dump: RESULTS.md and results.json."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fwn_vocoder.audio import read_wav
from fwn_vocoder.data.dump import PCM_SCALE, Dump
from fwn_vocoder.data.segments import SegmentSampler
from fwn_vocoder.errors import ConfigError, DataError
from fwn_vocoder.evaluate.measures import log_mel_distance, multi_resolution_stft_distance
from fwn_vocoder.files import atomic_write
from fwn_vocoder.registry import load_model
from fwn_vocoder.train.config import TrainConfig
from fwn_vocoder.train.loop import validation_nll

NLL_SEGMENT_FRAMES = 32
NLL_BATCHES = 16
NLL_BATCH_SIZE = 8


def evaluate(
    reference: str | Path,
    systems: dict[str, Path],
    out_dir: str | Path,
    checkpoint: str | Path | None = None,
) -> Path:
    """Score systems (directories of ``<utt_id>.wav``) against a dump; return RESULTS.md's path.

    Args:
        checkpoint: a FloWaveNet whose likelihood of the recordings is reported too.

    Raises:
        DataError: a system lacks utterances or has a wrong sample rate; nothing is skipped.
    """
    dump = Dump.open(reference)
    results = {name: _score(dump, name, directory) for name, directory in systems.items()}
    likelihood = _likelihood(dump, checkpoint) if checkpoint is not None else None
    out_dir = Path(out_dir)
    content = {
        "reference": str(reference),
        "n_utterances": len(dump.utt_ids),
        "systems": results,
        "likelihood": likelihood,
    }
    with atomic_write(out_dir / "results.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    with atomic_write(out_dir / "RESULTS.md") as temporary:
        temporary.write_text(_markdown(content), encoding="utf-8")
    return out_dir / "RESULTS.md"


def parse_systems(arguments: list[str]) -> dict[str, Path]:
    """Parse ``NAME=DIR`` arguments.

    >>> parse_systems(["griffin_lim=exp/gl"])
    {'griffin_lim': PosixPath('exp/gl')}
    """
    systems = {}
    for argument in arguments:
        name, equals, directory = argument.partition("=")
        if not (name and equals and directory):
            raise ConfigError(f"--system {argument!r}: expected NAME=DIRECTORY")
        systems[name] = Path(directory)
    return systems


def _score(dump: Dump, name: str, directory: Path) -> dict[str, float | None]:
    missing = [u for u in dump.utt_ids if not (directory / f"{u}.wav").exists()]
    if missing:
        raise DataError(
            f"{directory}: system {name!r} lacks {len(missing)} of {len(dump.utt_ids)} utterances, "
            f"{missing[:3]}; decode them first"
        )
    mel, stft = [], []
    for utt_id in tqdm(dump.utt_ids, desc=f"score {name}", unit="utt", disable=None):
        reference = np.array(dump.wav(utt_id)) / PCM_SCALE
        estimate, rate = read_wav(directory / f"{utt_id}.wav")
        if rate != dump.mel_spec.sample_rate:
            raise DataError(f"{directory}: {utt_id}: rate is {rate}, not that of the recording")
        mel.append(log_mel_distance(reference, estimate, dump.mel_spec))
        stft.append(multi_resolution_stft_distance(reference, estimate))
    return {
        "log_mel_distance": float(np.mean(mel)),
        "multi_resolution_stft_distance": float(np.mean(stft)),
        "rtf": _real_time_factor(directory, dump.utt_ids),
    }


def _real_time_factor(directory: Path, utt_ids: list[str]) -> float | None:
    paths = [directory / "times" / f"{utt_id}.json" for utt_id in utt_ids]
    records = [json.loads(path.read_text()) for path in paths if path.exists()]
    if not records:
        return None
    return sum(r["synthesis_s"] for r in records) / sum(r["duration_s"] for r in records)


def _likelihood(dump: Dump, checkpoint: str | Path) -> dict[str, float]:
    """Return the NLL of fixed random segments of the recordings."""
    vocoder = load_model(checkpoint)
    sampler = SegmentSampler(
        Dump.open(dump.directory, vocoder.mel_spec),
        segment_frames=NLL_SEGMENT_FRAMES,
        batch_size=NLL_BATCH_SIZE,
        min_rms=TrainConfig().min_rms,
        with_pitch=vocoder.excitation is not None,
        seed=0,
    )
    nll = validation_nll(vocoder, sampler, TrainConfig(valid_batches=NLL_BATCHES))
    return {"nll_nats_per_sample": nll, "nll_bits_per_sample": nll / math.log(2)}


def _markdown(content: dict) -> str:
    lines = [
        "# Results",
        "",
        f"{content['n_utterances']} utterances of `{content['reference']}`, copy synthesis from "
        "the mels of the recordings. Means; lower is better.",
        "",
        "| system | log-mel distance | multi-resolution STFT | RTF |",
        "|---|---|---|---|",
    ]
    for name, scores in content["systems"].items():
        rtf = "-" if scores["rtf"] is None else f"{scores['rtf']:.3f}"
        lines.append(
            f"| {name} | {scores['log_mel_distance']:.3f} | "
            f"{scores['multi_resolution_stft_distance']:.3f} | {rtf} |"
        )
    if content["likelihood"] is not None:
        nll, bits = content["likelihood"].values()
        lines += [
            "",
            f"Negative log-likelihood of {NLL_BATCHES * NLL_BATCH_SIZE} segments of "
            f"{NLL_SEGMENT_FRAMES} frames: **{nll:.4f} nats = {bits:.4f} bits per sample** ("
            "samples in [-1, 1], dithered by one 16-bit step; with a harmonic excitation, given "
            "the measured pitch track). Negative is right: it is a density.",
        ]
    lines += [
        "",
        "Log-mel distance: mean absolute difference of natural-log mel magnitudes. Multi-"
        "resolution STFT: spectral convergence plus log-magnitude L1 at three resolutions. RTF: "
        "seconds of computing for a second of audio, on the machine that decoded.",
        "",
    ]
    return "\n".join(lines)
