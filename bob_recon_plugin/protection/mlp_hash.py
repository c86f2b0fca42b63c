"""MLP-Hash: signs of the output of a perceptron with weights drawn with the key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common.validation import whole_number
from .matrices import orthonormal
from .scheme import Scheme, checked
from .similarity import equal_bits


@dataclass(frozen=True)
class MLPHash(Scheme):
    """Signs of the output of a perceptron with random weights and ReLU units.

    Similarity is the share of equal bits. Some bits have the same value for most people, since the
    input of the last layer is never negative.

    Parameters
    ----------
    bits : int
        Length of a template.
    hidden : tuple of int
        Widths of the hidden layers.

    Notes
    -----
    Weights have orthonormal columns, or rows if those are fewer. There are no biases. ReLU and the
    threshold at zero are our choice.

    References
    ----------
    H. Otroshi Shahreza, V. Krivokuća Hahn, S. Marcel, "MLP-Hash: Protecting face templates via
    hashing of randomized multi-layer perceptron", EUSIPCO 2023.

    Examples
    --------
    >>> MLPHash(bits=6, hidden=(8,)).protect([[1, 2, 3], [2, 4, 6]], key=7).std(axis=0).max()
    0.0
    """

    bits: int = 512
    hidden: tuple[int, ...] = (512,)

    def __post_init__(self) -> None:
        whole_number("bits", self.bits)
        for width in self.hidden:
            whole_number("hidden", width)

    def protect(self, embeddings: np.ndarray, key: int) -> np.ndarray:
        """Return zeros and ones of shape (n, bits)."""
        rows = checked(embeddings)
        for layer, width in enumerate(self.hidden):
            rows = np.maximum(rows @ orthonormal(key, rows.shape[1], width, layer), 0)
        last = orthonormal(key, rows.shape[1], self.bits, len(self.hidden))
        return (rows @ last > 0).astype(np.float32)

    def similarity(self, enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
        """Return the share of equal bits."""
        return equal_bits(enrolled, presented)
