"""Make the batch size of a network variable when its ONNX file fixes it.

Exporters may write the batch size into the constants of a graph. The network is run with this batch
and with twice as many images: the shapes of the results show which side of each constant is the
batch.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from onnx2torch.node_converters.concat import OnnxConcat
from onnx2torch.node_converters.expand import OnnxExpand
from onnx2torch.node_converters.reshape import OnnxReshape
from onnx2torch.node_converters.resize import OnnxResize
from torch import fx, nn

Shapes = dict[str, tuple[int, ...]]


def open_batch(network: fx.GraphModule, shape: tuple[int, ...]) -> None:
    """Make a converted network accept any batch size, in place.

    Constant shapes of reshapes and expansions get a variable batch side. Constants that are
    concatenated to features are repeated for every image. Other operators may still fix the batch
    size, so the caller must test the network afterwards.

    Parameters
    ----------
    network : GraphModule
        From onnx2torch, in evaluation mode.
    shape : tuple of int
        Of its input; the first side is the batch size that the file fixes, mostly 1.

    Raises
    ------
    Exception
        Any error of an operator that still refuses twice as many images.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((2 * shape[0], *shape[1:]), generator=generator) * 2 - 1
    with torch.no_grad():
        single = _ShapeRecorder(network)
        single.run(images[: shape[0]])
        try:
            _BatchOpener(network, single.shapes, shape[0]).run(images)
        finally:
            network.recompile()


class _ShapeRecorder(fx.Interpreter):
    """Run a network and keep the shape of every result."""

    def __init__(self, network: fx.GraphModule):
        super().__init__(network)
        self.shapes: Shapes = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.shapes[n.name] = tuple(result.shape)
        return result


class _BatchOpener(_ShapeRecorder):
    """Run a network with twice as many images, and replace operators that expect one batch."""

    def __init__(self, network: fx.GraphModule, single: Shapes, size: int):
        super().__init__(network)
        self.network = network
        self.single = single
        self.size = size

    def run_node(self, n: fx.Node) -> Any:
        module = self.network.get_submodule(str(n.target)) if n.op == "call_module" else None
        if isinstance(module, (OnnxReshape, OnnxExpand)):
            self._open_shape(n, module)
        elif isinstance(module, OnnxConcat):
            self._open_concat(n, module)
        elif isinstance(module, OnnxResize):
            module.ignore_bs_ch_size = True  # its sizes include a batch size
        return super().run_node(n)

    def _open_shape(self, n: fx.Node, module: OnnxReshape | OnnxExpand) -> None:
        source = n.args[0]
        assert isinstance(source, fx.Node)
        before, after = self.single[source.name], self.single[n.name]
        axis = batch_axis(before, self.shapes[source.name])
        if axis is None:
            return
        reshapes = isinstance(module, OnnxReshape)
        # expansion may add sides at the front
        batch = (
            axis_after_reshape(before, axis, after, self.size) if reshapes else axis - len(before)
        )
        if batch is None:
            return
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        wanted = list(after)
        wanted[batch] *= 2
        if _shape_of(module, *args, **kwargs) == wanted:
            return
        wanted[batch] = -1
        constant = _Reshape(wanted) if reshapes else _Expand(wanted)
        self.network.add_submodule(str(n.target), constant)
        n.args, n.kwargs = (source,), {}

    def _open_concat(self, n: fx.Node, module: OnnxConcat) -> None:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if _shape_of(module, *args, **kwargs) is not None:
            return
        names = [str(source) for source in n.args]
        axes = [batch_axis(self.single[name], self.shapes[name]) for name in names]
        batch = next((axis for axis in axes if axis is not None), None)
        if batch is not None:
            fixed = [axis is None for axis in axes]
            if all(_alike(t, batch) for t, same in zip(args, fixed, strict=True) if same):
                self.network.add_submodule(str(n.target), _Concat(module.axis, batch, fixed))


def batch_axis(one: tuple[int, ...], two: tuple[int, ...]) -> int | None:
    """Axis in which the shapes for one batch and for two differ; None unless exactly one does.

    >>> batch_axis((8, 49), (16, 49))
    0
    """
    differing = [i for i, sides in enumerate(zip(one, two, strict=False)) if len(set(sides)) > 1]
    if len(one) != len(two) or len(differing) != 1 or two[differing[0]] != 2 * one[differing[0]]:
        return None
    return differing[0]


def axis_after_reshape(
    before: tuple[int, ...], axis: int, after: tuple[int, ...], size: int = 1
) -> int | None:
    """Batch axis after a reshape.

    A reshape keeps the order of numbers in memory, and therefore the product of the sides before
    the batch.

    Parameters
    ----------
    before, after : tuple of int
        Shapes before and after the reshape, for one batch.
    axis : int
        Axis of the batch in ``before``.
    size : int
        Number of images in the batch.

    Returns
    -------
    int or None
        The same axis if it fits, else the first that fits; None if the batch is merged with
        another side.

    Examples
    --------
    >>> axis_after_reshape((3, 1, 8, 12), 1, (3, 1, 96))
    1
    >>> axis_after_reshape((1, 8, 12, 49), 0, (8, 12, 49))
    0
    >>> axis_after_reshape((3, 1, 8), 1, (24,)) is None
    True
    >>> axis_after_reshape((4, 8), 0, (1, 4, 8), size=4)
    1
    """
    outside = prod(before[:axis])
    fitting = [i for i, side in enumerate(after) if prod(after[:i]) == outside and not side % size]
    if axis in fitting:
        return axis
    return fitting[0] if fitting else None


def _shape_of(module: nn.Module, *args: Any, **kwargs: Any) -> list[int] | None:
    try:
        return list(module(*args, **kwargs).shape)
    except RuntimeError:  # the number of elements does not fit
        return None


def _alike(constant: torch.Tensor, batch: int) -> bool:
    """Whether a constant is the same for every image of the batch."""
    return torch.equal(constant, constant.narrow(batch, 0, 1).expand_as(constant))


class _Reshape(nn.Module):
    """Reshape to a constant shape; -1 is the batch."""

    def __init__(self, shape: list[int]):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(self.shape)


class _Expand(nn.Module):
    """Expand to a constant shape; -1 is the batch."""

    def __init__(self, shape: list[int]):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.expand(self.shape)


class _Concat(nn.Module):
    """Concatenate along an axis; in all other axes, sides of one are repeated to fit.

    Of ``fixed`` tensors, which are constants of the graph, only the first row in ``batch`` is used.
    """

    def __init__(self, axis: int, batch: int, fixed: list[bool]):
        super().__init__()
        self.axis = axis
        self.batch = batch
        self.fixed = fixed

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        tensors = [
            t.narrow(self.batch, 0, 1) if fixed else t
            for t, fixed in zip(given, self.fixed, strict=True)
        ]
        sides = [max(same) for same in zip(*(t.shape for t in tensors), strict=True)]
        sides[self.axis] = -1
        return torch.cat([t.expand(sides) for t in tensors], self.axis)
