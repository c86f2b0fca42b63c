"""Adapter: a linear map from the embeddings of one recognition model to those of another.

Embeddings of two face recognition models are related almost linearly. An adapter maps stolen
templates of a model without a decoder to embeddings of a model with one, so that one decoder can
attack many systems.

``bob bio recon adapt`` fits the map and writes it to a safetensors file with a card in its header.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from ..common.files import whole_or_nothing
from ..common.json_files import check_types, parse
from ..common.load_once import load_once
from ..common.rows import embedding_rows, restore_norm
from ..common.template_steps import TemplateStep
from ..common.validation import InputError, existing_file
from ..recognizers import Identity

#: Rises when older code could no longer read the files.
FORMAT_VERSION = "1"

_VERSION_KEY = "bob_recon_plugin.adapter.format"
_CARD_KEY = "bob_recon_plugin.adapter.card"
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


def save(
    path: str | os.PathLike[str], weight: np.ndarray, bias: np.ndarray, card: AdapterCard
) -> Path:
    """Write an adapter and its card to one file, which appears when it is complete.

    Parameters
    ----------
    path : path
        File to write, by custom ``.safetensors``. An existing file is replaced.
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
    header = {_VERSION_KEY: FORMAT_VERSION, _CARD_KEY: json.dumps(asdict(card), allow_nan=False)}
    path = Path(path).expanduser()
    with whole_or_nothing(path) as part:
        # through bytes: safetensors' own files are readable by their owner alone
        part.write_bytes(serialize(tensors, header))
    return path


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
    with _opened(path) as file:
        card = _card(file, path)
        if set(file.keys()) != {"weight", "bias"}:
            raise _no_adapter(path, f"it holds {', '.join(sorted(file.keys())) or 'nothing'}")
        tensors = {name: file.get_tensor(name) for name in ("weight", "bias")}
    _check(tensors, card, str(path))
    return tensors["weight"], tensors["bias"], card


def read_card(path: str | os.PathLike[str]) -> AdapterCard:
    """Read the card of an adapter's file, without the map; errors as of :func:`load`."""
    with _opened(path) as file:
        return _card(file, path)


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


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    file = existing_file("adapter", Path(path), _REMEDY)
    try:
        with safe_open(file, framework="np") as handle:
            yield handle
    except SafetensorError as error:
        raise _no_adapter(path, f"it is of another kind or damaged ({error})") from error


def _card(file: Any, path: object) -> AdapterCard:
    metadata = file.metadata() or {}
    if _CARD_KEY not in metadata:
        raise _no_adapter(path, "it has no such card")
    if metadata.get(_VERSION_KEY) != FORMAT_VERSION:
        raise InputError(
            f"`adapter` must have format version {FORMAT_VERSION}, "
            f"got {metadata.get(_VERSION_KEY)} in {path}; use the release that wrote it."
        )
    try:
        return AdapterCard(**parse(metadata[_CARD_KEY]))
    except (TypeError, ValueError) as error:
        raise _no_adapter(path, f"its card cannot be read ({error})") from error


def _no_adapter(path: object, why: str) -> InputError:
    return InputError(f"`adapter` must be an adapter's file, got {path}: {why}; {_REMEDY}")


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
