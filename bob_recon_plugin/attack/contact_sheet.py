"""The picture of a run: originals, and the faces reconstructed from their templates."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..common.files import whole_or_nothing
from ..evaluation.source_images import aligned, shrunk
from ..images.reading import load_image

logger = logging.getLogger(__name__)

_PEOPLE = 12
_SIDE = 112
_GAP = 8
_CAPTION = 18
_LABEL = 96
# blue and orange of the Okabe-Ito palette: colour-blind readers can tell them apart
_ACCEPTED, _REJECTED = (0, 90, 160), (200, 80, 0)
_ROWS = (("", "enrolled"), ("type1", "Type-I"), ("type2", "Type-II"))


@dataclass
class Person:
    """One enrolled person on the sheet."""

    template_id: str
    original: np.ndarray  # (3, 112, 112) uint8
    note: str  # what must be known of it
    shown: dict[str, tuple[str, float]]  # attack type -> (probe key, score)


def _original(
    sample: Any, fixed: Any, positions: dict[str, tuple[float, float]], size: tuple[int, int]
) -> tuple[np.ndarray, str]:
    """Return the image aligned as faces of that size are, small, and a note on it.

    Without eyes it is shown whole; where it cannot be shown, as a grey one: a picture stops no run.
    """
    try:
        eyes = fixed or getattr(sample, "annotations", None)
        original = aligned(sample.data, eyes, positions, size)
        note = "" if original.aligned else "not aligned"
        return shrunk(original.image, (_SIDE, _SIDE)), note
    except Exception as error:  # any database and any annotation may come here
        logger.warning(f"No original of {sample.key} on the contact sheet: {error}")
        return np.full((3, _SIDE, _SIDE), 200, dtype=np.uint8), "not readable"


class ContactSheet:
    """Originals of some enrolled people, to be set beside the attacks when scores are there."""

    def __init__(self, people: Sequence[Person]):
        self.people = list(people)

    @classmethod
    def choose(
        cls,
        references: Sequence[Any],
        steps: Sequence[Any],
        positions: dict[str, Any],
        size: tuple[int, int] = (_SIDE, _SIDE),
    ) -> ContactSheet:
        """Take people evenly from the references and crop their first enrolment image.

        ``positions`` are those of the eyes in reconstructions of that size.
        """
        from .system import core

        fixed = next((p for s in steps if (p := getattr(core(s), "fixed_positions", None))), None)
        count = min(_PEOPLE, len(references))
        chosen = [references[i] for i in np.linspace(0, len(references) - 1, count).astype(int)]
        return cls(
            [
                Person(str(r.template_id), *_original(r.samples[0], fixed, positions, size), {})
                for r in chosen
            ]
        )

    def write(self, scores: Path, threshold: float, caption: str, path: Path) -> bool:
        """Draw the attacks of a score file; the faces lie in ``faces`` beside it.

        Scores are complete by now, so a picture that fails is one warning and no error.

        Parameters
        ----------
        scores : Path
            ``scores-GROUP.csv``.
        threshold : float
            Scores at or above it are marked as accepted.
        caption : str
            Line at the foot of the sheet.
        path : Path
            PNG to write.

        Returns
        -------
        bool
            Whether it was written.
        """
        try:
            self._read_scores(scores)
            self._draw(scores.parent / "faces", threshold, caption, path)
        except Exception as error:  # any file may be damaged here
            logger.warning(f"The scores are complete, but the contact sheet is not drawn: {error}")
            return False
        return True

    def _read_scores(self, scores: Path) -> None:
        """Find the chosen people's first attack of each type in ``scores-GROUP.csv``."""
        by_template = {person.template_id: person for person in self.people}
        with open(scores, newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle):
                attack = row["probe_attack_type"]
                person = by_template.get(row["bio_ref_template_id"])
                if attack and person is not None and attack not in person.shown:
                    person.shown[attack] = (row["probe_template_id"], float(row["score"]))

    def _draw(self, faces: Path, threshold: float, caption: str, path: Path) -> None:
        font = ImageFont.load_default(13)
        height = _SIDE + _CAPTION + _GAP
        width = _LABEL + len(self.people) * (_SIDE + _GAP)
        sheet = Image.new("RGB", (width, len(_ROWS) * height + 2 * _CAPTION), "white")
        pen = ImageDraw.Draw(sheet)
        for r, (attack, label) in enumerate(_ROWS):
            top = _GAP + r * height
            pen.text((_GAP, top + _SIDE // 2), label, fill="black", font=font)
            for c, person in enumerate(self.people):
                left = _LABEL + c * (_SIDE + _GAP)
                face, text, colour = _cell(person, attack, faces, threshold)
                if face is not None:
                    sheet.paste(face, (left, top))
                y = top + (_SIDE // 2 if face is None else _SIDE + 2)
                pen.text((left, y), text, fill=colour, font=font)
        pen.text((_GAP, sheet.height - 1.5 * _CAPTION), caption, fill="black", font=font)
        with whole_or_nothing(path) as part:
            sheet.save(part, format="png")


def _cell(
    person: Person, attack: str, faces: Path, threshold: float
) -> tuple[Image.Image | None, str, Any]:
    """Picture, text and its colour of one person in one row."""
    if not attack:
        return Image.fromarray(person.original.transpose(1, 2, 0)), person.note, "gray"
    if attack not in person.shown:
        return None, "not attacked", "gray"
    key, score = person.shown[attack]
    if np.isnan(score):
        text, colour = "not acquired", _REJECTED
    else:
        opens = score >= threshold
        text = f"{score:.2f} {'accepted' if opens else 'rejected'}"
        colour = _ACCEPTED if opens else _REJECTED
    path = faces / f"{key}.png"
    if not path.is_file():
        return None, f"{text}\nface not kept", colour
    face = Image.fromarray(load_image(path).transpose(1, 2, 0))
    return face.resize((_SIDE, _SIDE)), text, colour
