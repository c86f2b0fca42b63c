"""Error rates over all thresholds, with as few points as a figure needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..scores import Scores

_POINTS = 200


@dataclass(frozen=True, eq=False)
class Curves:
    """Rates at decreasing thresholds, arrays of shape (m,) in [0, 1].

    Attributes
    ----------
    threshold, fmr, tmr
    sar : mapping of str to ndarray
        By attack type; types without a score are left out.
    impostors, genuine : int
        Number of scores of ``fmr`` and ``tmr``: no smaller rate than one in so many can be seen.
    """

    threshold: np.ndarray
    fmr: np.ndarray
    tmr: np.ndarray
    sar: Mapping[str, np.ndarray]
    impostors: int
    genuine: int


def _ranks(n: int) -> np.ndarray:
    """Return ranks in [0, n), dense at both ends, where the small rates are."""
    half = np.unique(np.geomspace(1, max(n, 1), _POINTS).astype(int)) - 1
    return np.unique(
        np.concatenate([half, n - 1 - half, np.linspace(0, n - 1, _POINTS, dtype=int)])
    )


def trace(scores: Scores) -> Curves:
    """Return the rates at thresholds taken from the scores of every class.

    Each point is exact, the share of scores at or above a threshold. Only the thresholds are a
    selection: up to 600 of each class, most of them in the tails.

    Parameters
    ----------
    scores : Scores
        With impostors and genuine scores.

    Returns
    -------
    Curves
    """
    classes = {"genuine": scores.genuine, "impostor": scores.impostor, **scores.attacks}
    ordered = {name: np.sort(values) for name, values in classes.items() if len(values)}
    taken = [values[_ranks(len(values))] for values in ordered.values()]
    highest = max(values[-1] for values in ordered.values())
    thresholds = np.unique(np.concatenate([*taken, [np.nextafter(highest, np.inf)]]))[::-1]
    rates = {
        name: (len(values) - np.searchsorted(values, thresholds, side="left")) / len(values)
        for name, values in ordered.items()
    }
    fmr, tmr = rates.pop("impostor"), rates.pop("genuine")
    return Curves(thresholds, fmr, tmr, rates, len(scores.impostor), len(scores.genuine))
