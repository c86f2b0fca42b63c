"""Open the batch axis of a network whose ONNX file was written for one image.

Exporters write the batch that they saw into the constants of a graph. One image alone
tells which sides these constants mean, two images tell where the batch goes.
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


def open_batch(network: fx.GraphModule, image_size: tuple[int, int]) -> None:
    """Let a converted network take batches, in place.

    Shapes to reshape or expand to that are constants keep the batch that they are given,
    and constants that are concatenated to features are repeated for every image. What
    else may hold a batch back is not known here: try the network afterwards.

    Parameters
    ----------
    network : GraphModule
        From onnx2torch, in evaluation mode; it takes (1, 3, H, W).
    image_size : (int, int)
        H and W.

    Raises
    ------
    Exception
        Whatever an operator raises that still refuses two images.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((2, 3, *image_size), generator=generator) * 2 - 1
    with torch.no_grad():
        single = _Sides(network)
        single.run(images[:1])
        try:
            _Opener(network, single.shapes).run(images)
        finally:
            network.recompile()


class _Sides(fx.Interpreter):
    """Run a network and keep the shape of every result."""

    def __init__(self, network: fx.GraphModule):
        super().__init__(network)
        self.shapes: Shapes = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.shapes[n.name] = tuple(result.shape)
        return result


class _Opener(_Sides):
    """Run a network with two images, and mend on the way what expects one."""

    def __init__(self, network: fx.GraphModule, single: Shapes):
        super().__init__(network)
        self.network = network
        self.single = single

    def run_node(self, n: fx.Node) -> Any:
        module = self.network.get_submodule(str(n.target)) if n.op == "call_module" else None
        if isinstance(module, (OnnxReshape, OnnxExpand)):
            self._open_shape(n, module)
        elif isinstance(module, OnnxConcat):
            self._open_concat(n, module)
        elif isinstance(module, OnnxResize):
            module.ignore_bs_ch_size = True  # the sizes it is given begin with a batch of one
        return super().run_node(n)

    def _open_shape(self, n: fx.Node, module: OnnxReshape | OnnxExpand) -> None:
        source = n.args[0]
        assert isinstance(source, fx.Node)
        before, after = self.single[source.name], self.single[n.name]
        axis = batch_axis(before, self.shapes[source.name])
        if axis is None:
            return
        reshapes = isinstance(module, OnnxReshape)
        # an expanded shape may have more sides in front
        landing = where_it_lands(before, axis, after) if reshapes else axis - len(before)
        if landing is None:
            return
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        wanted = list(after)
        wanted[landing] *= 2
        if _shape_of(module, *args, **kwargs) == wanted:
            return
        wanted[landing] = -1
        constant = _Reshape(wanted) if reshapes else _Expand(wanted)
        self.network.add_submodule(str(n.target), constant)
        n.args, n.kwargs = (source,), {}

    def _open_concat(self, n: fx.Node, module: OnnxConcat) -> None:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if _shape_of(module, *args, **kwargs) is None:
            self.network.add_submodule(str(n.target), _Concat(module.axis))


def batch_axis(one: tuple[int, ...], two: tuple[int, ...]) -> int | None:
    """Axis along which the results for one and for two images differ; None if not just one.

    >>> batch_axis((8, 49), (16, 49))
    0
    """
    differing = [i for i, sides in enumerate(zip(one, two, strict=False)) if len(set(sides)) > 1]
    if len(one) != len(two) or len(differing) != 1 or two[differing[0]] != 2 * one[differing[0]]:
        return None
    return differing[0]


def where_it_lands(before: tuple[int, ...], axis: int, after: tuple[int, ...]) -> int | None:
    """Axis to which a reshape takes the batch.

    A reshape keeps the order of numbers in memory, and with it the product of the sides
    before the batch.

    Parameters
    ----------
    before, after : tuple of int
        Shapes of one image on both sides of the reshape.
    axis : int
        Axis of the batch in ``before``.

    Returns
    -------
    int or None
        The same axis or else the first that fits; None if the batch falls inside a side.

    Examples
    --------
    >>> where_it_lands((3, 1, 8, 12), 1, (3, 1, 96))
    1
    >>> where_it_lands((1, 8, 12, 49), 0, (8, 12, 49))
    0
    >>> where_it_lands((3, 1, 8), 1, (24,)) is None
    True
    """
    outside = prod(before[:axis])
    fitting = [i for i in range(len(after)) if prod(after[:i]) == outside]
    if axis in fitting:
        return axis
    return fitting[0] if fitting else None


def _shape_of(module: nn.Module, *args: Any, **kwargs: Any) -> list[int] | None:
    try:
        return list(module(*args, **kwargs).shape)
    except RuntimeError:  # so many numbers do not fit
        return None


class _Reshape(nn.Module):
    """Reshape to a constant shape; -1 stands for the batch."""

    def __init__(self, shape: list[int]):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(self.shape)


class _Expand(nn.Module):
    """Repeat along sides of one; -1 stands for the batch."""

    def __init__(self, shape: list[int]):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.expand(self.shape)


class _Concat(nn.Module):
    """Concatenate; sides of one beside the axis are repeated as often as the others need."""

    def __init__(self, axis: int):
        super().__init__()
        self.axis = axis

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        sides = [max(same) for same in zip(*(t.shape for t in tensors), strict=True)]
        sides[self.axis] = -1
        return torch.cat([t.expand(sides) for t in tensors], self.axis)
