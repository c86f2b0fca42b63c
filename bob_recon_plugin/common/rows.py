"""Rows of embeddings: their validation and their norm."""

from __future__ import annotations

import warnings

import numpy as np

from .validation import InputError, finite_matrix

#: Largest ratio of an embedding's norm to the mean norm. Those of photographs stay below 1.5; at a
#: ratio of 2, the cosine of a decoder's faces is lower by 0.03.
_LARGEST_RATIO = 2.0


def embedding_rows(name: str, values: object, columns: int | None, remedy: str) -> np.ndarray:
    """Return ``values`` as float32 embeddings of shape (n, columns).

    Raises TypeError and ValueError as :func:`finite_matrix`, and ValueError for rows of zeros.
    """
    rows = finite_matrix(name, values, columns, remedy)
    zero = ~rows.any(axis=1)
    if zero.any():
        raise InputError(
            f"`{name}` must have a direction in each row, got only zeros in {int(zero.sum())} of "
            f"{len(rows)} rows (first: row {int(np.flatnonzero(zero)[0])}); leave them out."
        )
    return rows


def restore_norm(rows: np.ndarray, norm: float | None, recognizer: str) -> np.ndarray:
    """Restore the norm of embeddings that were scaled before they were stored.

    The cosine does not depend on the norm, but decoders and adapters do. A row with a norm from
    half to twice ``norm`` is not changed at all; every other row is scaled to ``norm``, with a
    warning. Rows are treated independently, and the warning is the same for every batch.

    Parameters
    ----------
    rows : float32 ndarray of shape (n, d)
        No row of zeros.
    norm : float or None
        Mean norm of the recogniser's embeddings. None: not known; rows are not changed.
    recognizer : str
        Its name, for the warning.

    Returns
    -------
    float32 ndarray of shape (n, d)
    """
    if norm is None:
        if len(rows):
            warnings.warn(
                f"the norm of embeddings of {recognizer} is not known; pass raw embeddings, not "
                "normalised ones.",
                stacklevel=4,
            )
        return rows
    factors = scale_factors(np.linalg.norm(rows.astype(np.float64), axis=1), norm)
    scaled = factors != 1
    if not scaled.any():
        return rows
    warnings.warn(
        f"embeddings of {recognizer} should have norms near {norm:.3g}, got rows of less than half "
        "or more than twice that; only their direction is used.",
        stacklevel=4,
    )
    found = rows.copy()
    found[scaled] = rows[scaled] * factors[scaled, None]
    return found


def scale_factors(norms: np.ndarray, norm: float) -> np.ndarray:
    """Factors that restore norms, both of shape (n,); 1 for norms near ``norm`` and for zeros."""
    kept = (norms >= norm / _LARGEST_RATIO) & (norms <= norm * _LARGEST_RATIO) | (norms == 0)
    return np.where(kept, 1, norm / np.where(kept, norm, norms))
