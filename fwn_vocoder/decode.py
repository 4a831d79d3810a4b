"""Vocoding of dumps and files: many mels in, one waveform file each out."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fwn_vocoder.audio import read_wav, write_wav
from fwn_vocoder.data.dump import Dump, load_array
from fwn_vocoder.data.kaldi import shard
from fwn_vocoder.errors import DataError, FwnError, PartialFailure
from fwn_vocoder.files import atomic_write
from fwn_vocoder.mel import check_mel, extract_mel, plan_conversion
from fwn_vocoder.models.base import Vocoder


def decode_dump(
    vocoder: Vocoder,
    dump_dir: str | Path,
    out_dir: str | Path,
    *,
    job: tuple[int, int] = (1, 1),
    seed: int = 0,
    temperature: float | None = None,
) -> int:
    """Vocode every mel of a dump, or of one shard, to ``out_dir/<utt_id>.wav``.

    Complete files are left alone. Each utterance has its own seed, made of ``seed`` and its id, so
    the result does not depend on sharding. Times are recorded in ``out_dir/times``. Returns the
    number of files written.

    Raises:
        MelMismatchError: the dump's mels cannot be converted exactly.
        PartialFailure: some mels are damaged; each is named.
    """
    dump = Dump.open(dump_dir)
    conversion = plan_conversion(dump.mel_spec, vocoder.mel_spec)
    out_dir = Path(out_dir)
    failures, n_done = [], 0
    utt_ids = shard(dump.utt_ids, job)
    for utt_id in tqdm(utt_ids, desc="decode", unit="utt", disable=None):
        path = out_dir / f"{utt_id}.wav"
        if path.exists():
            continue
        try:
            mel = conversion(check_mel(dump.mel(utt_id), dump.mel_spec, utt_id))
            started = time.perf_counter()
            wav = vocoder.vocode(mel, seed=utterance_seed(utt_id, seed), temperature=temperature)
            elapsed = time.perf_counter() - started
            _record_time(out_dir / "times" / f"{utt_id}.json", elapsed, len(wav), vocoder)
            write_wav(path, wav, vocoder.sample_rate)
            n_done += 1
        except FwnError as error:
            failures.append(f"{utt_id}: {error}")
    if failures:
        raise PartialFailure(
            f"{out_dir}: {len(failures)} of {len(utt_ids)} utterances failed:\n  "
            + "\n  ".join(failures)
        )
    return n_done


def vocode_files(
    vocoder: Vocoder,
    paths: Iterable[str | Path],
    out_dir: str | Path,
    *,
    seed: int = 0,
    temperature: float | None = None,
) -> list[Path]:
    """Vocode files to ``out_dir/<stem>.wav``: audio by way of its mel, ``.npy`` mels directly.

    A ``.npy`` file holds (frames, n_mels) as the vocoder's definition says.

    Raises:
        DataError: a file cannot be read or does not fit, or two files share a stem.
    """
    paths = [Path(path) for path in paths]
    stems = [path.stem for path in paths]
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
    if repeated:
        raise DataError(f"several files would be written to {repeated[0]}.wav; rename them")
    written = []
    for path in tqdm(paths, desc="vocode", unit="file", disable=None):
        mel = _mel_of_file(path, vocoder)
        wav = vocoder.vocode(mel, seed=utterance_seed(path.stem, seed), temperature=temperature)
        target = Path(out_dir) / f"{path.stem}.wav"
        write_wav(target, wav, vocoder.sample_rate)
        written.append(target)
    return written


def utterance_seed(utt_id: str, seed: int) -> int:
    """Return a seed of its own for an utterance, the same on every machine."""
    return zlib.crc32(f"{seed}:{utt_id}".encode())


def _mel_of_file(path: Path, vocoder: Vocoder) -> np.ndarray:
    spec = vocoder.mel_spec
    if path.suffix == ".npy":
        return check_mel(load_array(path), spec, str(path))
    wav, _ = read_wav(path, spec.sample_rate)
    try:
        return extract_mel(wav, spec)[: max(1, len(wav) // spec.hop_length)]
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _record_time(path: Path, elapsed_s: float, n_samples: int, vocoder: Vocoder) -> None:
    record = {"synthesis_s": elapsed_s, "duration_s": n_samples / vocoder.sample_rate}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record))
