"""Find one's way in an ONNX graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


class Links:
    """A graph and the ways between its nodes.

    The ways are those of the graph as it was when this was made.
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
        """Nodes of a kind, which may be changed on the way."""
        return iter([node for node in self.graph.node if node.op_type == kind])

    def made_by(self, name: str, kind: str) -> onnx.NodeProto | None:
        """The node behind a value, where it is of this kind."""
        node = self.producer.get(name)
        return node if node is not None and node.op_type == kind else None

    def only_user(self, name: str, kind: str) -> onnx.NodeProto | None:
        """The node that takes a value, where it alone does and is of this kind."""
        users = self.users[name]
        leaves = any(value.name == name for value in self.graph.output)
        return users[0] if len(users) == 1 and users[0].op_type == kind and not leaves else None

    def beside(self, node: onnx.NodeProto, name: str) -> str:
        """The other operand of a node with two; empty where there is none."""
        others = [other for other in node.input if other != name]
        return others[0] if len(others) == 1 and len(node.input) == 2 else ""

    def number(self, name: str) -> float | None:
        """A constant that is one number."""
        value = self.constants.get(name)
        return float(value.reshape(())) if value is not None and value.size == 1 else None

    def vector(self, name: str) -> np.ndarray | None:
        """A constant of one dimension."""
        value = self.constants.get(name)
        return value if value is not None and value.ndim == 1 else None

    def add(self, name: str, value: np.ndarray) -> str:
        """Put a constant into the graph; returns its name."""
        while name in self.constants or name in self.producer:
            name += "_"
        self.constants[name] = value
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes of a node by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
