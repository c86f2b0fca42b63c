"""Reconstructors: from stolen embeddings to faces, as scikit-learn transformers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from .. import decoders
from ..common.devices import torch_device
from ..common.files import sha256
from ..common.fixed_transformer import FixedTransformer
from ..common.load_once import load_once
from ..common.rows import embedding_rows, restore_norm
from ..common.validation import InputError, existing_file, whole_number
from ..images.geometry import FFHQ_EYES, FFHQ_SIDE
from ..recognizers import Identity


class Reconstructor(Protocol):
    """What an attack needs of a transformer that makes faces of embeddings.

    Attributes
    ----------
    checkpoint : path or None
        The decoder's file; None: the decoder that ships with the package.
    portraits : bool
        Whether the faces are whole pictures, aligned as FFHQ is, instead of crops.
    batch_size : int
        Embeddings decoded at once.
    image_size : (int, int)
        Height and width of the faces, in pixels.
    """

    @property
    def checkpoint(self) -> Any: ...

    @property
    def portraits(self) -> bool: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def image_size(self) -> tuple[int, int]: ...

    def transform(self, X: Any) -> np.ndarray:
        """Return uint8 faces of shape (n, 3, H, W) for embeddings of shape (n, d)."""

    def card(self) -> decoders.ModelCard:
        """Return the model card of the checkpoint, without loading its weights."""

    def validate(self) -> Any:
        """Check parameters and files before any long work; raise ValueError or return itself."""

    def describe(self) -> dict[str, Any]:
        """Return what decides the faces; see :mod:`bob_recon_plugin.common.description`."""


def shipped_decoder() -> Path:
    """Path of the decoder that ships with the package, trained for `arcface-mbf`."""
    return Path(str(files("bob_recon_plugin.data"))) / "arcface-mbf.safetensors"


@load_once
def _loaded(path: Path, device: torch.device) -> tuple[decoders.Decoder, decoders.ModelCard]:
    decoder, card = decoders.load(path, device)
    return decoder.for_inference(), card


def shared_decoder(
    checkpoint: str | os.PathLike[str] | None, device: torch.device
) -> tuple[decoders.Decoder, decoders.ModelCard]:
    """Return a decoder in its fastest form and its card, loaded once a process.

    ``checkpoint`` is a path, or None for the decoder that ships with the package.
    """
    remedy = "give the path of a decoder written by decoders.save."
    return _loaded(existing_file("checkpoint", _path(checkpoint), remedy), device)


def _path(checkpoint: str | os.PathLike[str] | None) -> Path:
    return shipped_decoder() if checkpoint is None else Path(checkpoint)


class FaceReconstructor(FixedTransformer):
    """Reconstruct faces from embeddings.

    Nothing is learnt from data, and the estimator holds its parameters alone: weights are read
    when first needed, once a process, and shared by all copies in that process. Clones and Dask
    tasks stay small.

    Parameters
    ----------
    checkpoint : path or None
        A decoder written by :func:`bob_recon_plugin.decoders.save`. None: the decoder that ships
        with the package, for embeddings of ``arcface-mbf``.
    recognizer : str or None
        Name of the model that made the embeddings. None accepts any.
    recognizer_sha256 : str or None
        SHA-256 of that model's weights. Hashes are compared if the checkpoint has one too,
        otherwise names.
    batch_size : int
        Embeddings decoded at once. More than 32 are not faster on a CPU. Faces differ between
        batch sizes by rounding: in single pixels and by one grey level at most.
    device : str
        "cpu", "cuda", "cuda:1", ...; "auto" is "cuda" if there is a GPU.
    portraits : bool
        Return whole pictures of 1024 x 1024 pixels, aligned as FFHQ is. The decoder must draw
        them (:class:`~bob_recon_plugin.decoders.GeneratorPrior`). Each takes 3 MB.

    Examples
    --------
    For an array of shape (n, 512) of embeddings of ``arcface-mbf``:

    >>> reconstructor = FaceReconstructor()
    >>> faces = reconstructor.transform(embeddings)  # doctest: +SKIP
    >>> faces.shape, faces.dtype  # doctest: +SKIP
    ((10, 3, 112, 112), dtype('uint8'))
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        recognizer: str | None = None,
        recognizer_sha256: str | None = None,
        batch_size: int = 32,
        device: str = "auto",
        portraits: bool = False,
    ):
        self.checkpoint = checkpoint
        self.portraits = portraits
        self.recognizer = recognizer
        self.recognizer_sha256 = recognizer_sha256
        self.batch_size = batch_size
        self.device = device

    def transform(self, X: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Decode embeddings.

        Parameters
        ----------
        X : array, list of arrays, or SampleBatch, of shape (n, d)
            Integers or floats. Rows with a norm below half or above twice the card's
            ``embedding_norm`` were scaled before they were stored (to unit length, to 8 bits):
            they are scaled to that norm, with a warning. Other rows stay as they are.

        Returns
        -------
        uint8 ndarray of shape (n, 3, H, W)
            RGB, [0, 255]; the eyes lie at ``card().positions``.

        Raises
        ------
        FileNotFoundError, ValueError
            As :meth:`validate`.
        TypeError, ValueError
            For embeddings of a wrong type, shape or length, not finite, or zero.
        """
        decoder, card, device = self._ready()
        rows = restore_norm(self._rows(X), card.embedding_norm, card.recognizer)
        draw: Any = decoder.portraits if self.portraits else decoder
        faces = np.empty((len(rows), 3, *self.image_size), dtype=np.uint8)
        with torch.inference_mode():
            for start in range(0, len(rows), self.batch_size):
                batch = torch.from_numpy(rows[start : start + self.batch_size]).to(device)
                decoded = (255 * draw(batch)).round_().to(torch.uint8)
                faces[start : start + self.batch_size] = decoded.cpu().numpy()
        return faces

    def validate(self) -> FaceReconstructor:
        """Check parameters and checkpoint and load the weights, before any long work.

        Returns
        -------
        FaceReconstructor
            Itself.

        Raises
        ------
        FileNotFoundError
            When the checkpoint does not exist.
        ValueError
            When the checkpoint cannot be used or is for another recogniser, or a parameter is
            out of range.
        """
        self._ready()
        return self

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the faces, in pixels; loads the weights."""
        if self.portraits:
            return FFHQ_SIDE, FFHQ_SIDE
        return self._ready()[0].image_size

    def card(self) -> decoders.ModelCard:
        """Return the model card of the checkpoint, without loading its weights.

        For portraits, ``positions`` are those of FFHQ.
        """
        card = decoders.read_card(_path(self.checkpoint))
        return replace(card, positions=FFHQ_EYES) if self.portraits else card

    def describe(self) -> dict[str, Any]:
        """Return what decides the faces: the decoder's file, and whether they are portraits."""
        about: dict[str, Any] = {"sha256": sha256(_path(self.checkpoint))}
        return about | ({"portraits": True} if self.portraits else {})

    def _rows(self, X: object) -> np.ndarray:
        card = self.card()
        remedy = f"pass one embedding a row as {card.recognizer} makes them."
        return embedding_rows("X", X, card.embedding_size, remedy)

    def _ready(self) -> tuple[decoders.Decoder, decoders.ModelCard, torch.device]:
        whole_number("batch_size", self.batch_size)
        device = torch_device(self.device)
        decoder, card = shared_decoder(self.checkpoint, device)
        if self.portraits and not decoder.draws_portraits:
            raise InputError(
                f"`portraits` must be False for faces of {card.decoder}, got {self.portraits!r}; "
                "train a decoder with `--decoder generator`."
            )
        _check_recognizer(card, self.recognizer, self.recognizer_sha256)
        return decoder, card, device

    def _more_tags(self) -> dict[str, Any]:
        return super()._more_tags() | {"bob_checkpoint_extension": ".png"}


def _check_recognizer(card: decoders.ModelCard, name: str | None, digest: str | None) -> None:
    given = Identity(name or card.recognizer, digest)
    if not given.same_as(card.inverts):
        known = card.recognizer_sha256 or "hash not known"
        raise InputError(
            f"`recognizer` must be {card.recognizer} ({known}), for which the checkpoint was made, "
            f"got {given.name} ({digest or 'hash not known'}); pass embeddings of "
            f"{card.recognizer}, or train a decoder for {given.name}."
        )
