"""Sources of training images: folders, archives and Bob databases, as lists of samples.

Only names are held in memory. Images are read when needed, by functions that Dask's workers can
import.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import numpy as np
from bob.pipelines import DelayedSample

from ..common.validation import InputError, existing_file
from ..database.content import describe_database
from ..database.left_out import ANNOTATIONS, LeftOut, walk
from ..images.annotations import read_table
from ..images.geometry import Positions
from ..images.reading import EXTENSIONS, check_size, decode_image, load_image, read_member

_GROUP = "bob.bio.database"
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Source:
    """Images in a fixed order.

    Parameters
    ----------
    name : str
        Absolute path, or name of the database.
    keys : list of str
        Unique key of each image.
    sample : callable
        From a key to a DelayedSample with ``key`` and ``annotations``, the eyes as (y, x) or None.
    identity : dict
        What identifies this source, in addition to its name and keys.
    annotated : bool
        Whether the source has eye positions.
    in_order : bool
        Whether reading is slow unless images are read in order.
    left_out : str
        Numbers of files that are left out, as text; empty if there are none.
    """

    name: str
    keys: list[str]
    sample: Callable[[str], DelayedSample]
    identity: dict[str, Any] = field(default_factory=dict)
    annotated: bool = False
    in_order: bool = False
    left_out: str = ""

    def __len__(self) -> int:
        return len(self.keys)

    def samples(self, start: int, stop: int) -> list[DelayedSample]:
        """Return the samples from ``start`` to ``stop``."""
        return [self.sample(key) for key in self.keys[start:stop]]

    def describe(self) -> dict[str, Any]:
        """Return what identifies the images, JSON-ready."""
        names = hashlib.sha256("\n".join(self.keys).encode(errors="surrogateescape"))
        about = {"source": self.name, "images": len(self), "names": names.hexdigest()}
        return {**about, **self.identity}


def open_source(name: str | Path, annotations: str | Path | None = None) -> Source:
    """Open a folder, an archive or a Bob database.

    Parameters
    ----------
    name : str or Path
        A folder of images, with its subfolders; a ``.zip``, ``.tar`` or compressed ``.tar`` file
        of images; a Python file that defines ``database``; or the name of a Bob database, as in
        ``bob bio pipeline simple``.
    annotations : str or Path, optional
        CSV file with the columns path, reye_y, reye_x, leye_y, leye_x; default:
        ``annotations.csv`` in the folder, if it exists. A database has its own annotations.

    Raises
    ------
    FileNotFoundError
        When ``annotations`` is missing.
    ValueError
        When there is no such source, it has no image, or it cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        source = _folder(path.resolve(), annotations)
    elif path.is_file() and path.suffix != ".py":
        source = _archive(path.resolve(), annotations)
    elif annotations is not None:
        raise InputError(
            f"`annotations` must be None for a Bob database, got {annotations}; it has its own."
        )
    else:
        source = _database(str(name))
    if not source.keys:
        ignored = f" (left out: {source.left_out})" if source.left_out else ""
        raise InputError(
            f"`source` must hold images ({', '.join(EXTENSIONS)}), got none in "
            f"{source.name}{ignored}; name the folder, archive or database of the images."
        )
    if source.left_out:
        click.echo(f"Note: left out of {source.name}: {source.left_out}.", err=True)
    return source


_Table = dict[str, Positions | None]


def _table(given: str | Path | None, beside: Path | None) -> tuple[_Table, dict[str, Any]]:
    """Read eye positions; return them, and what identifies the table."""
    if given is not None:
        path = existing_file("annotations", given, "pass the path of a CSV file.")
    elif beside is not None and beside.is_file():
        path = beside
    else:
        return {}, {}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return read_table(path), {"annotations": digest}


def _delayed(load: Callable[[str], np.ndarray], table: _Table, key: str) -> DelayedSample:
    return DelayedSample(partial(load, key), key=key, annotations=table.get(key))


# -- folders -----------------------------------------------------------------


def _from_folder(root: str, key: str) -> np.ndarray:
    return load_image(os.path.join(root, key))


