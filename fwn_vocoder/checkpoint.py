"""Checkpoints: the only module that loads or saves weights.

A checkpoint is one safetensors file. Its metadata holds the vocoder's name, its whole configuration
(with the mel definition), what is known of its training, and a SHA-256 of the tensors. Reading one
never runs code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fwn_vocoder.errors import CheckpointError
from fwn_vocoder.files import atomic_write

FORMAT = "fwn_vocoder"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """Weights with what is needed to use them.

    Attributes:
        kind: what the tensors are: a vocoder's registry name, ``"trainer"``, ``"acoustic"``.
        config: the configuration that rebuilds the model, plain values only.
        info: facts such as the number of steps; plain values only.
        tensors: named weights.
    """

    kind: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    info: dict[str, Any] = field(default_factory=dict)

    def to(self, dtype: torch.dtype) -> Checkpoint:
        """Return the checkpoint with its floating-point tensors in ``dtype``."""
        tensors = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in self.tensors.items()
        }
        return replace(self, tensors=tensors)


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically.

    Raises:
        CheckpointError: the disk is full or not writable; an existing file stays as it was.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "kind": checkpoint.kind,
        "config": json.dumps(checkpoint.config),
        "info": json.dumps(checkpoint.info),
        "sha256": _digest(tensors),
    }
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(safetensors.torch.save(tensors, metadata))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write the checkpoint: {error}") from error


def load_checkpoint(path: str | Path, kind: str | None = None) -> Checkpoint:
    """Read and verify a checkpoint; tensors stay on the CPU.

    Args:
        kind: refuse a checkpoint of another kind.

    Raises:
        CheckpointError: missing, cut short, damaged, foreign, or of another kind or version.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: is not a complete safetensors file ({_size_report(path)}): {error}. If this "
            "is a .pth file of the 2019 release, convert it with `fwn import-reference`"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: was not written by fwn_vocoder (no configuration inside)")
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path}: has format version {metadata.get('format_version')}; this program reads "
            f"{FORMAT_VERSION}: update fwn_vocoder"
        )
    if kind is not None and metadata["kind"] != kind:
        raise CheckpointError(f"{path}: holds {metadata['kind']!r}; {kind!r} is needed here")
    if metadata.get("sha256") != _digest(tensors):
        raise CheckpointError(f"{path}: is damaged: its SHA-256 does not match; copy it again")
    try:
        config, info = json.loads(metadata["config"]), json.loads(metadata["info"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: its metadata is damaged: {error}") from error
    return Checkpoint(metadata["kind"], config, tensors, info)


def restore(module: torch.nn.Module, checkpoint: Checkpoint, origin: str | Path) -> None:
    """Load a checkpoint's tensors into a module; every name and shape must agree.

    Raises:
        CheckpointError: tensors are missing, unexpected or of other shapes.
    """
    try:
        module.load_state_dict(checkpoint.tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{origin}: does not fit the model: {error}") from error


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _size_report(path: Path) -> str:
    """Say how many bytes the header promises and how many there are."""
    found = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 100_000_000 or length > found:
            return f"{found} bytes, no valid header"
        try:
            header = json.loads(file.read(length))
            end = max(t["data_offsets"][1] for n, t in header.items() if n != "__metadata__")
        except (ValueError, KeyError, TypeError):
            return f"{found} bytes, no valid header"
    return f"expected {8 + length + end} bytes, found {found}"
