"""Use torch's own operators where the pieces of an ONNX graph amount to one.

Exporters spell GELU, layer normalisation and linear layers out in elementary operators:
each is a pass over memory of its own, forward and backward. What is recognised here
becomes one operator of a domain of ours, which onnx2torch turns into torch's own.
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

from .graph import Links, attributes

DOMAIN = "bob_recon_plugin"


def use_native(model: onnx.ModelProto) -> None:
    """Replace the patterns that are known, in place."""
    for step in (_fuse_gelus, _fuse_layer_norms, _fuse_linears, _fix_slices):
        links = Links(model.graph)
        step(links)
        _prune(model.graph)
    if all(opset.domain != DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _replace(last: onnx.NodeProto, kind: str, inputs: list[str], **values: Any) -> None:
    """Let one node of ours give what ``last`` gave; the nodes before it fall away."""
    del last.input[:], last.attribute[:]
    last.input.extend(inputs)
    last.op_type, last.domain = kind, DOMAIN
    last.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())


def _prune(graph: onnx.GraphProto) -> None:
    """Drop the nodes whose results nobody takes, and the constants that nobody reads."""
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


def _fuse_gelus(links: Links) -> None:
    for erf in links.nodes("Erf"):
        divided = links.made_by(erf.input[0], "Div")
        plus = links.only_user(erf.output[0], "Add")
        times = links.only_user(plus.output[0], "Mul") if plus else None
        half = links.only_user(times.output[0], "Mul") if times else None
        if not (divided and plus and times and half):
            continue
        numbers = (
            (links.number(divided.input[1]), math.sqrt(2)),
            (links.number(links.beside(plus, erf.output[0])), 1.0),
            (links.number(links.beside(half, times.output[0])), 0.5),
        )
        x = divided.input[0]
        if links.beside(times, plus.output[0]) == x and all(_near(*pair) for pair in numbers):
            _replace(half, "Gelu", [x])


def _near(value: float | None, wanted: float) -> bool:
    return value is not None and math.isclose(value, wanted, rel_tol=1e-6)


# --- (x - mean) / sqrt(mean of its square + eps) * weight + bias ---


def _fuse_layer_norms(links: Links) -> None:
    for root in links.nodes("Sqrt"):
        shifted = links.made_by(root.input[0], "Add")
        divided = links.only_user(root.output[0], "Div")
        scaled = links.only_user(divided.output[0], "Mul") if divided else None
        biased = links.only_user(scaled.output[0], "Add") if scaled else None
        if not (shifted and divided and scaled and biased):
            continue
        weight = links.beside(scaled, divided.output[0])
        bias = links.beside(biased, scaled.output[0])
        epsilon = links.number(shifted.input[1])
        x = _normalised(links, shifted, divided)
        if x is not None and epsilon is not None and _same_length(links, weight, bias):
            _replace(biased, "LayerNorm", [x, weight, bias], epsilon=epsilon)


def _normalised(links: Links, shifted: onnx.NodeProto, divided: onnx.NodeProto) -> str | None:
    """What is centred, squared, averaged, and divided by the root of that."""
    centred = links.made_by(divided.input[0], "Sub")
    variance = links.made_by(shifted.input[0], "ReduceMean")
    mean = links.made_by(centred.input[1], "ReduceMean") if centred else None
    square = links.made_by(variance.input[0], "Pow") if variance else None
    if not (centred and variance and mean and square):
        return None
    x = centred.input[0]
    holds = (
        mean.input[0] == x
        and square.input[0] == centred.output[0]
        and links.number(square.input[1]) == 2
        and _over_last_axis(mean)
        and _over_last_axis(variance)
    )
    return x if holds else None


def _over_last_axis(node: onnx.NodeProto) -> bool:
    about = attributes(node)
    return about.get("axes") == [-1] and about.get("keepdims", 1) == 1


def _same_length(links: Links, *names: str) -> bool:
    """Whether all are vectors of one length; a vector of one number may stand for many."""
    vectors = [links.vector(name) for name in names]
    return len({None if v is None else v.size for v in vectors} - {None, 1}) == 1 and all(
        v is not None and v.size > 1 for v in vectors
    )


# --- (x @ matrix + bias) * gain ---


def _fuse_linears(links: Links) -> None:
    for product in links.nodes("MatMul"):
        matrix = links.constants.get(product.input[1])
        biased = links.only_user(product.output[0], "Add")
        bias = links.vector(links.beside(biased, product.output[0])) if biased else None
        if matrix is None or matrix.ndim != 2 or biased is None or bias is None:
            continue
        if len(bias) != matrix.shape[1]:
            continue
        last = biased
        scaled = links.only_user(biased.output[0], "Mul")
        gain = links.vector(links.beside(scaled, biased.output[0])) if scaled else None
        if scaled and gain is not None and gain.shape == bias.shape:
            matrix, bias, last = matrix * gain, bias * gain, scaled
        name = f"{product.output[0]}/linear"
        weight = links.add(f"{name}/weight", matrix.T.copy())
        _replace(last, "Linear", [product.input[0], weight, links.add(f"{name}/bias", bias)])


# --- x[..., start:end:step, ...] ---


def _fix_slices(links: Links) -> None:
    """Take over slices with constant bounds: onnx2torch indexes with lists, which torch drops."""
    for node in links.nodes("Slice"):
        bounds = _bounds(links, node)
        if bounds is not None and min(bounds["steps"]) > 0:
            _replace(node, "Slice", [node.input[0]], **bounds)


def _bounds(links: Links, node: onnx.NodeProto) -> dict[str, list[int]] | None:
    """Constant bounds of a slice: its attributes, or from operator set 10 on its inputs."""
    about = attributes(node)
    if not about:
        read = [links.vector(name) for name in node.input[1:]]
        if len(read) < 2 or any(value is None for value in read):
            return None
        keys = ("starts", "ends", "axes", "steps")
        about = {key: v.tolist() for key, v in zip(keys, read, strict=False) if v is not None}
    n = len(about["starts"])
    return {"axes": list(range(n)), "steps": [1] * n, **about}


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
