"""Decoders: plain torch modules from raw embeddings to faces, and their files.

Every decoder maps a tensor of shape (n, d) to faces of shape (n, 3, H, W), RGB,
in [0, 1], and carries ``embedding_size`` (d) and ``image_size`` (H, W).
"""

from __future__ import annotations

from .card import ModelCard
from .checkpoint import DECODERS, load, read_card, save
from .dscasconv import DSCasConv
from .inference import for_inference
from .linear import LinearDecoder
from .nbnet import NbNet

__all__ = [
    "DECODERS",
    "DSCasConv",
    "LinearDecoder",
    "ModelCard",
    "NbNet",
    "for_inference",
    "load",
    "read_card",
    "save",
]
