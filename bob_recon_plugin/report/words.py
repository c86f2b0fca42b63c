"""The sentences of a report."""

from __future__ import annotations

from collections.abc import Sequence

from bob_recon_plugin.evaluation.findings import Verdict
from bob_recon_plugin.evaluation.metrics import CONFIDENCE, Rate
from bob_recon_plugin.evaluation.scores import TYPE_I, TYPE_II
from bob_recon_plugin.evaluation.statistics import Spread

from .style import count, fmr_words, label, limits, percent
from .tables import NOT_RECOGNISED, marks, short, unrecognised
from .tables import cautions as cautions_of

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


def _with_interval(verdict: Verdict, at: int, attack: str, rate: Rate) -> str:
    """A rate with its exact interval and the one over people; first the one to go by."""
    exact = f"{100 * CONFIDENCE:g}\N{NO-BREAK SPACE}% CI {limits(rate.low, rate.high)}"
    spread = _spread(verdict, at, attack)
    if spread is None:
        return f"{percent(rate.value)}, {exact}"
    people = f"{limits(spread.low, spread.high)} over people"
    rows = verdict.points[at].sar[attack]
    if (rate.k, rate.n) != (rows.k, rows.n):  # templates are counted, comparisons were resampled
        people += f" ({label(attack)} comparisons)"
    order = [people, exact] if verdict.points[at].few_impostors else [exact, people]
    return ", ".join([percent(rate.value), *order])


def _spread(verdict: Verdict, at: int, attack: str) -> Spread | None:
    """Interval of an attack's success rate over people, where it has a width."""
    spread = verdict.spreads[at].sar.get(attack) if verdict.spreads else None
    return spread if spread is not None and spread.low < spread.high else None


def _main_rate(verdict: Verdict, at: int) -> tuple[Rate, str, str] | None:
    """The rate that the headline speaks of, what it counts, and of which attack it is."""
    opened = verdict.opened[at]
    if opened is not None and opened.n:
        return opened, "stolen templates", TYPE_I
    for attack, rate in verdict.points[at].sar.items():
        if rate.n:
            return rate, f"attacks of {label(attack).replace(' attack', '')}", attack
    return None


def headline(verdict: Verdict) -> str:
    """How many templates open the system, if it works at all."""
    if unrecognised(verdict.points):
        return NOT_RECOGNISED
    main = _main_rate(verdict, verdict.headline)
    if main is None:
        return "No attack gave a score"
    rate, noun, _ = main
    return f"{_who(rate, noun)} {_verb(rate)} the system"


def _verb(rate: Rate) -> str:
    return "opens" if rate.n == 1 or rate.k == 1 else "open"


def lead(verdict: Verdict) -> list[str]:
    """What stands under the headline: at which FMR, how sure, and the harder attack."""
    at = verdict.headline
    point = verdict.points[at]
    main = _main_rate(verdict, at)
    broken = unrecognised(verdict.points)
    if broken:
        told = [] if main is None else [f"{_who(*main[:2])} {_verb(main[0])} it."]
        return [broken, *told]
    if main is None:
        return []
    rate, _, attack = main
    lines = [
        f"{_with_interval(verdict, at, attack, rate)}, at a threshold that admits "
        f"{fmr_words(point.target)} (FMR {short(point.target)})."
    ]
    second = point.sar.get(TYPE_II)
    if second is not None and second.n and TYPE_I in point.sar:
        lines.append(
            "Presented to another enrolment of the same person, "
            f"{of(second)} reconstructions are accepted "
            f"({_with_interval(verdict, at, TYPE_II, second)})."
        )
    return lines


def other_points(verdict: Verdict) -> list[str]:
    """The same at the other FMR, a sentence each; nothing of a system that does not work."""
    if unrecognised(verdict.points):
        return []
    lines = []
    for i, point in enumerate(verdict.points):
        main = _main_rate(verdict, i)
        if i == verdict.headline or main is None:
            continue
        told = f"{of(main[0])} {main[1]} ({percent(main[0].value)})"
        second = point.sar.get(TYPE_II)
        if second is not None and second.n and TYPE_I in point.sar:
            told += f", {of(second)} to another enrolment ({percent(second.value)})"
        marked = "".join(f", {mark}" for mark in marks(point))
        lines.append(f"At FMR {short(point.target)}{marked}: {told}.")
    return lines


def range_headline(verdicts: Sequence[Verdict]) -> tuple[str, list[str]]:
    """The headline over several runs, of the most exposed one, and what stands under it.

    Runs are compared at one FMR, the strictest that each of them has ten impostors for.
    """
    if all(unrecognised(verdict.points) for verdict in verdicts):
        return f"None of {len(verdicts)} systems recognises its own users", []
    at = min(verdict.headline for verdict in verdicts)  # from the loosest to the strictest
    rated = [
        (main, verdict) for verdict in verdicts if (main := _main_rate(verdict, at)) is not None
    ]
    if not rated:
        return "No attack gave a score", []
    rated.sort(key=lambda pair: (pair[0][0].value, pair[0][0].low), reverse=True)
    (rate, noun, _), _ = rated[0]
    shown = rated if len(rated) <= _FEW_RUNS else [rated[0], rated[-1]]
    lines = [_named(verdict, at, *main) for main, verdict in shown]
    text = f"{_who(rate, noun)} {_verb(rate)} the most exposed of {len(verdicts)} runs"
    return text, lines


def _named(verdict: Verdict, at: int, rate: Rate, noun: str, attack: str) -> str:
    run, point = verdict.run, verdict.points[at]
    marked = "".join(f", {mark}" for mark in marks(point))
    return (
        f"Run {run.name}, templates of {run.inverted} against {run.attacked}: {of(rate)} {noun} "
        f"({_with_interval(verdict, at, attack, rate)}) at FMR {short(point.target)}{marked}."
    )


def range_cautions(verdicts: Sequence[Verdict]) -> list[str]:
    """A sentence for each of several runs whose system does not recognise its own users."""
    return [
        f"Run {verdict.run.name}: {NOT_RECOGNISED}: {broken}"
        for verdict in verdicts
        if (broken := unrecognised(verdict.points))
    ]


def cautions(verdict: Verdict) -> list[str]:
    """What should make a reader of the rates careful, a plain sentence each."""
    changed = (
        ["Scores are distances with their sign changed, so that higher is more alike."]
        if verdict.run.dev.distances
        else []
    )
    return changed + cautions_of(verdict.points)
