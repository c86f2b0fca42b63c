"""Decoder files: weights in safetensors, the model card in the header, no pickle."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import nn

from ..common.files import whole_or_nothing
from ..common.record import versions
from ..common.validation import InputError, InputTypeError, existing_file, one_of
from .card import ModelCard
from .dscasconv import DSCasConv
from .generator_prior import GeneratorPrior
from .linear import LinearDecoder
from .nbnet import NbNet

#: Decoders that a file may name.
DECODERS: dict[str, type[nn.Module]] = {
    "dscasconv": DSCasConv,
    "nbnet": NbNet,
    "linear": LinearDecoder,
    "generator": GeneratorPrior,
}

#: Rises when older code could no longer read the files.
FORMAT_VERSION = "1"

_VERSION_KEY = "bob_recon_plugin.format"
_CARD_KEY = "bob_recon_plugin.card"
_DTYPES = {"float16": torch.float16, "float32": torch.float32}
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # torch.save since and before 1.6
_CONVERT = (
    "pickles can run code and are not opened here: load the state dict into a decoder with "
    "torch.load(path, weights_only=True) and write it with bob_recon_plugin.decoders.save."
)


def save(
    path: str | os.PathLike[str], decoder: nn.Module, card: ModelCard, dtype: str = "float16"
) -> Path:
    """Write a decoder and its card to one file.

    The file appears under its name only when it is complete. Parent folders are made.

    Parameters
    ----------
    path : path
        File to write, by custom ``.safetensors``. An existing file is replaced.
    decoder : DSCasConv, NbNet, LinearDecoder or GeneratorPrior
    card : ModelCard
        Its fields ``decoder`` and ``decoder_parameters`` are taken from ``decoder``,
        and ``versions`` from this installation where it is empty.
    dtype : {"float16", "float32"}
        Type of matrices and kernels in the file. Vectors (biases, statistics of
        batch normalisation), which can leave the range of float16, stay float32.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    TypeError
        When the decoder's class is not registered.
    ValueError
        When card and decoder disagree, or weights are not finite.
    """
    one_of("dtype", dtype, _DTYPES)
    name = _name(decoder)
    _check_agreement(decoder, card)
    card = replace(
        card,
        decoder=name,
        decoder_parameters=_parameters(decoder),
        versions=card.versions or versions(),
    )
    tensors = {k: _stored(v, _DTYPES[dtype]) for k, v in decoder.state_dict().items()}
    _check_finite(tensors, f"as {dtype}; save as float32, or look for a training that diverged.")
    path = Path(path).expanduser()
    with whole_or_nothing(path) as part:
        # through bytes: safetensors' own files are readable by their owner alone
        header = {_VERSION_KEY: FORMAT_VERSION, _CARD_KEY: card.to_json()}
        part.write_bytes(serialize(tensors, header))
    return path


def load(
    path: str | os.PathLike[str], device: str | torch.device = "cpu"
) -> tuple[nn.Module, ModelCard]:
    """Read a decoder and its card.

    Nothing in the file is executed, and its weights are checked against the
    decoder that its card names before memory is taken for them.

    Parameters
    ----------
    path : path
        A file written by :func:`save`.
    device : str or torch.device
        Where the decoder goes.

    Returns
    -------
    decoder : nn.Module
        In evaluation mode, float32.
    card : ModelCard

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is damaged, of another kind or version, or holds other
        weights than its card says.
    """
    with _opened(path) as file:
        card = _card(file, path)
        with torch.device("meta"):  # shapes alone
            decoder = _built(card, path)
        expected = decoder.state_dict()
        _check_shapes(file, expected, path)
        # copied, or the weights would stay a map of the file
        tensors = {k: file.get_tensor(k).to(v.dtype, copy=True) for k, v in expected.items()}
    _check_finite(tensors, f"in {path}; the file is of no use, take another copy.")
    decoder.load_state_dict(tensors, assign=True)
    return decoder.eval().to(device), card


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """Read the card of a decoder's file, without the weights.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`load`.
    """
    with _opened(path) as file:
        return _card(file, path)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    file = existing_file(
        "checkpoint", Path(path), "give the path of a decoder written by decoders.save."
    )
    _check_kind(file)
    try:
        with safe_open(file, framework="pt") as handle:
            yield handle
    except SafetensorError as error:
        raise InputError(
            f"`checkpoint` must be a whole safetensors file, got {path}, which is truncated or "
            f"damaged ({error}); copy or download it again."
        ) from error


def _check_kind(file: Path) -> None:
    """Tell a file of another kind from a damaged one, by its first bytes."""
    with file.open("rb") as stream:
        head = stream.read(9)
    if head.startswith(_PICKLE_STARTS) and head[8:9] != b"{":
        raise InputError(
            f"`checkpoint` must be a safetensors file, got the pickle {file}; {_CONVERT}"
        )
    # 8 bytes of header length, then JSON
    if head[8:9] != b"{":
        raise InputError(
            f"`checkpoint` must be a safetensors file, got {file}, which is "
            f"{'none' if head else 'empty'}; give a decoder written by decoders.save."
        )


def _card(file: Any, path: object) -> ModelCard:
    metadata = file.metadata() or {}
    if _CARD_KEY not in metadata:
        raise InputError(
            f"`checkpoint` must carry a model card, got {path}, which has none; "
            "load its tensors into a decoder and write it with decoders.save."
        )
    if metadata.get(_VERSION_KEY) != FORMAT_VERSION:
        raise InputError(
            f"`checkpoint` must have format version {FORMAT_VERSION}, "
            f"got {metadata.get(_VERSION_KEY)} in {path}; use the release that wrote it."
        )
    try:
        return ModelCard.from_json(metadata[_CARD_KEY])
    except ValueError as error:
        raise InputError(f"`checkpoint` must carry a readable card, got {path}: {error}") from error


def _built(card: ModelCard, path: object) -> nn.Module:
    if card.decoder not in DECODERS:
        raise InputError(
            f"`checkpoint` must hold one of the decoders {', '.join(DECODERS)}, "
            f"got {card.decoder!r} in {path}; use the release that wrote it."
        )
    try:
        decoder = DECODERS[card.decoder](**card.decoder_parameters)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(
            f"`checkpoint` must hold valid parameters of {card.decoder}, "
            f"got {card.decoder_parameters} in {path} ({error}); take another copy."
        ) from error
    _check_agreement(decoder, card)
    return decoder


def _check_agreement(decoder: nn.Module, card: ModelCard) -> None:
    """Card and decoder speak of the same embeddings and the same image."""
    if card.embedding_size != decoder.embedding_size:
        raise InputError(
            f"`card.embedding_size` must be {decoder.embedding_size}, that of the decoder, "
            f"got {card.embedding_size}; write the card for this decoder."
        )
    height, width = decoder.image_size  # type: ignore[misc]
    for eye, (y, x) in card.positions.items():
        if not (0 <= y < height and 0 <= x < width):
            raise InputError(
                f"`card.positions` must lie in the {height} x {width} image, got {eye} at "
                f"({y}, {x}); give (y, x) in pixels of the decoded image."
            )


def _check_shapes(file: Any, expected: dict[str, torch.Tensor], path: object) -> None:
    found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    wanted = {key: tuple(tensor.shape) for key, tensor in expected.items()}
    differing = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
    if differing:
        first = differing[0]
        raise InputError(
            f"`checkpoint` must hold the weights that its card describes, got {path}, where "
            f"{len(differing)} differ (first: {first}, expected {wanted.get(first, 'none')}, "
            f"found {found.get(first, 'none')}); take another copy."
        )


def _check_finite(tensors: dict[str, torch.Tensor], remedy: str) -> None:
    bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise InputError(
            f"weights must be finite, got NaN or infinity in {len(bad)} of {len(tensors)} tensors "
            f"(first: {bad[0]}) {remedy}"
        )


def _stored(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.to(dtype if tensor.ndim > 1 else torch.float32)
    return tensor.contiguous()


def _name(decoder: nn.Module) -> str:
    for name, kind in DECODERS.items():
        if type(decoder) is kind:
            return name
    known = ", ".join(kind.__name__ for kind in DECODERS.values())
    raise InputTypeError(
        f"`decoder` must be one of {known}, got {type(decoder).__name__}; "
        "unwrap a compiled or parallel module first."
    )


def _parameters(decoder: nn.Module) -> dict[str, Any]:
    """Constructor parameters, which decoders keep under their own names."""
    return {name: getattr(decoder, name) for name in inspect.signature(type(decoder)).parameters}
