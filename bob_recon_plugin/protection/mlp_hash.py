"""MLP-Hash: bits at the end of a perceptron whose weights the key draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .matrices import orthonormal
from .scheme import Scheme, checked, whole
from .similarity import equal_bits


@dataclass(frozen=True)
class MLPHash(Scheme):
    """Hidden layers of random weights and rectifiers, a last layer, and its signs.

    Compared by the share of equal bits. Some bits lean to one side for
    everybody, as the last layer sees positive numbers alone.

    Parameters
    ----------
    bits : int
        Length of a template.
    hidden : tuple of int
        Widths of the hidden layers.

    Notes
    -----
    Weights have orthonormal columns, or rows where those are fewer; there are
    no biases; rectifiers and the threshold at zero are the choice here.

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
        whole("bits", self.bits)
        for width in self.hidden:
            whole("hidden", width)

    def protect(self, embeddings: np.ndarray, key: int) -> np.ndarray:
        """Return zeros and ones of shape (n, bits)."""
        rows = checked(embeddings)
        for layer, width in enumerate(self.hidden):
            rows = np.maximum(rows @ orthonormal(key, rows.shape[1], width, layer), 0)
        last = orthonormal(key, rows.shape[1], self.bits, len(self.hidden))
        return (rows @ last > 0).astype(np.float32)

    def similarity(self, enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
        """Share of equal bits."""
        return equal_bits(enrolled, presented)
