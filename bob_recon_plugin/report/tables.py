"""Operating points as a table in text, Markdown, CSV or JSON, with its notes and cautions."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..common.validation import InputError, one_of
from ..evaluation.metrics import (
    CONFIDENCE,
    FEW_IMPOSTORS,
    RECOGNISES,
    OperatingPoint,
    Rate,
    leading,
)
from .style import heading, short

FORMATS = ("text", "markdown", "csv", "json")
_CSV_COLUMNS = (
    *("fmr_target", "threshold", "threshold_group", "few_impostors", "group"),
    *("rate", "attack_type", "k", "n", "value", "low", "high", "not_acquired"),
)
NOT_RECOGNISED = "This system does not recognise its own users"


def render(points: Sequence[OperatingPoint], format: str = "text") -> str:
    """Format operating points as a table.

    Parameters
    ----------
    points : sequence of OperatingPoint
        Result of `bob_recon_plugin.evaluation.metrics.evaluate`, at least one.
    format : {"text", "markdown", "csv", "json"}
        "text" and "markdown" have a row per threshold, rates in percent, and the notes below the
        table; "csv" has a row per threshold and rate; "json" nests the rates and holds the notes.
        The last two keep rates in [0, 1] with all digits. Thresholds are in the unit of the file:
        they are distances if it holds distances.

    Returns
    -------
    str
        Without a newline at the end.

    Raises
    ------
    ValueError
        If `format` is none of these, or there is no operating point.
    """
    one_of("format", format, FORMATS)
    if not points:
        raise InputError("`points` must hold at least one operating point, got none; give an FMR.")
    writer = {"text": _text, "markdown": _markdown, "csv": _csv, "json": _json}[format]
    return writer(points)


def marks(point: OperatingPoint) -> list[str]:
    """Return what to print beside every rate of a point: few impostors, users not recognised."""
    few = [f"under {FEW_IMPOSTORS} impostors"] if point.few_impostors else []
    return few if point.recognises else [*few, f"TMR {100 * point.tmr.value:.2f} %"]


def unrecognised(points: Sequence[OperatingPoint]) -> str | None:
    """Return the details of `NOT_RECOGNISED`, or None if genuine users are accepted.

    The point of `bob_recon_plugin.evaluation.metrics.leading` decides.
    """
    point = points[leading(points)]
    if point.recognises:
        return None
    tmr = point.tmr
    return (
        f"TMR {100 * tmr.value:.2f} % ({tmr.k} of {tmr.n}) at FMR {short(point.target)}; check "
        f"colour order, value range and crop. With a TMR below {100 * RECOGNISES:g} % the success "
        "rate of attacks says nothing about a system that works."
    )


def cautions(points: Sequence[OperatingPoint]) -> list[str]:
    """Return a sentence for each threshold set by too few impostors and each doubtful file."""
    few = [
        f"Too few impostors for FMR {short(p.target)}: {short(p.target)} x "
        f"{p.threshold_impostors} = {p.target * p.threshold_impostors:.3g} {p.threshold_group} "
        f"scores, fewer than {FEW_IMPOSTORS}, set the threshold. It and its rates change with each "
        "of them; compare runs at a higher FMR, or use the interval over people (`bob bio recon "
        "report`)."
        for p in points
        if p.few_impostors
    ]
    return few + list(points[0].cautions)


def warnings(points: Sequence[OperatingPoint]) -> list[str]:
    """Return all warnings about the rates, the most important first."""
    broken = unrecognised(points)
    first = [f"{NOT_RECOGNISED}: {broken}"] if broken else []
    return [f"Warning: {line}" for line in first + cautions(points)]


def read_as(points: Sequence[OperatingPoint]) -> str:
    """Return how the threshold is set, and when a comparison is accepted."""
    group = points[0].threshold_group
    if points[0].distances:
        return (
            f"Threshold: the highest {group} impostor distance that keeps FMR at or below its "
            "target (just below the lowest if none may be accepted); accepted when distance <= "
            "threshold."
        )
    return (
        f"Threshold: the lowest {group} impostor score that keeps FMR at or below its target "
        "(just above the highest if none may be accepted); accepted when score >= threshold."
    )


def notes(points: Sequence[OperatingPoint]) -> list[str]:
    """Return what a reader must know about the numbers, one sentence each."""
    first = points[0]
    sizes = {"genuine": first.tmr, "impostor": first.fmr, **first.sar}
    counts = ", ".join(f"{rate.n} {name}" for name, rate in sizes.items())
    lines = [
        f"Thresholds from {first.threshold_group}, reported on {first.group} ({counts} scores).",
        f"Not acquired (NaN, in no rate): {_failures(first.not_acquired)}.",
        read_as(points),
        f"CI: Clopper-Pearson at {100 * CONFIDENCE:g} %, which assumes independent comparisons.",
    ]
    if not first.sar:
        lines.append("No attack rows, so no SAR: give the full score file, not the licit one.")
    return lines + warnings(points)


def _failures(not_acquired: Mapping[str, Mapping[str, int]]) -> str:
    groups = []
    for group, counts in not_acquired.items():
        failed = [f"{count} {name}" for name, count in counts.items() if count]
        groups.append(f"{', '.join(failed) or 'none'} in {group}")
    return "; ".join(groups)


def _interval(rate: Rate) -> str:
    if not rate.n:
        return "no score (0/0)"
    return (
        f"{100 * rate.value:.2f} % ({rate.k}/{rate.n}, {100 * CONFIDENCE:g} % CI "
        f"{100 * rate.low:.1f}-{100 * rate.high:.1f})"
    )


def _cells(points: Sequence[OperatingPoint]) -> list[list[str]]:
    header = ["FMR target", "Threshold", "FMR", "TMR", *map(heading, points[0].sar)]
    rows = [
        [
            short(p.target) + (f" ({', '.join(marked)})" if (marked := marks(p)) else ""),
            f"{p.limit:.6g}",
            f"{100 * p.fmr.value:.3g} % ({p.fmr.k}/{p.fmr.n})",
            _interval(p.tmr),
            *(_interval(rate) for rate in p.sar.values()),
        ]
        for p in points
    ]
    return [header, *rows]


def _text(points: Sequence[OperatingPoint]) -> str:
    cells = _cells(points)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
    return "\n".join([*lines, "", *notes(points)])


def _markdown(points: Sequence[OperatingPoint]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in _cells(points)]
    cells.insert(1, ["---"] * len(cells[0]))
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(points))])


def _csv(points: Sequence[OperatingPoint]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for p in points:
        failed = p.not_acquired[p.group]
        setting = [p.target, p.limit, p.threshold_group, str(p.few_impostors).lower(), p.group]
        rates = [("FMR", "", p.fmr, "impostor"), ("TMR", "", p.tmr, "genuine")]
        rates += [("SAR", attack, rate, attack) for attack, rate in p.sar.items()]
        for name, attack, rate, kind in rates:
            numbers = [rate.k, rate.n, rate.value if rate.n else "", rate.low, rate.high]
            writer.writerow([*setting, name, attack, *numbers, failed[kind]])
    return stream.getvalue().rstrip("\n")


def _json(points: Sequence[OperatingPoint]) -> str:
    content = {
        "accepted": "distance <= threshold" if points[0].distances else "score >= threshold",
        "confidence": CONFIDENCE,
        "operating_points": [_plain(p) for p in points],
        "notes": notes(points),
    }
    return json.dumps(content, indent=2, allow_nan=False)


def _plain(point: OperatingPoint) -> dict[str, Any]:
    def plain(rate: Rate) -> dict[str, Any]:
        return vars(rate) | {"value": None if math.isnan(rate.value) else rate.value}

    return vars(point) | {
        "fmr": plain(point.fmr),
        "tmr": plain(point.tmr),
        "sar": {attack: plain(rate) for attack, rate in point.sar.items()},
        "few_impostors": point.few_impostors,
        "threshold": point.limit,
    }
