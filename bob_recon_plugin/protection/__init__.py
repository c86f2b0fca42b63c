"""Template protection between embedding and comparison, as a system under attack.

A *scheme* turns embeddings into protected templates under a key, and says how
like two of them are. :class:`ProtectedComparison` puts one into any Bob
pipeline; :class:`InvertProtection` is what an attacker does to a protected
template before a decoder sees it.
"""

from __future__ import annotations

from .biohashing import BioHashing
from .comparison import SCENARIOS, ProtectedComparison
from .index_of_max import IndexOfMax
from .inversion import InvertProtection
from .keys import attackers_key, subjects_key
from .mlp_hash import MLPHash
from .projection import RandomProjection
from .quantised import QuantisedEmbedding
from .scheme import Scheme
from .stored import ProtectTemplates

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
