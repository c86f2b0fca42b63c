"""Damaged templates: they leak in part, with noise, or in few bits, and an attacker repairs them.

A decoder is trained on whole, exact embeddings. Each transformer here simulates a damage to a
stolen template, and then the repair by an attacker who knows of the damage. The repair restores the
norm of embeddings. The cosine does not depend on the norm, but a decoder does: its first layer is
linear, with offsets that match the norms in training.

Several damages are chained in the order in which they happen. `PartialLeak` must be last, since the
others would also change the dimensions that it estimated.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from sklearn.covariance import ledoit_wolf

from ..common.rows import embedding_rows, scale_factors
from ..common.template_steps import TemplateStep
from ..common.validation import InputError, whole_number

_MOST_BITS = 16


class _Leak(TemplateStep):
    """A damage and its repair, from shape (n, d) to (n, d), row by row.

    Nothing is learnt from the rows. Batch size and order change results by rounding alone.
    """

    def transform(self, X: object, subjects: Sequence[object] | None = None) -> np.ndarray:
        """Return the damaged and repaired templates, the input of the decoder.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Whole templates.

        Returns
        -------
        float32 ndarray of shape (n, d)

        Raises
        ------
        TypeError, ValueError
            For templates of a wrong type or shape, not finite, or zero, and for parameters out of
            range.
        """
        return self._damaged_and_repaired(self._checked(X).astype(np.float64)).astype(np.float32)

    def _rows(self, X: object) -> np.ndarray:
        return embedding_rows("X", X, None, "pass one template a row.")

    @abstractmethod
    def _damaged_and_repaired(self, rows: np.ndarray) -> np.ndarray:
        """Damage and repair rows of float64."""


class PartialLeak(_Leak):
    """Some dimensions of every template leak; the attacker knows which.

    The dimensions are drawn once for all templates: for example, a template is stored in two parts
    in two places, and the attacker read one place. The dimensions of a smaller share are a subset
    of those of a larger share.

    The attacker estimates the missing dimensions. Without ``faces``, the estimate is zero. With
    ``faces``, it is the conditional mean given the leaked dimensions, for normally distributed
    embeddings with the mean and covariance of those faces. A template with a norm below half or
    above twice theirs was scaled before it was stored: it is estimated at their norm.

    Each row is then scaled to the estimated norm of the whole template: the norm of the leaked
    part, times the root of the energy of all dimensions over that of the leaked dimensions.
    Without this, half a template would have 0.7 of its norm.

    Parameters
    ----------
    share : float
        Share of the dimensions that leak, in (0, 1]; at least one leaks.
    seed : int
        For the choice of the dimensions.
    faces : path, optional
        Folder of ``bob bio recon prepare``, for the recognition model of the templates (only the
        length of its embeddings is checked). It must not contain people of the templates.

    Notes
    -----
    The covariance is shrunk towards a multiple of the identity, so that few faces are enough. The
    estimate depends on how similar the faces are to those of the templates, most of all for small
    shares: with synthetic faces, it was worse than zero where an eighth of the dimensions or less
    leaked (``python -m tests.benchmarks.leaks``).

    References
    ----------
    O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional
    covariance matrices", Journal of Multivariate Analysis 88(2), 2004, eq. 14.

    Examples
    --------
    >>> leak = PartialLeak(share=0.5)
    >>> leak.leaked(4)
    array([0, 2])
    >>> leak.transform([[1.0, 2.0, 1.0, 2.0]])[0].round(3)
    array([1.414, 0.   , 1.414, 0.   ], dtype=float32)
    """

    def __init__(
        self, share: float = 0.5, seed: int = 0, faces: str | os.PathLike[str] | None = None
    ):
        self.share = share
        self.seed = seed
        self.faces = faces

    def leaked(self, size: int) -> np.ndarray:
        """Return the sorted indices of the leaked dimensions, out of ``size``."""
        if not 0 < self.share <= 1:
            raise InputError(
                f"`share` must be in (0, 1], got {self.share!r}; 0.5 leaks half of the dimensions."
            )
        whole_number("seed", self.seed, 0)
        count = max(1, round(self.share * size))
        return np.sort(np.random.default_rng(self.seed).permutation(size)[:count])

    def _damaged_and_repaired(self, rows: np.ndarray) -> np.ndarray:
        size = rows.shape[1]
        leaked = self.leaked(size)
        hidden = np.setdiff1d(np.arange(size), leaked)
        if self.faces is None:
            mean, covariance = np.zeros(size), np.eye(size)
        else:
            mean, covariance = _distribution(self.faces, size)
        energy = mean**2 + np.diag(covariance)
        ratio = np.sqrt(energy.sum() / energy[leaked].sum())
        norms = ratio * np.linalg.norm(rows[:, leaked], axis=1)
        rows = rows * scale_factors(norms, float(np.sqrt(energy.sum())))[:, None]
        within, across = covariance[np.ix_(leaked, leaked)], covariance[np.ix_(leaked, hidden)]
        estimate = np.empty_like(rows)
        estimate[:, leaked] = rows[:, leaked]
        centred = rows[:, leaked] - mean[leaked]
        estimate[:, hidden] = mean[hidden] + centred @ np.linalg.solve(within, across)
        return _with_norms(estimate, norms)


class NoisyLeak(_Leak):
    """Every template leaks with white Gaussian noise.

    The noise multiplies the norm of a row by the root of ``1 + sigma ** 2`` on average. The
    attacker knows ``sigma`` (or estimates it from the norms), and divides by this factor.

    Parameters
    ----------
    sigma : float
        Standard deviation of the noise, relative to the root mean square of the template's
        entries; at least 0. At 1, the noise is as strong as the template, and the cosine between
        the template and its noisy copy is about 0.7.
    seed : int
        For the noise.

    Notes
    -----
    The noise of a template depends on the seed and on the signs of its entries. The same template
    gets the same noise in any batch, even if batches of the recogniser round its last digits
    differently. Templates with equal signs in all dimensions get the same noise.
    """

    def __init__(self, sigma: float, seed: int = 0):
        self.sigma = sigma
        self.seed = seed

    def _damaged_and_repaired(self, rows: np.ndarray) -> np.ndarray:
        if not 0 <= self.sigma < np.inf:
            raise InputError(
                f"`sigma` must be finite and not negative, got {self.sigma!r}; "
                "1 is noise as strong as the template."
            )
        whole_number("seed", self.seed, 0)
        noise = np.array([self._noise(row) for row in rows]).reshape(rows.shape)
        return (rows + self.sigma * _rms(rows) * noise) / np.sqrt(1 + self.sigma**2)

    def _noise(self, row: np.ndarray) -> np.ndarray:
        signs = int.from_bytes(np.packbits(row > 0).tobytes(), "big")
        return np.random.default_rng([self.seed, signs]).standard_normal(len(row))


class QuantizedLeak(_Leak):
    """Every template leaks in few bits a dimension; one bit is the sign.

    The interval from minus to plus ``limit`` root mean squares of the template is divided into
    ``2 ** bits`` equal cells. An entry becomes the middle of its cell, or of the outermost cell if
    it lies outside. Zero is a border between cells. Such a system also stores the scale of each
    template; the attacker reads it, and restores the norm of the row.

    Parameters
    ----------
    bits : int
        Bits for each dimension, from 1 to 16.
    limit : float
        Half the range, in root mean squares of the template: 3 contains all but 0.3 % of normally
        distributed entries.

    Examples
    --------
    >>> QuantizedLeak(bits=1).transform([[3.0, -4.0, 0.0, -5.0]])[0].round(3)
    array([ 3.536, -3.536,  3.536, -3.536], dtype=float32)
    """

    def __init__(self, bits: int, limit: float = 3.0):
        self.bits = bits
        self.limit = limit

    def _damaged_and_repaired(self, rows: np.ndarray) -> np.ndarray:
        if not isinstance(self.bits, (int, np.integer)) or not 1 <= self.bits <= _MOST_BITS:
            raise InputError(
                f"`bits` must be a whole number from 1 to {_MOST_BITS}, got {self.bits!r}; "
                "1 keeps only the sign."
            )
        if not 0 < self.limit < np.inf:
            raise InputError(
                f"`limit` must be positive and finite, got {self.limit!r}; 3 is usual."
            )
        half = 2 ** (int(self.bits) - 1)
        step = self.limit / half
        rms = _rms(rows)
        cells = np.floor(rows / np.where(rms > 0, rms, 1) / step).clip(-half, half - 1)
        return _with_norms((cells + 0.5) * step, np.linalg.norm(rows, axis=1))


def _rms(rows: np.ndarray) -> np.ndarray:
    """Root mean square of each row, of shape (n, 1)."""
    return np.sqrt(np.square(rows).mean(axis=1, keepdims=True))


def _with_norms(rows: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Scale each row to its norm; rows of zeros stay."""
    own = np.linalg.norm(rows, axis=1)
    return rows * (norms / np.where(own > 0, own, 1))[:, None]


def _distribution(faces: str | os.PathLike[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (d,) and covariance (d, d) of embeddings of prepared faces, computed once."""
    from ..faces.dataset import CARD, read_card

    folder = Path(faces).expanduser().absolute()
    card = read_card(folder)
    if card.embedding_size != size:
        raise InputError(
            f"`faces` must be prepared for the recogniser of the templates, got embeddings of "
            f"length {card.embedding_size} ({card.recognizer}) in {folder} for templates of length "
            f"{size}; run `bob bio recon prepare` for the recogniser of the templates."
        )
    return _measured(str(folder), (folder / CARD).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _measured(folder: str, _modified: int) -> tuple[np.ndarray, np.ndarray]:
    from ..faces.dataset import FaceDataset

    # rows of mirror images are used too
    embeddings = FaceDataset(folder).embeddings.astype(np.float64)
    rows = embeddings.reshape(-1, embeddings.shape[2])
    return rows.mean(axis=0), ledoit_wolf(rows)[0]
