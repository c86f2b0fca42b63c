"""Load ONNX files as torch networks."""

from __future__ import annotations

from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from onnx2torch import convert
from onnx2torch.node_converters.activations import OnnxPReLU
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from ...common.validation import InputError
from ...common.weights_files import shortened
from ..module import FixedPReLU, RecognizerModule
from .batches import open_batch
from .external import read_external
from .names import renamed
from .rewriting import rewritten

_LARGEST_SIDE = 4096  # of an image, in pixels


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf has no common error across its versions
        raise InputError(
            f"`weights` must be an ONNX file, got {path}, which cannot be read ({error}); "
            "download the file again."
        ) from error
    read_external(model, path)
    inputs, outputs = _inputs(model), model.graph.output
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"`weights` must be an ONNX file with one input and one output, got {len(inputs)} and "
            f"{len(outputs)} in {path}; download it again, or export the embedding as only output."
        )
    return model


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    """Return the sides of a shape; None for a side that the file does not fix."""
    return [side.dim_value or None for side in value.type.tensor_type.shape.dim]


def read_geometry(path: Path) -> tuple[int | None, tuple[int, int] | None]:
    """Return the embedding size and the input's (height, width); None if the file has none."""
    model = _read(path)
    images, embeddings = _shape(_inputs(model)[0]), _shape(model.graph.output[0])
    if len(images) != 4 or images[1] not in (3, None):
        raise InputError(
            f"`path` must take images of shape (n, 3, H, W), got {images} in {path}; "
            "export the network with channels first."
        )
    if embeddings and len(embeddings) != 2:
        raise InputError(
            f"`path` must give embeddings of shape (n, d), got {embeddings} in {path}; "
            "export the network with its last layers flattened."
        )
    size = embeddings[1] if embeddings else None
    height, width = images[2:]
    if max(height or 1, width or 1) > _LARGEST_SIDE:
        raise InputError(
            f"`path` must take images of at most {_LARGEST_SIDE} pixels a side, got {images} in "
            f"{path}; export the network for the images that it was trained on."
        )
    return size, (height, width) if height and width else None


def load_onnx(path: Path) -> nn.Module:
    """Turn an ONNX file into a torch network.

    Raises
    ------
    ValueError
        If the file cannot be read, or has an operator that cannot be converted.
    """
    model = _read(path)
    try:
        network = convert(renamed(rewritten(model)))
    except Exception as error:  # onnx2torch raises any type of error
        raise InputError(
            f"`weights` must be a network that onnx2torch converts, got {path} "
            f"({type(error).__name__}: {shortened(error)}); export it again with plain operators."
        ) from error
    _fix_prelus(network)
    # merge batch normalisations into the convolutions before them
    fused = fuse(network.eval(), inplace=True, no_trace=True)
    # faster for convolutions; networks written in torch may depend on the other layout
    return fused.to(memory_format=torch.channels_last)


def _fix_prelus(network: fx.GraphModule) -> None:
    """Replace onnx2torch's PReLU, whose backward is slow, if its slopes are constants."""
    for node in network.graph.nodes:
        if node.op != "call_module" or not isinstance(
            network.get_submodule(node.target), OnnxPReLU
        ):
            continue
        images, constant = node.args
        if constant.op != "get_attr":
            continue
        slopes: Any = reduce(getattr, constant.target.split("."), network)
        # one slope, or one a channel: (c, 1, 1) or (1, c, 1, 1)
        if slopes.numel() == 1 or (slopes.ndim > 2 and slopes.numel() == slopes.shape[-3]):
            network.add_submodule(node.target, FixedPReLU(slopes))
            node.args = (images,)
    network.recompile()


def ensure_batches(module: RecognizerModule, path: Path) -> None:
    """Make sure that the network embeds an image in a batch as it embeds it alone.

    Raises
    ------
    ValueError
        If this is not possible, or if the network does not accept such images at all.
    """
    error = _failure(module, 2)
    if error is None:
        return
    with suppress(Exception):  # any error of an operator; the next line checks
        open_batch(cast(fx.GraphModule, module.network), module.recognizer.image_size)
    error = _failure(module, 2)
    if error is None:
        return
    if _failure(module, 1) is None:
        raise InputError(
            f"`weights` must embed batches of any size, got {path}, whose graph fixes a batch of "
            f"one ({error}); export it with an open batch axis."
        ) from error
    raise InputError(
        f"`weights` must embed images of shape (n, 3, {module.recognizer.image_size[0]}, "
        f"{module.recognizer.image_size[1]}), got {path} ({error}); "
        "correct the description or the file."
    ) from error


def _failure(module: RecognizerModule, n: int) -> Exception | None:
    """Return why the network embeds the last of ``n`` images differently than alone, or None."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((n, 3, *module.recognizer.image_size), generator=generator) * 255
    try:
        with torch.no_grad():
            together = module(images)[-1]
            alone = module(images[-1:])[0]
    except Exception as error:  # any error of an operator
        return error
    if torch.dist(together, alone) > 1e-3 * alone.norm():
        return InputError("an image has another embedding in a batch of two")
    return None
