"""Random matrices that a key stands for, kept a while in each process."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.linalg

_KEPT = 32  # matrices of each kind; the largest scheme here has 10 MB a key


@lru_cache(maxsize=_KEPT)
def gaussian(key: int, rows: int, columns: int, layer: int = 0) -> np.ndarray:
    """Independent standard normal entries, float32 of shape (rows, columns), read-only.

    Parameters
    ----------
    key : int
        Not negative.
    rows, columns : int
    layer : int
        Of the matrices of one key, which.
    """
    # a child of the key: a layer of one key is never a layer of another
    random = np.random.default_rng(np.random.SeedSequence(key, spawn_key=(layer,)))
    drawn = random.standard_normal((rows, columns), dtype=np.float32)
    drawn.flags.writeable = False
    return drawn


@lru_cache(maxsize=_KEPT)
def orthonormal(key: int, rows: int, columns: int, layer: int = 0) -> np.ndarray:
    """Orthonormal columns, or rows where those are fewer; as :func:`gaussian` otherwise.

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
