"""Start a training from a decoder that exists, made for this recognition model or another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..common.validation import InputError
from ..decoders import GeneratorPrior, ModelCard, load
from ..faces.dataset import FaceDataset
from ..images.geometry import same_place
from ..recognizers import RecognizerTransformer
from .adapt import linear_map

_FACES = 4000


def start_from(decoder: nn.Module, checkpoint: Path, dataset: FaceDataset) -> None:
    """Give ``decoder`` the weights of a checkpoint.

    A decoder of another recognition model is reached through a linear map
    between the two models' embeddings of the training faces, that goes into the
    first layer.

    Raises
    ------
    ValueError
        For a checkpoint of another shape, or one that draws faces elsewhere.
    """
    source, card = load(checkpoint)
    about = dataset.about
    _check(decoder, source, card, checkpoint, dataset)
    state = source.state_dict()
    if not card.inverts.same_as(about.recognition):
        faces = dataset.faces(np.flatnonzero(~dataset.validation)[:_FACES])
        there = RecognizerTransformer(card.recognizer).transform(faces)
        here = dataset.embeddings[~dataset.validation][:_FACES, 0]
        adapter = linear_map(here, there)
        first = "blocks.0.deconv.0.weight"  # (d, channels, 4, 4)
        state[first] = torch.einsum("ij,jckl->ickl", torch.from_numpy(adapter), state[first])
    decoder.load_state_dict(state)


def _check(
    decoder: nn.Module, source: nn.Module, card: ModelCard, checkpoint: Path, dataset: FaceDataset
) -> None:
    if type(source) is not type(decoder):
        raise InputError(
            f"`start_from` must be a {type(decoder).__name__}, got {type(source).__name__} in "
            f"{checkpoint}; train without it."
        )
    if isinstance(decoder, GeneratorPrior):
        if not card.inverts.same_as(dataset.about.recognition):
            raise InputError(
                f"`start_from` must be a generator prior of {dataset.about.recognizer}, got one of "
                f"{card.recognizer} in {checkpoint}; train without it."
            )
    elif (source.width, source.output_size) != (decoder.width, decoder.output_size):
        raise InputError(
            f"`start_from` must have width {decoder.width:g} and faces of {decoder.output_size} "
            f"pixels, got {source.width:g} and {source.output_size} in {checkpoint}; "
            f"train with --width {source.width:g}."
        )
    if not same_place(card.positions, dataset.about.positions):
        raise InputError(
            f"`start_from` must draw the eyes at {dict(dataset.about.positions)}, got "
            f"{card.positions} in {checkpoint}; train without it."
        )
