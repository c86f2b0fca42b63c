"""From the embeddings of one recognition model to those of another, by a linear map in a file.

Recognition models that tell the same people apart give embeddings that a linear map takes into each
other quite well. With it, one decoder attacks many systems: a stolen template of a model that has
no decoder is mapped to the model of a decoder.

``bob bio recon adapt`` fits the map and writes the file: safetensors, with a card in the header.
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
from ..common.rows import at_norm, embedding_rows
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
