"""Read an ONNX file: its model, the images that it takes, and its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

from ...common.validation import InputError, one_of
from .external import read_external

_LARGEST_SIDE = 4096  # of an image, in pixels
_FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "UNDEFINED")
#: types that hold 0 to 255
_WHOLE = ("UINT8", "UINT16", "UINT32", "UINT64", "INT16", "INT32", "INT64")


@dataclass(frozen=True)
class ImageInput:
    """What an ONNX file says of the images that it takes.

    Parameters
    ----------
    layout : {"nchw", "nhwc"}
    batch : int or None
        Number of images that the file fixes.
    size : (int, int) or None
        Height and width in pixels; None unless the file fixes both.
    kind : str
        Type of the pixels, as in ``"float16"`` or ``"uint8"``.
    """

    layout: str
    batch: int | None
    size: tuple[int, int] | None
    kind: str

    @property
    def whole_numbers(self) -> bool:
        """Whether pixels are whole numbers: such a network normalises them itself."""
        return self.kind.upper() in _WHOLE


def read_model(path: Path) -> onnx.ModelProto:
    """Return the model in a file, with its external data.

    Raises
    ------
    ValueError
        For a file that cannot be read, and for one with several inputs or without output.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf has no common error across its versions
        raise InputError(
            f"`weights` must be an ONNX file, got {path}, which cannot be read ({error}); "
            "download the file again."
        ) from error
    read_external(model, path)
    inputs, outputs = _inputs(model), model.graph.output
    if len(inputs) != 1 or not outputs:
        raise InputError(
            f"`weights` must be an ONNX file with one input and an output, got {len(inputs)} and "
            f"{len(outputs)} in {path}; download it again, or export it with the image as only "
            "input."
        )
    return model


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def shape_of(value: onnx.ValueInfoProto) -> list[int | None]:
    """Return the sides of a shape; None for a side that the file does not fix."""
    return [side.dim_value or None for side in value.type.tensor_type.shape.dim]


def read_images(model: onnx.ModelProto, path: Path, layout: str | None = None) -> ImageInput:
    """Return what a model says of its input.

    Parameters
    ----------
    layout : {"nchw", "nhwc"}, optional
        Default: channels last if only this fits the shape, else channels first.

    Raises
    ------
    ValueError
        For an input that does not hold colour images.
    """
    if layout is not None:
        one_of("layout", layout, ("nchw", "nhwc"))
    (value,) = _inputs(model)
    shape = shape_of(value)
    fitting = [
        name
        for name, channels in (("nchw", 1), ("nhwc", 3))
        if len(shape) == 4 and shape[channels] in (3, None) and layout in (name, None)
    ]
    if not fitting:
        raise InputError(
            f"`path` must take images of shape (n, 3, H, W) or (n, H, W, 3), got {shape} in "
            f"{path}{f' for layout={layout!r}' if layout else ''}; export the network for RGB "
            "images."
        )
    kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    if kind not in _FLOATS + _WHOLE:
        raise InputError(
            f"`path` must take images as floats or as whole numbers from 0 to 255, got "
            f"{kind.lower()} in {path}; export the network with an input of floats."
        )
    height, width = shape[2:] if fitting[0] == "nchw" else shape[1:3]
    if max(height or 1, width or 1) > _LARGEST_SIDE:
        raise InputError(
            f"`path` must take images of at most {_LARGEST_SIDE} pixels a side, got {shape} in "
            f"{path}; export the network for the images that it was trained on."
        )
    if (shape[0] or 1) * (height or 112) * (width or 112) > _LARGEST_SIDE**2:
        raise InputError(
            f"`path` must take batches of at most {_LARGEST_SIDE**2} pixels, got {shape} in "
            f"{path}; export the network with an open batch axis."
        )
    size = (height, width) if height and width else None
    return ImageInput(fitting[0], shape[0], size, kind.lower())


def keep_output(model: onnx.ModelProto, name: str, path: Path) -> None:
    """Remove all other outputs of a model, in place.

    Raises
    ------
    ValueError
        If it has no output of this name.
    """
    kept = [value for value in model.graph.output if value.name == name]
    if not kept:
        listed = ", ".join(repr(value.name) for value in model.graph.output)
        raise InputError(
            f"`output` must be one of {listed}, got {name!r} for {path}; give the name of the "
            "embedding."
        )
    del model.graph.output[:]
    model.graph.output.append(kept[0])
