"""The contact sheet of a table: the same people for every decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bob_recon_plugin.common.files import whole_or_nothing

_SIDE, _GAP, _TEXT, _ACROSS, _LABEL = 112, 8, 20, 12, 150
# blue and orange of the Okabe-Ito palette: told apart by colour-blind readers too
_ACCEPTED, _REJECTED = (0, 90, 160), (200, 80, 0)


@dataclass(frozen=True)
class Row:
    """One decoder on the sheet.

    Attributes
    ----------
    label : str
    faces : uint8 ndarray of shape (n, 3, H, W)
        A reconstruction a person.
    cosines : ndarray of shape (n,)
        Type-I, of each to the template it was made from.
    threshold : float
        A cosine at or above it is accepted.
    """

    label: str
    faces: np.ndarray
    cosines: np.ndarray
    threshold: float


def draw(
    originals: np.ndarray, rows: Sequence[Row], caption: Sequence[str], side: int = _SIDE
) -> Image.Image:
    """Draw the originals, twelve across, and under each the reconstruction of every decoder.

    Parameters
    ----------
    originals : uint8 ndarray of shape (n, 3, H, W)
        RGB, of any size.
    rows : sequence of Row
    caption : sequence of str
        Lines below the faces.
    side : int
        Of a face on the sheet, in pixels.

    Returns
    -------
    Image
    """
    cell = side + _TEXT
    bands = [slice(start, start + _ACROSS) for start in range(0, len(originals), _ACROSS)]
    across = min(_ACROSS, len(originals))
    band_height = side + _GAP + len(rows) * cell + 2 * _GAP
    width = _LABEL + across * (side + _GAP) + _GAP
    height = len(bands) * band_height + len(caption) * _TEXT + 2 * _GAP
    sheet = Image.new("RGB", (width, height), "white")
    for number, band in enumerate(bands):
        top = _GAP + number * band_height
        _draw_line(sheet, side, top, "original", originals[band])
        for r, row in enumerate(rows):
            at = top + side + _GAP + r * cell
            _draw_line(sheet, side, at, row.label, row.faces[band])
            _draw_cosines(sheet, side, at + side + 2, row.cosines[band], row.threshold)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for line, text in enumerate(caption):
        at = len(bands) * band_height + _GAP + line * _TEXT
        pen.text((_GAP, at), text, fill="black", font=font)
    return sheet


def _left(column: int, side: int = _SIDE) -> int:
    return _LABEL + column * (side + _GAP)


def _draw_line(sheet: Image.Image, side: int, top: int, label: str, faces: np.ndarray) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for line, text in enumerate(_wrapped(label, pen, font)):
        pen.text((_GAP, top + 36 + 18 * line), text, fill="black", font=font)
    for column, face in enumerate(faces):
        picture = Image.fromarray(face.transpose(1, 2, 0)).resize((side, side))
        sheet.paste(picture, (_left(column, side), top))


def _draw_cosines(
    sheet: Image.Image, side: int, top: int, cosines: np.ndarray, threshold: float
) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, value in enumerate(cosines):
        opens = value >= threshold
        text = f"{value:.2f}" + ("" if opens else " rejected")
        pen.text(
            (_left(column, side), top), text, fill=_ACCEPTED if opens else _REJECTED, font=font
        )


def _wrapped(label: str, pen: ImageDraw.ImageDraw, font: object) -> list[str]:
    """Break a label into lines that fit beside the faces."""
    lines = [""]
    for word in label.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and pen.textlength(longer, font=font) > _LABEL - 2 * _GAP:  # type: ignore[arg-type]
            lines.append(word)
        else:
            lines[-1] = longer
    return lines[:4]


def write(sheet: Image.Image, path: Path) -> None:
    """Write it as PNG."""
    with whole_or_nothing(path) as part:
        sheet.save(part, format="png", optimize=True)
