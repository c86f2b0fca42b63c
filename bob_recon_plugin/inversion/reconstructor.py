"""FaceReconstructor: from stolen embeddings to faces, as a scikit-learn transformer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import decoders
from ..common.devices import torch_device
from ..common.files import sha256
from ..common.load_once import load_once
from ..common.rows import FixedTransformer, at_norm, embedding_rows
from ..common.validation import InputError, existing_file
from ..images.geometry import FFHQ_EYES, FFHQ_SIDE
from ..recognizers import Identity


@load_once
def _loaded(path: Path, device: torch.device) -> tuple[decoders.Decoder, decoders.ModelCard]:
    decoder, card = decoders.load(path, device)
    return decoder.for_inference(), card


def shared_decoder(
    checkpoint: str | os.PathLike[str], device: torch.device
) -> tuple[decoders.Decoder, decoders.ModelCard]:
    """Return a decoder in its fastest form and its card, loaded once a process."""
    remedy = "give the path of a decoder written by decoders.save."
    return _loaded(existing_file("checkpoint", Path(checkpoint), remedy), device)


class FaceReconstructor(FixedTransformer):
    """Reconstruct faces from embeddings.

    Nothing is learnt from data and the estimator stays as small as its
    parameters: weights are read when first needed, once a process, and are
    shared by all copies there, so that clones and Dask tasks cost nothing.

    Parameters
    ----------
    checkpoint : path
        A decoder written by :func:`bob_recon_plugin.decoders.save`.
    recognizer : str or None
        Name of the model whose embeddings come in. None accepts any.
    recognizer_sha256 : str or None
        SHA-256 of that model's weights. Where the checkpoint knows its own
        too, the two decide; otherwise the names do.
    batch_size : int
        Embeddings decoded at once. More than 32 gain nothing on a CPU, and
        lose where large tensors go back to the system each time. Faces differ
        between batch sizes by rounding alone: in single pixels and by one
        grey level at most.
    device : str
        "cpu", "cuda", "cuda:1", ...; "auto" is "cuda" where there is one.
    portraits : bool
        Whole pictures of 1024 x 1024 pixels, aligned as FFHQ is, from a decoder that
        draws such (:class:`~bob_recon_plugin.decoders.GeneratorPrior`). They take 3 MB each.

    Examples
    --------
    Given a checkpoint and an array of shape (n, 512):

    >>> reconstructor = FaceReconstructor("decoder.safetensors", "arcface")
    >>> faces = reconstructor.transform(embeddings)  # doctest: +SKIP
    >>> faces.shape, faces.dtype  # doctest: +SKIP
    ((10, 3, 112, 112), dtype('uint8'))
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
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
            Integers or floats. Rows shorter than half or longer than twice the card's
            ``embedding_norm`` were scaled before they were stored (to unit length, into 8 bits):
            they are brought to that norm, with a warning. Others stay as they are.

        Returns
        -------
        uint8 ndarray of shape (n, 3, H, W)
            RGB, [0, 255]; the eyes lie at ``card().positions``.

        Raises
        ------
        FileNotFoundError, ValueError
            As :meth:`validate`.
        TypeError, ValueError
            For embeddings of another type, shape or length, not finite, or zero.
        """
        decoder, card, device = self._ready()
        rows = at_norm(self._rows(X), card.embedding_norm, card.recognizer)
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
            When the checkpoint cannot be used, was made for another
            recogniser, or a parameter is out of range.
        """
        self._ready()
        return self

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of its faces, in pixels; the weights are loaded for it."""
        if self.portraits:
            return FFHQ_SIDE, FFHQ_SIDE
        return self._ready()[0].image_size

    def card(self) -> decoders.ModelCard:
        """Return the model card of the checkpoint, without loading its weights.

        Of portraits its ``positions`` are FFHQ's.
        """
        card = decoders.read_card(self.checkpoint)
        return replace(card, positions=FFHQ_EYES) if self.portraits else card

    def describe(self) -> dict[str, Any]:
        """What decides its faces: the decoder's file, and which pictures it draws."""
        about: dict[str, Any] = {"sha256": sha256(self.checkpoint)}
        return about | ({"portraits": True} if self.portraits else {})

    def _rows(self, X: object) -> np.ndarray:
        card = self.card()
        remedy = f"pass one embedding a row as {card.recognizer} makes them."
        return embedding_rows("X", X, card.embedding_size, remedy)

    def _ready(self) -> tuple[decoders.Decoder, decoders.ModelCard, torch.device]:
        if not isinstance(self.batch_size, (int, np.integer)) or self.batch_size < 1:
            raise InputError(
                f"`batch_size` must be a positive integer, got {self.batch_size!r}; try 32."
            )
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
            f"got {given.name} ({digest or 'hash not known'}); invert its own embeddings, or train "
            "a decoder for this one."
        )
