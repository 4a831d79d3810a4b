"""Kaldi data directories: ``wav.scp``, ``segments``, ``text``, ``utt2spk``, ``spk2utt``.

Every file is a table of lines ``<key> <value>``. Errors name file and line. Entries that are
commands (``cmd |``) are refused: running them would give a data file control over the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fwn_vocoder.errors import ConfigError, DataError
from fwn_vocoder.files import atomic_write

ItemT = TypeVar("ItemT")

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class Utterance:
    """One utterance of a data directory; times in seconds, ``end_s`` None for the whole file."""

    utt_id: str
    wav_path: Path
    start_s: float = 0.0
    end_s: float | None = None
    text: str | None = None
    speaker: str | None = None


def check_utt_id(utt_id: str, origin: str) -> str:
    """Return ``utt_id`` if it is safe as a file name.

    Raises:
        DataError: it is empty or has characters other than letters, digits, ``_``, ``-``, ``.``.
    """
    if not _ID.fullmatch(utt_id) or len(utt_id) > 200:
        raise DataError(
            f"{origin}: utterance id {utt_id[:80]!r} is not allowed; use up to 200 letters, "
            "digits, '_', '-' and '.' (not first)"
        )
    return utt_id


def read_table(path: str | Path, value: str = "value") -> dict[str, str]:
    """Read lines ``<key> <value>`` in file order.

    Args:
        value: what the second column holds, for error messages.

    Raises:
        DataError: unreadable, a line without a value, an illegal or a repeated key.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read: {error}") from error
    table: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        origin = f"{path}:{number}"
        key, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if not rest:
            raise DataError(f"{origin}: expected '<utt_id> <{value}>', found {line.strip()!r}")
        if check_utt_id(key, origin) in table:
            raise DataError(f"{origin}: {key!r} occurs a second time")
        table[key] = rest
    return table


def read_data_dir(directory: str | Path) -> list[Utterance]:
    """Read and validate a data directory; utterances in the order of their ids.

    ``wav.scp`` is required. ``segments``, ``text`` and ``utt2spk`` are read where they exist and
    must then cover exactly the same utterances. Relative audio paths are taken from the current
    directory, as in Kaldi.

    Raises:
        DataError: as :func:`read_table`, a pipe, a bad segment, or tables that disagree.
    """
    directory = Path(directory)
    scp = directory / "wav.scp"
    wavs = read_table(scp, "path")
    for recording, path in wavs.items():
        if path.endswith("|") or path.startswith("|"):
            raise DataError(
                f"{scp}: {recording}: {path!r} is a command; only paths are allowed. Run it once "
                "and list the audio file that it writes"
            )
    if (directory / "segments").exists():
        spans = _read_segments(directory / "segments", wavs)
    else:
        spans = {utt_id: (Path(path), 0.0, None) for utt_id, path in wavs.items()}
    if not spans:
        raise DataError(f"{scp}: lists no utterance")
    texts = _optional_column(directory / "text", "transcript", spans)
    speakers = _optional_column(directory / "utt2spk", "speaker", spans)
    return [
        Utterance(utt_id, *spans[utt_id], texts.get(utt_id), speakers.get(utt_id))
        for utt_id in sorted(spans)
    ]


def write_data_dir(directory: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a data directory, sorted by utterance id; ``utt2spk`` defaults to one speaker."""
    directory = Path(directory)
    utterances = sorted(utterances, key=lambda utt: utt.utt_id)
    for utt in utterances:
        check_utt_id(utt.utt_id, str(directory))
        if utt.start_s or utt.end_s is not None:
            raise DataError(f"{directory}: {utt.utt_id}: writing segments is not supported")
    speakers = {utt.utt_id: utt.speaker or "speaker" for utt in utterances}
    by_speaker: dict[str, list[str]] = {}
    for utt_id, speaker in speakers.items():
        by_speaker.setdefault(speaker, []).append(utt_id)
    write_table(directory / "wav.scp", {u.utt_id: str(u.wav_path) for u in utterances})
    write_table(directory / "utt2spk", speakers)
    write_table(directory / "spk2utt", {s: " ".join(ids) for s, ids in sorted(by_speaker.items())})
    if any(utt.text for utt in utterances):
        write_table(directory / "text", {u.utt_id: u.text or "" for u in utterances})


def write_table(path: str | Path, table: dict[str, str]) -> None:
    """Write lines ``<key> <value>`` atomically.

    Raises:
        DataError: a value is empty or contains a line break.
    """
    for key, value in table.items():
        if not value.strip() or "\n" in value:
            raise DataError(f"{path}: {key}: cannot write the value {value!r}")
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{k} {v}\n" for k, v in table.items()), encoding="utf-8")


def shard(items: list[ItemT], job: tuple[int, int]) -> list[ItemT]:
    """Return the part of job K of N (1-based): every N-th item."""
    index, count = job
    return items[index - 1 :: count]


def parse_job(text: str) -> tuple[int, int]:
    """Parse ``K/N``; raise ``ConfigError`` unless 1 <= K <= N.

    >>> parse_job("3/8")
    (3, 8)
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--job {text!r}: expected K/N with 1 <= K <= N, for example 3/8")
    return int(match[1]), int(match[2])


def _read_segments(path: Path, wavs: dict[str, str]) -> dict[str, tuple[Path, float, float | None]]:
    spans = {}
    for utt_id, rest in read_table(path, "recording> <start> <end").items():
        fields = rest.split()
        try:
            recording, start_s, end_s = fields[0], float(fields[1]), float(fields[2])
            if len(fields) != 3 or not 0 <= start_s < end_s < float("inf"):
                raise ValueError
        except (ValueError, IndexError):
            raise DataError(
                f"{path}: {utt_id}: expected '<utt_id> <recording> <start> <end>' with "
                f"0 <= start < end in seconds, found {rest!r}"
            ) from None
        if recording not in wavs:
            raise DataError(f"{path}: {utt_id}: recording {recording!r} is not in wav.scp")
        spans[utt_id] = (Path(wavs[recording]), start_s, end_s)
    return spans


def _optional_column(path: Path, value: str, spans: dict) -> dict[str, str]:
    if not path.exists():
        return {}
    table = read_table(path, value)
    missing, extra = sorted(spans.keys() - table.keys()), sorted(table.keys() - spans.keys())
    if missing or extra:
        raise DataError(
            f"{path}: does not match the recordings: {len(missing)} missing {missing[:3]}, "
            f"{len(extra)} unknown {extra[:3]}"
        )
    return table
