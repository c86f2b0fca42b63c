"""Estimates of embeddings from protected templates whose key is known.

All of them are linear, and take embeddings as standard normal: of the
attacked people, and of people at large, the attacker needs to know nothing.
What the structure of a scheme gives in closed form is taken, else a ridge
regression on drawn embeddings. Lengths mean nothing, as a protected template
does not tell the length.
"""

from __future__ import annotations

import math
from functools import lru_cache, singledispatch
from typing import Any

import numpy as np
import scipy.linalg
from scipy.integrate import quad
from scipy.special import ndtr

from .biohashing import BioHashing
from .index_of_max import IndexOfMax
from .matrices import gaussian, orthonormal
from .mlp_hash import MLPHash
from .projection import RandomProjection
from .quantised import QuantisedEmbedding
from .scheme import Scheme

_DRAWN = 4096  # embeddings; eight a dimension of a usual one
_LEAST = 1e-12  # variance of a unit that is silent for almost everybody
_RARE = 6.0  # standard deviations; a bit beyond is the same for everybody and tells nothing


@singledispatch
def estimate(scheme: Scheme, protected: np.ndarray, key: int, size: int) -> np.ndarray:
    """Estimate directions of embeddings from protected templates: any scheme.

    Embeddings are drawn, protected under the key, and regressed on their
    templates. The penalty is the templates' total variance: right where half
    of an embedding's variance can be told from its template.

    Parameters
    ----------
    scheme : Scheme
    protected : float32 ndarray of shape (n, m)
    key : int
        Under which they were protected.
    size : int
        Length ``d`` of an embedding.

    Returns
    -------
    float32 ndarray of shape (n, d)
    """
    middle, weights = _ridge(scheme, key, size)
    return (protected - middle) @ weights


@lru_cache(maxsize=4)
def _ridge(scheme: Scheme, key: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of templates, and weights of shape (m, d)."""
    drawn = gaussian(0, _DRAWN, size)  # the same for every key
    codes = scheme.protect(drawn, key)
    middle = codes.mean(axis=0)
    codes = codes - middle
    gram = codes.T @ codes
    gram.flat[:: len(gram) + 1] += np.trace(gram) / len(drawn)
    return middle, scipy.linalg.solve(gram, codes.T @ drawn, assume_a="pos")


@estimate.register
def _biohashing(scheme: BioHashing, protected: np.ndarray, key: int, size: int) -> np.ndarray:
    """Bits of orthonormal directions tell of nothing but their own: the transposed projection."""
    return (2 * protected - 1) @ orthonormal(key, size, scheme.bits).T


@estimate.register
def _mlp_hash(scheme: MLPHash, protected: np.ndarray, key: int, size: int) -> np.ndarray:
    """Go back through the layers, each unit by its mean slope; a rare bit tells more."""
    ones, weights = _through_layers(scheme, key, size)
    return (protected - ones) @ weights


@lru_cache(maxsize=4)
def _through_layers(scheme: MLPHash, key: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each bit is set, and what it weighs, of shape (m, d).

    Units are taken as normal and uncorrelated, of the mean and variance that
    the layers before give them.
    """
    mean, variance = np.zeros(size), np.ones(size)
    slopes = np.eye(size, dtype=np.float32)  # of every unit by every dimension
    for layer, width in enumerate(scheme.hidden):
        weights = orthonormal(key, len(mean), width, layer)
        mean, variance = mean @ weights, variance @ weights**2
        deviation = np.sqrt(variance)
        active, density = ndtr(mean / deviation), _density(mean / deviation)
        slopes = (slopes @ weights) * active.astype(np.float32)
        squared = (mean**2 + variance) * active + mean * deviation * density
        mean = mean * active + deviation * density
        variance = np.maximum(squared - mean**2, _LEAST)
    last = orthonormal(key, len(mean), scheme.bits, len(scheme.hidden))
    deviation = np.sqrt(variance @ last**2)
    standard = np.clip(mean @ last / deviation, -_RARE, _RARE)
    ones = ndtr(standard)
    told = _density(standard) / deviation / (ones * (1 - ones))
    return ones.astype(np.float32), (slopes @ last * told).T.astype(np.float32)


@estimate.register
def _projection(scheme: RandomProjection, protected: np.ndarray, key: int, size: int) -> np.ndarray:
    """Return the shortest embedding with this projection: the pseudo-inverse."""
    matrix = scheme.matrix(key, size)
    return scipy.linalg.solve(matrix.T @ matrix, protected.T, assume_a="pos").T @ matrix.T


@estimate.register
def _index_of_max(scheme: IndexOfMax, protected: np.ndarray, key: int, size: int) -> np.ndarray:
    """Ridge regression whose penalty follows from the number of directions.

    An indicator of the nearest direction is, by Bussgang's theorem, a linear
    function of the group's products and noise that they do not correlate with:
    a slope of ``mu / (q - 1)``, with ``mu`` the mean of the largest of ``q``
    normal numbers, and a variance of ``1 / q`` in all.
    """
    matrix, factor = _centred(scheme, key, size)
    nearest = np.zeros((len(protected), size), dtype=np.float32)
    for group, index in zip(matrix, protected.astype(int).T, strict=True):
        nearest += group[index]
    return scipy.linalg.cho_solve(factor, nearest.T).T


@lru_cache(maxsize=4)
def _centred(scheme: IndexOfMax, key: int, size: int) -> tuple[np.ndarray, tuple[np.ndarray, bool]]:
    """Directions less the mean of their group, and the factor of their penalised Gram matrix."""
    q = scheme.directions
    matrix = scheme.matrix(key, size).reshape(scheme.hashes, q, size)
    matrix = matrix - matrix.mean(axis=1, keepdims=True)
    flat = matrix.reshape(-1, size)
    gram = flat.T @ flat
    slope = mean_of_largest(q) / (q - 1)
    gram.flat[:: size + 1] += size * (1 / q - slope**2) / slope**2
    return matrix, scipy.linalg.cho_factor(gram)


def _density(x: Any) -> Any:
    """Density of a standard normal number."""
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


@lru_cache(maxsize=16)
def mean_of_largest(count: int) -> float:
    """Mean of the largest of some independent standard normal numbers."""

    def density(x: float) -> float:
        return x * count * _density(x) * ndtr(x) ** (count - 1)

    return float(quad(density, -math.inf, math.inf)[0])


@estimate.register
def _quantised(
    scheme: QuantisedEmbedding, protected: np.ndarray, key: int, size: int
) -> np.ndarray:
    """Return the middles of the levels: they are an embedding as they are."""
    return protected
