"""Start a training from a decoder that exists, made for this recognition model or another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..common.validation import InputError
from ..decoders import Decoder, ModelCard, load
from ..faces.dataset import FaceDataset
from ..images.geometry import same_place
from ..recognizers import RecognizerTransformer
from .adapt import linear_map

_FACES = 4000
_OF_CARD = ("embedding_size", "positions")  # parameters that the cards are compared by


def start_from(decoder: Decoder, checkpoint: Path, dataset: FaceDataset) -> None:
    """Give ``decoder`` the weights of a checkpoint.

    A decoder of another recognition model is reached through a linear map
    between the two models' embeddings of the training faces, which becomes part of the
    first layer.

    Raises
    ------
    ValueError
        For a checkpoint of another shape, or one that draws faces elsewhere.
    """
    source, card = load(checkpoint)
    same_model = card.inverts.same_as(dataset.about.recognition)
    _check(decoder, source, card, checkpoint, dataset)
    state = source.state_dict()
    if not same_model:
        if decoder.first_weight is None:
            raise InputError(
                f"`start_from` must be a {decoder.name} decoder of {dataset.about.recognizer}, "
                f"got one of {card.recognizer} in {checkpoint}; train without it."
            )
        name, axis = decoder.first_weight
        matrix = torch.from_numpy(_map_between(dataset, card.recognizer))
        state[name] = torch.tensordot(matrix, state[name], ([1], [axis])).movedim(0, axis)
    decoder.load_state_dict(state)


def _map_between(dataset: FaceDataset, recognizer: str) -> np.ndarray:
    """Linear map from the dataset's embeddings to those of another model, of shape (d, e)."""
    faces = dataset.faces(np.flatnonzero(~dataset.validation)[:_FACES])
    there = RecognizerTransformer(recognizer).transform(faces)
    return linear_map(dataset.embeddings[~dataset.validation][:_FACES, 0], there)


def _check(
    decoder: Decoder, source: Decoder, card: ModelCard, checkpoint: Path, dataset: FaceDataset
) -> None:
    if type(source) is not type(decoder):
        raise InputError(
            f"`start_from` must be a {type(decoder).__name__}, got {type(source).__name__} in "
            f"{checkpoint}; train without it."
        )
    wanted, found = decoder.constructor_parameters(), source.constructor_parameters()
    differing = [k for k in wanted if k not in _OF_CARD and wanted[k] != found[k]]
    if differing:
        raise InputError(
            f"`start_from` must have {_listed(wanted, differing)}, got "
            f"{_listed(found, differing)} in {checkpoint}; train as it was trained, or without it."
        )
    if not same_place(card.positions, dataset.about.positions):
        raise InputError(
            f"`start_from` must draw the eyes at {dict(dataset.about.positions)}, got "
            f"{card.positions} in {checkpoint}; train without it."
        )


def _listed(parameters: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} {parameters[name]}" for name in names)
