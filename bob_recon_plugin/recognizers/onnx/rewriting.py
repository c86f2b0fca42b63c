"""Rewrite operators that onnx2torch cannot convert as equivalent ones that it can."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import defs, helper, shape_inference

from .graph import GraphIndex, attributes
from .native import DOMAIN, use_native
from .precision import use_float32

#: the newest operator set that onnx2torch supports completely
_NEWEST = 17


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equivalent copy of a model that onnx2torch is more likely to convert.

    Everything is computed in float32. Other operators are not changed; onnx2torch may refuse them.

    Raises
    ------
    ValueError
        For a network that computes with whole pixels.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _drop_empty_inputs(copy.graph)
    use_float32(copy)
    # before our own operators are added, whose shapes onnx cannot infer
    copy = shape_inference.infer_shapes(copy)
    _lower_opset(copy)
    _rewrite_clips(GraphIndex(copy.graph))
    use_native(copy)
    return copy


def _drop_empty_inputs(graph: onnx.GraphProto) -> None:
    """Remove empty inputs at the end of a node, which mean the same as missing ones."""
    for node in graph.node:
        while node.input and not node.input[-1]:
            del node.input[-1]


def _rewrite_clips(index: GraphIndex) -> None:
    """Rewrite clips without a lower bound, and clips with computed bounds."""
    for clip in index.nodes("Clip"):
        bounds = clip.input[1:]
        if all(bound in index.constants for bound in bounds):
            continue
        if len(bounds) == 2 and not bounds[0] and bounds[1] in index.constants:
            lowest = np.full((), -np.inf, index.constants[bounds[1]].dtype)
            clip.input[1] = index.add(f"{bounds[1]}/lowest", lowest)
            continue
        _split_clip(index.graph, clip, *bounds)


def _split_clip(graph: onnx.GraphProto, clip: onnx.NodeProto, low: str, high: str = "") -> None:
    """Replace a clip by a maximum, a minimum, or both."""
    x, y = clip.input[0], clip.output[0]
    inside = f"{y}/from_below" if low and high else y
    steps = [helper.make_node("Max", [x, low], [inside])] if low else []
    if high:
        steps.append(helper.make_node("Min", [inside if low else x, high], [y]))
    place = next(i for i, node in enumerate(graph.node) if node is clip or node == clip)
    del graph.node[place]
    for step in reversed(steps):
        graph.node.insert(place, step)


# --- newer operator sets ---


def _lower_opset(model: onnx.ModelProto) -> None:
    """Set an operator set that onnx2torch supports, if every node means the same in it."""
    opset = next((o for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is None or opset.version <= _NEWEST:
        return
    index = GraphIndex(model.graph)
    for node in model.graph.node:
        if node.op_type.startswith("Reduce"):
            _axes_as_attribute(index, node)
        elif node.op_type == "Split":
            _part_sizes(index, node)
        elif node.op_type == "Gelu":
            node.domain = DOMAIN
    if all(_means_the_same(node, opset.version) for node in model.graph.node):
        opset.version = _NEWEST


def _means_the_same(node: onnx.NodeProto, version: int) -> bool:
    """Whether the older version of an operator has all that a node uses."""
    if node.domain not in ("", "ai.onnx"):
        return True
    try:
        new = defs.get_schema(node.op_type, version, "")
        old = defs.get_schema(node.op_type, _NEWEST, "")
    except defs.SchemaError:  # the operator did not exist
        return False
    return new.since_version == old.since_version or (
        set(attributes(node)) <= set(old.attributes) and len(node.input) <= old.max_input
    )


def _axes_as_attribute(index: GraphIndex, node: onnx.NodeProto) -> None:
    """Move the axes of a reduction to an attribute: they are an input since operator set 18.

    Sums are left out: their axes are an input since set 13.
    """
    axes = index.vector(node.input[1]) if len(node.input) == 2 else None
    if node.op_type == "ReduceSum" or axes is None or not axes.size:
        return
    del node.input[1]
    kept = [a for a in node.attribute if a.name != "noop_with_empty_axes"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("axes", axes.tolist())])


def _part_sizes(index: GraphIndex, node: onnx.NodeProto) -> None:
    """Write the sizes of the parts of a split: since set 18, a split may give their number."""
    about = attributes(node)
    shapes = {value.name: value.type.tensor_type.shape.dim for value in index.graph.value_info}
    axis = about.get("axis", 0)
    known = [shapes[part][axis].dim_value for part in node.output if part in shapes]
    if "num_outputs" not in about or len(known) != len(node.output) or not all(known):
        return
    kept = [a for a in node.attribute if a.name != "num_outputs"]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.input.append(index.add(f"{node.output[0]}/parts", np.array(known, np.int64)))
