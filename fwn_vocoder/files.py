"""Atomic file writing: a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fwn_vocoder.errors import DataError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success flush it to disk and rename it.

    The temporary path keeps the suffix of ``path``, so format-guessing writers work. On any error
    it is removed and an existing ``path`` stays as it was.

    Raises:
        DataError: ``path`` exists and is not a regular file (a device, a directory, a link).
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise DataError(f"{path}: will only write regular files, and this is not one")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
