"""Rates of a verification system under attack, with their counts and intervals.

Scores are similarities: a comparison is accepted when ``score >= threshold``, as in Bob. Rates are
in [0, 1]. Scores hold no NaN: `Scores` counts failures to acquire separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from ..common.validation import InputError
from .scores import Scores

CONFIDENCE = 0.95
#: Accepted impostors that a threshold needs: with fewer, each single one moves it.
FEW_IMPOSTORS = 10
#: True match rate below which a system does not recognise its own users: its other rates then do
#: not hold for a system that works.
RECOGNISES = 0.80


def threshold_at_fmr(impostors: ArrayLike, fmr: float) -> float:
    """Return the lowest impostor score that, as threshold, keeps the FMR at or below a target.

    The threshold is itself an impostor score, the k-th highest, where k is the largest count with
    ``k / n <= fmr`` that can be reached: of equal scores all are accepted or none, so ties lower
    the count and never raise it. If no impostor may be accepted (``fmr * n < 1``, or too many share
    the highest score) the threshold is the next number above the highest impostor score.
    ``bob.measure.far_threshold`` follows the same convention. A threshold just above the first
    rejected impostor would keep the same FMR, but accept more attacks.

    Parameters
    ----------
    impostors : array-like of shape (n,)
        Zero-effort impostor scores of the group that sets the threshold, finite.
    fmr : float
        Target false match rate, in [0, 1].

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there is no impostor, one is not finite, or `fmr` is outside [0, 1].

    Examples
    --------
    >>> threshold_at_fmr([0.1, 0.2, 0.3, 0.4], 0.5)
    0.3
    >>> threshold_at_fmr([0.1, 0.3, 0.3, 0.4], 0.5)
    0.4
    """
    scores = _checked("impostors", impostors, "a threshold needs zero-effort impostors")
    if not np.isfinite(scores).all():
        raise InputError("`impostors` must be finite, got infinity; remove those scores.")
    descending = np.sort(scores)[::-1]
    n = len(descending)
    k = most_accepted(fmr, n)
    if k == n:
        return float(descending[-1])
    # ties with the first rejected impostor are rejected with it
    k = int(np.searchsorted(-descending, -descending[k], side="left"))
    return float(descending[k - 1] if k else np.nextafter(descending[0], np.inf))


def few_impostors(fmr: float, n: int) -> bool:
    """Return whether fewer than ten of `n` impostors are accepted at the target FMR.

    The threshold then moves with every single impostor score, and the rates with it.
    """
    return most_accepted(fmr, n) < FEW_IMPOSTORS


def fmr(impostors: ArrayLike, threshold: float) -> float:
    """Return the false match rate: the share of impostor scores of shape (n,) accepted."""
    return _share("impostors", impostors, threshold)


def tmr(genuine: ArrayLike, threshold: float) -> float:
    """Return the true match rate: the share of genuine scores of shape (n,) accepted."""
    return _share("genuine", genuine, threshold)


def fnmr(genuine: ArrayLike, threshold: float) -> float:
    """Return the false non-match rate: the share of genuine scores of shape (n,) rejected."""
    scores = _checked("genuine", genuine, "a rate needs scores")
    return (len(scores) - _accepted(scores, threshold)) / len(scores)


def sar(attacks: ArrayLike, threshold: float) -> float:
    """Return the success attack rate: the share of attack scores of shape (n,) accepted.

    This is the name for reconstructions that are injected behind the camera, as files. For faces
    that are presented to the capture device of the full system (prints, screens, masks) the same
    share is called IAPAR in ISO/IEC 30107-3:2023, and IAPMR in earlier editions.
    ``bob vulnerability`` prints it as IAPMR for both.

    References
    ----------
    ISO/IEC 30107-3:2023, Biometric presentation attack detection, part 3: Testing and reporting.
    """
    return _share("attacks", attacks, threshold)


@dataclass(frozen=True)
class Rate:
    """A share with its counts and its Clopper-Pearson interval.

    Attributes
    ----------
    k, n : int
        Number of accepted scores, and of all scores.
    value : float
        ``k / n``, in [0, 1]; NaN without scores.
    low, high : float
        Bounds of the interval, in [0, 1].

    Examples
    --------
    >>> rate = Rate.of(943, 1000)
    >>> f"{rate.value:.3f} in [{rate.low:.3f}, {rate.high:.3f}]"
    '0.943 in [0.927, 0.957]'
    """

    k: int
    n: int
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, k: int, n: int, confidence: float = CONFIDENCE) -> Rate:
        """Return the rate of `k` in `n`."""
        low, high = clopper_pearson(k, n, confidence)
        return cls(k, n, k / n if n else float("nan"), low, high)


def clopper_pearson(k: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact interval of a binomial proportion.

    It assumes that comparisons are independent. Comparisons that share a subject or a reference are
    not, so the true uncertainty of a small set of people is larger.

    Parameters
    ----------
    k, n : int
        Successes and trials, ``0 <= k <= n``; without trials the interval is [0, 1].
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float
        In [0, 1], around ``k / n``.

    Raises
    ------
    ValueError
        If the counts or the confidence are out of range.

    References
    ----------
    C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the
    case of the binomial", Biometrika 26(4), 1934.

    Examples
    --------
    >>> low, high = clopper_pearson(0, 100)
    >>> f"{low:.4f} {high:.4f}"
    '0.0000 0.0362'
    """
    if not 0 <= k <= n:
        raise InputError(f"`k` must be in [0, n], got {k} of {n}; count again.")
    check_confidence(confidence)
    if not n:
        return 0.0, 1.0
    interval = binomtest(k, n).proportion_ci(confidence, "exact")
    return float(interval.low), float(interval.high)


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless the confidence of an interval is in (0, 1)."""
    if not 0 < confidence < 1:
        raise InputError(f"`confidence` must be in (0, 1), got {confidence}; 0.95 is usual.")


@dataclass(frozen=True)
class OperatingPoint:
    """Rates at one threshold.

    Attributes
    ----------
    target : float
        Target FMR, in [0, 1].
    threshold : float
        See `threshold_at_fmr`.
    threshold_group : str
        Group whose impostors set the threshold, always "dev".
    threshold_impostors : int
        Number of those impostors.
    group : str
        Group that the rates below are measured on: "eval", or "dev" if there is no other.
    fmr, tmr : Rate
        Of zero-effort impostors and of genuine comparisons.
    sar : mapping of str to Rate
        By attack type; see `sar`.
    not_acquired : mapping of str to mapping of str to int
        By group, then by class: NaN scores, which no rate above counts.
    distances : bool
        Whether the scores are distances with their sign changed.
    cautions : tuple of str
        Doubts about the score files; see `bob_recon_plugin.evaluation.scores.Scores`.
    """

    target: float
    threshold: float
    threshold_group: str
    threshold_impostors: int
    group: str
    fmr: Rate
    tmr: Rate
    sar: Mapping[str, Rate]
    not_acquired: Mapping[str, Mapping[str, int]]
    distances: bool = False
    cautions: tuple[str, ...] = ()

    @property
    def limit(self) -> float:
        """The threshold in the unit of the file: a largest distance, or a lowest similarity."""
        return -self.threshold if self.distances else self.threshold

    @property
    def recognises(self) -> bool:
        """Whether genuine users are accepted: the true match rate is at least `RECOGNISES`."""
        return self.tmr.value >= RECOGNISES

    @property
    def few_impostors(self) -> bool:
        """Whether fewer than ten impostors set the threshold."""
        return few_impostors(self.target, self.threshold_impostors)


def leading(points: Sequence[OperatingPoint]) -> int:
    """Return the index of the point that a headline is about.

    It is the strictest with at least ten impostors behind its threshold, or else the loosest.
    """
    targets = [point.target for point in points]
    supported = [point.target for point in points if not point.few_impostors]
    return targets.index(min(supported, default=max(targets)))


def evaluate(
    dev: Scores, eval: Scores | None = None, fmrs: Sequence[float] = (1e-2, 1e-3)
) -> list[OperatingPoint]:
    """Set thresholds on `dev` and measure the rates of `eval`, or of `dev` without it.

    Rates are shares of the comparisons that gave a score, as in ``bob vulnerability metrics``
    (there: FMR, FNMR, IAPMR). A failed comparison is not a rejection; failures are counted beside
    the rates.

    Parameters
    ----------
    dev : Scores
        Its zero-effort impostors set the thresholds.
    eval : Scores, optional
        The group to report.
    fmrs : sequence of float
        Target false match rates, in [0, 1].

    Returns
    -------
    list of OperatingPoint
        One per target, in the order given.

    Raises
    ------
    ValueError
        If `dev` has no impostors, or the reported group no impostors or no genuine scores, or if
        one group was read as distances and the other as similarities.
    """
    group, reported = ("dev", dev) if eval is None else ("eval", eval)
    _checked("dev.impostor", dev.impostor, "a threshold needs zero-effort impostors")
    for name in ("impostor", "genuine"):
        _checked(f"{group}.{name}", getattr(reported, name), "check the subject ids of the file")
    if dev.distances != reported.distances:
        raise InputError(
            "`dev` and `eval` must both be distances or both similarities, got one of each; read "
            "them with the same `distances`."
        )
    not_acquired = {"dev": dev.not_acquired, group: reported.not_acquired}
    points = []
    for target in fmrs:
        threshold = threshold_at_fmr(dev.impostor, target)
        points.append(
            OperatingPoint(
                target=target,
                threshold=threshold,
                threshold_group="dev",
                threshold_impostors=len(dev.impostor),
                group=group,
                fmr=_rate(reported.impostor, threshold),
                tmr=_rate(reported.genuine, threshold),
                sar={name: _rate(s, threshold) for name, s in reported.attacks.items()},
                not_acquired=not_acquired,
                distances=dev.distances,
                cautions=tuple(dict.fromkeys(dev.cautions + reported.cautions)),
            )
        )
    return points


def _checked(name: str, scores: ArrayLike, remedy: str) -> np.ndarray:
    """Return `scores` as a float64 array of shape (n,), n > 0, without NaN."""
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"`{name}` must have shape (n,), got {array.shape}; flatten it.")
    if not array.size:
        raise InputError(f"`{name}` must hold at least one score, got none; {remedy}.")
    if np.isnan(array).any():
        raise InputError(
            f"`{name}` must hold no NaN, got {int(np.isnan(array).sum())} of {array.size}; "
            "count failures to acquire separately, as `Scores` does."
        )
    return array


def _accepted(scores: np.ndarray, threshold: float) -> int:
    if np.isnan(threshold):
        raise InputError("`threshold` must be a number, got NaN; see `threshold_at_fmr`.")
    return int(np.count_nonzero(scores >= threshold))


def _share(name: str, scores: ArrayLike, threshold: float) -> float:
    array = _checked(name, scores, "a rate needs scores")
    return _accepted(array, threshold) / len(array)


def _rate(scores: np.ndarray, threshold: float) -> Rate:
    return Rate.of(_accepted(scores, threshold), len(scores))


def most_accepted(fmr: float, n: int) -> int:
    """Return how many of `n` impostors may be accepted: the largest k with ``k / n <= fmr``."""
    if not 0 <= fmr <= 1:
        raise InputError(f"`fmr` must be in [0, 1], got {fmr}; 1e-3 is one in a thousand.")
    k = min(int(fmr * n), n)
    # fmr * n is rounded: 0.29 * 100 gives 28.999...
    if k < n and (k + 1) / n <= fmr:
        k += 1
    return k
