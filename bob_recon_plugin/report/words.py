"""The sentences of a report."""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluation.findings import Findings
from ..evaluation.metrics import CONFIDENCE, Rate
from ..evaluation.scores import TYPE_I, TYPE_II
from ..evaluation.statistics import Spread
from .style import count, fmr_words, label, limits, percent, short
from .tables import NOT_RECOGNISED, marks, unrecognised
from .tables import cautions as cautions_of

_FEW_RUNS = 4  # of more runs only the most and the least exposed are named


def of(rate: Rate) -> str:
    """Return the counts of a rate: "943 of 1 000"."""
    return f"{count(rate.k)} of {count(rate.n)}"


def _who(rate: Rate, noun: str) -> str:
    if rate.k == rate.n and rate.n > 1:
        return f"All {count(rate.n)} {noun}"
    if not rate.k:
        return f"None of {count(rate.n)} {noun}"
    return f"{of(rate)} {noun}"


def _with_interval(findings: Findings, at: int, attack: str, rate: Rate) -> str:
    """Return a rate with its exact interval and that over people, the more reliable first."""
    exact = f"{100 * CONFIDENCE:g}\N{NO-BREAK SPACE}% CI {limits(rate.low, rate.high)}"
    spread = _spread(findings, at, attack)
    if spread is None:
        return f"{percent(rate.value)}, {exact}"
    people = f"{limits(spread.low, spread.high)} over people"
    rows = findings.points[at].sar[attack]
    if (rate.k, rate.n) != (rows.k, rows.n):  # templates are counted, comparisons were resampled
        people += f" ({label(attack)} comparisons)"
    order = [people, exact] if findings.points[at].few_impostors else [exact, people]
    return ", ".join([percent(rate.value), *order])


def _spread(findings: Findings, at: int, attack: str) -> Spread | None:
    """Return the interval of a success rate over people, or None if it has no width."""
    spread = findings.spreads[at].sar.get(attack) if findings.spreads else None
    return spread if spread is not None and spread.low < spread.high else None


def _main_rate(findings: Findings, at: int) -> tuple[Rate, str, str] | None:
    """Return the rate of the headline, what it counts, and its attack type."""
    opened = findings.opened[at]
    if opened is not None and opened.n:
        return opened, "stolen templates", TYPE_I
    for attack, rate in findings.points[at].sar.items():
        if rate.n:
            return rate, f"{label(attack)}s", attack
    return None


def headline(findings: Findings) -> str:
    """Return how many templates open the system, or that the system does not work."""
    if unrecognised(findings.points):
        return NOT_RECOGNISED
    main = _main_rate(findings, findings.headline)
    if main is None:
        return "No attack gave a score"
    rate, noun, _ = main
    return f"{_who(rate, noun)} {_verb(rate)} the system"


def _verb(rate: Rate) -> str:
    return "opens" if rate.n == 1 or rate.k == 1 else "open"


def lead(findings: Findings) -> list[str]:
    """Return the lines below the headline: the FMR, the intervals, and the Type-II attack."""
    at = findings.headline
    point = findings.points[at]
    main = _main_rate(findings, at)
    broken = unrecognised(findings.points)
    if broken:
        return [broken] + ([f"{_who(*main[:2])} {_verb(main[0])} it."] if main else [])
    if main is None:
        return []
    rate, _, attack = main
    lines = [
        f"{_with_interval(findings, at, attack, rate)}, at a threshold that accepts "
        f"{fmr_words(point.target)} (FMR {short(point.target)})."
    ]
    second = point.sar.get(TYPE_II)
    if second is not None and second.n and TYPE_I in point.sar:
        lines.append(
            "Presented to another enrolment of the same person, "
            f"{of(second)} reconstructions are accepted "
            f"({_with_interval(findings, at, TYPE_II, second)})."
        )
    return lines


def other_points(findings: Findings) -> list[str]:
    """Return a sentence for each other FMR; none for a system that does not work."""
    if unrecognised(findings.points):
        return []
    lines = []
    for i, point in enumerate(findings.points):
        main = _main_rate(findings, i)
        if i == findings.headline or main is None:
            continue
        text = f"{of(main[0])} {main[1]} ({percent(main[0].value)})"
        second = point.sar.get(TYPE_II)
        if second is not None and second.n and TYPE_I in point.sar:
            text += f", {of(second)} to another enrolment ({percent(second.value)})"
        marked = "".join(f", {mark}" for mark in marks(point))
        lines.append(f"At FMR {short(point.target)}{marked}: {text}.")
    return lines


def range_headline(several: Sequence[Findings]) -> tuple[str, list[str]]:
    """Return the headline of several runs, about the most exposed one, and the lines below it.

    Runs are compared at the same FMR, the strictest for which each has ten impostors.
    """
    if all(unrecognised(findings.points) for findings in several):
        return f"None of {len(several)} systems recognises its own users", []
    at = min(findings.headline for findings in several)  # from the loosest to the strictest
    rated = [
        (main, findings) for findings in several if (main := _main_rate(findings, at)) is not None
    ]
    if not rated:
        return "No attack gave a score", []
    rated.sort(key=lambda pair: (pair[0][0].value, pair[0][0].low), reverse=True)
    (rate, noun, _), _ = rated[0]
    shown = rated if len(rated) <= _FEW_RUNS else [rated[0], rated[-1]]
    lines = [_named(findings, at, *main) for main, findings in shown]
    text = f"{_who(rate, noun)} {_verb(rate)} the most exposed of {len(several)} runs"
    return text, lines


def _named(findings: Findings, at: int, rate: Rate, noun: str, attack: str) -> str:
    run, point = findings.run, findings.points[at]
    marked = "".join(f", {mark}" for mark in marks(point))
    return (
        f"Run {run.name}, templates of {run.inverted} against {run.attacked}: {of(rate)} {noun} "
        f"({_with_interval(findings, at, attack, rate)}) at FMR {short(point.target)}{marked}."
    )


def range_cautions(several: Sequence[Findings]) -> list[str]:
    """Return a sentence for each run whose system does not recognise its own users."""
    return [
        f"Run {findings.run.name}: {NOT_RECOGNISED}: {broken}"
        for findings in several
        if (broken := unrecognised(findings.points))
    ]


def cautions(findings: Findings) -> list[str]:
    """Return all cautions about the rates of a run, a sentence each."""
    changed = (
        ["Scores are distances with their sign changed, so that higher means more similar."]
        if findings.run.dev.distances
        else []
    )
    return changed + cautions_of(findings.points)
