"""Rates over the folds of a protocol: mean and standard error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...common.validation import InputError
from ..metrics import sar as share
from ..metrics import threshold_at_fmr
from ..scores import Comparisons


@dataclass(frozen=True)
class MeanRate:
    """Mean of a rate over folds, in [0, 1], and the standard error of that mean."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanRate:
        """Return the mean of `values`, and their standard deviation (n - 1) over the root of n."""
        error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
        return cls(float(np.mean(values)), error)


@dataclass(frozen=True)
class Folded:
    """An operating point over folds.

    Attributes
    ----------
    target : float
        Target FMR, in [0, 1].
    folds : int
    threshold, fmr, tmr : MeanRate
    sar : mapping of str to MeanRate
        By attack type.
    """

    target: float
    folds: int
    threshold: MeanRate
    fmr: MeanRate
    tmr: MeanRate
    sar: Mapping[str, MeanRate]


def cross_validate(
    data: Comparisons, folds: np.ndarray, fmrs: Sequence[float] = (1e-2, 1e-3)
) -> list[Folded]:
    """Measure each fold at a threshold that is set on all other folds.

    This is the protocol of LFW view 2. The mean over the folds comes with its standard error.

    Parameters
    ----------
    data : Comparisons
    folds : ndarray of shape (n,), int
        Fold of each row.
    fmrs : sequence of float
        Target false match rates, in [0, 1].

    Returns
    -------
    list of Folded
        One per target.

    Raises
    ------
    ValueError
        If there is only one fold, or a fold lacks the scores of a class.

    References
    ----------
    G. B. Huang et al., "Labeled Faces in the Wild", University of Massachusetts, Amherst,
    Technical Report 07-49, 2007, section III.
    """
    names = np.unique(folds)
    if len(names) < 2:
        raise InputError(
            f"`folds` must name at least two folds, got {len(names)}; leave folds out."
        )
    acquired = ~np.isnan(data.score)
    by_class = {
        kind: {fold: data.score[acquired & (data.kind == i) & (folds == fold)] for fold in names}
        for i, kind in enumerate(data.kinds)
    }
    for kind, parts in by_class.items():
        if empty := [str(fold) for fold, scores in parts.items() if not len(scores)]:
            raise InputError(
                f"`folds` must each hold a score of every class, got none of {kind} in fold "
                f"{', '.join(empty)}; report without folds."
            )
    return [_at(target, by_class, names) for target in fmrs]


def _at(target: float, by_class: dict[str, dict[int, np.ndarray]], names: np.ndarray) -> Folded:
    thresholds = []
    rates: dict[str, list[float]] = {kind: [] for kind in by_class}
    for fold in names:
        others = [scores for name, scores in by_class["impostor"].items() if name != fold]
        thresholds.append(threshold_at_fmr(np.concatenate(others), target))
        for kind, parts in by_class.items():
            rates[kind].append(share(parts[fold], thresholds[-1]))
    means = {kind: MeanRate.of(values) for kind, values in rates.items()}
    fmr, tmr = means.pop("impostor"), means.pop("genuine")
    return Folded(target, len(names), MeanRate.of(thresholds), fmr, tmr, means)
