"""Uncertainty of the rates for other people: a bootstrap over subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array

from ...common.validation import InputError
from ..metrics import CONFIDENCE, check_confidence, most_accepted
from ..scores import Comparisons


@dataclass(frozen=True)
class Spread:
    """Percentile interval of a quantity over the replicates; NaN without a complete replicate."""

    low: float
    high: float


@dataclass(frozen=True)
class Resampled:
    """Spread of an operating point over replicates of its subjects.

    Attributes
    ----------
    target : float
        Target FMR, in [0, 1].
    threshold : Spread
        Of the threshold, which each replicate sets from its own impostors.
    fmr, tmr : Spread
        In [0, 1].
    sar : mapping of str to Spread
        By attack type.
    replicates : int
        Number that gave every rate: a replicate can miss a rare class.
    subjects : int
        Number of people in the group that is reported.
    """

    target: float
    threshold: Spread
    fmr: Spread
    tmr: Spread
    sar: Mapping[str, Spread]
    replicates: int
    subjects: int


def bootstrap(
    dev: Comparisons,
    eval: Comparisons | None = None,
    fmrs: Sequence[float] = (1e-2, 1e-3),
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> list[Resampled]:
    """Draw subjects with replacement, set the threshold on them, and measure again.

    A comparison within a subject that is drawn k times (genuine, or an attack on the own template)
    has the weight k, a comparison of two subjects the product of their two counts. Comparisons that
    share a person thus change together, which an interval that assumes independence ignores. The
    threshold of a replicate follows `metrics.threshold_at_fmr`. The people of an eval set are drawn
    independently of those of dev.

    If no comparison is rejected, no replicate rejects one, and the spread is a point: it says
    nothing about people who were not tested. `metrics.clopper_pearson` does.

    Parameters
    ----------
    dev : Comparisons
        Its zero-effort impostors set the thresholds.
    eval : Comparisons, optional
        The group that is reported; `dev` if there is no eval.
    fmrs : sequence of float
        Target false match rates, in [0, 1].
    replicates : int
        At least 1.
    seed : int
        Of the draws; the same seed gives the same intervals.
    confidence : float
        In (0, 1).

    Returns
    -------
    list of Resampled
        One per target.

    Raises
    ------
    ValueError
        If `replicates` or `confidence` is out of range.

    References
    ----------
    R. M. Bolle, N. K. Ratha, S. Pankanti, "Error analysis of pattern recognition systems: the
    subsets bootstrap", Computer Vision and Image Understanding 93(1), 2004.
    A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007: weights that
    are products, for comparisons of two people.
    """
    if replicates < 1:
        raise InputError(f"`replicates` must be at least 1, got {replicates}; 1000 is usual.")
    check_confidence(confidence)
    draw = np.random.default_rng(seed)
    setting = _Group(dev)
    reported = setting if eval is None else _Group(eval)
    names = [name for name in reported.classes if name not in ("genuine", "impostor")]
    found = {target: _Replicates(names) for target in fmrs}
    for _ in range(replicates):
        drawn = setting.draw(draw)
        measured = drawn if eval is None else reported.draw(draw)
        totals = {name: kind.total(measured) for name, kind in reported.classes.items()}
        impostors = totals["impostor"] if eval is None else setting.impostor.total(drawn)
        for target in fmrs:
            threshold = setting.impostor.threshold(drawn, impostors, target)
            rates = {
                name: kind.accepted(measured, threshold) / totals[name] if totals[name] else np.nan
                for name, kind in reported.classes.items()
            }
            found[target].add(threshold, rates)
    tail = (1 - confidence) / 2
    return [found[target].summary(target, tail, reported.people) for target in fmrs]


class _Class:
    """Scores of one class, highest first, with the subjects of each."""

    def __init__(self, data: Comparisons, kind: str, number: np.ndarray, people: int):
        rows = data.rows(kind)
        rows = rows[~np.isnan(data.score[rows])]
        rows = rows[np.argsort(-data.score[rows], kind="stable")]
        self.descending = data.score[rows]
        self.first = number[data.probe_subject[rows]]
        self.second = number[data.reference_subject[rows]]
        self.within = self.first == self.second
        self.per_person = np.bincount(self.first[self.within], minlength=people)
        crossed = self.first[~self.within], self.second[~self.within]
        ones = np.ones(len(crossed[0]))
        # [i, j]: comparisons of i with j; as floats, exact up to 2**53
        self.pairs = coo_array((ones, crossed), shape=(people, people), dtype=float).tocsr()

    def total(self, times: np.ndarray) -> int:
        """Number of comparisons when subject i is drawn ``times[i]`` times."""
        return int(self.per_person @ times + times @ (self.pairs @ times))

    def weights(self, times: np.ndarray, count: int) -> np.ndarray:
        """Weights of the `count` highest comparisons."""
        first = times[self.first[:count]]
        return first * np.where(self.within[:count], 1, times[self.second[:count]])

    def accepted(self, times: np.ndarray, threshold: float) -> int:
        """Number of comparisons at or above the threshold."""
        count = int(np.searchsorted(-self.descending, -threshold, side="right"))
        return int(self.weights(times, count).sum())

    def threshold(self, times: np.ndarray, total: int, fmr: float) -> float:
        """`metrics.threshold_at_fmr` of the `total` drawn comparisons; NaN without any."""
        if not total:
            return float("nan")
        most = most_accepted(fmr, total)
        # the highest scores are nearly always enough, and all of them take time
        count = min(len(self.descending), int(2 * fmr * len(self.descending)) + 1000)
        while True:
            weights = self.weights(times, count)
            if weights.sum() > most or count == len(self.descending):
                return _threshold(self.descending[:count], weights, most)
            count = min(len(self.descending), 2 * count)


class _Group:
    """The classes of one score file, and the people in it."""

    def __init__(self, data: Comparisons):
        present = np.unique(np.concatenate([data.probe_subject, data.reference_subject]))
        self.people = len(present)
        number = np.full(len(data.subjects), -1)
        number[present] = np.arange(self.people)
        self.classes = {kind: _Class(data, kind, number, self.people) for kind in data.kinds}
        self.impostor = self.classes["impostor"]

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """Return how often each person is drawn, of shape (people,)."""
        return np.bincount(random.integers(0, self.people, self.people), minlength=self.people)


def _threshold(descending: np.ndarray, weights: np.ndarray, most: int) -> float:
    """Return the lowest score at which at most `most` are accepted, scores having `weights`."""
    k = int(np.searchsorted(np.cumsum(weights), most, side="right"))
    if k < len(descending):
        # ties with the first rejected impostor are rejected with it
        k = int(np.searchsorted(-descending, -descending[k], side="left"))
    drawn = np.flatnonzero(weights[:k])
    if len(drawn):
        return float(descending[drawn[-1]])
    return float(np.nextafter(descending[np.flatnonzero(weights)[0]], np.inf))


class _Replicates:
    """Thresholds and rates of one target, replicate by replicate."""

    def __init__(self, attacks: Sequence[str]):
        self.attacks = list(attacks)
        self.rows: list[list[float]] = []

    def add(self, threshold: float, rates: Mapping[str, float]) -> None:
        self.rows.append([threshold, *(rates[k] for k in ("impostor", "genuine", *self.attacks))])

    def summary(self, target: float, tail: float, subjects: int) -> Resampled:
        values = np.array(self.rows)
        complete = values[~np.isnan(values).any(axis=1)]
        low, high = np.full((2, values.shape[1]), np.nan)
        if len(complete):
            low, high = np.quantile(complete, [tail, 1 - tail], axis=0)
        spreads = [Spread(float(a), float(b)) for a, b in zip(low, high, strict=True)]
        threshold, fmr, tmr, *sar = spreads
        by_attack = dict(zip(self.attacks, sar, strict=True))
        return Resampled(target, threshold, fmr, tmr, by_attack, len(complete), subjects)
