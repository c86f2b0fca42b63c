"""The report as one HTML file: no script, no network, nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from bob_recon_plugin.evaluation.findings import Verdict
from bob_recon_plugin.evaluation.metrics import CONFIDENCE

from . import style, words
from .figures import Picture
from .matrix import matrices, shade
from .pictures import Row
from .provenance import facts, linked, protection, subtitle, systems_of, title
from .tables import marks, notes, short

if TYPE_CHECKING:
    from bob_recon_plugin.evaluation.quality import Measure

#: functions of `style` that the template calls
_HELPERS = ("count", "heading", "label", "limits", "number", "percent")


@dataclass(frozen=True, eq=False)
class Chapter:
    """One run on the page.

    Attributes
    ----------
    verdict : Verdict
    charts : list of Picture
    sheets : mapping of attack type to list of Row
    faces_note : str
        Where the faces come from, or why there are none.
    quality : list of Measure
    quality_note : str
        What was compared, or why nothing was.
    """

    verdict: Verdict
    charts: Sequence[Picture]
    sheets: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    faces_note: str = ""
    quality: Sequence[Measure] = ()
    quality_note: str = ""


def render(chapters: Sequence[Chapter], made_by: str) -> str:
    """Write the page.

    Parameters
    ----------
    chapters : sequence of Chapter
        One per run, at least one; several begin with a matrix.
    made_by : str
        Last line: by what and when.

    Returns
    -------
    str
        HTML.
    """
    here = files(__package__)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update({name: getattr(style, name) for name in _HELPERS})
    environment.globals.update(short=short, shade=shade, marks=marks)
    template = environment.from_string(here.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        css=here.joinpath("page.css").read_text(encoding="utf-8"),
        sections=[_section(chapter) for chapter in chapters],
        confidence=f"{100 * CONFIDENCE:g}",
        replicates=chapters[0].verdict.replicates,
        seed=chapters[0].verdict.seed,
        made_by=made_by,
        **_top([chapter.verdict for chapter in chapters]),
    )


def _top(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Headline, the lines under it, and the matrices of several runs."""
    if len(verdicts) == 1:
        (only,) = verdicts
        return {
            "headline": words.headline(only),
            "lead": words.lead(only),
            "others": words.other_points(only),
            "cautions": words.cautions(only),
            "matrices": [],
        }
    headline, lead = words.range_headline(verdicts)
    return {
        "headline": headline,
        "lead": lead,
        "others": [],
        "cautions": words.range_cautions(verdicts),
        "matrices": matrices(verdicts),
    }


def _section(chapter: Chapter) -> dict[str, Any]:
    verdict = chapter.verdict
    return {
        "verdict": verdict,
        "title": title(verdict.run),
        "subtitle": subtitle(verdict.run),
        "lead": [f"{words.headline(verdict)}: {line}" for line in words.lead(verdict)[:1]]
        + words.lead(verdict)[1:]
        + words.other_points(verdict),
        "cautions": words.cautions(verdict),
        "notes": notes(verdict.points)[:1],
        "charts": [
            {"uri": p.data_uri(), "alt": p.alt, "caption": p.caption} for p in chapter.charts
        ],
        "sheets": chapter.sheets,
        "faces_note": chapter.faces_note,
        "quality": chapter.quality,
        "quality_note": chapter.quality_note,
        "protection": protection(verdict.run),
        "facts": facts(verdict),
        "linked": linked(verdict.run),
        "systems": systems_of(verdict.run),
        **_acquired(verdict),
    }


def _acquired(verdict: Verdict) -> dict[str, Any]:
    """Failed and all comparisons of each class, by group."""
    run = verdict.run
    tables = {"dev": run.dev} | ({"eval": run.eval} if run.eval is not None else {})
    names = list(dict.fromkeys(kind for table in tables.values() for kind in table.kinds))
    counts = {}
    for group, table in tables.items():
        failed = verdict.points[0].not_acquired[group]
        present = {kind: len(table.rows(kind)) for kind in table.kinds}
        counts[group] = [(failed.get(name, 0), present.get(name, 0)) for name in names]
    return {"acquired_names": names, "acquired": counts}
