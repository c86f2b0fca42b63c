"""Fuse groups of elementary ONNX operators into one operator of torch.

Exporters write GELU, layer normalisation and linear layers as elementary operators. Each reads and
writes memory once, forward and backward. A group that is recognised here becomes one operator of
our own domain, which onnx2torch converts to the operator of torch.
"""

from __future__ import annotations

import math
from typing import Any

import onnx
import torch
from onnx import helper
from onnx2torch.node_converters.registry import add_converter
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult, onnx_mapping_from_node
from torch import nn
from torch.nn import functional as F

from .graph import GraphIndex, attributes

DOMAIN = "bob_recon_plugin"


def use_native(model: onnx.ModelProto) -> None:
    """Replace the known patterns, in place."""
    for step in (_fuse_gelus, _fuse_layer_norms, _fuse_linears, _fix_slices, _fix_norms):
        index = GraphIndex(model.graph)
        step(index)
        _prune(model.graph)
    if all(opset.domain != DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _replace(last: onnx.NodeProto, kind: str, inputs: list[str], **values: Any) -> None:
    """Turn the last node of a pattern into our operator; the other nodes become unused."""
    del last.input[:], last.attribute[:]
    last.input.extend(inputs)
    last.op_type, last.domain = kind, DOMAIN
    last.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())


def _prune(graph: onnx.GraphProto) -> None:
    """Remove unused nodes and constants."""
    wanted = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    constants = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)


# --- x * (1 + erf(x / sqrt 2)) * 0.5 ---


def _fuse_gelus(index: GraphIndex) -> None:
    for erf in index.nodes("Erf"):
        divided = index.made_by(erf.input[0], "Div")
        plus = index.only_user(erf.output[0], "Add")
        times = index.only_user(plus.output[0], "Mul") if plus else None
        half = index.only_user(times.output[0], "Mul") if times else None
        if not (divided and plus and times and half):
            continue
        numbers = (
            (index.number(divided.input[1]), math.sqrt(2)),
            (index.number(index.other_input(plus, erf.output[0])), 1.0),
            (index.number(index.other_input(half, times.output[0])), 0.5),
        )
        x = divided.input[0]
        if index.other_input(times, plus.output[0]) == x and all(_near(*pair) for pair in numbers):
            _replace(half, "Gelu", [x])


def _near(value: float | None, wanted: float) -> bool:
    return value is not None and math.isclose(value, wanted, rel_tol=1e-6)


# --- (x - mean) / sqrt(mean of its square + eps) * weight + bias ---


def _fuse_layer_norms(index: GraphIndex) -> None:
    for root in index.nodes("Sqrt"):
        shifted = index.made_by(root.input[0], "Add")
        divided = index.only_user(root.output[0], "Div")
        scaled = index.only_user(divided.output[0], "Mul") if divided else None
        biased = index.only_user(scaled.output[0], "Add") if scaled else None
        if not (shifted and divided and scaled and biased):
            continue
        weight = index.other_input(scaled, divided.output[0])
        bias = index.other_input(biased, scaled.output[0])
        epsilon = index.number(shifted.input[1])
        x = _normalised(index, shifted, divided)
        if x is not None and epsilon is not None and _same_length(index, weight, bias):
            _replace(biased, "LayerNorm", [x, weight, bias], epsilon=epsilon)


def _normalised(index: GraphIndex, shifted: onnx.NodeProto, divided: onnx.NodeProto) -> str | None:
    """Return the name of the value that is normalised, or None if the pattern is another one."""
    centred = index.made_by(divided.input[0], "Sub")
    variance = index.made_by(shifted.input[0], "ReduceMean")
    mean = index.made_by(centred.input[1], "ReduceMean") if centred else None
    square = index.made_by(variance.input[0], "Pow") if variance else None
    if not (centred and variance and mean and square):
        return None
    x = centred.input[0]
    holds = (
        mean.input[0] == x
        and square.input[0] == centred.output[0]
        and index.number(square.input[1]) == 2
        and _over_last_axis(mean)
        and _over_last_axis(variance)
    )
    return x if holds else None


def _over_last_axis(node: onnx.NodeProto) -> bool:
    about = attributes(node)
    return about.get("axes") == [-1] and about.get("keepdims", 1) == 1


