"""Read files of `torch.save` safely: tensors and plain values, never code.

All files of `torch.save` are read here. torch before 2.6 executes code in TorchScript archives and
in files of the old tar format, even with ``weights_only=True``. Both are refused here.
"""

from __future__ import annotations

import mmap
import os
import re
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from .validation import InputError

_ZIP = b"PK\x03\x04"
_SCRIPT = b"constants.pkl"  # torch recognises a TorchScript archive by this record


def read_weights(path: str | Path, name: str, remedy: str) -> Any:
    """Read a file of `torch.save` that holds only tensors and plain values.

    Parameters
    ----------
    path : path
        Of an existing file.
    name, remedy : str
        For messages.

    Returns
    -------
    object
        Tensors on the CPU.

    Raises
    ------
    ValueError
        For a file that holds code or other objects, or cannot be read.
    """
    with opened(path, name, remedy) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on how to open the file anyway
        try:
            return torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged pickle fails in any way
            raise InputError(
                f"`{name}` must be a file of torch.save that holds only tensors, got {path} "
                f"({_why(error)}); {remedy}"
            ) from error


@contextmanager
def opened(path: str | Path, name: str, remedy: str) -> Iterator[IO[bytes]]:
    """Open a file of `torch.save`.

    Raises
    ------
    ValueError
        For a TorchScript archive, a compressed one, the old tar format, or an empty file.
    """
    with Path(path).open("rb") as stream:
        if kind := _refused(stream):
            raise InputError(
                f"`{name}` must be a file of torch.save that holds only tensors, got {path}, "
                f"which is {kind}; {remedy}"
            )
        stream.seek(0)
        yield stream


def _refused(stream: IO[bytes]) -> str | None:
    """Return what kind of file it is if it must be refused, else None."""
    if not os.fstat(stream.fileno()).st_size:
        return "empty"
    if stream.read(4) == _ZIP:
        # archives hold the names of their records uncompressed
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_SCRIPT) >= 0:
                return "a TorchScript archive, whose code would run when it is opened"
        return _packed(stream)
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:"):
            return "in the tar format of torch before 0.2"
    except tarfile.TarError:
        return None


def _packed(stream: IO[bytes]) -> str | None:
    """Refuse compressed archives: small files could become huge; `torch.save` never compresses."""
    try:
        with zipfile.ZipFile(stream) as archive:
            packed = any(member.compress_type for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return "a damaged archive"
    return "a compressed archive" if packed else None


def _why(error: Exception) -> str:
    """Return what is wrong, without torch's advice on how to open the file anyway."""
    if asked := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it asks for the code of {asked[1]}"
    return shortened(error)


def shortened(error: BaseException) -> str:
    """Return the text of an error on one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "..."
