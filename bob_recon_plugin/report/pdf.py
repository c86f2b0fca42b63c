"""The report as a PDF, drawn by matplotlib: headline, tables and charts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from ..common.files import whole_or_nothing
from . import matrix, words
from .page import Chapter
from .provenance import facts, title
from .style import ACCENT, INK, RULE, count, heading, limits, percent, short
from .tables import marks, notes

_A4 = (8.27, 11.69)
_LEFT, _WIDTH = 0.09, 0.82
_TOP, _BOTTOM = 0.94, 0.06


@matplotlib.rc_context({"text.parse_math": False})  # names and settings come from files
def write_pdf(path: Path, chapters: Sequence[Chapter]) -> Path:
    """Write the PDF: for each run its text and rates, then its charts; without faces.

    Parameters
    ----------
    path : Path
    chapters : sequence of Chapter

    Returns
    -------
    Path
    """
    several = [chapter.findings for chapter in chapters]
    nothing = {"CreationDate": None, "Creator": None, "Producer": None}
    with whole_or_nothing(path) as part, PdfPages(part, metadata=nothing) as pdf:
        if len(chapters) > 1:
            for each in matrix.matrices(several):
                pdf.savefig(matrix.draw(each), bbox_inches="tight", pad_inches=0.6)
        for chapter in chapters:
            for page in _text(chapter):
                pdf.savefig(page)
            for chart in chapter.charts:
                pdf.savefig(chart.figure, bbox_inches="tight", pad_inches=0.6)
    return path


class _Sheet:
    """Pages that are filled from top to bottom."""

    def __init__(self) -> None:
        self.pages = [Figure(figsize=_A4)]
        self.y = _TOP

    def _room_for(self, height: float) -> Figure:
        """Return the page to write on, a new one if this one is full."""
        if self.y - height < _BOTTOM:
            self.pages.append(Figure(figsize=_A4))
            self.y = _TOP
        return self.pages[-1]

    def write(self, text: str, size: float, width: int, **look: Any) -> None:
        """Write a paragraph, wrapped at `width` characters."""
        lines = textwrap.wrap(text, width) or [""]
        height = (len(lines) * size * 1.33 + 7) / 72 / _A4[1]
        page = self._room_for(height)
        page.text(_LEFT, self.y, "\n".join(lines), size=size, va="top", **look)
        self.y -= height

    def table(self, rows: list[list[str]]) -> None:
        """Draw a table; cells may have several lines."""
        height = 0.05 * len(rows)
        ax = self._room_for(height).add_axes((_LEFT, self.y - height, _WIDTH, height))
        ax.axis("off")
        drawn = ax.table(rows, loc="upper left", cellLoc="left", edges="horizontal")
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(8)
        for (row, _), cell in drawn.get_celld().items():
            cell.set_height(1 / len(rows))
            cell.set_edgecolor(RULE)
            cell.set_text_props(weight="bold" if row == 0 else "normal", color=INK)
        self.y -= height + 0.02


def _text(chapter: Chapter) -> list[Figure]:
    findings = chapter.findings
    sheet = _Sheet()
    sheet.write(title(findings.run), 10, 90, color="#595959")
    sheet.write(words.headline(findings) + ".", 22, 40, weight="bold", color=INK)
    for line in words.lead(findings) + words.other_points(findings):
        sheet.write(line, 11, 82, color=INK)
    for line in words.cautions(findings):
        sheet.write("Caution. " + line, 9, 100, color=ACCENT)
    first = findings.points[0]
    rows = [["FMR at most", "threshold", "FMR", "TMR", *(heading(a) for a in first.sar)]]
    for point in findings.points:
        rates = [point.fmr, point.tmr, *point.sar.values()]
        cells = [
            f"{percent(r.value)}\n{count(r.k)}/{count(r.n)}\n{limits(r.low, r.high)}" for r in rates
        ]
        target = "\n".join([short(point.target), *marks(point)])
        rows.append([target, f"{point.threshold:.4f}", *cells])
    sheet.table(rows)
    for line in notes(findings.points)[:4]:
        sheet.write(line, 8, 115, color="#595959")
    for name, value in facts(findings):
        sheet.write(f"{name}: {value}", 7, 130, color=INK)
    return sheet.pages
