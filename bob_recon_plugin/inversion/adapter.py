"""From the embeddings of one recognition model to those of another, by a linear map in a file.

Recognition models that tell the same people apart give embeddings that a linear map takes into each
other quite well. With it, one decoder attacks many systems: a stolen template of a model that has
no decoder is mapped to the model of a decoder.

``bob bio recon adapt`` fits the map and writes the file: safetensors, with a card in the header.
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
from ..common.rows import at_norm, embedding_rows
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
    """What must be known of an adapter before it may be used; stored inside its file.

    Parameters
    ----------
    source, target : str
        Names of the recognition models whose embeddings go in and come out.
    source_sha256, target_sha256 : str or None
        SHA-256 of their weights; None when unknown.
    source_size, target_size : int
        Lengths of these embeddings.
    faces : int
        Number of faces it was fitted on.
    alpha : float
        Ridge penalty a face, relative to the mean square of the centred source
        embeddings' entries.
    cosine : float
        Mean, in [-1, 1], of mapped and true embeddings of the faces that were
        held out to choose ``alpha``.
    data : str
        What the faces are.
    versions : dict of str to str
        Of the packages that made it.
    source_norm : float or None
        Mean Euclidean norm of the source embeddings, to which templates are brought that were
        scaled before they were stored; None when unknown.
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

    The estimator holds the path alone: the map is read when first needed, once
    a process.

    Parameters
    ----------
    path : path
        A file of ``bob bio recon adapt``.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = path

    def card(self) -> AdapterCard:
        """Return the card of the file."""
        return read_card(self.path)

    def leads_to(self, model: Identity) -> Identity:  # type: ignore[override]
        """Tell which model the embeddings belong to that come out.

        Parameters
        ----------
        model : Identity
            The model whose embeddings go in. One whose weights cannot be told
            (``sha256`` is None) passes.

        Returns
        -------
        Identity

        Raises
        ------
        FileNotFoundError, ValueError
            As :func:`load`, and for a model the file was not made for: hashes
            decide where both are known, names otherwise.
        """
        card = self.card()
        source = Identity(card.source, card.source_sha256, card.source_size)
        if model.sha256 is not None and not source.same_as(model):
            raise InputError(
                f"`adapter` must be made for {model.name} ({model.sha256}), got {self.path}, "
                f"made for {card.source} ({card.source_sha256 or 'weights unknown'}); fit one for "
                "this model with `bob bio recon adapt`."
            )
        return Identity(card.target, card.target_sha256, card.target_size)

    def transform(self, X: object, subjects: Sequence[object] | None = None) -> np.ndarray:
        """Map embeddings.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Integers or floats. Rows shorter than half or longer than twice the card's
            ``source_norm`` were scaled before they were stored: they are brought to that norm,
            with a warning. Others stay as they are.

        Returns
        -------
        float32 ndarray of shape (n, e)

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            As :func:`load`, and for embeddings of another type, shape or
            length, not finite, or zero.
        """
        weight, bias, card = _loaded(existing_file("adapter", Path(self.path), _REMEDY))
        return at_norm(self._rows(X), card.source_norm, card.source) @ weight + bias

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