def _same_length(index: GraphIndex, *names: str) -> bool:
    """Whether all are vectors of the same length above one."""
    vectors = [index.vector(name) for name in names]
    return len({None if v is None else v.size for v in vectors} - {None, 1}) == 1 and all(
        v is not None and v.size > 1 for v in vectors
    )


# --- (x @ matrix + bias) * gain ---


def _fuse_linears(index: GraphIndex) -> None:
    for product in index.nodes("MatMul"):
        matrix = index.constants.get(product.input[1])
        biased = index.only_user(product.output[0], "Add")
        bias = index.vector(index.other_input(biased, product.output[0])) if biased else None
        if matrix is None or matrix.ndim != 2 or biased is None or bias is None:
            continue
        if len(bias) != matrix.shape[1]:
            continue
        last = biased
        scaled = index.only_user(biased.output[0], "Mul")
        gain = index.vector(index.other_input(scaled, biased.output[0])) if scaled else None
        if scaled and gain is not None and gain.shape == bias.shape:
            matrix, bias, last = matrix * gain, bias * gain, scaled
        name = f"{product.output[0]}/linear"
        weight = index.add(f"{name}/weight", matrix.T.copy())
        _replace(last, "Linear", [product.input[0], weight, index.add(f"{name}/bias", bias)])


# --- x[..., start:end:step, ...] ---


def _fix_slices(index: GraphIndex) -> None:
    """Replace slices with constant bounds: onnx2torch indexes with lists, now deprecated."""
    for node in index.nodes("Slice"):
        bounds = _bounds(index, node)
        if bounds is not None and min(bounds["steps"]) > 0:
            _replace(node, "Slice", [node.input[0]], **bounds)


def _bounds(index: GraphIndex, node: onnx.NodeProto) -> dict[str, list[int]] | None:
    """Return the constant bounds of a slice: attributes, or inputs since operator set 10."""
    about = attributes(node)
    if not about:
        read = [index.vector(name) for name in node.input[1:]]
        if len(read) < 2 or any(value is None for value in read):
            return None
        keys = ("starts", "ends", "axes", "steps")
        about = {key: v.tolist() for key, v in zip(keys, read, strict=False) if v is not None}
    n = len(about["starts"])
    return {"axes": list(range(n)), "steps": [1] * n, **about}


# --- x / |x| ---


def _fix_norms(index: GraphIndex) -> None:
    """Replace normalisations to unit length, for which onnx2torch has no converter."""
    for node in index.nodes("LpNormalization"):
        about = {"axis": -1, "p": 2} | attributes(node)
        _replace(node, "LpNormalization", [node.input[0]], **about)


# --- to torch ---


class _LayerNorm(nn.Module):
    def __init__(self, epsilon: float):
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, weight.shape, weight, bias, self.epsilon)


class _Linear(nn.Module):
    def forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.linear(x, weight, bias)


class _Slice(nn.Module):
    def __init__(self, starts: list[int], ends: list[int], axes: list[int], steps: list[int]):
        super().__init__()
        bounds = zip(starts, ends, steps, strict=True)
        self.slices = dict(zip(axes, (slice(*b) for b in bounds), strict=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        where = [slice(None)] * x.ndim
        for axis, part in self.slices.items():
            where[axis] = part
        return x[tuple(where)]


class _LpNormalization(nn.Module):
    def __init__(self, p: int, axis: int):
        super().__init__()
        self.p, self.axis = p, axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(x, self.p, self.axis)


def _converted(node: OnnxNode, module: nn.Module) -> OperationConverterResult:
    return OperationConverterResult(module, onnx_mapping_from_node(node))


@add_converter("Gelu", version=1, domain=DOMAIN)
def _gelu(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    how = node.attributes.get("approximate", "none")
    return _converted(node, nn.GELU(how.decode() if isinstance(how, bytes) else how))


@add_converter("LayerNorm", version=1, domain=DOMAIN)
def _layer_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return _converted(node, _LayerNorm(node.attributes["epsilon"]))


@add_converter("Linear", version=1, domain=DOMAIN)
def _linear(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return _converted(node, _Linear())


@add_converter("Slice", version=1, domain=DOMAIN)
def _slice(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return _converted(node, _Slice(**node.attributes))


@add_converter("LpNormalization", version=1, domain=DOMAIN)
def _lp_normalization(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return _converted(node, _LpNormalization(**node.attributes))
