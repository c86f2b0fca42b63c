"""The report as one HTML file, without scripts, network or other files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from ..evaluation.findings import Findings
from ..evaluation.metrics import CONFIDENCE
from . import words
from .figures import Chart
from .matrix import matrices, shade
from .pictures import Row
from .provenance import facts, linked, protection, subtitle, systems_of, title
from .style import count, heading, label, limits, number, percent, short
from .tables import marks, notes

if TYPE_CHECKING:
    from ..evaluation.quality import QualityMeasure


@dataclass(frozen=True, eq=False)
class Chapter:
    """One run on the page.

    Attributes
    ----------
    findings : Findings
    charts : list of Chart
    sheets : mapping of attack type to list of Row
    faces_note : str
        What the faces are, or why there are none.
    quality : list of QualityMeasure
    quality_note : str
        What was compared, or why nothing was.
    """

    findings: Findings
    charts: Sequence[Chart]
    sheets: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    faces_note: str = ""
    quality: Sequence[QualityMeasure] = ()
    quality_note: str = ""


def render(chapters: Sequence[Chapter], made_by: str) -> str:
    """Write the page.

    Parameters
    ----------
    chapters : sequence of Chapter
        One per run, at least one; a page of several begins with matrices.
    made_by : str
        The last line: version and date.

    Returns
    -------
    str
        HTML.
    """
    here = files(__package__)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(
        {f.__name__: f for f in (count, heading, label, limits, number, percent, short)}
    )
    environment.globals.update(shade=shade, marks=marks)
    template = environment.from_string(here.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        css=here.joinpath("page.css").read_text(encoding="utf-8"),
        sections=[_section(chapter) for chapter in chapters],
        confidence=f"{100 * CONFIDENCE:g}",
        replicates=chapters[0].findings.replicates,
        seed=chapters[0].findings.seed,
        made_by=made_by,
        **_top([chapter.findings for chapter in chapters]),
    )


def _top(several: Sequence[Findings]) -> dict[str, Any]:
    """Return headline, the lines below it, and the matrices of several runs."""
    if len(several) == 1:
        (only,) = several
        return {
            "headline": words.headline(only),
            "lead": words.lead(only),
            "others": words.other_points(only),
            "cautions": words.cautions(only),
            "matrices": [],
        }
    headline, lead = words.range_headline(several)
    return {
        "headline": headline,
        "lead": lead,
        "others": [],
        "cautions": words.range_cautions(several),
        "matrices": matrices(several),
    }


def _section(chapter: Chapter) -> dict[str, Any]:
    findings = chapter.findings
    return {
        "findings": findings,
        "title": title(findings.run),
        "subtitle": subtitle(findings.run),
        "lead": [f"{words.headline(findings)}: {line}" for line in words.lead(findings)[:1]]
        + words.lead(findings)[1:]
        + words.other_points(findings),
        "cautions": words.cautions(findings),
        "notes": notes(findings.points)[:1],
        "charts": [
            {"uri": p.data_uri(), "alt": p.alt, "caption": p.caption} for p in chapter.charts
        ],
        "sheets": chapter.sheets,
        "faces_note": chapter.faces_note,
        "quality": chapter.quality,
        "quality_note": chapter.quality_note,
        "protection": protection(findings.run),
        "facts": facts(findings),
        "linked": linked(findings.run),
        "systems": systems_of(findings.run),
        **_acquired(findings),
    }


def _acquired(findings: Findings) -> dict[str, Any]:
    """Return the numbers of failed and of all comparisons of each class, by group."""
    run = findings.run
    tables = {"dev": run.dev} | ({"eval": run.eval} if run.eval is not None else {})
    names = list(dict.fromkeys(kind for table in tables.values() for kind in table.kinds))
    counts = {}
    for group, table in tables.items():
        failed = findings.points[0].not_acquired[group]
        present = {kind: len(table.rows(kind)) for kind in table.kinds}
        counts[group] = [(failed.get(name, 0), present.get(name, 0)) for name in names]
    return {"acquired_names": names, "acquired": counts}
