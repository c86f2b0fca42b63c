"""FaceReconstructor: from stolen embeddings to faces, as a scikit-learn transformer."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import decoders
from ..common.files import sha256
from ..common.rows import FixedTransformer, at_norm, embedding_rows
from ..common.validation import InputError, existing_file
from ..images.geometry import FFHQ_EYES, FFHQ_SIDE

_LOADING = threading.Lock()


@lru_cache(maxsize=4)
def _load(
    path: str, modified: int, size: int, device: str
) -> tuple[torch.nn.Module, decoders.ModelCard]:
    decoder, card = decoders.load(path, device)
    return decoders.for_inference(decoder), card


def shared_decoder(
    checkpoint: str | os.PathLike[str], device: str
) -> tuple[torch.nn.Module, decoders.ModelCard]:
    """Return a decoder in its fastest form and its card.

    A checkpoint is loaded once a process, and again when its file changes.
    """
    file = existing_file(
        "checkpoint", Path(checkpoint), "give the path of a decoder written by decoders.save."
    ).resolve()
    state = file.stat()
    with _LOADING:  # threads that start together load one copy
        return _load(str(file), state.st_mtime_ns, state.st_size, device)


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
        return self._ready()[0].image_size  # type: ignore[return-value]

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

    def _ready(self) -> tuple[torch.nn.Module, decoders.ModelCard, str]:
        if not isinstance(self.batch_size, (int, np.integer)) or self.batch_size < 1:
            raise InputError(
                f"`batch_size` must be a positive integer, got {self.batch_size!r}; try 32."
            )
        device = torch_device(self.device)
        decoder, card = shared_decoder(self.checkpoint, device)
        if self.portraits and not hasattr(decoder, "portraits"):
            raise InputError(
                f"`portraits` must be False for faces of {card.decoder}, got {self.portraits!r}; "
                "train a decoder with `--decoder generator`."
            )
        _check_recognizer(card, self.recognizer, self.recognizer_sha256)
        return decoder, card, device

    def _more_tags(self) -> dict[str, Any]:
        return super()._more_tags() | {"bob_checkpoint_extension": ".png"}


def torch_device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f'`device` must be "auto" or a torch device, got {name!r}; try "auto".'
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f'`device` must be one that torch can use here, got {name!r} without CUDA; try "auto".'
        )
    return str(device)


def _check_recognizer(card: decoders.ModelCard, name: str | None, digest: str | None) -> None:
    """Hashes decide where both are known, names otherwise."""
    remedy = "invert its own embeddings, or train a decoder for this one."
    if digest is not None and card.recognizer_sha256 is not None:
        if digest.lower() != card.recognizer_sha256:
            raise InputError(
                f"`recognizer_sha256` must be {card.recognizer_sha256} ({card.recognizer}), for "
                f"which the checkpoint was made, got {digest} ({name or 'no name'}); {remedy}"
            )
    elif name is not None and name != card.recognizer:
        raise InputError(
            f"`recognizer` must be {card.recognizer!r}, for which the checkpoint was made, "
            f"got {name!r}; {remedy}"
        )
