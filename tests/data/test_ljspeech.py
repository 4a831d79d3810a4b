import hashlib
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import soundfile

from fwn_vocoder.data.kaldi import read_data_dir
from fwn_vocoder.data.ljspeech import download_ljspeech, prepare_ljspeech
from fwn_vocoder.errors import DataError
from tests.conftest import tone


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "LJSpeech-1.1"
    (root / "wavs").mkdir(parents=True)
    lines = []
    for i in range(1, 6):
        suffix = "flac" if i == 2 else "wav"
        soundfile.write(root / "wavs" / f"LJ001-{i:04d}.{suffix}", tone(0.1), 22050)
        lines.append(f"LJ001-{i:04d}|No. {i}|Number {i}\n")
    (root / "metadata.csv").write_text("".join(lines))
    return root


@pytest.fixture
def server(tmp_path):
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def make_archive(corpus, tmp_path):
    path = tmp_path / "served" / "corpus.tar.bz2"
    with tarfile.open(path, "w:bz2") as tar:
        tar.add(corpus, "LJSpeech-1.1")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_splits(corpus, tmp_path):
    counts = prepare_ljspeech(corpus, tmp_path / "data")
    assert counts == {"tr_no_dev": 3, "dev": 1, "eval1": 1}
    assert [u.utt_id for u in read_data_dir(tmp_path / "data" / "eval1")] == ["LJ001-0005"]
    first, second, _ = read_data_dir(tmp_path / "data" / "tr_no_dev")
    assert first.text == "Number 1"
    assert second.wav_path.suffix == ".flac"


def test_download(corpus, server, tmp_path):
    sha256 = make_archive(corpus, tmp_path)
    target = tmp_path / "downloads"
    found = download_ljspeech(target, f"{server}/corpus.tar.bz2", sha256)
    assert (found / "metadata.csv").read_text() == (corpus / "metadata.csv").read_text()
    assert download_ljspeech(target, "http://127.0.0.1:9/unused", sha256) == found


def test_wrong_checksum(corpus, server, tmp_path):
    make_archive(corpus, tmp_path)
    with pytest.raises(DataError, match="SHA-256 is .*, expected 0000"):
        download_ljspeech(tmp_path / "d", f"{server}/corpus.tar.bz2", "0000")
    assert not list((tmp_path / "d").iterdir())


def test_no_connection(tmp_path):
    with pytest.raises(DataError, match="download failed.*--db-root"):
        download_ljspeech(tmp_path, "http://127.0.0.1:9/corpus.tar.bz2", "0")
    assert not list(tmp_path.iterdir())


def test_an_archive_cannot_write_elsewhere(server, tmp_path):
    path = tmp_path / "served" / "corpus.tar.bz2"
    (tmp_path / "evil").write_text("x")
    with tarfile.open(path, "w:bz2") as tar:
        tar.add(tmp_path / "evil", "../../escaped")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match="cannot unpack"):
        download_ljspeech(tmp_path / "d" / "e", f"{server}/corpus.tar.bz2", sha256)
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("LJ001-0001|only two", r"metadata\.csv:1: expected 'id\|text\|normalised text'"),
        ("LJ009-0001|a|b", "neither a .wav nor a .flac"),
    ],
)
def test_bad_metadata(corpus, tmp_path, line, message):
    (corpus / "metadata.csv").write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        prepare_ljspeech(corpus, tmp_path / "data")


def test_wrong_directory(tmp_path):
    with pytest.raises(DataError, match="--db-root must name LJSpeech's own directory"):
        prepare_ljspeech(tmp_path, tmp_path / "data")
