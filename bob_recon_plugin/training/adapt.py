"""Fit a linear map between two models' embeddings, on few faces that both have embedded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.record import versions
from ..common.validation import InputError
from ..faces.dataset import FaceDataset
from ..inversion.adapter import AdapterCard, save

_ALPHA = 0.02  # ridge penalty a face, relative to the mean square of the embeddings' entries
_ALPHAS = np.logspace(-4, 2, 13)
_FEWEST = 10
_ONE_IN = 5  # fitting faces are held out to choose the penalty


def linear_map(here: np.ndarray, there: np.ndarray, alpha: float = _ALPHA) -> np.ndarray:
    """Ridge regression without intercept: ``here @ result`` approximates ``there``.

    Parameters
    ----------
    here, there : ndarray of shape (n, d), (n, e)
        Embeddings of the same faces by two models.
    alpha : float
        Penalty a face, relative to the mean square of the entries of ``here``.

    Returns
    -------
    float32 ndarray of shape (d, e)
    """
    x, y = here.astype(np.float64), there.astype(np.float64)
    gram = x.T @ x
    gram.flat[:: len(gram) + 1] += alpha * len(x) * np.square(x).mean()
    return np.linalg.solve(gram, x.T @ y).astype(np.float32)


@dataclass(frozen=True)
class Fit:
    """A linear map with an offset, and how it was chosen.

    Attributes
    ----------
    weight : float32 ndarray of shape (d, e)
    bias : float32 ndarray of shape (e,)
    alpha : float
        The penalty chosen.
    cosine : float
        Mean of mapped and true embeddings of the held-out faces, in [-1, 1].
    """

    weight: np.ndarray
    bias: np.ndarray
    alpha: float
    cosine: float


def fit(here: np.ndarray, there: np.ndarray) -> Fit:
    """Fit ``x @ weight + bias`` to the embeddings of another model.

    One face in five is held out to choose the penalty, by the mean cosine;
    the map is then fitted on all. A penalty shortens what comes out; the map
    is stretched so that held-out faces get, on average, the norm they should
    have, since a decoder sees the norm.

    Parameters
    ----------
    here, there : ndarray of shape (n, k, d), (n, k, e)
        Embeddings of k pictures (a face and its mirror image) of the same n
        faces, in an order that says nothing; n from 10 on.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        For fewer faces.
    """
    n = len(here)
    if n < _FEWEST:
        raise InputError(
            f"`faces` must be at least {_FEWEST}, got {n}; more than their embeddings have "
            "dimensions are better."
        )
    held_out = n // _ONE_IN
    kept, validated = slice(held_out, None), slice(None, held_out)
    true = _rows(there[validated])
    best = Fit(np.empty(0), np.empty(0), 0.0, -np.inf)
    for alpha in _ALPHAS:
        weight, bias = _affine(here[kept], there[kept], alpha)
        mapped = _rows(here[validated]) @ weight + bias
        norms = np.linalg.norm(mapped, axis=1), np.linalg.norm(true, axis=1)
        cosine = float(((mapped * true).sum(axis=1) / (norms[0] * norms[1])).mean())
        if cosine > best.cosine:
            best = Fit(weight, bias, float(alpha), cosine)
            stretch = norms[1].mean() / norms[0].mean()
    weight, bias = _affine(here, there, best.alpha)
    return Fit(stretch * weight, stretch * bias, best.alpha, best.cosine)


def _affine(here: np.ndarray, there: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression with an intercept, which no penalty touches."""
    x, y = _rows(here), _rows(there)
    weight = linear_map(x - x.mean(axis=0), y - y.mean(axis=0), alpha)
    return weight, y.mean(axis=0) - x.mean(axis=0) @ weight


def _rows(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(-1, pictures.shape[-1])


def paired(
    source: FaceDataset, target: FaceDataset, n: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings of images that two prepared datasets share, by their keys.

    Parameters
    ----------
    source, target : FaceDataset
        Of the same images, for two recognition models.
    n : int, optional
        How many images, drawn from the shared ones; those of a smaller number
        are among those of a larger one. Default: all.
    seed : int
        Of the draw.

    Returns
    -------
    here, there : float32 ndarray of shape (n, 2, d), (n, 2, e)
        Of every face, and of its mirror image.

    Raises
    ------
    ValueError
        When they share no image, or fewer than asked for.
    """
    places = {key: place for place, key in enumerate(target.keys)}
    shared = [(row, places[key]) for row, key in enumerate(source.keys) if key in places]
    if not shared:
        raise InputError(
            "`source` and `target` must be made of the same images, got none in both: "
            f"{source.paths[0]} has {source.keys[0]!r}, {target.paths[0]} has "
            f"{target.keys[0]!r}; run `bob bio recon prepare` on one folder for both models."
        )
    wanted = len(shared) if n is None else n
    if wanted > len(shared):
        raise InputError(
            f"`n` must be at most {len(shared)}, the number of images in both datasets, got {n}; "
            "prepare more."
        )
    order = np.random.default_rng(seed).permutation(len(shared))[:wanted]
    here, there = np.array(shared)[order].T
    return source.embeddings[here], target.embeddings[there]


def adapt(
    source: FaceDataset, target: FaceDataset, path: str | Path, n: int | None = None, seed: int = 0
) -> AdapterCard:
    """Fit an adapter on images that two prepared datasets share, and write it.

    Parameters
    ----------
    source, target, n, seed
        As for :func:`paired`.
    path : str or Path
        File to write.

    Returns
    -------
    AdapterCard

    Raises
    ------
    ValueError
        As :func:`paired` and :func:`fit`, and for two datasets of one model.
    """
    one, other = source.about, target.about
    if one.recognition.same_as(other.recognition):
        raise InputError(
            f"`source` and `target` must be prepared for two recognition models, got "
            f"{one.recognizer} in both {source.paths[0]} and {target.paths[0]}; "
            "its templates need no adapter."
        )
    here, there = paired(source, target, n, seed)
    found = fit(here, there)
    card = AdapterCard(
        source=one.recognizer,
        target=other.recognizer,
        source_sha256=one.recognizer_sha256,
        target_sha256=other.recognizer_sha256,
        source_size=one.embedding_size,
        target_size=other.embedding_size,
        faces=len(here),
        alpha=found.alpha,
        cosine=found.cosine,
        data=one.about or one.source,
        versions=versions(),
        source_norm=float(np.linalg.norm(_rows(here), axis=1).mean()),
    )
    save(path, found.weight, found.bias, card)
    return card
