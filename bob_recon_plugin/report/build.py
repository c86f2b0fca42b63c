"""From runs to files: the HTML page, and optional PNG, PDF and CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..common.files import whole_or_nothing
from ..common.record import versions
from ..common.validation import InputError
from ..evaluation.findings import Findings, analyse
from ..evaluation.run_folder import Part, RunFolder, open_run, took_part
from ..evaluation.scores import TYPE_I
from ..evaluation.source_images import Originals, reopen, source_of
from . import matrix
from .figures import draw
from .page import Chapter, render
from .pictures import read_face, sheet

if TYPE_CHECKING:
    from ..evaluation.quality import QualityMeasure


@dataclass(frozen=True)
class Options:
    """The content of a report; see the options of ``bob bio recon report``."""

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
        The HTML file. Other files are written beside it, with its name.
    options : Options

    Returns
    -------
    list of Path
        The written files, the page first.

    Raises
    ------
    FileNotFoundError, ValueError
        If a run cannot be reported.
    """
    output = Path(output).expanduser()
    runs = _distinct([open_run(path, options.distances) for path in paths])
    chapters = [_chapter(run, options, 6 if len(runs) == 1 else 4) for run in runs]
    several = [chapter.findings for chapter in chapters]
    day = datetime.now(timezone.utc).date().isoformat()
    made_by = f"bob_recon_plugin {versions()['bob_recon_plugin']}, {day}."
    written = [_write(output, render(chapters, made_by))]
    if len(runs) > 1:
        written.append(_write(output.with_suffix(".csv"), matrix.to_csv(several)))
    if options.png:
        written += _png(output, chapters)
    if options.pdf:
        from .pdf import write_pdf

        written.append(write_pdf(output.with_suffix(".pdf"), chapters))
    return written


def _distinct(runs: list[RunFolder]) -> list[RunFolder]:
    """Return the runs, or raise ValueError if one is given twice."""
    folders = [run.files["dev"].resolve() for run in runs]
    for i, folder in enumerate(folders):
        if folder in folders[:i]:
            raise InputError(f"`run` must be given once, got {folder} twice; remove one.")
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
        for m in matrix.matrices([chapter.findings for chapter in chapters]):
            figures.append((f"matrix-{m.attack}-fmr-{m.target:g}", matrix.draw(m)))
    written = []
    for name, figure in figures:
        path = output.with_name(f"{output.stem}-{name}.png")
        with whole_or_nothing(path) as part:
            figure.savefig(part, format="png", dpi=200)
        written.append(path)
    return written


def _chapter(run: RunFolder, options: Options, count: int) -> Chapter:
    findings = analyse(run, options.fmrs, options.replicates, options.seed, options.pairs)
    attacks = run.reported.attacks
    kept = any((run.folder / "faces" / attack).is_dir() for attack in attacks)
    originals, why = _originals(run, options) if kept else (None, "")
    sheets = {}
    if not kept:
        note = "The folder of the scores has no reconstructed faces."
    elif not options.faces:
        note = "Left out on request."
    else:
        sheets = {
            # an example of Type-II has three pictures and is wider
            attack: sheet(findings, attack, originals, count if attack == TYPE_I else 4)
            for attack in attacks
        }
        note = (
            "Left: the original image of the template (the first if there are several). Then the "
            "reconstruction, and for Type-II the enrolled image that it is compared with. "
            if originals
            else f"Reconstructions without original images. {why} "
        )
        note += "Below: score and outcome at the threshold of the headline."
    quality, compared = _quality(
        findings, originals, why if kept else "no faces were kept.", options
    )
    return Chapter(findings, draw(findings), sheets, note, quality, compared)


def _originals(run: RunFolder, options: Options) -> tuple[Originals | None, str]:
    """Open the original images, or return why this is not possible: a report works without."""
    database = options.originals
    positions = run.record.get("card", {}).get("positions")
    size = run.record.get("image_size", (112, 112))
    if positions is None:
        return (
            None,
            "The original images cannot be shown: eye positions of the decoder are not recorded.",
        )
    try:
        if database is None:
            database = reopen(run.identity.get("database", {}))
        return Originals(database, run.files, positions, size), ""
    except (OSError, ValueError, TypeError) as error:
        if options.originals is not None:
            raise
        return (
            None,
            f"The original images cannot be shown ({error}); give their database with --originals.",
        )


def _quality(
    findings: Findings, originals: Originals | None, why: str, options: Options
) -> tuple[list[QualityMeasure], str]:
    if not options.quality:
        return [], "Not measured, on request."
    if originals is None:
        return [], f"Not measured: {why}"
    pairs = _pairs(findings, originals, options.quality)
    left_out = ""
    if pairs.left_out:
        left_out = f"{pairs.left_out} are left out because their images could not be aligned"
    if not pairs.people:
        why = left_out or f"no original image in {originals.name} belongs to a kept face"
        return [], f"Not measured: {why}."
    from ..evaluation.quality import (  # loads torch
        measure,
        part_of,
        second_recognizer,
    )

    parts = took_part(findings.run.record)
    name = options.recognizer or second_recognizer(parts)
    if name is not None and (part := part_of(name, parts)):
        raise InputError(
            f"`recognizer` must have taken no part in the run, got {name}, which {part.role}; name "
            "another."
        )
    faces = np.stack(pairs.originals), np.stack(pairs.made)
    found = measure(*faces, name, originals.positions, pairs.people)
    note = (
        f"{len(pairs.people)} reconstructions compared with the original images of "
        f"{originals.name} (the first of a template if there are several), cropped to the eye "
        f"positions and the size of the decoder, {originals.size[0]} x {originals.size[1]}."
    )
    note += f" {left_out}." if left_out else ""
    return found, note + (f" {_no_part(name, parts)}" if name else "")


def _no_part(name: str, parts: Sequence[Part]) -> str:
    """Return how certain it is that a recognition model took no part in a run."""
    by_name = sorted({part.model.name for part in parts if part.model.sha256 is None})
    text = f"Identity by {name}, which took no part in this run"
    if not by_name:
        return f"{text}."
    return (
        f"{text}, as far as their names show: the weights of {', '.join(by_name)} are not recorded."
    )


class _Pairs(NamedTuple):
    """Original images and reconstructions of shape (3, H, W), with their people."""

    originals: list[np.ndarray]
    made: list[np.ndarray]
    people: list[str]
    left_out: int  # pairs whose original image could not be aligned


def _pairs(findings: Findings, originals: Originals, most: int) -> _Pairs:
    """Return pairs to compare, evenly spaced over the attacks, each image once."""
    table = findings.run.reported
    attack = TYPE_I if TYPE_I in table.attacks else table.attacks[0]
    _, rows = np.unique(table.probe[table.rows(attack)], return_index=True)
    rows = table.rows(attack)[np.sort(rows)]
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
    pairs, left_out = _Pairs([], [], [], 0), 0
    for row in rows:
        probe, target = table.compared(row)
        face = read_face(findings.run.face(probe))
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
