"""Contact sheets of the page: which attacks are shown, and their pictures as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..common.validation import InputError
from ..evaluation.findings import Findings
from ..evaluation.scores import TYPE_I
from ..evaluation.source_images import Originals, source_of
from ..images.reading import load_image
from .style import label, number

_SIDE = 112


@dataclass(frozen=True)
class Picture:
    """A picture with its description; `uri` is empty without a picture.

    `note` is shown on the page: a doubt about the picture, or why there is none.
    """

    uri: str
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Example:
    """One attack, as an example: its pictures, its score and its outcome.

    Attributes
    ----------
    pictures : tuple of Picture
        The original image, the reconstruction, and for Type-II the enrolled image.
    score : float
        NaN if not acquired.
    accepted : bool
    outcome : str
        "accepted", "rejected" or "not acquired".
    """

    pictures: tuple[Picture, ...]
    score: float
    accepted: bool
    outcome: str


@dataclass(frozen=True)
class Row:
    """A row of a contact sheet: "Best", "Median", "Worst" or "Failures"."""

    title: str
    note: str
    examples: tuple[Example, ...]


def choose(findings: Findings, attack: str, count: int) -> dict[str, tuple[str, np.ndarray]]:
    """Choose the rows of the score table to show.

    Parameters
    ----------
    findings : Findings
    attack : str
    count : int
        Examples in each row.

    Returns
    -------
    dict of title to (note, indices)
        Best, median and worst scores, and failures: attacks that were not acquired, and rejected
        ones, evenly spaced from the highest score to the lowest.
    """
    table = findings.run.reported
    point = findings.points[findings.headline]
    rows = table.rows(attack)
    failed = rows[np.isnan(table.score[rows])]
    rows = rows[~np.isnan(table.score[rows])]
    rows = rows[np.argsort(-table.score[rows], kind="stable")]
    middle = max(0, (len(rows) - count) // 2)
    rejected = rows[table.score[rows] < point.threshold]
    some = np.concatenate([failed, rejected])
    if len(some) > count:
        few = failed[: count // 2]
        left = np.unique(np.linspace(0, len(rejected) - 1, count - len(few)).astype(int))
        some = np.concatenate([few, rejected[left]]) if len(rejected) else failed[:count]
    note = f"{len(rejected)} rejected, {len(failed)} not acquired; {len(some)} shown."
    return {
        "Best": ("highest scores", rows[:count]),
        "Median": ("scores in the middle", rows[middle : middle + count]),
        "Worst": ("lowest scores", rows[-count:] if len(rows) else rows),
        "Failures": (note if len(some) else "none: every attack was accepted.", some),
    }


def sheet(findings: Findings, attack: str, originals: Originals | None, count: int) -> list[Row]:
    """Return the contact sheet of one attack type; parameters as of `choose`."""
    cache: dict[str, tuple[str, str]] = {}
    return [
        Row(
            title,
            note,
            tuple(_example(findings, attack, int(i), originals, cache) for i in indices),
        )
        for title, (note, indices) in choose(findings, attack, count).items()
    ]


def _example(
    findings: Findings,
    attack: str,
    row: int,
    originals: Originals | None,
    cache: dict[str, tuple[str, str]],
) -> Example:
    table = findings.run.reported
    score = float(table.score[row])
    accepted = score >= findings.points[findings.headline].threshold
    outcome = "not acquired" if np.isnan(score) else "accepted" if accepted else "rejected"
    probe, target = table.compared(row)
    result = f"score {number(score)}, {outcome}" if score == score else outcome
    uri, note = _file(findings.run.face(probe), cache)
    made = Picture(uri, f"{label(attack)} against {target}: {result}", note)
    if originals is None:
        return Example((made,), score, accepted, outcome)
    source = target if attack == TYPE_I else source_of(probe, attack)
    behind = "enrolled" if attack == TYPE_I else "leaked"
    pictures = [_of(originals, source, behind, cache), made]
    if attack != TYPE_I:
        pictures.append(_of(originals, target, "enrolled", cache))
    return Example(tuple(pictures), score, accepted, outcome)


def _of(
    originals: Originals, template: str, role: str, cache: dict[str, tuple[str, str]]
) -> Picture:
    if f"{role}:{template}" not in cache:
        found = originals.get(template)
        if found is None:
            cache[f"{role}:{template}"] = "", f"{role} not found"
        else:
            face = Image.fromarray(found.image.transpose(1, 2, 0))
            cache[f"{role}:{template}"] = _uri(face), "" if found.aligned else "not aligned"
    uri, note = cache[f"{role}:{template}"]
    return Picture(uri, f"{role} image of {template}" + (f", {note}" if note else ""), note)


def _file(path: Path, cache: dict[str, tuple[str, str]]) -> tuple[str, str]:
    if str(path) not in cache:
        face = read_face(path)
        note = "" if face else "face not " + ("readable" if path.is_file() else "kept")
        cache[str(path)] = _uri(face) if face else "", note
    return cache[str(path)]


def read_face(path: Path) -> Image.Image | None:
    """Return a kept face; None if there is none or it cannot be read."""
    try:
        return Image.fromarray(load_image(path).transpose(1, 2, 0))
    except (OSError, InputError):
        return None


def _uri(face: Image.Image) -> str:
    """Return a JPEG as a data URI."""
    if max(face.size) > _SIDE:
        face.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    face.save(stream, format="jpeg", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
