"""Linkability: how much scores reveal on whether two templates are of the same person.

ISO/IEC 24745 requires that a protected template is irreversible and unlinkable, ISO/IEC 30136 that
both are measured and reported. The success attack rate (`bob_recon_plugin.evaluation.metrics.sar`)
measures irreversibility. The two measures here are of unlinkability: *mated* scores compare
templates of one person, *non-mated* scores templates of two people.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...common.validation import InputError

_MOST_BINS = 100
_PER_BIN = 10  # scores of the smaller class in a bin on average, at least


def _densities(mated: ArrayLike, non_mated: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of each bin of one histogram, for both classes."""
    given = {"mated": np.asarray(mated, float), "non_mated": np.asarray(non_mated, float)}
    for name, scores in given.items():
        if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
            raise InputError(
                f"`{name}` must be finite scores of shape (n,), n > 0, got shape {scores.shape}; "
                "remove failures to acquire."
            )
    m, n = given.values()
    low, high = min(m.min(), n.min()), max(m.max(), n.max())
    bins = max(2, min(_MOST_BINS, min(len(m), len(n)) // _PER_BIN))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    counts = [np.histogram(scores, edges)[0] / len(scores) for scores in (m, n)]
    return counts[0], counts[1]


def d_sys(mated: ArrayLike, non_mated: ArrayLike, omega: float = 1.0) -> float:
    """Return the global linkability of a system, in [0, 1]: 0 is unlinkable, 1 fully linkable.

    ``D(s) = 2 LR(s) w / (1 + LR(s) w) - 1`` where ``LR(s) w > 1``, else 0, with the likelihood
    ratio ``LR(s) = p(s | mated) / p(s | non-mated)``; ``D_sys`` is its mean over mated scores.
    Densities are histograms of equal bins over all scores: 100 bins, or fewer if the smaller class
    has fewer than 1000 scores, so that it has ten per bin on average.

    Parameters
    ----------
    mated, non_mated : array-like of shape (n,)
        Finite scores of templates of one person, and of two people.
    omega : float
        Prior odds of mated to non-mated.

    References
    ----------
    M. Gomez-Barrero, J. Galbally, C. Rathgeb, C. Busch, "General framework to evaluate
    unlinkability in biometric template protection systems", IEEE TIFS 13(6), 2018.

    Examples
    --------
    >>> d_sys([0.8, 0.9], [0.1, 0.2]), d_sys([0.1, 0.9], [0.1, 0.9])
    (1.0, 0.0)
    """
    m, n = _densities(mated, non_mated)
    here = m > 0  # D is needed at mated scores only
    odds = omega * m[here]
    # 2 LR w / (1 + LR w) - 1, without a division by p(s | non-mated), which may be zero
    local = np.maximum(0.0, (odds - n[here]) / (odds + n[here]))
    return float((local * m[here]).sum())


def maximal_linkability(mated: ArrayLike, non_mated: ArrayLike) -> float:
    """Return the maximal linkability, in [0, 1] bit: 0 is unlinkable, 1 fully linkable.

    It is ``log2`` of the integral of ``max(p(s | mated), p(s | non-mated))``, the maximal leakage
    from the bit "mated or not" to the score. It needs no prior.

    Parameters
    ----------
    mated, non_mated : array-like of shape (n,)
        As for `d_sys`.

    References
    ----------
    H. Otroshi Shahreza, Y. Y. Shkel, S. Marcel, "Measuring linkability of protected biometric
    templates using maximal leakage", IEEE TIFS 18, 2023.

    Examples
    --------
    >>> maximal_linkability([0.8, 0.9], [0.1, 0.2]), maximal_linkability([0.1, 0.9], [0.1, 0.9])
    (1.0, 0.0)
    """
    return float(np.log2(np.maximum(*_densities(mated, non_mated)).sum()))
