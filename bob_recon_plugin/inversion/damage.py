"""Templates that leak in part, with noise, or in few bits, and what an attacker makes of them.

A decoder is trained on whole, exact embeddings. Each transformer here does two things to a stolen
template: the damage, and the repair that an attacker does who knows of it. The repair ends at the
norm that embeddings have. A cosine does not see the norm, but a decoder does (its first layer is
linear, and the offsets behind it have the size of the training's embeddings), and any attacker can
choose it.

Several are chained in the order in which they happen, `PartialLeak` last, since the others would
also disturb what it guessed.
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
from ..common.validation import InputError

_MOST_BITS = 16


class _Leak(TemplateStep):
    """Stolen templates of shape (n, d) to float32 of shape (n, d), row by row.

    Nothing is learnt from the rows, so batch size and order change nothing
    (but for rounding).
    """

    def transform(self, X: object, subjects: Sequence[object] | None = None) -> np.ndarray:
        """Give what the decoder gets for each template.

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
            For templates of another type or shape, not finite, or zero, and for
            parameters out of range.
        """
        return self._known(self._checked(X).astype(np.float64)).astype(np.float32)

    def _rows(self, X: object) -> np.ndarray:
        return embedding_rows("X", X, None, "pass one template a row.")

    @abstractmethod
    def _known(self, rows: np.ndarray) -> np.ndarray:
        """Damage and repair rows of float64."""


class PartialLeak(_Leak):
    """Some dimensions of every template leak; the attacker knows which.

    They are drawn once, for all templates: think of a template whose parts are
    stored in two places, one of which was read. Those of a smaller share are
    among those of a larger one.

    The others get the attacker's best guess: zero, the mean of embeddings
    about which nothing else is known; or, with ``faces``, their conditional
    mean given the leaked ones, for normally distributed embeddings with the
    mean and the covariance of these. A template of less than half or more than
    twice their norm was scaled before it was stored: the guess is made at
    their norm. A row is then stretched to the norm that
    its leaked part tells of the whole, the root of (energy of all dimensions
    over that of the leaked ones) times the norm of this part: without it, half
    a template would meet the decoder at 0.7 of its norm.

    Parameters
    ----------
    share : float
        Of the dimensions that leak, in (0, 1]; at least one leaks.
    seed : int
        Decides which.
    faces : path, optional
        Folder of ``bob bio recon prepare``, for the recognition model whose
        templates leak (only the length of its embeddings is checked). It must
        not hold the people of the templates.

    Notes
    -----
    The covariance is shrunk towards a sphere, so that few faces do as well.
    The guess is only as good as the faces are like those of the templates, and
    weighs the more, the less has leaked: with synthetic faces it lost to zero
    where an eighth of the dimensions or less leaked (``python -m
    tests.benchmarks.leaks``).

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
        """Return the places of the dimensions that leak, of ``size``, in order."""
        if not 0 < self.share <= 1:
            raise InputError(
                f"`share` must be in (0, 1], got {self.share!r}; 0.5 leaks half of the dimensions."
            )
        _check_seed(self.seed)
        count = max(1, round(self.share * size))
        return np.sort(np.random.default_rng(self.seed).permutation(size)[:count])

    def _known(self, rows: np.ndarray) -> np.ndarray:
        size = rows.shape[1]
        leaked = self.leaked(size)
        hidden = np.setdiff1d(np.arange(size), leaked)
        if self.faces is None:
            mean, covariance = np.zeros(size), np.eye(size)
        else:
            mean, covariance = _distribution(self.faces, size)
        energy = mean**2 + np.diag(covariance)
        whole = np.sqrt(energy.sum() / energy[leaked].sum())
        told = whole * np.linalg.norm(rows[:, leaked], axis=1)  # all that is known of their norm
        rows = rows * scale_factors(told, float(np.sqrt(energy.sum())))[:, None]
        within, across = covariance[np.ix_(leaked, leaked)], covariance[np.ix_(leaked, hidden)]
        guess = np.empty_like(rows)
        guess[:, leaked] = rows[:, leaked]
        surprise = rows[:, leaked] - mean[leaked]
        guess[:, hidden] = mean[hidden] + surprise @ np.linalg.solve(within, across)
        return _of_norm(guess, told)


