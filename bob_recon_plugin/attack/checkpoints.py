"""What the system made of a part of the images, kept in one HDF5 file a part."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..common.files import whole_or_nothing
from ..common.validation import InputError
from ..database.content import fingerprint
from .effort import Clock

logger = logging.getLogger(__name__)

_FORMAT = 3
_NUMBERS = "biufc"  # kinds of numpy
_NONE = object()
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, RuntimeError)


class Checkpoints:
    """Embeddings of finished parts of a run, a file each.

    A file is named by the kind of the part and the names of its images, which hold
    their content and annotations. A stopped run therefore finds its finished parts, on
    any machine, and a changed image never meets an old result. A file is written as a
    whole, with a checksum; a damaged one is reported, removed and computed again. It
    holds arrays of numbers only.

    Parameters
    ----------
    folder : path or None
        None keeps nothing.
    force : bool
        Read nothing: everything is computed again.
    """

    def __init__(self, folder: Path | None, force: bool = False):
        self.folder, self.force = folder, force

    def names(self, samples: Sequence[Any]) -> list[str]:
        """Names of images by content; by key alone where nothing is kept."""
        if self.folder is None:
            return [str(sample.key) for sample in samples]
        return [fingerprint(sample) for sample in samples]

    def path(self, kind: str, keys: Sequence[str]) -> Path:
        """File of a part."""
        assert self.folder is not None
        name = hashlib.sha256("\n".join([kind, *keys]).encode()).hexdigest()[:24]
        return self.folder / kind / f"{name}.h5"

    def load(self, kind: str, keys: Sequence[str]) -> tuple[list[Any], Clock] | None:
        """Return a part and what it took; None for no such part.

        The part is a list of embeddings, with None where an image gave none.
        """
        if self.folder is None or self.force:
            return None
        path = self.path(kind, keys)
        if not path.is_file():
            return None
        try:
            with h5py.File(path) as file:
                found = _unpacked(file, list(keys), path.stat().st_size)
                return found, Clock(int(file.attrs["images"]), float(file.attrs["seconds"]))
        except _UNREADABLE as error:
            logger.warning(f"{path} is damaged ({error}): it is computed again.")
            path.unlink(missing_ok=True)
            return None

    def save(self, kind: str, keys: Sequence[str], embeddings: Sequence[Any], clock: Clock) -> None:
        """Keep the embeddings of a part, and what they took."""
        if self.folder is None:
            return
        arrays = [None if e is None else np.asarray(e) for e in embeddings]
        other = {str(a.dtype) for a in arrays if a is not None and a.dtype.kind not in _NUMBERS}
        if other:
            logger.warning(
                f"No checkpoint of {self.path(kind, keys)}: features must be arrays of numbers, "
                f"got {', '.join(sorted(other))}; every run computes them again."
            )
            return
        content = io.BytesIO()  # through memory: a full disk then raises our own error
        with h5py.File(content, "w") as file:
            _pack(file, list(keys), arrays)
            file.attrs["images"], file.attrs["seconds"] = clock.images, clock.seconds
        with whole_or_nothing(self.path(kind, keys)) as part:
            part.write_bytes(content.getbuffer())


def _pack(file: h5py.File, keys: list[str], arrays: Sequence[np.ndarray | None]) -> None:
    acquired = [a for a in arrays if a is not None]
    file.attrs["format"] = _FORMAT
    file.create_dataset("keys", data=keys, dtype=h5py.string_dtype())
    file.create_dataset("acquired", data=[a is not None for a in arrays], dtype=bool)
    layouts = {(a.shape, a.dtype) for a in acquired}
    if len(layouts) == 1 and acquired[0].size:
        file.create_dataset("embeddings", data=np.stack(acquired), chunks=True, fletcher32=True)
        return
    for i, array in enumerate(acquired):  # features of many shapes
        whole = {"chunks": True, "fletcher32": True} if array.size else {}
        one = file.create_dataset(f"features/{i}", data=array.reshape(-1), **whole)
        one.attrs["shape"] = ",".join(map(str, array.shape))


def _unpacked(file: h5py.File, keys: list[str], size: int) -> list[Any]:
    if file.attrs["format"] != _FORMAT:
        raise InputError(f"format {file.attrs['format']}, not {_FORMAT}")
    _check_size(file, "keys", size)
    if list(file["keys"].asstr()[:]) != keys:
        raise InputError("it holds other images")
    there = _numbers(file, "acquired", size)
    if "embeddings" in file:
        rows = iter(_numbers(file, "embeddings", size))
    else:
        rows = (_feature(file, f"features/{i}", size) for i in range(int(there.sum())))
    found = [next(rows, _NONE) if each else None for each in there]
    if len(found) != len(keys) or any(each is _NONE for each in found):
        raise InputError("it holds fewer images than it says")
    return found


def _feature(file: h5py.File, name: str, size: int) -> np.ndarray:
    shape = file[name].attrs["shape"]
    return _numbers(file, name, size).reshape([int(n) for n in str(shape).split(",") if n])


def _numbers(file: h5py.File, name: str, size: int) -> np.ndarray:
    dataset = _check_size(file, name, size)
    if dataset.dtype.kind not in _NUMBERS:
        raise InputError(f"{name} holds {dataset.dtype}")
    return dataset[:]


def _check_size(file: h5py.File, name: str, size: int) -> h5py.Dataset:
    """Return a dataset that takes no more memory than the file, and lies in it."""
    dataset = file[name]
    elsewhere = dataset.is_virtual or dataset.external or dataset.file.filename != file.filename
    if elsewhere or dataset.nbytes > size:
        raise InputError(f"{name} takes {dataset.nbytes} bytes or lies elsewhere")
    return dataset
