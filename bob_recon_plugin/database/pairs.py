"""Read LFW's list of comparisons, ``pairs.txt``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..common.validation import InputError


class Pair(NamedTuple):
    """A comparison: keys ``<Name>/<Name>_0001`` of two images, and its line in the file."""

    reference: str
    probe: str
    line: int


def _key(person: str, index: str) -> str:
    number = int(index)
    if number < 1:
        raise InputError(index)
    return f"{person}/{person}_{number:04d}"


def _parse(fields: list[str], line: int) -> Pair:
    if len(fields) == 3:
        return Pair(_key(fields[0], fields[1]), _key(fields[0], fields[2]), line)
    if len(fields) == 4:
        return Pair(_key(fields[0], fields[1]), _key(fields[2], fields[3]), line)
    raise InputError(f"{len(fields)} fields")


def _promised(header: str, path: Path) -> int:
    """Return how many pairs the first line announces."""
    try:
        folds, pairs = map(int, header.split())
    except ValueError as error:
        raise InputError(
            f"`pairs` must begin with the number of folds and of pairs a fold, got {header!r} in "
            f"line 1 of {path}; restore the file."
        ) from error
    return 2 * folds * pairs


def read_pairs(path: Path) -> list[Pair]:
    """Read the comparisons of a ``pairs.txt``.

    Parameters
    ----------
    path : Path
        First line: number of folds, and number of genuine (and of impostor) pairs in each fold.
        Then lines with a name and two image numbers (genuine), or with name, number, name, number
        (impostor), separated by tabs or spaces.

    Returns
    -------
    list of Pair
        In the order of the file. A repeated pair is an error, since Bob would score it only once.

    Raises
    ------
    ValueError
        With the line number, when a line is malformed, compares an image to
        itself or repeats a pair; when there are more or fewer pairs than announced.
    """
    lines = path.read_text(encoding="utf-8").splitlines() or [""]
    promised = _promised(lines[0], path)
    seen: dict[tuple[str, str], Pair] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        where = f"line {number} of {path}"
        try:
            pair = _parse(line.split(), number)
        except ValueError as error:
            raise InputError(
                "`pairs` must have lines of name, number, number or name, number, name, number, "
                f"got {line!r} in {where}; restore the file."
            ) from error
        if pair.reference == pair.probe:
            raise InputError(
                f"`pairs` must compare two images, got {pair.probe} with itself in {where}."
            )
        earlier = seen.setdefault(pair[:2], pair)
        if earlier is not pair:
            raise InputError(
                f"`pairs` must name every pair once, got that of line {earlier.line} again in "
                f"{where}; remove it."
            )
    if len(seen) != promised:
        raise InputError(
            f"`pairs` must hold the {promised} pairs that its first line announces, "
            f"got {len(seen)} in {path}; restore the file."
        )
    return list(seen.values())
