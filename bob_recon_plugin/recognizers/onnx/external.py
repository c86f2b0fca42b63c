"""External data: tensors that an ONNX file keeps in other files of its folder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import helper

from ...common.load_once import load_once
from ...common.validation import InputError, MissingFileError

_REMEDY = "download the file again with its data, or export the model as one file."


def read_external(model: onnx.ModelProto, path: Path) -> None:
    """Put the bytes of external tensors into the model, in place.

    Parameters
    ----------
    model : ModelProto
        Read from ``path`` without its external data.
    path : Path
        The data must be in the folder of this file or below it, after links are followed.

    Raises
    ------
    FileNotFoundError
        When a file of data is missing.
    ValueError
        When the data is outside the folder, or has another size than the tensor.
    """
    for tensor in tensors_of(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.raw_data = _bytes_of(tensor, path)
            del tensor.external_data[:]
            tensor.data_location = onnx.TensorProto.DEFAULT


def external_files(path: Path) -> list[Path]:
    """Return the files with external data of an ONNX file, sorted; empty for most models.

    Parameters
    ----------
    path : Path
        An existing file. A file that is not ONNX has no external data.

    Raises
    ------
    FileNotFoundError, ValueError
        For a file with data that is missing or outside the folder, as :func:`read_external`.
    """
    return sorted({_inside(path, location) for location in _locations(path)})


@load_once
def _locations(path: Path) -> list[str]:
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception:  # protobuf has no common error across its versions
        return []
    return [
        entry.value
        for tensor in tensors_of(model.graph)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    ]


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Iterate over the tensors in a graph: constants, and attributes of nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _bytes_of(tensor: onnx.TensorProto, path: Path) -> bytes:
    about = {entry.key: entry.value for entry in tensor.external_data}
    file = _inside(path, about.get("location", ""))
    size = file.stat().st_size
    offset, length = (_whole(about, key, path) for key in ("offset", "length"))
    wanted = _size(tensor, path)
    if (length or wanted) != wanted or offset + wanted > size:
        raise InputError(
            f"`weights` must hold {wanted} bytes for the tensor {tensor.name!r}, got "
            f"{length or max(size - offset, 0)} in {file}; {_REMEDY}"
        )
    with file.open("rb") as stream:
        stream.seek(offset)
        return stream.read(wanted)


def _size(tensor: onnx.TensorProto, path: Path) -> int:
    try:
        item = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError):
        item = 0
    if not item or tensor.data_type == onnx.TensorProto.STRING or min(tensor.dims, default=1) < 0:
        raise InputError(
            f"`weights` must hold tensors of numbers, got {tensor.name!r} of another type in "
            f"{path}; {_REMEDY}"
        )
    return item * math.prod(tensor.dims)


def _inside(path: Path, location: str) -> Path:
    """Return the path of a file with external data; raise before opening a file outside."""
    folder = path.parent.resolve()
    try:
        file = (folder / location).resolve()
        outside = folder not in file.parents
    except (OSError, ValueError, RuntimeError):  # a null character, a loop of links
        outside = True
    if outside or Path(location).is_absolute() or ".." in Path(location).parts:
        raise InputError(
            f"`weights` must have their external data in {folder}, got {location!r} in {path}, "
            f"which leads outside; {_REMEDY}"
        )
    if not file.is_file():
        raise MissingFileError(
            f"`weights` must have their external data in their folder, got no {file}; {_REMEDY}"
        )
    return file


def _whole(about: dict[str, str], key: str, path: Path) -> int:
    text = about.get(key) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InputError(
            f"`weights` must give the {key} of external data as a whole number, got {text!r} in "
            f"{path}; {_REMEDY}"
        )
    return int(text)
