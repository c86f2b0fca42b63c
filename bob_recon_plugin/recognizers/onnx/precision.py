"""Compute in float32, whatever the type of the pixels and of the weights in an ONNX file."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ...common.validation import InputError
from .external import tensors_of
from .graph import attributes

_OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_FLOATS = (TensorProto.FLOAT, *_OTHER_FLOATS)
#: operators whose results are pixels of their first input, in another order or shape
_MOVES = (
    *("Flatten", "Gather", "Identity", "Reshape", "Slice"),
    *("Split", "Squeeze", "Transpose", "Unsqueeze"),
)


def use_float32(model: onnx.ModelProto) -> None:
    """Make the input, the weights and all floats between them float32, in place.

    Raises
    ------
    ValueError
        For a network that computes with whole pixels: it has no gradient.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    pixels = {
        value.name
        for value in graph.input
        if value.name not in constants and value.type.tensor_type.elem_type not in _FLOATS
    }
    _cast_pixels(graph, pixels)
    for tensor in tensors_of(graph):
        if tensor.data_type in _OTHER_FLOATS:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            to = node.op_type == "Cast" and attribute.name == "to"
            if to and attribute.i in _OTHER_FLOATS:
                attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.value_info, *graph.output):
        about = value.type.tensor_type
        if about.elem_type in _OTHER_FLOATS or value.name in pixels:
            about.elem_type = TensorProto.FLOAT


def _cast_pixels(graph: onnx.GraphProto, pixels: set[str]) -> None:
    """Remove the casts of whole pixels to floats, which would stop the gradients.

    ``pixels`` are the names of whole pixels; those that are only moved are added.
    """
    for node in graph.node:
        if node.op_type == "Shape" or not pixels.intersection(node.input):
            continue
        if node.op_type == "Cast" and attributes(node)["to"] in _FLOATS:
            node.op_type = "Identity"
            del node.attribute[:]
        elif node.op_type in _MOVES and not pixels.intersection(node.input[1:]):
            pixels.update(node.output)
        else:
            raise InputError(
                f"the operator {node.op_type!r} computes with the whole numbers of the input"
            )
