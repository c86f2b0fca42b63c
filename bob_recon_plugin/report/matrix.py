"""Several runs side by side: inverted system by attacked system."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from bob_recon_plugin.evaluation.findings import Verdict
from bob_recon_plugin.evaluation.metrics import Rate

from .style import ACCENT, INK, PAPER, percent
from .tables import attack_label, marks, short

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
        A pair that no run tried has none.
    marks : dict of (row, column) to list of str
        What makes a cell doubtful: few impostors, users that are rejected.
    """

    attack: str
    target: float
    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], Rate]
    marks: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Caption: "SAR Type-I at FMR 1e-2"."""
        return f"{attack_label(self.attack)} at FMR {short(self.target)}"


def matrices(verdicts: Sequence[Verdict]) -> list[Matrix]:
    """One matrix for each attack type and FMR that some run has.

    Two runs of one pair of systems (another decoder, another database) get rows of their own,
    which then bear the name of the run.
    """
    pairs = [(v.run.inverted, v.run.attacked) for v in verdicts]
    named = len(set(pairs)) < len(pairs)
    labels = [f"{v.run.inverted} ({v.run.name})" if named else v.run.inverted for v in verdicts]
    rows, columns = list(dict.fromkeys(labels)), list(dict.fromkeys(p[1] for p in pairs))
    found: dict[tuple[str, float], Matrix] = {}
    for verdict, row in zip(verdicts, labels, strict=True):
        for point in verdict.points:
            for attack, rate in point.sar.items():
                key = (attack, point.target)
                matrix = found.setdefault(key, Matrix(*key, rows, columns, {}))
                matrix.cells[row, verdict.run.attacked] = rate
                matrix.marks[row, verdict.run.attacked] = marks(point)
    return sorted(found.values(), key=lambda matrix: (-matrix.target, matrix.attack))


def to_csv(verdicts: Sequence[Verdict]) -> str:
    """Every cell with its counts and interval, a row each, rates in [0, 1] with every digit."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for v in verdicts:
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
    """The matrix as a table with counts and 95 % intervals."""
    lines = [["inverted", *matrix.columns], ["---"] * (1 + len(matrix.columns))]
    for row in matrix.rows:
        lines.append([row, *(_told(matrix, (row, column)) for column in matrix.columns)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _told(matrix: Matrix, at: tuple[str, str]) -> str:
    """A cell of the Markdown table, with what makes it doubtful."""
    if at not in matrix.cells:
        return "not run"
    return ", ".join([rate_cell(matrix.cells[at]), *matrix.marks.get(at, [])])


def rate_cell(rate: Rate) -> str:
    """A rate with its counts and its 95 % interval.

    Examples
    --------
    >>> rate_cell(Rate.of(1417, 1500))
    '94.47 % (1417/1500, 93.2-95.6)'
    """
    low, high = (f"{100 * v:.{0 if v in (0, 1) else 1}f}" for v in (rate.low, rate.high))
    plain = percent(rate.value).replace("\N{NO-BREAK SPACE}", " ")
    return f"{plain} ({rate.k}/{rate.n}, {low}-{high})"


def shade(value: float) -> tuple[str, str]:
    """Background and text of a cell: the one scale of all matrices, white at 0, dark at 1."""
    if value != value:
        return PAPER, INK
    start, end = (np.array(_rgb(colour)) for colour in (PAPER, ACCENT))
    mixed = np.round(start + (end - start) * value).astype(int)
    code = "#" + "".join(f"{v:02x}" for v in mixed)
    # black or white, whichever has more contrast: at least 4.5 to 1 for both
    return code, PAPER if luminance(code) < 0.179 else "#000000"


def luminance(code: str) -> float:
    """Relative luminance of a colour, 0 black to 1 white (WCAG 2.2)."""
    parts = np.array(_rgb(code)) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _rgb(code: str) -> list[int]:
    return [int(code[i : i + 2], 16) for i in (1, 3, 5)]


@matplotlib.rc_context({"text.parse_math": False})  # names of systems come from files
def draw(matrix: Matrix) -> Figure:
    """The matrix as a figure, for PNG and PDF."""
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
