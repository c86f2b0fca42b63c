"""Read eye positions from annotation files: those of LFW, and CSV files."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

from ..common.validation import InputError
from .geometry import Positions, eye_positions

_COLUMNS = ("path", "reye_y", "reye_x", "leye_y", "leye_x")


def _middle(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    return (first[0] + second[0]) / 2, (first[1] + second[1]) / 2


def _funneled(text: str) -> Positions:
    """Read nine points (x, y); the first four are the corners of the right and the left eye."""
    numbers = [float(field) for field in text.split()]
    if len(numbers) != 18:
        raise InputError(f"{len(numbers)} numbers")
    points = list(zip(numbers[1::2], numbers[::2], strict=True))
    return {"reye": _middle(points[0], points[1]), "leye": _middle(points[2], points[3])}


def _rows(text: str) -> dict[str, tuple[float, float]]:
    rows = (line.split() for line in text.splitlines())
    return {row[0]: (float(row[1]), float(row[2])) for row in rows if len(row) == 3}


def _idiap(text: str) -> Positions:
    """Read rows of number, y, x (in Bob 12's order); numbers 3 and 8 are the eyes."""
    rows = _rows(text)
    return {"reye": rows["3"], "leye": rows["8"]}


def _named(text: str) -> Positions:
    """Read rows of name, x, y."""
    rows = _rows(text)
    return {eye: (rows[eye][1], rows[eye][0]) for eye in ("reye", "leye")}


#: issuer of LFW annotations: extension of its files, and the function that reads them
ISSUERS: dict[str, tuple[str, Callable[[str], Positions]]] = {
    "funneled": (".jpg.pts", _funneled),
    "idiap": (".pos", _idiap),
    "named": (".pos", _named),
}


def read_lfw_annotation(path: str | Path, issuer: str) -> Positions:
    """Read the eye centres of one LFW image.

    Raises ValueError when the file does not have the form of its ``issuer``.
    """
    try:
        return ISSUERS[issuer][1](Path(path).read_text(encoding="utf-8"))
    except (KeyError, ValueError) as error:
        raise InputError(
            f"`annotation_directory` must hold eye positions issued by {issuer!r}, got {path} "
            f"({error}); restore the file or choose another `annotation_issuer`."
        ) from error


def read_table(path: str | os.PathLike[str]) -> dict[str, Positions | None]:
    """Read eye positions of many images from a CSV file.

    Parameters
    ----------
    path : path of a CSV file
        UTF-8, with the columns path, reye_y, reye_x, leye_y, leye_x, in pixels; other columns are
        ignored. Four empty cells mean that there is no face in the image.

    Returns
    -------
    dict of image path to positions, or to None for an image without a face

    Raises
    ------
    ValueError
        When a column is missing, a position is not a finite number (with the line), an image has
        two rows, or the file is not text in UTF-8.
    """
    try:
        return _read_table(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"`annotations` must be a CSV file in UTF-8, got {path} ({error}); save it as such."
        ) from error


def _read_table(path: str | os.PathLike[str]) -> dict[str, Positions | None]:
    table: dict[str, Positions | None] = {}
    with open(path, newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(
                f"`annotations` must have the columns {', '.join(_COLUMNS)}, "
                f"got {path} without {', '.join(missing)}."
            )
        for row in reader:
            image = os.path.normpath(row["path"] or "").replace(os.sep, "/")
            if image in table:
                raise InputError(
                    f"`annotations` must name every image once, got {image} again in line "
                    f"{reader.line_num} of {path}; remove one of its rows."
                )
            eyes = {eye: (row[f"{eye}_y"], row[f"{eye}_x"]) for eye in ("reye", "leye")}
            if all(cell is not None and not cell.strip() for eye in eyes.values() for cell in eye):
                table[image] = None
            else:
                table[image] = eye_positions(f"line {reader.line_num} of {path}", eyes)
    return table
