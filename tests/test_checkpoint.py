import os
import stat

import pytest
import safetensors.torch
import torch

from fwn_vocoder.checkpoint import Checkpoint, load_checkpoint, restore, save_checkpoint
from fwn_vocoder.errors import CheckpointError, DataError
from fwn_vocoder.files import atomic_write

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(True)}


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "x.safetensors", Checkpoint("kind", {"n": 1}, TENSORS, {"s": 2}))
    return tmp_path / "x.safetensors"


def test_round_trip(path):
    loaded = load_checkpoint(path, kind="kind")
    assert (loaded.kind, loaded.config, loaded.info) == ("kind", {"n": 1}, {"s": 2})
    torch.testing.assert_close(loaded.tensors, TENSORS)


def test_permissions_follow_the_umask(path):
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_missing(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_cut_short(path):
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    expected = f"expected {len(content)} bytes, found {len(content) - 4}"
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(path)


@pytest.mark.parametrize("size", [0, 5, 20])
def test_header_cut_short(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_checkpoint(path)


def test_flipped_bit(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged: its SHA-256"):
        load_checkpoint(path)


def test_pickle_is_not_loaded(tmp_path):
    torch.save(TENSORS, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="fwn import-reference"):
        load_checkpoint(tmp_path / "x.pth")


def test_foreign_safetensors(tmp_path):
    safetensors.torch.save_file(TENSORS, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="was not written by fwn_vocoder"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_other_kind(path):
    with pytest.raises(CheckpointError, match="holds 'kind'; 'flowavenet' is needed"):
        load_checkpoint(path, kind="flowavenet")


def test_newer_format(tmp_path):
    metadata = {"format": "fwn_vocoder", "format_version": "99", "kind": "x"}
    safetensors.torch.save_file(TENSORS, tmp_path / "x.safetensors", metadata)
    with pytest.raises(CheckpointError, match="format version 99"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_other_shapes():
    saved = Checkpoint("kind", {}, {"weight": torch.zeros(3, 3), "bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="does not fit the model"):
        restore(torch.nn.Linear(2, 2), saved, "x")


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_only_regular_files_are_replaced(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("link", "."):
        with (
            pytest.raises(DataError, match="only write regular files"),
            atomic_write(tmp_path / name),
        ):
            pass