class NoisyLeak(_Leak):
    """Every template leaks under white Gaussian noise.

    Noise makes a row longer, by the root of ``1 + sigma ** 2`` on average.
    The attacker, who knows ``sigma`` (or reads it off norms that are too
    large), divides by it.

    Parameters
    ----------
    sigma : float
        Standard deviation of the noise, relative to the root mean square of
        the template's own entries; from 0 on. At 1 it is as strong as the
        template: the cosine of both falls to about 0.7.
    seed : int
        Of the noise.

    Notes
    -----
    The noise of a template hangs on the seed and on the signs of its entries:
    the same template leaks in the same way in any batch, even where the
    batches of a recogniser round its last digits otherwise. Templates of equal
    signs, the same in all but name, share their noise.
    """

    def __init__(self, sigma: float, seed: int = 0):
        self.sigma = sigma
        self.seed = seed

    def _known(self, rows: np.ndarray) -> np.ndarray:
        if not 0 <= self.sigma < np.inf:
            raise InputError(
                f"`sigma` must be finite and not negative, got {self.sigma!r}; "
                "1 is noise as strong as the template."
            )
        _check_seed(self.seed)
        noise = np.array([self._noise(row) for row in rows]).reshape(rows.shape)
        return (rows + self.sigma * _rms(rows) * noise) / np.sqrt(1 + self.sigma**2)

    def _noise(self, row: np.ndarray) -> np.ndarray:
        signs = int.from_bytes(np.packbits(row > 0).tobytes(), "big")
        return np.random.default_rng([self.seed, signs]).standard_normal(len(row))


class QuantizedLeak(_Leak):
    """Every template leaks in few bits a dimension; one bit is the sign.

    The interval of ``limit`` root mean squares of the template to either side
    of zero is cut into ``2 ** bits`` equal cells, and an entry becomes the
    middle of its cell (of the outermost one, if it lies outside). Zero is a
    border, no level. A system that stores templates so keeps the scale of each
    beside it; the attacker reads it there, and gives the row the norm it had.

    Parameters
    ----------
    bits : int
        For each dimension, from 1 to 16.
    limit : float
        Half the range, in root mean squares of the template: 3 holds all but
        0.3 % of normally distributed entries.

    Examples
    --------
    >>> QuantizedLeak(bits=1).transform([[3.0, -4.0, 0.0, -5.0]])[0].round(3)
    array([ 3.536, -3.536,  3.536, -3.536], dtype=float32)
    """

    def __init__(self, bits: int, limit: float = 3.0):
        self.bits = bits
        self.limit = limit

    def _known(self, rows: np.ndarray) -> np.ndarray:
        if not isinstance(self.bits, (int, np.integer)) or not 1 <= self.bits <= _MOST_BITS:
            raise InputError(
                f"`bits` must be a whole number from 1 to {_MOST_BITS}, got {self.bits!r}; "
                "1 keeps the sign alone."
            )
        if not 0 < self.limit < np.inf:
            raise InputError(
                f"`limit` must be positive and finite, got {self.limit!r}; 3 is usual."
            )
        half = 2 ** (int(self.bits) - 1)
        step = self.limit / half
        rms = _rms(rows)
        cells = np.floor(rows / np.where(rms > 0, rms, 1) / step).clip(-half, half - 1)
        return _of_norm((cells + 0.5) * step, np.linalg.norm(rows, axis=1))


def _rms(rows: np.ndarray) -> np.ndarray:
    """Root mean square of each row, of shape (n, 1)."""
    return np.sqrt(np.square(rows).mean(axis=1, keepdims=True))


def _of_norm(rows: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Scale each row to its norm; rows of zeros stay."""
    own = np.linalg.norm(rows, axis=1)
    return rows * (norms / np.where(own > 0, own, 1))[:, None]


def _check_seed(seed: object) -> None:
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"`seed` must be a whole number from 0 on, got {seed!r}.")


def _distribution(faces: str | os.PathLike[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) of the embeddings of prepared faces, computed once."""
    from ..faces.dataset import CARD, read_card

    folder = Path(faces).expanduser().absolute()
    card = read_card(folder)
    if card.embedding_size != size:
        raise InputError(
            f"`faces` must be prepared for the recogniser of the templates, got embeddings of "
            f"length {card.embedding_size} ({card.recognizer}) in {folder} for templates of "
            f"{size}; run `bob bio recon prepare` for theirs."
        )
    return _measured(str(folder), (folder / CARD).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _measured(folder: str, _modified: int) -> tuple[np.ndarray, np.ndarray]:
    from ..faces.dataset import FaceDataset

    # mirror images are faces too
    embeddings = FaceDataset(folder).embeddings.astype(np.float64)
    rows = embeddings.reshape(-1, embeddings.shape[2])
    return rows.mean(axis=0), ledoit_wolf(rows)[0]
