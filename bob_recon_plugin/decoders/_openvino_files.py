"""Constants of a network in OpenVINO's files, found by their place in its graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch

_DTYPES = {"f32": np.float32, "i32": np.int32, "i64": np.int64}


class Graph:
    """The graph of ``NAME.xml`` and the constants of ``NAME.bin`` beside it.

    Nodes are named by their number in the file, a text.

    Parameters
    ----------
    path : Path
        The ``.xml`` file. Its contents are trusted: check hashes before.
    """

    def __init__(self, path: Path):
        root = ElementTree.parse(path).getroot()
        self._raw = path.with_suffix(".bin").read_bytes()
        self._nodes = {node.attrib["id"]: node for node in root.findall("layers/layer")}
        edges = [edge.attrib for edge in root.findall("edges/edge")]
        self._inputs: dict[str, list[str]] = {name: [] for name in self._nodes}
        for edge in sorted(edges, key=lambda edge: int(edge["to-port"])):
            self._inputs[edge["to-layer"]].append(edge["from-layer"])

    def kind(self, node: str) -> str:
        """Return the operation of a node."""
        return self._nodes[node].attrib["type"]

    def inputs(self, node: str) -> list[str]:
        """Return the nodes that a node takes, in order."""
        return self._inputs[node]

    def of_kind(self, *kinds: str) -> Iterator[str]:
        """Yield nodes in the order of the file, in which each comes after its inputs."""
        return (node for node in self._nodes if self.kind(node) in kinds)

    def sum_of(self, node: str) -> str:
        """Return the first sum that takes a node."""
        return next(n for n in self.of_kind("Add") if node in self._inputs[n])

    def constant(self, node: str) -> torch.Tensor:
        """Return the first constant among the inputs of a node."""
        found = next(n for n in self._inputs[node] if self.kind(n) == "Const")
        data = self._nodes[found].find("data")
        assert data is not None  # of every constant
        shape = [int(side) for side in data.attrib["shape"].split(",") if side.strip()]
        dtype = _DTYPES[data.attrib["element_type"]]
        values = np.frombuffer(self._raw, dtype, int(np.prod(shape)), int(data.attrib["offset"]))
        return torch.from_numpy(values.reshape(shape).copy())
