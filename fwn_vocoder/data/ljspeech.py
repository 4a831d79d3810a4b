"""LJSpeech: download, check, and preparation of Kaldi data directories."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from fwn_vocoder.data.kaldi import Utterance, write_data_dir
from fwn_vocoder.errors import DataError
from fwn_vocoder.files import atomic_write

log = logging.getLogger(__name__)

URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
SHA256 = "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"
N_CLIPS = 13_100
HELD_OUT = 250
"""Clips of the development set, and of the evaluation set, in the usual split."""


def download_ljspeech(out_dir: str | Path, url: str = URL, sha256: str = SHA256) -> Path:
    """Download, verify and unpack the corpus; return its directory. Complete parts are kept.

    Raises:
        DataError: no connection, a wrong checksum, or an archive with unsafe paths.
    """
    out_dir = Path(out_dir)
    corpus = out_dir / "LJSpeech-1.1"
    if (corpus / "metadata.csv").exists():
        log.info("%s: present already", corpus)
        return corpus
    archive = out_dir / url.rsplit("/", 1)[-1]
    if not archive.exists():
        _fetch(url, archive)
    if (found := _sha256(archive)) != sha256:
        archive.unlink()
        raise DataError(
            f"{url}: SHA-256 is {found}, expected {sha256}; removed the file, try again"
        )
    unpacked = out_dir / ".unpacking"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        (unpacked / "LJSpeech-1.1").rename(corpus)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{archive}: cannot unpack: {error}") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return corpus


def prepare_ljspeech(db_root: str | Path, out_dir: str | Path) -> dict[str, int]:
    """Write ``tr_no_dev``, ``dev`` and ``eval1`` data directories under ``out_dir``.

    The last 500 clips of the complete corpus are held out, 250 for each set, as usual; a partial
    copy gives each a twentieth of its clips. Returns the number of utterances of each set.

    Raises:
        DataError: no metadata, a malformed line, or a clip without audio.
    """
    utterances = read_ljspeech(db_root)
    held_out = min(HELD_OUT, max(1, len(utterances) // 20))
    if len(utterances) < 3:
        raise DataError(f"{db_root}: has {len(utterances)} clips; at least 3 are needed")
    sets = {
        "tr_no_dev": utterances[: -2 * held_out],
        "dev": utterances[-2 * held_out : -held_out],
        "eval1": utterances[-held_out:],
    }
    for name, part in sets.items():
        write_data_dir(Path(out_dir) / name, part)
    if len(utterances) != N_CLIPS:
        log.info("%s: %d clips; the complete corpus has %d", db_root, len(utterances), N_CLIPS)
    return {name: len(part) for name, part in sets.items()}


def read_ljspeech(db_root: str | Path) -> list[Utterance]:
    """Read ``metadata.csv`` (id|text|normalised text) and find each clip (.wav or .flac)."""
    path = Path(db_root) / "metadata.csv"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot read: {error}. --db-root must name LJSpeech's own directory, with "
            "metadata.csv and wavs/ in it"
        ) from error
    utterances = []
    for number, line in enumerate(lines, start=1):
        fields = line.split("|")
        if len(fields) != 3 or not fields[2].strip():
            raise DataError(f"{path}:{number}: expected 'id|text|normalised text', found {line!r}")
        wav = _find_audio(Path(db_root) / "wavs", fields[0], f"{path}:{number}")
        text = fields[2].strip()
        utterances.append(Utterance(fields[0], wav.resolve(), text=text, speaker="LJ"))
    return sorted(utterances, key=lambda utt: utt.utt_id)


def _find_audio(directory: Path, utt_id: str, origin: str) -> Path:
    for suffix in (".wav", ".flac"):
        if (directory / f"{utt_id}{suffix}").is_file():
            return directory / f"{utt_id}{suffix}"
    raise DataError(f"{origin}: {utt_id} has neither a .wav nor a .flac file in {directory}")


def _fetch(url: str, target: Path) -> None:
    try:
        with (
            urllib.request.urlopen(url, timeout=60) as response,
            atomic_write(target) as temporary,
            open(temporary, "wb") as file,
            tqdm(
                total=int(response.headers.get("Content-Length", 0)) or None,
                desc=target.name,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            while chunk := response.read(1 << 20):
                file.write(chunk)
                bar.update(len(chunk))
    except (urllib.error.URLError, TimeoutError, OSError, ValueError) as error:
        raise DataError(
            f"{url}: download failed: {error}. Fetch it by other means and give its directory with "
            "--db-root"
        ) from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
