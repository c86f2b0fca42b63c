"""Similarities between all enrolled and all presented templates."""

from __future__ import annotations

import numpy as np


def equal_share(enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
    """Share of equal entries; for bits, one minus the normalised Hamming distance.

    Parameters
    ----------
    enrolled : ndarray of shape (n, m)
    presented : ndarray of shape (k, m)

    Returns
    -------
    float64 ndarray of shape (n, k), in [0, 1]

    Examples
    --------
    >>> equal_share(np.array([[0, 7, 3, 3]]), np.array([[0, 7, 3, 1], [5, 5, 3, 3]]))
    array([[0.75, 0.5 ]])
    """
    shares = np.empty((len(enrolled), len(presented)))
    for row, template in enumerate(enrolled):
        shares[row] = (presented == template).mean(axis=1)
    return shares


def equal_bits(enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
    """Share of equal bits, as :func:`equal_share`, by a faster matrix product.

    Examples
    --------
    >>> equal_bits(np.array([[0.0, 1.0, 1.0, 1.0]]), np.array([[0.0, 1.0, 0.0, 1.0]]))
    array([[0.75]])
    """
    signs = (2 * np.asarray(bits, dtype=np.float32) - 1 for bits in (enrolled, presented))
    one, other = signs  # the product is equal minus unequal bits, exact up to 2**24 bits
    return 0.5 + (one @ other.T).astype(np.float64) / (2 * one.shape[1])


def cosine(enrolled: np.ndarray, presented: np.ndarray) -> np.ndarray:
    """Cosine of the angle between rows, in [-1, 1]; 0 for rows of zeros.

    Examples
    --------
    >>> cosine(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0], [0.0, 0.0]]))
    array([[0.96, 0.  ]])
    """
    return unit(np.asarray(enrolled, np.float64)) @ unit(np.asarray(presented, np.float64)).T


def unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to norm 1; rows of zeros stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)
