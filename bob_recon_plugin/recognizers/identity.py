"""Identify the recognition model in a Bob transformer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from sklearn.pipeline import Pipeline

from ..common.files import sha256
from ..common.identity import Identity
from .bob_models import known_name
from .registry import get, names
from .transformer import RecognizerTransformer
from .weights import locate, model_sha256


def identify(transformer: Any) -> Identity:
    """Return the recognition model in a transformer.

    Searches scikit-learn pipelines and Bob's wrappers for a :class:`RecognizerTransformer` or one
    of Bob's torch models. Nothing is downloaded or loaded; the weights are hashed if they exist.

    Parameters
    ----------
    transformer : estimator
        The transformer of a Bob pipeline, or a step of it, wrapped or not.

    Returns
    -------
    Identity
        Any other transformer has the class name of its last step as its name.
    """
    from bob.bio.face.embeddings.pytorch import PyTorchModel

    cores = _cores(transformer)
    for step in reversed(cores):
        if isinstance(step, RecognizerTransformer):
            return _identify_own(step)
        if isinstance(step, PyTorchModel):
            return _identify_bob(step)
    return Identity(type(cores[-1]).__name__)


def _cores(transformer: Any) -> list[Any]:
    """Return the steps in order, without Bob's wrappers."""
    from bob.pipelines import BaseWrapper

    while isinstance(transformer, BaseWrapper):
        transformer = transformer.estimator
    if isinstance(transformer, Pipeline) and transformer.steps:
        return [core for _, step in transformer.steps for core in _cores(step)]
    return [transformer]


def _identify_own(step: RecognizerTransformer) -> Identity:
    recognizer = get(step.recognizer)
    digest = recognizer.sha256
    with suppress(FileNotFoundError):  # a file is missing, or its package is not installed
        digest = model_sha256(locate(recognizer, step.weights), recognizer.network)
    return Identity(recognizer.name, digest, recognizer.embedding_size)


def _identify_bob(step: Any) -> Identity:
    checkpoint = Path(step.checkpoint_path) if step.checkpoint_path else None
    digest = sha256(checkpoint) if checkpoint and checkpoint.is_file() else None
    name = known_name(step)
    if name in names():
        return Identity(name, digest, get(name).embedding_size)
    kind = type(step).__name__
    return Identity(f"{kind}-{checkpoint.stem}" if checkpoint else kind, digest)
