"""From runs to files: the page, and PNG, PDF and CSV beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bob_recon_plugin.common.files import whole_or_nothing
from bob_recon_plugin.common.record import versions
from bob_recon_plugin.evaluation.findings import Verdict, judge
from bob_recon_plugin.evaluation.run_folder import Part, Run, open_run, took_part
from bob_recon_plugin.evaluation.scores import TYPE_I
from bob_recon_plugin.evaluation.source_images import Originals, reopen, source_of

from ..common.validation import InputError
from . import matrix
from .figures import draw
from .page import Chapter, render
from .pictures import read_face, sheet

if TYPE_CHECKING:
    from bob_recon_plugin.evaluation.quality import Measure


@dataclass(frozen=True)
class Options:
    """What a report holds; see the options of ``bob bio recon report``."""

    fmrs: Sequence[float] = (1e-2, 1e-3)
    distances: bool = False
    replicates: int = 1000
    seed: int = 0
    pairs: str | None = None
    faces: bool = True
    originals: Any = None  # a Bob database
    quality: int = 500
    recognizer: str | None = None
    pdf: bool = False
    png: bool = False


def write_report(paths: Sequence[str | Path], output: str | Path, options: Options) -> list[Path]:
    """Write the report of one or several runs.

    Parameters
    ----------
    paths : sequence of str or Path
        Folders of runs, or score files.
    output : str or Path
        The HTML file. What else is asked for stands beside it under its name.
    options : Options

    Returns
    -------
    list of Path
        The files, the page first.

    Raises
    ------
    FileNotFoundError, ValueError
        If a run cannot be reported.
    """
    output = Path(output).expanduser()
    runs = _distinct([open_run(path, options.distances) for path in paths])
    chapters = [_chapter(run, options, 6 if len(runs) == 1 else 4) for run in runs]
    verdicts = [chapter.verdict for chapter in chapters]
    day = datetime.now(timezone.utc).date().isoformat()
    made_by = f"bob_recon_plugin {versions()['bob_recon_plugin']}, {day}."
    written = [_write(output, render(chapters, made_by))]
    if len(runs) > 1:
        written.append(_write(output.with_suffix(".csv"), matrix.to_csv(verdicts)))
    if options.png:
        written += _png(output, chapters)
    if options.pdf:
        from .pdf import write_pdf

        written.append(write_pdf(output.with_suffix(".pdf"), chapters))
    return written


def _distinct(runs: list[Run]) -> list[Run]:
    """Refuse a run that is given twice; the matrix would count it as two."""
    folders = [run.files["dev"].resolve() for run in runs]
    for i, folder in enumerate(folders):
        if folder in folders[:i]:
            raise InputError(f"`run` must be given once, got {folder} twice; leave one out.")
    return runs


def _write(path: Path, text: str) -> Path:
    with whole_or_nothing(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def _png(output: Path, chapters: Sequence[Chapter]) -> list[Path]:
    figures = []
    for i, chapter in enumerate(chapters, start=1):
        run = f"-{i}" if len(chapters) > 1 else ""
        figures += [(f"{p.name}{run}", p.figure) for p in chapter.charts]
    if len(chapters) > 1:
        for m in matrix.matrices([chapter.verdict for chapter in chapters]):
            figures.append((f"matrix-{m.attack}-fmr-{m.target:g}", matrix.draw(m)))
    written = []
    for name, figure in figures:
        path = output.with_name(f"{output.stem}-{name}.png")
        with whole_or_nothing(path) as part:
            figure.savefig(part, format="png", dpi=200)
        written.append(path)
    return written


def _chapter(run: Run, options: Options, count: int) -> Chapter:
    verdict = judge(run, options.fmrs, options.replicates, options.seed, options.pairs)
    attacks = run.reported.attacks
    kept = any((run.folder / "faces" / attack).is_dir() for attack in attacks)
    originals, why = _originals(run, options) if kept else (None, "")
    sheets = {}
    if not kept:
        note = "No reconstructed face was found beside the scores."
    elif not options.faces:
        note = "Left out on request."
    else:
        sheets = {
            # the pictures of a Type-II attack are three, and wider
            attack: sheet(verdict, attack, originals, count if attack == TYPE_I else 4)
            for attack in attacks
        }
        note = (
            "Each with the image behind the template (left; the first one if there are several), "
            "the face drawn from it, and for Type-II the enrolled image it was compared with "
            "(right). "
            if originals
            else f"Reconstructions alone. {why} "
        )
        note += "Under each its score and what the system said at the threshold of the headline."
    found, told = _quality(verdict, originals, why if kept else "no faces were kept.", options)
    return Chapter(verdict, draw(verdict), sheets, note, found, told)


def _originals(run: Run, options: Options) -> tuple[Originals | None, str]:
    """Open the images behind the templates, or say why not: a report needs none of them."""
    database = options.originals
    positions = run.record.get("card", {}).get("positions")
    size = run.record.get("image_size", (112, 112))
    if positions is None:
        return None, "The originals cannot be shown: where the decoder puts the eyes is not known."
    try:
        if database is None:
            database = reopen(run.identity.get("database", {}))
        return Originals(database, run.files, positions, size), ""
    except (OSError, ValueError, TypeError) as error:
        if options.originals is not None:
            raise
        return None, f"The originals cannot be shown ({error}); name them with --originals."


def _quality(
    verdict: Verdict, originals: Originals | None, why: str, options: Options
) -> tuple[list[Measure], str]:
    if not options.quality:
        return [], "Not measured, on request."
    if originals is None:
        return [], f"Not measured: {why}"
    pairs = _pairs(verdict, originals, options.quality)
    left_out = ""
    if pairs.left_out:
        left_out = f"{pairs.left_out} left out, whose images could not be aligned"
    if not pairs.people:
        why = left_out or f"no original in {originals.name} belongs to a kept face"
        return [], f"Not measured: {why}."
    from bob_recon_plugin.evaluation.quality import (  # loads torch
        measure,
        part_of,
        second_recognizer,
    )

    parts = took_part(verdict.run.record)
    name = options.recognizer or second_recognizer(parts)
    if name is not None and (part := part_of(name, parts)):
        raise InputError(
            f"`recognizer` must have taken no part in the run, got {name}, which {part.role}; name "
            "another."
        )
    faces = np.stack(pairs.originals), np.stack(pairs.made)
    found = measure(*faces, name, originals.positions, pairs.people)
    note = (
        f"{len(pairs.people)} reconstructions against the image behind each template (the first "
        f"one if there are several), cropped as the decoder draws faces, to {originals.size[0]} x "
        f"{originals.size[1]}; images from {originals.name}."
    )
    note += f" {left_out}." if left_out else ""
    return found, note + (f" {_no_part(name, parts)}" if name else "")


def _no_part(name: str, parts: Sequence[Part]) -> str:
    """What is known of the model that judges the identity, and how surely."""
    by_name = sorted({part.model.name for part in parts if part.model.sha256 is None})
    told = f"Identity by {name}, which took no part in this run"
    if not by_name:
        return f"{told}."
    return f"{told}, as far as names tell: the weights of {', '.join(by_name)} are not recorded."


class _Pairs(NamedTuple):
    """Originals and reconstructions of shape (3, H, W), and whose they are."""

    originals: list[np.ndarray]
    made: list[np.ndarray]
    people: list[str]
    left_out: int  # their original is there, but not aligned


def _pairs(verdict: Verdict, originals: Originals, most: int) -> _Pairs:
    """Pairs to compare, evenly taken, each image once."""
    table = verdict.run.reported
    attack = TYPE_I if TYPE_I in table.attacks else table.attacks[0]
    _, rows = np.unique(table.probe[table.rows(attack)], return_index=True)
    rows = table.rows(attack)[np.sort(rows)]
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
    pairs, left_out = _Pairs([], [], [], 0), 0
    for row in rows:
        probe = table.templates[table.probe[row]] if table.probe[row] >= 0 else ""
        target = table.templates[table.reference[row]] if table.reference[row] >= 0 else ""
        face = read_face(verdict.run.face(probe))
        original = originals.get(target if attack == TYPE_I else source_of(probe, attack))
        if face is None or original is None:
            continue
        made = np.asarray(face).transpose(2, 0, 1)
        if not original.aligned or made.shape != original.image.shape:
            left_out += 1
            continue
        pairs.originals.append(original.image)
        pairs.made.append(made)
        pairs.people.append(str(table.probe_subject[row]))
    return pairs._replace(left_out=left_out)
