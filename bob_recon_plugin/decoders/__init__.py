"""Decoders: plain torch modules from raw embeddings to faces, and their files.

Each file of this folder whose name does not begin with an underscore holds one decoder, a
subclass of :class:`Decoder` registered by the name of the file.
"""

from __future__ import annotations

import importlib
import pkgutil

from ._base import DECODERS, Decoder
from ._card import ModelCard
from ._checkpoint import load, read_card, save
from ._mobilestylegan import MobileStyleGAN, shared_generator

for _file in pkgutil.iter_modules(__path__):
    if not _file.name.startswith("_"):
        importlib.import_module(f"{__name__}.{_file.name}")

from .dscasconv import DSCasConv  # noqa: E402
from .generator import GeneratorPrior  # noqa: E402
from .linear import LinearDecoder  # noqa: E402
from .nbnet import NbNet  # noqa: E402

__all__ = [
    "DECODERS",
    "DSCasConv",
    "Decoder",
    "GeneratorPrior",
    "LinearDecoder",
    "MobileStyleGAN",
    "ModelCard",
    "NbNet",
    "load",
    "read_card",
    "save",
    "shared_generator",
]
