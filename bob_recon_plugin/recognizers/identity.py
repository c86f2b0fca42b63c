"""Which recognition model stands in a Bob transformer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sklearn.pipeline import Pipeline

from ..common.files import sha256
from ..common.identity import Identity
from .bob_models import known_name
from .registry import get, names
from .transformer import RecognizerTransformer
from .weights import locate


def identify(transformer: Any) -> Identity:
    """Tell which recognition model stands in a transformer.

    Looks through scikit-learn pipelines and Bob's wrappers for one of our
    transformers or one of Bob's torch models. It downloads and loads nothing;
    the weights file is hashed if it is there.

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
            return _of_ours(step)
        if isinstance(step, PyTorchModel):
            return _of_bob(step)
    return Identity(type(cores[-1]).__name__)


def _cores(transformer: Any) -> list[Any]:
    """Steps in order, without the wrappers around them."""
    while hasattr(transformer, "estimator"):
        transformer = transformer.estimator
    if isinstance(transformer, Pipeline) and transformer.steps:
        return [core for _, step in transformer.steps for core in _cores(step)]
    return [transformer]


def _of_ours(step: RecognizerTransformer) -> Identity:
    recognizer = get(step.recognizer)
    try:
        path = locate(recognizer, step.weights)
    except FileNotFoundError:  # its package is not installed
        return Identity(recognizer.name, recognizer.sha256, recognizer.embedding_size)
    return Identity(
        recognizer.name, _hash_if_there(path) or recognizer.sha256, recognizer.embedding_size
    )


def _of_bob(step: Any) -> Identity:
    checkpoint = Path(step.checkpoint_path) if step.checkpoint_path else None
    digest = _hash_if_there(checkpoint) if checkpoint else None
    name = known_name(step)
    if name in names():
        return Identity(name, digest, get(name).embedding_size)
    kind = type(step).__name__
    return Identity(f"{kind}-{checkpoint.stem}" if checkpoint else kind, digest)


def _hash_if_there(path: Path) -> str | None:
    return sha256(path) if path.is_file() else None
