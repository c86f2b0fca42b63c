"""Adapter: a linear map from the embeddings of one recognition model to those of another.

Embeddings of two face recognition models are related almost linearly. An adapter maps stolen
templates of a model without a decoder to embeddings of a model with one, so that one decoder can
attack many systems.

``bob bio recon adapt`` fits the map and writes it to a safetensors file with a card in its header.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..common.card_files import CardFormat
from ..common.json_files import check_types, parse
from ..common.load_once import load_once
from ..common.rows import embedding_rows, restore_norm
from ..common.template_steps import TemplateStep
from ..common.validation import InputError, existing_file
from ..recognizers import Identity

_REMEDY = "give a file that `bob bio recon adapt` wrote."
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("source", "target", "data"), str),
    **dict.fromkeys(("source_sha256", "target_sha256"), str | None),
    **dict.fromkeys(("source_size", "target_size", "faces"), int),
    **dict.fromkeys(("alpha", "cosine"), int | float),
    "source_norm": int | float | None,
    "versions": dict,
}


@dataclass(frozen=True)
class AdapterCard:
    """Description of an adapter, stored in its file and checked before use.

    Parameters
    ----------
    source, target : str
        Names of the recognition models of the input and of the output.
    source_sha256, target_sha256 : str or None
        SHA-256 of their weights; None: not known.
    source_size, target_size : int
        Lengths of these embeddings.
    faces : int
        Number of faces used for fitting.
    alpha : float
        Ridge penalty per face, relative to the mean square of the entries of the centred source
        embeddings.
    cosine : float
        Mean cosine, in [-1, 1], between mapped and true embeddings of the held-out faces that were
        used to choose ``alpha``.
    data : str
        Description of the faces.
    versions : dict of str to str
        Versions of the packages that wrote the file.
    source_norm : float or None
        Mean Euclidean norm of the source embeddings. Templates that were scaled before they were
        stored are scaled to it. None: not known.
    """

    source: str
    target: str
    source_sha256: str | None
    target_sha256: str | None
    source_size: int
    target_size: int
    faces: int
    alpha: float
    cosine: float
    data: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    source_norm: float | None = None

    def __post_init__(self) -> None:
        check_types(self, _KINDS)
        norm = self.source_norm
        if norm is not None and not 0 < norm < float("inf"):
            raise InputError(f"`source_norm` must be positive and finite, got {norm!r}.")

    @classmethod
    def from_json(cls, text: str) -> AdapterCard:
        """Read the card of a file; raises TypeError or ValueError where it is none."""
        return cls(**parse(text))


_FILES = CardFormat(
    argument="adapter",
    key="bob_recon_plugin.adapter",
    parse=AdapterCard.from_json,
    remedy=_REMEDY,
    unpickled=_REMEDY,
)


def save(
    path: str | os.PathLike[str], weight: np.ndarray, bias: np.ndarray, card: AdapterCard
) -> Path:
    """Write an adapter and its card to one file, which appears when it is complete.

    Parameters
    ----------
    path : path
        File to write, usually ``*.safetensors``. An existing file is replaced.
    weight : ndarray of shape (d, e)
    bias : ndarray of shape (e,)
        An embedding ``x`` becomes ``x @ weight + bias``.
    card : AdapterCard

    Raises
    ------
    ValueError
        When the map is not finite, or of another shape than the card says.
    """
    tensors = {
        "weight": np.ascontiguousarray(weight, dtype=np.float32),
        "bias": np.ascontiguousarray(bias, dtype=np.float32),
    }
    _check(tensors, card, "the map")
    stored = {name: torch.from_numpy(values) for name, values in tensors.items()}
    return _FILES.write(path, stored, json.dumps(asdict(card), allow_nan=False))


def load(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, AdapterCard]:
    """Read an adapter: its weight (d, e), its bias (e,), and its card.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is damaged, of another kind or version, or holds another
        map than its card says.
    """
    with _FILES.opened(path) as (card, file):
        if set(file.keys()) != {"weight", "bias"}:
            raise InputError(
                f"`adapter` must hold `weight` and `bias` alone, got "
                f"{', '.join(sorted(file.keys())) or 'nothing'} in {path}; {_REMEDY}"
            )
        tensors = {name: file.get_tensor(name).float().numpy() for name in ("weight", "bias")}
    _check(tensors, card, str(path))
    return tensors["weight"], tensors["bias"], card


def read_card(path: str | os.PathLike[str]) -> AdapterCard:
    """Read the card of an adapter's file, without the map; errors as of :func:`load`."""
    return _FILES.read_card(path)


class Adapter(TemplateStep):
    """Map embeddings of one recognition model to those of another.

    The estimator holds only the path. The map is read when first needed, once a process.

    Parameters
    ----------
    path : path
        A file that ``bob bio recon adapt`` wrote.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = path

    def card(self) -> AdapterCard:
        """Return the card of the file."""
        return read_card(self.path)

    def leads_to(self, model: Identity) -> Identity:  # type: ignore[override]
        """Return the recognition model of the output.

        Parameters
        ----------
        model : Identity
            The model of the input. If its ``sha256`` is None, it is not checked.

        Returns
        -------
        Identity

        Raises
        ------
        FileNotFoundError, ValueError
            As :func:`load`, and if the adapter was made for another model. Hashes are compared if
            both are known, otherwise names.
        """
        card = self.card()
        source = Identity(card.source, card.source_sha256, card.source_size)
        if model.sha256 is not None and not source.same_as(model):
            raise InputError(
                f"`adapter` must be made for {model.name} ({model.sha256}), got {self.path}, "
                f"made for {card.source} ({card.source_sha256 or 'hash not known'}); fit an "
                "adapter for this model with `bob bio recon adapt`."
            )
        return Identity(card.target, card.target_sha256, card.target_size)

    def transform(self, X: object, subjects: Sequence[object] | None = None) -> np.ndarray:
        """Map embeddings.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Integers or floats. Rows with a norm below half or above twice the card's
            ``source_norm`` were scaled before they were stored: they are scaled to that norm, with
            a warning. Other rows stay as they are.

        Returns
        -------
        float32 ndarray of shape (n, e)

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            As :func:`load`, and for embeddings of a wrong type, shape or length, not finite, or
            zero.
        """
        weight, bias, card = _loaded(existing_file("adapter", Path(self.path), _REMEDY))
        return restore_norm(self._rows(X), card.source_norm, card.source) @ weight + bias

    def _rows(self, X: object) -> np.ndarray:
        card = _loaded(existing_file("adapter", Path(self.path), _REMEDY))[2]
        remedy = f"pass one embedding a row as {card.source} makes them."
        return embedding_rows("X", X, card.source_size, remedy)


@load_once
def _loaded(path: Path) -> tuple[np.ndarray, np.ndarray, AdapterCard]:
    return load(path)


def _check(tensors: dict[str, np.ndarray], card: AdapterCard, where: str) -> None:
    shapes = {"weight": (card.source_size, card.target_size), "bias": (card.target_size,)}
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise InputError(
                f"`{name}` of {where} must have shape {shape}, as its card says, "
                f"got {tensors[name].shape}; fit the adapter again."
            )
        if not np.isfinite(tensors[name]).all():
            raise InputError(
                f"`{name}` of {where} must be finite, got NaN or infinity; fit the adapter again."
            )
