"""Recognition models, as differentiable torch modules and as Bob transformers."""

from __future__ import annotations

from .bob_models import from_bob
from .bob_pipeline import bob_pipeline
from .description import Recognizer
from .identity import Identity, identify
from .loading import load_module
from .registry import from_onnx, get, names
from .transformer import RecognizerTransformer, shared_module
from .weights import model_sha256, verified

__all__ = [
    "Identity",
    "Recognizer",
    "RecognizerTransformer",
    "bob_pipeline",
    "from_bob",
    "from_onnx",
    "get",
    "identify",
    "load_module",
    "model_sha256",
    "names",
    "shared_module",
    "verified",
]
