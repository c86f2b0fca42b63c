"""Embeddings from a file of any usual format, which may come from anybody.

The content of a file says what it is, not its name. Nothing in it is executed, and what it
unpacks to is bounded by its own size.
"""

from __future__ import annotations

import csv
import io
import lzma
import math
import os
import re
import tokenize
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from numpy.lib import format as npy
from pyarrow import parquet
from safetensors import SafetensorError, safe_open

from ..common.json_files import parse
from ..common.validation import InputError, existing_file
from ..common.weights_files import shortened
from ..images.reading import UNREADABLE

#: arrays of shape (d,), or one of shape (n, d)
Rows = Sequence[np.ndarray] | np.ndarray
#: ids of n rows, and the rows
Vectors = tuple[list[str], Rows]

_REMEDY = (
    "give a .npy, .npz, CSV, JSON lines, HDF5, safetensors or Parquet file, one vector a row; "
    "in Python: `np.save('vectors.npy', vectors)`."
)
_NUMBERS = "iuf"  # kinds of numpy
_FLOOR, _TIMES = 1 << 20, 20  # bytes that any file may unpack to; times its own size
_LINE = 1 << 20  # characters
_HEADER = 1 << 14  # bytes; numpy reads 10 000 at most
_ROWS = 4096  # of a Parquet file at once
_NO_VECTOR = np.empty(0, np.float32)
_DAMAGED = (
    *UNREADABLE,
    *(KeyError, TypeError, OverflowError, MemoryError, csv.Error, lzma.LZMAError),
    *(tokenize.TokenError, SafetensorError, pa.ArrowException),
)
#: headers of columns of ids; that of an index of pandas is empty
_is_id = re.compile(r"|(.*[\W_])?id|__index_level_\d+__", re.IGNORECASE).fullmatch


def read_vectors(path: str | os.PathLike[str]) -> Vectors:
    """Read embeddings.

    Parameters
    ----------
    path : path
        ``.npy`` of shape (n, d), or (d,) for one row; ``.npz``, HDF5 or safetensors with one array
        of shape (n, d), and n ids beside it where there are some, or one array a row, whose name
        is its id; CSV with or without a header, with an id first where the first column is no
        number, or its header is empty or ends in "id"; JSON lines, each a list of numbers or an
        object with a list of numbers and an id; Parquet with a column of lists or columns of
        numbers, and an id.

    Returns
    -------
    ids : list of n str
        The row's number, from 0, where the file has none.
    rows : sequence of n ndarrays of shape (d,)
        Lengths may differ. What is no number is NaN; a line without a vector has length 0.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        For a file of another kind, a damaged one, one that holds Python objects, or unpacks to
        more than 20 times its size.

    Examples
    --------
    >>> ids, rows = read_vectors("stolen.csv")  # doctest: +SKIP
    """
    file = existing_file("vectors", Path(path), _REMEDY)
    kind = _kind(file)
    try:
        ids, rows = _READERS[kind](file)
        if not len(rows):
            raise InputError("it is empty")
    except _DAMAGED as error:
        raise InputError(
            f"`vectors` must be a file of vectors, got {file} ({kind}): {shortened(error)}; "
            f"{_REMEDY}"
        ) from error
    return [label.encode("utf-8", "replace").decode() for label in ids], rows  # no half characters


def faults(rows: Rows, size: int) -> dict[int, str]:
    """Return why rows cannot be inverted, by their number; others are left out.

    Parameters
    ----------
    rows : sequence of ndarrays of shape (d,)
    size : int
        Length of the recognition model's embeddings.
    """
    found = {}
    for number, row in enumerate(rows):
        if not len(row):
            found[number] = "it holds no vector of finite numbers"
        elif len(row) != size:
            found[number] = f"it has {len(row)} numbers, not {size}"
        elif not np.isfinite(exact := as_float32(row)).all():
            found[number] = "it holds NaN, infinity or what is no number"
        elif not exact.any():
            found[number] = "it holds only zeros"
    return found


def as_float32(row: np.ndarray) -> np.ndarray:
    """Return a row as float32, infinite where that type is too small."""
    with np.errstate(over="ignore"):
        return np.asarray(row, dtype=np.float32)


def _kind(path: Path) -> str:
    """What a file is, by its first bytes."""
    with path.open("rb") as stream:
        head = stream.read(_HEADER)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return "safetensors"
    if b"\0" in head or head[:1] == b"\x80":
        pickled = ", perhaps a pickle, which could run code" if head[:1] == b"\x80" else ""
        raise InputError(
            f"`vectors` must be a file of vectors, got {path}, a binary file of another "
            f"kind{pickled}; {_REMEDY}"
        )
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "JSON lines" if text[:1] in (b"{", b"[") else "CSV"


def _most(path: Path) -> int:
    """How many bytes a file may unpack to: embeddings are noise, which hardly packs."""
    return max(_FLOOR, _TIMES * path.stat().st_size)


def _check_bytes(taken: int, path: Path) -> None:
    if taken > _most(path):
        raise InputError(f"it unpacks to more than {_most(path)} bytes, {_TIMES} times its size")


