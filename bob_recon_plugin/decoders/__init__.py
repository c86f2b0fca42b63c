"""Decoders: plain torch modules from raw embeddings to faces, and their files.

Every decoder maps a tensor of shape (n, d) to faces of shape (n, 3, H, W), RGB,
in [0, 1], and carries ``embedding_size`` (d) and ``image_size`` (H, W).
"""

from __future__ import annotations

from .card import ModelCard
from .checkpoint import DECODERS, load, read_card, save
from .dscasconv import DSCasConv
from .generator_prior import GeneratorPrior
from .inference import for_inference
from .linear import LinearDecoder
from .mobilestylegan import MobileStyleGAN, generator_folder
from .nbnet import NbNet

__all__ = [
    "DECODERS",
    "DSCasConv",
    "GeneratorPrior",
    "LinearDecoder",
    "MobileStyleGAN",
    "ModelCard",
    "NbNet",
    "for_inference",
    "generator_folder",
    "load",
    "read_card",
    "save",
]