def _folder(root: Path, annotations: str | Path | None) -> Source:
    table, identity = _table(annotations, root / ANNOTATIONS)
    left_out = LeftOut(EXTENSIONS)
    keys = sorted(filter(left_out.is_image, walk(root, left_out)))
    sample = partial(_delayed, partial(_from_folder, str(root)), table)
    return Source(str(root), keys, sample, identity, bool(table), left_out=str(left_out))


# -- archives ----------------------------------------------------------------


def _archive(path: Path, annotations: str | Path | None) -> Source:
    table, identity = _table(annotations, None)
    identity["bytes"] = path.stat().st_size
    left_out = LeftOut(EXTENSIONS)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = {name for name in archive.namelist() if not name.endswith("/")}
            keys = sorted(filter(left_out.is_image, names))
            sample = partial(_delayed, partial(_from_zip, str(path)), table)
            return Source(str(path), keys, sample, identity, bool(table), left_out=str(left_out))
        if tarfile.is_tarfile(path):
            places = _tar_members(path, left_out)
            sample = partial(_tar_sample, str(path), places, table)
            compressed, ignored = not _plain(path), str(left_out)
            return Source(
                str(path), list(places), sample, identity, bool(table), compressed, ignored
            )
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(
            f"`source` must be a complete archive, got the damaged {path} ({error}); restore it."
        ) from error
    raise InputError(
        f"`source` must be a folder, a .tar or .zip file of images, a .py file or the name of a "
        f"Bob database, got the file {path}."
    )


@lru_cache(maxsize=4)
def _opened_zip(path: str, _process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _from_zip(path: str, key: str) -> np.ndarray:
    # opened once a process, since reading the index of a large archive takes a second
    with _LOCK:
        archive = _opened_zip(path, os.getpid())
    return read_member(archive, key)


def _plain(path: Path) -> bool:
    """Whether a tar file is not compressed."""
    try:
        with tarfile.open(path, "r:"):
            return True
    except tarfile.ReadError:
        return False


def _tar_members(path: Path, left_out: LeftOut) -> dict[str, tuple[int, int]]:
    """Return offset and size of each image in the uncompressed archive, in the archive's order."""
    places = {}
    with tarfile.open(path) as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else all members stay in memory
            name = member.name.removeprefix("./")
            if member.isdir() or not left_out.is_image(name):
                continue
            if member.isreg():
                places[name] = (member.offset_data, member.size)
            else:
                left_out.add("links to images", name)
    return places


@lru_cache(maxsize=4)
def _opened_tar(path: str, _process: int) -> Any:
    return tarfile.open(path).fileobj


def _from_tar(path: str, place: tuple[int, int], key: str) -> np.ndarray:
    offset, size = place
    check_size(size, f"{key} in {path}")
    with _LOCK:
        stream = _opened_tar(path, os.getpid())
        stream.seek(offset)
        content = stream.read(size)
    return decode_image(BytesIO(content), f"{key} in {path}")


def _tar_sample(
    path: str, places: dict[str, tuple[int, int]], table: _Table, key: str
) -> DelayedSample:
    return _delayed(partial(_from_tar, path, places[key]), table, key)


# -- databases ---------------------------------------------------------------


def _database(name: str) -> Source:
    database = _load_database(name)
    samples: dict[str, DelayedSample] = {}
    for sample in database.all_samples():
        samples.setdefault(str(sample.key), sample)
    identity = {"database": describe_database(database)}
    return Source(name, list(samples), samples.__getitem__, identity, annotated=True)


def _load_database(name: str) -> Any:
    from importlib.metadata import entry_points

    from clapper.config import load

    known = sorted(entry.name for entry in entry_points(group=_GROUP))
    if not (Path(name).is_file() or name in known):
        raise InputError(
            "`source` must be a folder, a .tar or .zip file of images, a .py file that defines "
            f"`database`, or the name of a Bob database, got {name!r}; the databases are "
            f"{', '.join(known)}."
        )
    try:
        database = load([name], entry_point_group=_GROUP, attribute_name="database")
    except (ImportError, SyntaxError, UnicodeDecodeError) as error:
        raise InputError(
            f"`source` must define `database`, got {name} ({error}); write `database = ...` in it."
        ) from error
    if not hasattr(database, "all_samples"):
        raise InputError(
            f"`database` of {name} must be a Bob database, got {type(database).__name__}."
        )
    return database
