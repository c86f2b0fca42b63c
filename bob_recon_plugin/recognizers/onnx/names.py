"""Replace all names in an ONNX graph by numbered ones before it is converted.

onnx2torch takes the names of a network's parts from the file, and torch.fx writes them into Python
source that it executes. A malicious file could execute code through its names.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count

import onnx
from onnx import helper

from ...common.validation import InputError
from .native import DOMAIN

_DOMAINS = {"": "", "ai.onnx": "", DOMAIN: DOMAIN}


def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equivalent copy of a model without its names and documentation texts.

    Raises
    ------
    ValueError
        For operators that contain graphs or are not from ONNX, which cannot be converted.
    """
    numbers = count()
    values: dict[str, str] = defaultdict(lambda: f"value_{next(numbers)}", {"": ""})
    graph = onnx.GraphProto(name="graph")
    for node in model.graph.node:
        graph.node.append(_renamed_node(node, values))
    for tensor in model.graph.initializer:
        kept = graph.initializer.add()
        kept.CopyFrom(tensor)
        kept.name = values[tensor.name]
        kept.ClearField("doc_string")
    for kind in ("input", "output", "value_info"):
        for value in getattr(model.graph, kind):
            about = helper.make_empty_tensor_value_info(values[value.name])
            about.type.CopyFrom(value.type)
            for side in about.type.tensor_type.shape.dim:
                side.ClearField("denotation")
                if side.HasField("dim_param"):
                    side.dim_param = values[f"side {side.dim_param}"]
            getattr(graph, kind).append(about)
    opsets = {_DOMAINS[o.domain]: o.version for o in model.opset_import if o.domain in _DOMAINS}
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return onnx.ModelProto(ir_version=model.ir_version, graph=graph, opset_import=imports)


def _renamed_node(node: onnx.NodeProto, values: dict[str, str]) -> onnx.NodeProto:
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if any(attribute.type in graphs for attribute in node.attribute):
        raise InputError(f"the operator {node.op_type!r} contains a graph")
    if node.domain not in _DOMAINS or not node.op_type.isidentifier():
        raise InputError(f"the operator {node.op_type!r} of {node.domain!r} is not one of ONNX")
    made = onnx.NodeProto(
        op_type=node.op_type,
        domain=_DOMAINS[node.domain],
        input=[values[name] for name in node.input],
        output=[values[name] for name in node.output],
    )
    for attribute in node.attribute:
        kept = made.attribute.add()
        kept.CopyFrom(attribute)
        kept.ClearField("doc_string")
        for tensor in ([kept.t] if kept.HasField("t") else []) + list(kept.tensors):
            tensor.ClearField("name")
            tensor.ClearField("doc_string")
    return made
