"""Rates of a verification system under attack, with the counts and intervals behind them.

Scores are similarities: a comparison is accepted when ``score >= threshold``, as in Bob. Rates are
in [0, 1]. Scores hold no NaN: `Scores` counts failures to acquire apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from bob_recon_plugin.evaluation.scores import Scores

from ..common.validation import InputError

CONFIDENCE = 0.95
#: Impostors that a threshold must rest on: with fewer, each single one moves it.
FEW_IMPOSTORS = 10
#: True match rate below which a system does not recognise its own users: its other rates say
#: nothing of a system that works.
RECOGNISES = 0.80


def threshold_at_fmr(impostors: ArrayLike, fmr: float) -> float:
    """Lowest impostor score that, used as threshold, keeps the FMR at or below a target.

    The threshold is itself an impostor score, the k-th highest, where k is the largest count with
    ``k / n <= fmr`` that can be reached: of equal scores all are accepted or none, so ties lower
    the count and never raise it. If no impostor may be accepted (``fmr * n < 1``, or too many tie
    for the highest score) the threshold is the next number above the highest impostor score.
    ``bob.measure.far_threshold`` follows the same convention. The threshold just above the first
    impostor that must be rejected keeps the same FMR, yet accepts more attacks.

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
    scores = _some("impostors", impostors, "a threshold needs zero-effort impostors")
    if not np.isfinite(scores).all():
        raise InputError("`impostors` must be finite, got infinity; remove those scores.")
    descending = np.sort(scores)[::-1]
    n = len(descending)
    k = accepted_most(fmr, n)
    if k == n:
        return float(descending[-1])
    # ties with the first rejected impostor are rejected with it
    k = int(np.searchsorted(-descending, -descending[k], side="left"))
    return float(descending[k - 1] if k else np.nextafter(descending[0], np.inf))


def few_impostors(fmr: float, n: int) -> bool:
    """Whether fewer than ten of `n` impostors set the threshold: ``fmr * n < 10``.

    The threshold then moves with every single impostor score, and the rates with it.
    """
    return accepted_most(fmr, n) < FEW_IMPOSTORS


def fmr(impostors: ArrayLike, threshold: float) -> float:
    """False match rate: share of zero-effort impostor scores of shape (n,) that are accepted."""
    return _share("impostors", impostors, threshold)


def tmr(genuine: ArrayLike, threshold: float) -> float:
    """True match rate: share of genuine scores of shape (n,) that are accepted."""
    return _share("genuine", genuine, threshold)


def fnmr(genuine: ArrayLike, threshold: float) -> float:
    """False non-match rate: share of genuine scores of shape (n,) that are rejected."""
    scores = _some("genuine", genuine, "a rate needs scores")
    return (len(scores) - _accepted(scores, threshold)) / len(scores)


def sar(attacks: ArrayLike, threshold: float) -> float:
    """Success attack rate: share of attack scores of shape (n,) that are accepted.

    The right name for reconstructions injected behind the camera, as files: each attack is a
    comparison with the template it is aimed at. For faces shown to a camera see `iapmr`.
    """
    return _share("attacks", attacks, threshold)


def iapmr(attacks: ArrayLike, threshold: float) -> float:
    """Impostor attack presentation match rate: the formula of `sar` under the name of a standard.

    The right name where the attack is presented to the capture device of the full system, which is
    what ISO/IEC 30107-3 covers: prints, screens, masks. Its edition of 2023 says accept instead of
    match, IAPAR. A file injected behind the camera was not presented; say SAR then.
    ``bob vulnerability`` prints this number for either.

    References
    ----------
    ISO/IEC 30107-3:2017, Biometric presentation attack detection, part 3: Testing and reporting.
    """
    return sar(attacks, threshold)


