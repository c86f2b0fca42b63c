"""Estimate embeddings from protected templates with a known key.

All estimates are linear, and assume standard normal embeddings: the attacker needs no data of the
attacked people or of other people. Each scheme has an estimate in closed form; any other scheme is
estimated by ridge regression on random embeddings. The norm of an estimate has no meaning, since
protected templates do not contain the norm.
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

_DRAWN = 4096  # random embeddings, eight for each dimension of an embedding of 512
_LEAST_VARIANCE = 1e-12  # of units that are almost always zero
_RARE = 6.0  # standard deviations; bits beyond are equal for all people, without information


@singledispatch
def estimate(scheme: Scheme, protected: np.ndarray, key: int, size: int) -> np.ndarray:
    """Estimate directions of embeddings from protected templates of any scheme.

    Random embeddings are protected with the key, and regressed on their templates. The penalty is
    the total variance of the templates, which is the best if a template explains half of the
    variance of its embedding.

    Parameters
    ----------
    scheme : Scheme
    protected : float32 ndarray of shape (n, m)
    key : int
        The key of the templates.
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
    """Return the mean of templates (m,), and weights (m, d)."""
    drawn = gaussian(0, _DRAWN, size)  # the same for every key
    codes = scheme.protect(drawn, key)
    middle = codes.mean(axis=0)
    codes = codes - middle
    gram = codes.T @ codes
    gram.flat[:: len(gram) + 1] += np.trace(gram) / len(drawn)
    return middle, scipy.linalg.solve(gram, codes.T @ drawn, assume_a="pos")


@estimate.register
def _biohashing(scheme: BioHashing, protected: np.ndarray, key: int, size: int) -> np.ndarray:
    """Return the transposed projection: each bit informs about its own direction alone."""
    return (2 * protected - 1) @ orthonormal(key, size, scheme.bits).T


@estimate.register
def _mlp_hash(scheme: MLPHash, protected: np.ndarray, key: int, size: int) -> np.ndarray:
    """Invert each layer by the mean slopes of its units; rare bits have larger weights."""
    ones, weights = _through_layers(scheme, key, size)
    return (protected - ones) @ weights


@lru_cache(maxsize=4)
def _through_layers(scheme: MLPHash, key: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability (m,) that each bit is set, and the weights (m, d) of the bits.

    Units are assumed normal and uncorrelated, with mean and variance computed layer by layer.
    """
    mean, variance = np.zeros(size), np.ones(size)
    slopes = np.eye(size, dtype=np.float32)  # of every unit with respect to every dimension
    for layer, width in enumerate(scheme.hidden):
        weights = orthonormal(key, len(mean), width, layer)
        mean, variance = mean @ weights, variance @ weights**2
        deviation = np.sqrt(variance)
        active, density = ndtr(mean / deviation), _density(mean / deviation)
        slopes = (slopes @ weights) * active.astype(np.float32)
        squared = (mean**2 + variance) * active + mean * deviation * density
        mean = mean * active + deviation * density
        variance = np.maximum(squared - mean**2, _LEAST_VARIANCE)
    last = orthonormal(key, len(mean), scheme.bits, len(scheme.hidden))
    deviation = np.sqrt(variance @ last**2)
    standard = np.clip(mean @ last / deviation, -_RARE, _RARE)
    ones = ndtr(standard)
    weights = _density(standard) / deviation / (ones * (1 - ones))
    return ones.astype(np.float32), (slopes @ last * weights).T.astype(np.float32)


@estimate.register
def _projection(scheme: RandomProjection, protected: np.ndarray, key: int, size: int) -> np.ndarray:
    """Return the shortest embedding with this projection: the pseudo-inverse."""
    matrix = scheme.matrix(key, size)
    return scipy.linalg.solve(matrix.T @ matrix, protected.T, assume_a="pos").T @ matrix.T


@estimate.register
def _index_of_max(scheme: IndexOfMax, protected: np.ndarray, key: int, size: int) -> np.ndarray:
    """Ridge regression whose penalty follows from the number of directions.

    By Bussgang's theorem, the indicator of the nearest direction is a linear function of the
    group's products plus uncorrelated noise. The slope is ``mu / (q - 1)``, where ``mu`` is the
    mean of the largest of ``q`` standard normal numbers, and the total variance is ``1 / q``.
    """
    matrix, factor = _centred(scheme, key, size)
    nearest = np.zeros((len(protected), size), dtype=np.float32)
    for group, index in zip(matrix, protected.astype(int).T, strict=True):
        nearest += group[index]
    return scipy.linalg.cho_solve(factor, nearest.T).T


@lru_cache(maxsize=4)
def _centred(scheme: IndexOfMax, key: int, size: int) -> tuple[np.ndarray, tuple[np.ndarray, bool]]:
    """Return directions minus their group's mean, and the factor of the penalised Gram matrix."""
    q = scheme.directions
    matrix = scheme.matrix(key, size).reshape(scheme.hashes, q, size)
    matrix = matrix - matrix.mean(axis=1, keepdims=True)
    flat = matrix.reshape(-1, size)
    gram = flat.T @ flat
    slope = mean_of_largest(q) / (q - 1)
    gram.flat[:: size + 1] += size * (1 / q - slope**2) / slope**2
    return matrix, scipy.linalg.cho_factor(gram)


def _density(x: Any) -> Any:
    """Density of the standard normal distribution."""
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


@lru_cache(maxsize=16)
def mean_of_largest(count: int) -> float:
    """Mean of the largest of ``count`` independent standard normal numbers."""

    def density(x: float) -> float:
        return x * count * _density(x) * ndtr(x) ** (count - 1)

    return float(quad(density, -math.inf, math.inf)[0])


@estimate.register
def _quantised(
    scheme: QuantisedEmbedding, protected: np.ndarray, key: int, size: int
) -> np.ndarray:
    """Return the middles of the levels unchanged: they are an embedding."""
    return protected
