"""The sentences of a report."""

from __future__ import annotations

from collections.abc import Sequence

from bob_recon_plugin.metrics import CONFIDENCE, OperatingPoint, Rate
from bob_recon_plugin.verdict import TYPE_I, TYPE_II, Verdict

from .style import count, fmr_words, label, limits, percent
from .table import short

_FEW_RUNS = 4  # more are summed up by the most and the least exposed


def of(rate: Rate) -> str:
    """A rate as its counts: "943 of 1 000"."""
    return f"{count(rate.k)} of {count(rate.n)}"


def _who(rate: Rate, noun: str) -> str:
    if rate.k == rate.n and rate.n > 1:
        return f"All {count(rate.n)} {noun}"
    if not rate.k:
        return f"None of {count(rate.n)} {noun}"
    return f"{of(rate)} {noun}"


def _with_interval(rate: Rate) -> str:
    interval = f"{100 * CONFIDENCE:g}\N{NO-BREAK SPACE}% CI {limits(rate.low, rate.high)}"
    return f"{percent(rate.value)}, {interval}"


def _main_rate(verdict: Verdict, at: int) -> tuple[Rate, str] | None:
    """The rate that the headline speaks of, and what it counts."""
    opened = verdict.opened[at]
    if opened is not None and opened.n:
        return opened, "stolen templates"
    for attack, rate in verdict.points[at].sar.items():
        if rate.n:
            return rate, f"attacks of {label(attack).replace(' attack', '')}"
    return None


def headline(verdict: Verdict) -> str:
    """How many templates open the system."""
    main = _main_rate(verdict, verdict.headline)
    if main is None:
        return "No attack gave a score"
    rate, noun = main
    verb = "opens" if rate.n == 1 or rate.k == 1 else "open"
    return f"{_who(rate, noun)} {verb} the system"


def lead(verdict: Verdict) -> list[str]:
    """What stands under the headline: at which FMR, how sure, and the harder attack."""
    point = verdict.points[verdict.headline]
    main = _main_rate(verdict, verdict.headline)
    if main is None:
        return []
    lines = [
        f"{_with_interval(main[0])}, at a threshold that admits {fmr_words(point.target)} "
        f"(FMR {short(point.target)})."
    ]
    second = point.sar.get(TYPE_II)
    if second is not None and second.n and TYPE_I in point.sar:
        lines.append(
            "Presented to another enrolment of the same person, "
            f"{of(second)} reconstructions are accepted ({_with_interval(second)})."
        )
    return lines


def other_points(verdict: Verdict) -> list[str]:
    """The same at the other FMR, a sentence each."""
    lines = []
    for i, point in enumerate(verdict.points):
        main = _main_rate(verdict, i)
        if i == verdict.headline or main is None:
            continue
        told = f"{of(main[0])} {main[1]} ({percent(main[0].value)})"
        second = point.sar.get(TYPE_II)
        if second is not None and second.n and TYPE_I in point.sar:
            told += f", {of(second)} to another enrolment ({percent(second.value)})"
        lines.append(f"At FMR {short(point.target)}: {told}.")
    return lines


def range_headline(verdicts: Sequence[Verdict]) -> tuple[str, list[str]]:
    """The headline over several runs, and what stands under it."""
    rated = [
        (main[0], verdict)
        for verdict in verdicts
        if (main := _main_rate(verdict, verdict.headline)) is not None
    ]
    if not rated:
        return "No attack gave a score", []
    rated.sort(key=lambda pair: pair[0].value)
    low, high = rated[0], rated[-1]
    text = f"{percent(low[0].value, 1)} to {percent(high[0].value, 1)}"
    if low[0].value == high[0].value:
        text = percent(low[0].value, 1)
    noun = "stolen templates" if all(v.opened[0] for _, v in rated) else "attacks"
    shown = rated[::-1] if len(rated) <= _FEW_RUNS else [high, low]
    lines = [_named(verdict, rate) for rate, verdict in shown]
    return f"{text} of {noun} open the system, over {len(verdicts)} runs", lines


def _named(verdict: Verdict, rate: Rate) -> str:
    run, point = verdict.run, verdict.points[verdict.headline]
    return (
        f"Run {run.name}, templates of {run.inverted} against {run.attacked}: {of(rate)} "
        f"({_with_interval(rate)}) at FMR {short(point.target)}."
    )


def cautions(verdict: Verdict) -> list[str]:
    """A plain sentence for each threshold that hangs on fewer than ten impostors."""
    return [_caution(point) for point in verdict.points if point.few_impostors]


def _caution(point: OperatingPoint) -> str:
    n = point.threshold_impostors
    allowed = point.target * n
    return (
        f"Too few impostors for FMR {short(point.target)}: {short(point.target)} x {count(n)} = "
        f"{allowed:.3g} scores, fewer than 10, set the threshold. It and the rates at it move "
        "with every single one; compare runs at a looser FMR."
    )