@dataclass(frozen=True)
class Rate:
    """A share with its counts and its Clopper-Pearson interval.

    Attributes
    ----------
    k, n : int
        Accepted scores, and all of them.
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
        """Rate of `k` in `n`."""
        low, high = clopper_pearson(k, n, confidence)
        return cls(k, n, k / n if n else float("nan"), low, high)


def clopper_pearson(k: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact interval of a binomial proportion.

    It takes comparisons as independent. Comparisons that share a subject or a reference are not,
    so the true uncertainty of a small set of people is larger.

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
    if not 0 < confidence < 1:
        raise InputError(f"`confidence` must be in (0, 1), got {confidence}; 0.95 is usual.")
    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold lets in.

    Attributes
    ----------
    target : float
        FMR asked for, in [0, 1].
    threshold : float
        See `threshold_at_fmr`.
    threshold_group : str
        Group whose impostors set the threshold, always "dev".
    threshold_impostors : int
        Number of those impostors.
    group : str
        Group the rates below are measured on: "eval", or "dev" where there is no other.
    fmr, tmr : Rate
        Of zero-effort impostors and of genuine comparisons.
    sar : mapping of str to Rate
        By attack type; see `sar`.
    not_acquired : mapping of str to mapping of str to int
        By group, then by class: NaN scores, which no rate above counts.
    distances : bool
        Whether the scores are distances with their sign changed.
    cautions : tuple of str
        What a reader must know of the scores; see `bob_recon_plugin.evaluation.scores.Scores`.
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
        """The threshold in the unit of the file: the largest distance, or lowest similarity."""
        return -self.threshold if self.distances else self.threshold

    @property
    def recognises(self) -> bool:
        """Whether genuine users are accepted: a true match rate of at least `RECOGNISES`."""
        return self.tmr.value >= RECOGNISES

    @property
    def few_impostors(self) -> bool:
        """Whether fewer than ten impostors set the threshold."""
        return few_impostors(self.target, self.threshold_impostors)


def leading(points: Sequence[OperatingPoint]) -> int:
    """Index of the point to speak of first.

    The strictest whose threshold rests on at least ten impostors; the loosest if there is none.
    """
    targets = [point.target for point in points]
    carried = [point.target for point in points if not point.few_impostors]
    return targets.index(min(carried, default=max(targets)))


def evaluate(
    dev: Scores, eval: Scores | None = None, fmrs: Sequence[float] = (1e-2, 1e-3)
) -> list[OperatingPoint]:
    """Set thresholds on `dev` and measure what they let in on `eval`, or on `dev` without it.

    Rates hold for the comparisons that gave a score, as in ``bob vulnerability metrics`` (there:
    FMR, FNMR, IAPMR). A failed comparison is not a rejection; how many failed comes with the rates.

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
        If `dev` has no impostors, or the reported group no impostors or no genuine scores; if one
        group was read as distances and the other as similarities.
    """
    group, reported = ("dev", dev) if eval is None else ("eval", eval)
    _some("dev.impostor", dev.impostor, "a threshold needs zero-effort impostors")
    for name in ("impostor", "genuine"):
        _some(f"{group}.{name}", getattr(reported, name), "check the subject ids of the file")
    if dev.distances != reported.distances:
        raise InputError(
            "`eval` must be read as `dev` is, got distances in one and similarities in the other; "
            "give both the same `distances`."
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


def _some(name: str, scores: ArrayLike, remedy: str) -> np.ndarray:
    """Return `scores` as a float64 array of shape (n,), n > 0, without NaN."""
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"`{name}` must have shape (n,), got {array.shape}; flatten it.")
    if not array.size:
        raise InputError(f"`{name}` must hold at least one score, got none; {remedy}.")
    if np.isnan(array).any():
        raise InputError(
            f"`{name}` must hold no NaN, got {int(np.isnan(array).sum())} of {array.size}; "
            "count failures to acquire apart, as `Scores` does."
        )
    return array


def _accepted(scores: np.ndarray, threshold: float) -> int:
    if np.isnan(threshold):
        raise InputError("`threshold` must be a number, got NaN; see `threshold_at_fmr`.")
    return int(np.count_nonzero(scores >= threshold))


def _share(name: str, scores: ArrayLike, threshold: float) -> float:
    array = _some(name, scores, "a rate needs scores")
    return _accepted(array, threshold) / len(array)


def _rate(scores: np.ndarray, threshold: float) -> Rate:
    return Rate.of(_accepted(scores, threshold), len(scores))


def accepted_most(fmr: float, n: int) -> int:
    """How many of `n` may be accepted at most: the largest k with ``k / n <= fmr``."""
    if not 0 <= fmr <= 1:
        raise InputError(f"`fmr` must be in [0, 1], got {fmr}; 1e-3 is one in a thousand.")
    k = min(int(fmr * n), n)
    # fmr * n is rounded: 0.29 * 100 gives 28.999...
    if k < n and (k + 1) / n <= fmr:
        k += 1
    return k
