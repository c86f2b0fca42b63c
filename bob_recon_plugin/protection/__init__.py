"""Template protection: schemes, protected Bob pipelines, and the inversion by an attacker.

A *scheme* transforms embeddings to protected templates with a key, and computes the similarity of
two protected templates. :class:`ProtectedComparison` adds a scheme to any Bob pipeline.
:class:`InvertProtection` is the template step by which an attacker estimates embeddings from
protected templates.
"""

from __future__ import annotations

from .biohashing import BioHashing
from .comparison import SCENARIOS, ProtectedComparison
from .index_of_max import IndexOfMax
from .inversion import InvertProtection
from .keys import attackers_key, subjects_key
from .mlp_hash import MLPHash
from .projection import RandomProjection
from .protect import ProtectTemplates
from .quantised import QuantisedEmbedding
from .scheme import Scheme

__all__ = [
    "SCENARIOS",
    "BioHashing",
    "IndexOfMax",
    "InvertProtection",
    "MLPHash",
    "ProtectTemplates",
    "ProtectedComparison",
    "QuantisedEmbedding",
    "RandomProjection",
    "Scheme",
    "attackers_key",
    "subjects_key",
]
