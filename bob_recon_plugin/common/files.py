"""Hash files, and write files that appear only when they are complete."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePath

from .validation import InputError

_BLOCK = 1 << 20


@lru_cache(maxsize=256)
def _digest(path: str, modified: int, size: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    A file is read once a process, and again when its time of modification or its size changes.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    """
    file = Path(path).expanduser().resolve()
    state = file.stat()
    return _digest(str(file), state.st_mtime_ns, state.st_size)


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file by its name in a folder.

    Raises
    ------
    ValueError
        For a name that leads out of the folder: names come from files that may be malicious.
    """
    parts = PurePath(name)
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise InputError(
            f"names of images must not lead out of {folder}, got {name!r}; correct the "
            "identifiers of the database or of the score file."
        )
    return folder / parts


@contextmanager
def whole_or_nothing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to ``path`` when the block succeeds.

    Missing folders are made. Readers never see an incomplete file. After an error the temporary
    file is removed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
