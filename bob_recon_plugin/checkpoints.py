"""What the system made of a part of the images, kept in one HDF5 file a part."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ._files import whole_or_nothing
from ._validation import InputError
from .description import fingerprint

logger = logging.getLogger(__name__)

_FORMAT = 1
_UNREADABLE = (OSError, KeyError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError)


class Checkpoints:
    """Embeddings of finished parts of a run, a file each.

    A file is named by the kind of the part and the names of its images, which hold
    their content and annotations, so that a run that was stopped finds what it did,
    whoever computes it now, and nothing that a changed image has made stale. It
    appears whole or not at all, with a checksum in it; one that is damaged all
    the same is told, removed, and computed anew.

    Parameters
    ----------
    folder : path or None
        None keeps nothing.
    force : bool
        Read nothing, so that all is computed anew.
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

    def load(self, kind: str, keys: Sequence[str]) -> list[Any] | None:
        """Return the embeddings of a part, None where an image gave none; None for no such part."""
        if self.folder is None or self.force:
            return None
        path = self.path(kind, keys)
        if not path.is_file():
            return None
        try:
            with h5py.File(path) as file:
                return _unpacked(file, list(keys))
        except _UNREADABLE as error:
            logger.warning(f"{path} is damaged ({error}): it is computed anew.")
            path.unlink(missing_ok=True)
            return None

    def save(self, kind: str, keys: Sequence[str], embeddings: Sequence[Any]) -> None:
        """Keep the embeddings of a part."""
        if self.folder is None:
            return
        content = io.BytesIO()  # a full disk is an error of ours to tell, not of the library
        with h5py.File(content, "w") as file:
            _pack(file, list(keys), embeddings)
        with whole_or_nothing(self.path(kind, keys)) as part:
            part.write_bytes(content.getbuffer())


def _pack(file: h5py.File, keys: list[str], embeddings: Sequence[Any]) -> None:
    acquired = [e for e in embeddings if e is not None]
    file.attrs["format"] = _FORMAT
    file.create_dataset("keys", data=keys, dtype=h5py.string_dtype())
    file.create_dataset("acquired", data=[e is not None for e in embeddings], dtype=bool)
    if len({_layout(e) for e in acquired}) == 1 and _layout(acquired[0]) is not None:
        file.create_dataset("embeddings", data=np.stack(acquired), chunks=True, fletcher32=True)
    elif acquired:  # features of many shapes
        content = np.frombuffer(pickle.dumps(acquired), dtype=np.uint8)
        file.create_dataset("pickled", data=content, chunks=True, fletcher32=True)


def _layout(embedding: Any) -> tuple[Any, ...] | None:
    if isinstance(embedding, np.ndarray) and embedding.dtype.kind in "fiu" and embedding.size:
        return (*embedding.shape, embedding.dtype.str)
    return None


def _unpacked(file: h5py.File, keys: list[str]) -> list[Any]:
    if file.attrs["format"] != _FORMAT:
        raise InputError(f"format {file.attrs['format']}, not {_FORMAT}")
    if list(file["keys"].asstr()[:]) != keys:
        raise InputError("it holds other images")
    rows: Any = iter(())
    if "embeddings" in file:
        rows = iter(file["embeddings"][:])
    elif "pickled" in file:
        rows = iter(pickle.loads(file["pickled"][:].tobytes()))
    return [next(rows) if there else None for there in file["acquired"][:]]
