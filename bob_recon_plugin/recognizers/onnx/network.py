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
from torch import fx
from torch.fx.experimental.optimization import fuse

from ...common.validation import InputError
from ...common.weights_files import shortened
from ..description import Recognizer, check_image_size
from ..module import FixedPReLU, RecognizerModule
from .batches import open_batch
from .names import renamed
from .reading import ImageInput, keep_output, read_images, read_model, shape_of
from .rewriting import rewritten

Shape = tuple[int, ...]


def describe_onnx(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Complete the fields of a description with those that an ONNX file decides.

    Parameters
    ----------
    path : Path
    given : dict
        Fields of :class:`~bob_recon_plugin.recognizers.Recognizer` that are not changed.

    Returns
    -------
    dict
        The given fields, ``layout``, ``embedding_size``, and where they are needed
        ``image_size``, ``output``, ``mean`` and ``scale``.

    Raises
    ------
    ValueError
        For a file that cannot be read, or does not turn images into vectors.
    """
    model = read_model(path)
    images = read_images(model, path, given.get("layout"))
    found: dict[str, Any] = {"layout": images.layout}
    if images.size is not None:
        found["image_size"] = images.size
    if images.whole_numbers:
        found |= {"mean": 0.0, "scale": 1.0}
    found |= given
    _check_range(images, found.get("mean"), found.get("scale"), path)
    size = found.get("image_size", Recognizer.image_size)
    check_image_size(size)
    shape = _input_shape(size, images)
    if len(model.graph.output) > 1:
        found["output"] = found.get("output") or _embedding_of(model, path, shape)
    if found.get("output") is not None:
        keep_output(model, found["output"], path)
    if found.get("embedding_size") is None:
        found["embedding_size"] = _embedding_size(model, path, shape)
    return found


def _input_shape(size: tuple[int, int], images: ImageInput) -> Shape:
    """Return the shape that the network takes: one image, or as many as its file fixes."""
    batch = images.batch or 1
    return (batch, 3, *size) if images.layout == "nchw" else (batch, *size, 3)


def _check_range(images: ImageInput, mean: Any, scale: Any, path: Path) -> None:
    """Raise ValueError for whole pixels that would be normalised before the network does it."""
    if images.whole_numbers and (mean, scale) != (0, 1):
        raise InputError(
            f"`mean` and `scale` must be 0 and 1 for a file that takes {images.kind}, got "
            f"{mean} and {scale} for {path}; leave them out."
        )


def _embedding_of(model: onnx.ModelProto, path: Path, shape: Shape) -> str:
    """Return the name of the only output that has shape (n, d) with d above 1."""
    found = _output_shapes(model, path, shape)
    vectors = [
        name for name, out in found.items() if len(out) == 2 and out[0] == shape[0] and out[1] > 1
    ]
    if len(vectors) != 1:
        listed = ", ".join(f"{name!r} {out}" for name, out in found.items())
        raise InputError(
            f"`output` must be one of {listed}, got none for {path}; pass output= with the name "
            "of the embedding."
        )
    return vectors[0]


def _embedding_size(model: onnx.ModelProto, path: Path, shape: Shape) -> int:
    """Return the length of the embedding: from the file, or from running the network once."""
    (output,) = model.graph.output
    sides: Any = shape_of(output)
    if not sides or (len(sides) == 2 and sides[1] is None):
        sides = list(_output_shapes(model, path, shape)[output.name])
    if len(sides) != 2:
        raise InputError(
            f"`path` must give embeddings of shape (n, d), got {sides} in {path}; "
            "export the network with its last layers flattened."
        )
    return sides[1]


def _output_shapes(model: onnx.ModelProto, path: Path, shape: Shape) -> dict[str, Shape]:
    """Run a network once, on zeros, and return the shapes of its outputs by name."""
    network = _converted(model, path).eval()
    try:
        with torch.no_grad():
            results = network(torch.zeros(shape))
        results = [results] if isinstance(results, torch.Tensor) else results
        shapes = [tuple(result.shape) for result in results]
    except Exception as error:  # any error of an operator
        raise _wrong_size(shape, path, error) from error
    names = [value.name for value in model.graph.output]
    return dict(zip(names, shapes, strict=True))


def _wrong_size(shape: Shape, path: Path, error: Exception) -> InputError:
    sides = ", ".join(str(side) for side in shape[1:])
    return InputError(
        f"`weights` must embed images of shape (n, {sides}), got {path} "
        f"({shortened(error)}); correct the description or the file."
    )


def open_onnx(recognizer: Recognizer, path: Path) -> RecognizerModule:
    """Open an ONNX file as a module that embeds batches of any size.

    Parameters
    ----------
    recognizer : Recognizer
    path : Path
        The weights file.

    Raises
    ------
    ValueError
        If the file cannot be read, has an operator that cannot be converted, or does not fit the
        description.
    """
    model = read_model(path)
    images = read_images(model, path, recognizer.layout)
    _check_range(images, recognizer.mean, recognizer.scale, path)
    shape = _input_shape(recognizer.image_size, images)
    output = recognizer.output
    if output is None and len(model.graph.output) > 1:
        output = _embedding_of(model, path, shape)
    if output is not None:
        keep_output(model, output, path)
    network = _converted(model, path)
    _fix_prelus(network)
    # merge batch normalisations into the convolutions before them
    fused = fuse(network.eval(), inplace=True, no_trace=True)
    # faster for convolutions; networks written in torch may depend on the other layout
    module = RecognizerModule(recognizer, fused.to(memory_format=torch.channels_last))
    _ensure_batches(module, path, shape)
    return module


def _converted(model: onnx.ModelProto, path: Path) -> fx.GraphModule:
    try:
        return convert(renamed(rewritten(model)))
    except Exception as error:  # onnx2torch raises any type of error
        raise InputError(
            f"`weights` must be a network that onnx2torch converts, got {path} "
            f"({type(error).__name__}: {shortened(error)}); export it again with plain operators."
        ) from error


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


def _ensure_batches(module: RecognizerModule, path: Path, shape: Shape) -> None:
    """Make sure that the network embeds an image in a batch as it embeds it alone.

    Raises
    ------
    ValueError
        If this is not possible, or if the network does not accept such images at all.
    """
    if _failure(module) is None:
        return
    with suppress(Exception):  # any error of an operator; the next line checks
        open_batch(cast(fx.GraphModule, module.network), shape)
    error = _failure(module)
    if error is None:
        return
    try:
        with torch.no_grad():
            module(torch.zeros(shape[0], 3, *module.recognizer.image_size))
    except Exception:  # any error of an operator: not the size of the batch
        raise _wrong_size((2, 3, *module.recognizer.image_size), path, error) from error
    batch = "one" if shape[0] == 1 else shape[0]
    raise InputError(
        f"`weights` must embed batches of any size, got {path}, whose graph fixes a batch of "
        f"{batch} ({error}); export it with an open batch axis."
    ) from error


def _failure(module: RecognizerModule) -> Exception | None:
    """Return why the network embeds the last of two images differently than alone, or None."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((2, 3, *module.recognizer.image_size), generator=generator) * 255
    try:
        with torch.no_grad():
            together = module(images)[-1]
            alone = module(images[-1:])[0]
    except Exception as error:  # any error of an operator
        return error
    if torch.dist(together, alone) > 1e-3 * alone.norm():
        return InputError("an image has another embedding in a batch of two")
    return None