def _count(n: int) -> list[str]:
    return [str(i) for i in range(n)]


# -- arrays --------------------------------------------------------------------


def _npy(path: Path) -> Vectors:
    array = _array(np.memmap(path, np.uint8, "r"))
    if array.dtype.kind not in _NUMBERS or array.ndim not in (1, 2):
        raise InputError(
            f"it holds an array of {array.dtype} of shape {array.shape}, not (n, d) or (d,)"
        )
    rows = np.atleast_2d(array)
    return _count(len(rows)), rows


def _array(content: np.ndarray) -> np.ndarray:
    """Array of the bytes of an ``.npy`` file, which are not copied."""
    stream = io.BytesIO(content[:_HEADER].tobytes())
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"an .npy array has the format {version}, not (1, 0) or (2, 0)")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise InputError(
            "it holds Python objects, a pickle that could run code (save ids as "
            "`np.array(ids, dtype=str)`)"
        )
    if not dtype.itemsize or any(side < 0 for side in shape):
        raise InputError(f"an .npy array has the shape {shape} and the type {dtype}")
    flat = np.frombuffer(content, dtype, math.prod(shape), stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _npz(path: Path) -> Vectors:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        if not members:
            raise InputError("it is an archive without .npy arrays")
        _check_bytes(sum(member.file_size for member in members), path)
        for member in members:
            content = np.frombuffer(archive.read(member), np.uint8)
            arrays[member.filename.removesuffix(".npy")] = _array(content)
    return _of_arrays(arrays)


def _safetensors(path: Path) -> Vectors:
    with safe_open(path, framework="np") as file:
        return _of_arrays({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def _hdf5(path: Path) -> Vectors:
    nodes: dict[str, h5py.Dataset] = {}

    def keep(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.ndim:
            nodes[name] = node

    with h5py.File(path) as file:
        file.visititems(keep)  # follows no link to another file
        if any(node.is_virtual or node.external for node in nodes.values()):
            raise InputError("its data lie in other files")
        _check_bytes(sum(node.nbytes for node in nodes.values()), path)
        return _of_arrays({name: _dataset(node, path) for name, node in nodes.items()})


def _dataset(node: h5py.Dataset, path: Path) -> np.ndarray:
    text = h5py.check_string_dtype(node.dtype)
    if text is None or text.length is not None:
        return node[()]
    found, taken = [], 0
    for i in range(len(node) if node.ndim == 1 else 0):  # each may be long, and stored once
        found.append(node[i].decode("utf-8", "replace"))
        taken += len(found[-1])
        _check_bytes(taken, path)
    return np.array(found, dtype=object)


def _of_arrays(arrays: Mapping[str, np.ndarray]) -> Vectors:
    """Rows of named arrays: one table, with ids beside it, or an array a row."""
    numbers = {name: a for name, a in arrays.items() if a.dtype.kind in _NUMBERS}
    tables = [name for name, a in numbers.items() if a.ndim == 2]
    if len(tables) == 1:
        table = numbers[tables[0]]
        beside = [a for name, a in arrays.items() if name != tables[0]]
        if all(a.shape == table.shape[:1] for a in beside) and (beside or len(table) > 1):
            return _labels(beside) or _count(len(table)), table
    rows = [a[0] if a.ndim == 2 and len(a) == 1 else a for a in numbers.values()]
    if not rows or any(row.ndim != 1 for row in rows):
        listed = ", ".join(f"{name} {a.dtype} {a.shape}" for name, a in [*arrays.items()][:5])
        raise InputError(
            "it must hold one array of shape (n, d), with n ids at most beside it, or one of shape "
            f"(d,) a row, but holds {listed or 'nothing'}"
        )
    return list(numbers), rows


def _labels(arrays: Sequence[np.ndarray]) -> list[str] | None:
    """Ids: the first array of text, else the first one of whole numbers."""
    for kinds in ("USO", "iu"):
        for array in arrays:
            if array.dtype.kind in kinds:
                return [_text(label) for label in array.tolist()]
    return None


def _text(label: object) -> str:
    if label is None:
        return ""
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)


# -- text ----------------------------------------------------------------------


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        while line := stream.readline(_LINE + 1):
            if len(line) > _LINE:
                raise InputError(f"it has a line of more than {_LINE} characters")
            yield line


def _csv(path: Path) -> Vectors:
    table = _cells(path)
    first = next(table, [])
    header = _is_header(first)
    body = next(table, []) if header else first
    has_ids = bool(body) and (not _is_number(body[0]) or (header and bool(_is_id(first[0]))))
    ids, rows = [], []
    for number, cells in enumerate(chain([body] if body else [], table)):
        ids.append(cells[0].strip() if has_ids else str(number))
        rows.append(_row(cells[1:] if has_ids else cells))
    return ids, rows


def _cells(path: Path) -> Iterator[list[str]]:
    lines = _lines(path)
    first = next(lines, "")
    mark = max(",;\t", key=first.count)
    mark = mark if mark in first else " "  # as `numpy.savetxt` writes
    table = csv.reader(chain([first], lines), delimiter=mark, skipinitialspace=True)
    return (cells for cells in table if cells)


def _is_header(cells: Sequence[str]) -> bool:
    """Whether a row names columns; pandas names them 0, 1, 2, ..."""
    named = not any(_is_number(cell) for cell in cells[1:] or cells)
    return named or cells == _count(len(cells)) or cells[1:] == _count(len(cells) - 1)


def _is_number(cell: str) -> bool:
    return not np.isnan(_number(cell)) or cell.strip().lower() == "nan"


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _row(cells: Sequence[str]) -> np.ndarray:
    return as_float32(np.array([_number(cell) for cell in cells]))


def _json_lines(path: Path) -> Vectors:
    ids: list[str] = []
    rows: list[np.ndarray] = []
    for line in _lines(path):
        if line.strip():
            name, row = _record(line)
            ids.append(str(len(ids)) if name is None else name)
            rows.append(row)
    return ids, rows


def _record(line: str) -> tuple[str | None, np.ndarray]:
    """Id and vector of a line; a line that is no JSON has neither."""
    try:
        content = parse(line)
    except ValueError:
        return None, _NO_VECTOR
    if isinstance(content, list):
        return None, _list(content)
    if not isinstance(content, dict):
        return None, _NO_VECTOR
    rows = [_list(value) for value in content.values() if isinstance(value, list)]
    longest = max(rows, key=len, default=_NO_VECTOR)
    if len(longest) and sum(len(row) == len(longest) for row in rows) > 1:
        raise InputError(f"a line has several lists of {len(longest)} numbers; keep one")
    labels = {k: str(v) for k, v in content.items() if isinstance(v, str) or type(v) is int}
    named = [label for name, label in labels.items() if _is_id(name)]
    return next(iter([*named, *labels.values()]), None), longest


def _list(values: Sequence[object]) -> np.ndarray:
    if not all(type(value) in (int, float) for value in values):
        return _NO_VECTOR
    try:
        return as_float32(np.array(values, dtype=np.float64))
    except OverflowError:  # an integer beyond any float
        return _NO_VECTOR


# -- Parquet -------------------------------------------------------------------


def _parquet(path: Path) -> Vectors:
    ids: list[str] = []
    rows: list[np.ndarray] = []
    with parquet.ParquetFile(path) as file:
        about = file.metadata
        groups = range(about.num_row_groups)
        _check_bytes(sum(about.row_group(i).total_byte_size for i in groups), path)
        label, columns, lists = _columns(file.schema_arrow)
        taken = 0
        wanted = columns if label is None else [label, *columns]
        for batch in file.iter_batches(_ROWS, columns=wanted):
            taken += batch.nbytes
            _check_bytes(taken, path)
            rows += _lists(batch.column(columns[0])) if lists else _table(batch, columns)
            if label is not None:
                ids += [_text(value) for value in batch.column(label).to_pylist()]
    return ids or _count(len(rows)), rows


def _columns(schema: pa.Schema) -> tuple[str | None, list[str], bool]:
    """Column of ids, columns of vectors, and whether the latter is one of lists."""
    kinds = pa.types
    texts, whole, numbers, lists = [], [], [], []
    for column in schema:
        kind = column.type
        if kinds.is_dictionary(kind):
            kind = kind.value_type
        if kinds.is_string(kind) or kinds.is_large_string(kind):
            texts.append(column.name)
        elif kinds.is_integer(kind) or kinds.is_floating(kind):
            numbers.append(column.name)
            whole += [column.name] if kinds.is_integer(kind) else []
        elif (
            kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
        ) and (kinds.is_integer(kind.value_type) or kinds.is_floating(kind.value_type)):
            lists.append(column.name)
    named = [name for name in [*texts, *whole] if _is_id(name)]
    label = next(iter([*named, *texts]), None)
    columns = lists or [name for name in numbers if name != label]
    if not columns or len(lists) > 1:
        raise InputError(
            "it must have one column of lists of numbers, or columns of numbers, but has "
            f"{', '.join([f'{c.name} {c.type}' for c in schema][:5]) or 'none'}"
        )
    return label, columns, bool(lists)


def _lists(column: Any) -> list[np.ndarray]:
    return [
        cell.values.to_numpy(zero_copy_only=False) if cell.is_valid else _NO_VECTOR
        for cell in column
    ]


def _table(batch: Any, columns: Sequence[str]) -> list[np.ndarray]:
    found = [batch.column(name).to_numpy(zero_copy_only=False) for name in columns]
    return list(as_float32(np.column_stack(found)))


_MAGIC = {
    b"\x93NUMPY": ".npy",
    b"PK\x03\x04": ".npz",
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"PAR1": "Parquet",
}
_READERS: dict[str, Callable[[Path], Vectors]] = {
    ".npy": _npy,
    ".npz": _npz,
    "HDF5": _hdf5,
    "Parquet": _parquet,
    "safetensors": _safetensors,
    "JSON lines": _json_lines,
    "CSV": _csv,
}
