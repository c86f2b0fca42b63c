"""Search an ONNX graph: constants, producers and users of values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


class GraphIndex:
    """Index of an ONNX graph: its constants, and which nodes produce and use each value.

    It is not updated when nodes are added or removed.
    """

    def __init__(self, graph: onnx.GraphProto):
        self.graph = graph
        self.constants: dict[str, np.ndarray] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self.producer: dict[str, onnx.NodeProto] = {}
        self.users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            self.producer.update(dict.fromkeys(node.output, node))
            for name in set(node.input):
                self.users[name].append(node)

    def nodes(self, kind: str) -> Iterator[onnx.NodeProto]:
        """Iterate over the nodes of an operator type; they may be changed meanwhile."""
        return iter([node for node in self.graph.node if node.op_type == kind])

    def made_by(self, name: str, kind: str) -> onnx.NodeProto | None:
        """Return the node that produces a value if it has this operator type, else None."""
        node = self.producer.get(name)
        return node if node is not None and node.op_type == kind else None

    def only_user(self, name: str, kind: str) -> onnx.NodeProto | None:
        """Return the node that uses a value if it is the only one and of this type, else None."""
        users = self.users[name]
        leaves = any(value.name == name for value in self.graph.output)
        return users[0] if len(users) == 1 and users[0].op_type == kind and not leaves else None

    def other_input(self, node: onnx.NodeProto, name: str) -> str:
        """Return the other input of a node with two inputs; empty for other nodes."""
        others = [other for other in node.input if other != name]
        return others[0] if len(others) == 1 and len(node.input) == 2 else ""

    def number(self, name: str) -> float | None:
        """Return a constant with one element as a number, else None."""
        value = self.constants.get(name)
        return float(value.reshape(())) if value is not None and value.size == 1 else None

    def vector(self, name: str) -> np.ndarray | None:
        """Return a constant of one dimension, else None."""
        value = self.constants.get(name)
        return value if value is not None and value.ndim == 1 else None

    def add(self, name: str, value: np.ndarray) -> str:
        """Add a constant to the graph, and return its name."""
        while name in self.constants or name in self.producer:
            name += "_"
        self.constants[name] = value
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
