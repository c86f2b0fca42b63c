"""Several runs as matrices: inverted system by attacked system."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..evaluation.findings import Findings
from ..evaluation.metrics import Rate
from .style import ACCENT, INK, PAPER, heading, limits, percent, short
from .tables import marks

COLUMNS = (
    *("run", "inverted", "attacked", "database", "group", "fmr_target", "threshold"),
    *("threshold_group", "few_impostors", "attack_type", "k", "n", "value", "low", "high", "tmr"),
)


@dataclass(frozen=True)
class Matrix:
    """Rates of one attack at one FMR.

    Attributes
    ----------
    attack : str
    target : float
    rows, columns : list of str
        Inverted and attacked systems.
    cells : dict of (row, column) to Rate
        A pair without a run is left out.
    marks : dict of (row, column) to list of str
        Doubts about a cell: few impostors, users not recognised.
    """

    attack: str
    target: float
    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], Rate]
    marks: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The caption: "SAR Type-I at FMR 1e-2"."""
        return f"{heading(self.attack)} at FMR {short(self.target)}"


def matrices(several: Sequence[Findings]) -> list[Matrix]:
    """Return one matrix for each attack type and FMR of the runs.

    Runs of the same pair of systems (with another decoder or database) get separate rows, with the
    name of the run.
    """
    pairs = [(v.run.inverted, v.run.attacked) for v in several]
    named = len(set(pairs)) < len(pairs)
    labels = [f"{v.run.inverted} ({v.run.name})" if named else v.run.inverted for v in several]
    rows, columns = list(dict.fromkeys(labels)), list(dict.fromkeys(p[1] for p in pairs))
    found: dict[tuple[str, float], Matrix] = {}
    for findings, row in zip(several, labels, strict=True):
        for point in findings.points:
            for attack, rate in point.sar.items():
                key = (attack, point.target)
                matrix = found.setdefault(key, Matrix(*key, rows, columns, {}))
                matrix.cells[row, findings.run.attacked] = rate
                matrix.marks[row, findings.run.attacked] = marks(point)
    return sorted(found.values(), key=lambda matrix: (-matrix.target, matrix.attack))


def to_csv(several: Sequence[Findings]) -> str:
    """Return a CSV with a row per cell: counts, interval, and rates in [0, 1] with all digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for v in several:
        for p in v.points:
            setting: list[Any] = [v.run.name, v.run.inverted, v.run.attacked, v.run.database]
            setting += [p.group, p.target, p.limit, p.threshold_group]
            setting += [str(p.few_impostors).lower()]
            for attack, r in p.sar.items():
                value = r.value if r.n else ""
                numbers = [r.k, r.n, value, r.low, r.high, p.tmr.value if p.tmr.n else ""]
                writer.writerow([*setting, attack, *numbers])
    return stream.getvalue()


def to_markdown(matrix: Matrix) -> str:
    """Return the matrix as a Markdown table with counts and 95 % intervals."""
    lines = [["inverted", *matrix.columns], ["---"] * (1 + len(matrix.columns))]
    for row in matrix.rows:
        lines.append([row, *(_cell(matrix, (row, column)) for column in matrix.columns)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(matrix: Matrix, at: tuple[str, str]) -> str:
    if at not in matrix.cells:
        return "not run"
    return ", ".join([rate_cell(matrix.cells[at]), *matrix.marks.get(at, [])])


def rate_cell(rate: Rate) -> str:
    """Format a rate with its counts and its 95 % interval.

    Examples
    --------
    >>> rate_cell(Rate.of(1417, 1500))
    '94.47 % (1417/1500, 93.2-95.6)'
    """
    plain = percent(rate.value).replace("\N{NO-BREAK SPACE}", " ")
    return f"{plain} ({rate.k}/{rate.n}, {limits(rate.low, rate.high, '-', '')})"


def shade(value: float) -> tuple[str, str]:
    """Return background and text colour of a cell, on one scale: white at 0, dark at 1."""
    if value != value:
        return PAPER, INK
    start, end = (np.array(_rgb(colour)) for colour in (PAPER, ACCENT))
    mixed = np.round(start + (end - start) * value).astype(int)
    code = "#" + "".join(f"{v:02x}" for v in mixed)
    # black or white, whichever has more contrast: both have at least 4.5 to 1
    return code, PAPER if luminance(code) < 0.179 else "#000000"


def luminance(code: str) -> float:
    """Return the relative luminance of a colour, from 0 black to 1 white (WCAG 2.2)."""
    parts = np.array(_rgb(code)) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _rgb(code: str) -> list[int]:
    return [int(code[i : i + 2], 16) for i in (1, 3, 5)]


@matplotlib.rc_context({"text.parse_math": False})  # names of systems come from files
def draw(matrix: Matrix) -> Figure:
    """Draw the matrix as a figure, for PNG and PDF."""
    wide, high = len(matrix.columns), len(matrix.rows)
    figure = Figure(figsize=(2.6 + 1.5 * wide, 1.3 + 0.7 * high), layout="constrained")
    ax = figure.subplots()
    for i, row in enumerate(matrix.rows):
        for j, column in enumerate(matrix.columns):
            rate = matrix.cells.get((row, column))
            value = float("nan") if rate is None else rate.value
            back, front = shade(value)
            ax.fill([j, j + 1, j + 1, j], [i, i, i + 1, i + 1], color=back, ec=INK, lw=0.4)
            words = "not run" if rate is None else f"{percent(value)}\n{rate.k}/{rate.n}"
            words = "\n".join([words, *matrix.marks.get((row, column), [])])
            ax.text(j + 0.5, i + 0.5, words, ha="center", va="center", color=front, fontsize=8)
    ax.set(xlim=(0, wide), ylim=(high, 0), xlabel="attacked system", ylabel="inverted system")
    ax.set_xticks([j + 0.5 for j in range(wide)], matrix.columns)
    ax.set_yticks([i + 0.5 for i in range(high)], matrix.rows)
    ax.tick_params(length=0)
    ax.set_title(matrix.title, loc="left")
    return figure
