"""Random matrices drawn with a key, cached in each process."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.linalg

_CACHED = 32  # matrices of each kind; the largest scheme here has 10 MB a key


@lru_cache(maxsize=_CACHED)
def gaussian(key: int, rows: int, columns: int, layer: int = 0) -> np.ndarray:
    """Return independent standard normal numbers, float32 of shape (rows, columns), read-only.

    Parameters
    ----------
    key : int
        At least 0.
    rows, columns : int
    layer : int
        Number of the matrix, for keys with several matrices.
    """
    # spawned, so that no layer of a key equals a layer of another key
    random = np.random.default_rng(np.random.SeedSequence(key, spawn_key=(layer,)))
    drawn = random.standard_normal((rows, columns), dtype=np.float32)
    drawn.flags.writeable = False
    return drawn


@lru_cache(maxsize=_CACHED)
def orthonormal(key: int, rows: int, columns: int, layer: int = 0) -> np.ndarray:
    """Return a matrix with orthonormal columns, or rows if those are fewer; see :func:`gaussian`.

    Gram-Schmidt on the columns of a Gaussian matrix: the factor Q of a QR
    decomposition whose R has a positive diagonal, which is unique.
    """
    if columns > rows:
        return orthonormal(key, columns, rows, layer).T
    drawn = gaussian.__wrapped__(key, rows, columns, layer)
    q, r = scipy.linalg.qr(drawn, mode="economic", check_finite=False)
    directions = q * np.sign(np.diag(r))
    directions.flags.writeable = False
    return directions
