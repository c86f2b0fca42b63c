"""Decoder files: weights in safetensors, the model card in the header, no pickle."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..common.card_files import CardFormat
from ..common.record import versions
from ..common.validation import InputError, InputTypeError, one_of
from ._base import DECODERS, Decoder
from ._card import ModelCard

_FILES = CardFormat(
    argument="checkpoint",
    key="bob_recon_plugin",
    parse=ModelCard.from_json,
    remedy="give the path of a decoder written by decoders.save.",
    unpickled="load the state dict into a decoder with torch.load(path, weights_only=True) and "
    "write it with bob_recon_plugin.decoders.save.",
)
_DTYPES = {"float16": torch.float16, "float32": torch.float32}


def save(
    path: str | os.PathLike[str], decoder: Decoder, card: ModelCard, dtype: str = "float16"
) -> Path:
    """Write a decoder and its card to one file.

    The file appears under its name only when it is complete. Parent folders are made.

    Parameters
    ----------
    path : path
        File to write, usually ``*.safetensors``. An existing file is replaced.
    decoder : Decoder
        Of a registered class.
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
    _check_registered(decoder)
    _check_agreement(decoder, card)
    card = replace(
        card,
        decoder=decoder.name,
        decoder_parameters=decoder.constructor_parameters(),
        versions=card.versions or versions(),
    )
    tensors = {k: _stored(v, _DTYPES[dtype]) for k, v in decoder.state_dict().items()}
    _check_finite(tensors, f"as {dtype}; save as float32, or look for a training that diverged.")
    return _FILES.write(path, tensors, card.to_json())


def load(
    path: str | os.PathLike[str], device: str | torch.device = "cpu"
) -> tuple[Decoder, ModelCard]:
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
    decoder : Decoder
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
    with _FILES.opened(path) as (card, file):
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
    return _FILES.read_card(path)


def _built(card: ModelCard, path: object) -> Decoder:
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


def _check_agreement(decoder: Decoder, card: ModelCard) -> None:
    """Card and decoder must have the same embeddings and the same image."""
    if card.embedding_size != decoder.embedding_size:
        raise InputError(
            f"`card.embedding_size` must be {decoder.embedding_size}, that of the decoder, "
            f"got {card.embedding_size}; write the card for this decoder."
        )
    height, width = decoder.image_size
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


def _check_registered(decoder: Decoder) -> None:
    if type(decoder) not in DECODERS.values():
        known = ", ".join(kind.__name__ for kind in DECODERS.values())
        raise InputTypeError(
            f"`decoder` must be one of {known}, got {type(decoder).__name__}; "
            "save the decoder that a compiled, parallel or folded one was made from."
        )
