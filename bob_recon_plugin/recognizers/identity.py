"""Which recognition model stands in a Bob transformer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.pipeline import Pipeline

from ..common.files import sha256
from .bob_models import known_name
from .registry import get, names
from .transformer import RecognizerTransformer
from .weights import locate, model_sha256


@dataclass(frozen=True)
class Identity:
    """Name of a recognition model, hash of its weights file, length of its embeddings.

    ``sha256`` and ``embedding_size`` are None where they cannot be known
    without loading the model.
    """

    name: str
    sha256: str | None = None
    embedding_size: int | None = None

    def same_as(self, other: Identity) -> bool:
        """Whether both are one recognition model: hashes decide where both are known, else names.

        Examples
        --------
        >>> Identity("a", "0F").same_as(Identity("b", "0f"))
        True
        >>> Identity("a", "0f").same_as(Identity("a", "0e"))
        False
        >>> Identity("a").same_as(Identity("a", "0e"))
        True
        """
        if self.sha256 is not None and other.sha256 is not None:
            return self.sha256.lower() == other.sha256.lower()
        return self.name == other.name


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
        digest = model_sha256(locate(recognizer, step.weights), recognizer.network)
    except FileNotFoundError:  # a file is missing, or its package is not installed
        digest = recognizer.sha256
    return Identity(recognizer.name, digest, recognizer.embedding_size)


def _of_bob(step: Any) -> Identity:
    checkpoint = Path(step.checkpoint_path) if step.checkpoint_path else None
    digest = sha256(checkpoint) if checkpoint and checkpoint.is_file() else None
    name = known_name(step)
    if name in names():
        return Identity(name, digest, get(name).embedding_size)
    kind = type(step).__name__
    return Identity(f"{kind}-{checkpoint.stem}" if checkpoint else kind, digest)
