"""Rewrite what onnx2torch cannot convert in an ONNX graph, where other operators say the same."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import defs, helper, shape_inference

from .graph import Links, attributes
from .native import DOMAIN, use_native

#: the last operator set that onnx2torch knows as a whole
_NEWEST = 17


def mended(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model that means the same and can be converted better.

    What it cannot help stays as it is, for onnx2torch to refuse.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _drop_empty_inputs(copy.graph)
    # before there are operators of ours: shapes cannot be inferred through them
    copy = shape_inference.infer_shapes(copy)
    _lower_opset(copy)
    _mend_clips(Links(copy.graph))
    use_native(copy)
    return copy


def _drop_empty_inputs(graph: onnx.GraphProto) -> None:
    """Drop the inputs at the end of a node that are there but empty, as good as absent."""
    for node in graph.node:
        while node.input and not node.input[-1]:
            del node.input[-1]


def _mend_clips(links: Links) -> None:
    """Give a clip a lower bound where it has none, and take bounds that are computed."""
    for clip in links.nodes("Clip"):
        bounds = clip.input[1:]
        if all(bound in links.constants for bound in bounds):
            continue
        if len(bounds) == 2 and not bounds[0] and bounds[1] in links.constants:
            lowest = np.full((), -np.inf, links.constants[bounds[1]].dtype)
            clip.input[1] = links.add(f"{bounds[1]}/lowest", lowest)
            continue
        _split_clip(links.graph, clip, *bounds)


def _split_clip(graph: onnx.GraphProto, clip: onnx.NodeProto, low: str, high: str = "") -> None:
    """Write a clip as a maximum, a minimum, or both."""
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
    """Say an operator set that onnx2torch knows, where every node means the same in it."""
    opset = next((o for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is None or opset.version <= _NEWEST:
        return
    links = Links(model.graph)
    for node in model.graph.node:
        if node.op_type.startswith("Reduce"):
            _axes_as_attribute(links, node)
        elif node.op_type == "Split":
            _sizes_of_parts(links, node)
        elif node.op_type == "Gelu":
            node.domain = DOMAIN
    if all(_means_the_same(node, opset.version) for node in model.graph.node):
        opset.version = _NEWEST


def _means_the_same(node: onnx.NodeProto, version: int) -> bool:
    """Whether the older form of an operator has all that a node uses."""
    if node.domain not in ("", "ai.onnx"):
        return True
    try:
        new = defs.get_schema(node.op_type, version, "")
        old = defs.get_schema(node.op_type, _NEWEST, "")
    except defs.SchemaError:  # an operator that did not exist
        return False
    return new.since_version == old.since_version or (
        set(attributes(node)) <= set(old.attributes) and len(node.input) <= old.max_input
    )


def _axes_as_attribute(links: Links, node: onnx.NodeProto) -> None:
    """From set 18 on a reduction takes its axes as an input; sums had done so before."""
    axes = links.vector(node.input[1]) if len(node.input) == 2 else None
    if node.op_type == "ReduceSum" or axes is None or not axes.size:
        return
    del node.input[1]
    kept = [a for a in node.attribute if a.name != "noop_with_empty_axes"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("axes", axes.tolist())])


def _sizes_of_parts(links: Links, node: onnx.NodeProto) -> None:
    """From set 18 on a split may tell the number of its parts, the last of them smaller."""
    about = attributes(node)
    shapes = {value.name: value.type.tensor_type.shape.dim for value in links.graph.value_info}
    axis = about.get("axis", 0)
    known = [shapes[part][axis].dim_value for part in node.output if part in shapes]
    if "num_outputs" not in about or len(known) != len(node.output) or not all(known):
        return
    kept = [a for a in node.attribute if a.name != "num_outputs"]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.input.append(links.add(f"{node.output[0]}/parts", np.array(known, np.int64)))
