"""Recognition models as scikit-learn transformers for Bob's pipelines."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from torch import nn

from ..common.devices import torch_device
from ..common.load_once import load_once
from ..common.validation import InputError, InputTypeError, real_numbers
from .description import Recognizer
from .loading import load_module
from .registry import get
from .weights import locate, model_sha256, verified

logger = logging.getLogger(__name__)


@load_once
def _loaded(path: Path, recognizer: Recognizer, device: torch.device, _sha256: str) -> nn.Module:
    return load_module(recognizer, path).to(device)


def shared_module(
    recognizer: Recognizer, weights: str | Path | None, device: torch.device
) -> nn.Module:
    """Return the module of a recogniser, loaded once a process."""
    path = verified(recognizer, weights)
    # external data may change while the file itself stays
    return _loaded(path, recognizer, device, model_sha256(path, recognizer.network))


class RecognizerTransformer(TransformerMixin, BaseEstimator):
    """Embed cropped faces.

    Parameters
    ----------
    recognizer : str or Recognizer
        A name that :func:`~bob_recon_plugin.recognizers.names` lists, or a description.
    weights : str, optional
        Path of another copy of the weights file.
    batch_size : int, optional
        Faces embedded at once. Default: 256 on a GPU, 16 on a CPU, where larger batches do not
        fit into the caches.
    device : str
        ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``...

    Notes
    -----
    Embeddings equal those of onnxruntime to 1e-4 on a CPU. A GPU whose
    convolutions run in TF32, torch's default, is less exact.
    """

    def __init__(
        self,
        recognizer: str | Recognizer = "arcface-mbf",
        weights: str | None = None,
        batch_size: int | None = None,
        device: str = "auto",
    ):
        self.recognizer = recognizer
        self.weights = weights
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Any = None, y: Any = None) -> RecognizerTransformer:
        """Check ``X`` if it is given; nothing is learnt."""
        if X is not None:
            recognizer = get(self.recognizer)
            for i in range(len(X)):
                _checked(X[i], i, recognizer)
        return self

    def transform(self, X: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Embed faces.

        Parameters
        ----------
        X : array of shape (n, 3, H, W), or a list or SampleBatch of (3, H, W)
            RGB, [0, 255], integers or floats, cropped to the description's positions.

        Returns
        -------
        ndarray of shape (n, d), float32
            Raw embeddings, not normalised to unit length.

        Raises
        ------
        TypeError, ValueError
            For a face of a wrong type, shape or range, with its index.
        FileNotFoundError
            If the weights are missing.
        """
        recognizer = get(self.recognizer)
        device = torch_device(self.device)
        size = self.batch_size
        if size is None:
            size = 16 if device.type == "cpu" else 256
        if size < 1:
            raise InputError(f"`batch_size` must be at least 1, got {size}.")
        module = shared_module(recognizer, self.weights, device)
        embeddings = np.empty((len(X), recognizer.embedding_size), dtype=np.float32)
        for start in range(0, len(X), size):
            stop = min(start + size, len(X))
            faces = np.stack([_checked(X[i], i, recognizer) for i in range(start, stop)])
            _warn_if_unit_range(faces)
            with torch.inference_mode():
                batch = torch.from_numpy(faces.astype(np.float32, copy=False)).to(device)
                embeddings[start:stop] = module(batch).cpu().numpy()
        return embeddings

    def describe(self) -> dict[str, Any]:
        """Return what decides the embeddings: the description, and the weights by content."""
        recognizer = get(self.recognizer)
        about = asdict(recognizer)
        for name in ("name", "weights", "licence", "source"):
            del about[name]
        with suppress(FileNotFoundError):  # missing weights raise an error when they are used
            path = locate(recognizer, self.weights)
            about["sha256"] = model_sha256(path, recognizer.network)
        return about

    def _more_tags(self) -> dict[str, Any]:
        return {"requires_fit": False, "preserves_dtype": []}


def _checked(face: Any, index: int, recognizer: Recognizer) -> np.ndarray:
    shape = (3, *recognizer.image_size)
    try:
        array = real_numbers(face)
    except TypeError as error:
        raise InputTypeError(
            f"`X[{index}]` must be an array of numbers of shape {shape}, got "
            f"{type(face).__name__} ({error}); drop images that were not cropped."
        ) from error
    if array.shape != shape:
        raise InputError(
            f"`X[{index}]` must have shape {shape} for {recognizer.name}, got {array.shape}; "
            "give a batch of faces, channels first, cropped to this size."
        )
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():  # NaN and infinity both show in min or max
        raise InputError(f"`X[{index}]` must be finite, got NaN or infinity; check this face.")
    if low < -1 or high > 256:  # interpolation may leave the range by one level
        raise InputError(
            f"`X[{index}]` must lie in [0, 255], got values from {low:g} to {high:g}; "
            "give unnormalised pixels, since they are normalised here."
        )
    return array


def _warn_if_unit_range(faces: np.ndarray) -> None:
    if faces.dtype.kind == "f" and 0 < faces.max() <= 1:
        logger.warning(
            "The faces have no value above 1, but [0, 255] is expected: multiply by 255?"
        )
