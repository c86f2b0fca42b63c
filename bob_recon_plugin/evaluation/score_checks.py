"""Score files that are refused, and those that are doubted: the rates would be wrong."""

from __future__ import annotations

import filecmp
import re
from array import array
from collections.abc import Iterator
from math import isinf
from os import PathLike
from pathlib import Path

import numpy as np

from ..common.validation import InputError
from .comparisons import ATTACKS, BONA_FIDE, Comparisons, check_attack_name

ATTACK_COLUMN = "probe_attack_type"
SUBJECT_COLUMNS = ("probe_subject_id", "bio_ref_subject_id")
TEMPLATE_COLUMNS = ("probe_template_id", "bio_ref_template_id")
SCORE_COLUMN = "score"
_REQUIRED = (*SUBJECT_COLUMNS, SCORE_COLUMN)
#: how pandas, R and SQL write an empty cell, in lower case
_EMPTY = {"nan", "none", "null", "na", "n/a", "<na>", "nat"}
#: area under the ROC curve below which genuine scores are clearly lower than impostor scores
_REVERSED = 1 / 3

# -- two files -------------------------------------------------------------------


def check_groups(dev: str | PathLike[str], eval: str | PathLike[str] | None) -> None:
    """Raise ValueError unless two existing score files are those of dev and of eval.

    Parameters
    ----------
    dev : str or path
        The group that sets the thresholds.
    eval : str or path or None
        The group that is reported; None if this is dev.

    Raises
    ------
    ValueError
        If both files have the same content, their names show that they are swapped, or `dev` holds
        the eval scores of a run whose dev scores are in the same folder.
    """
    dev = Path(dev)
    if eval is None:
        if dev.name == "scores-eval.csv" and dev.with_name("scores-dev.csv").is_file():
            raise InputError(
                f"dev sets the threshold, got the eval scores alone ({dev}); give scores-dev.csv "
                f"too, or to `report` the folder {dev.parent}."
            )
        return
    if dev.name.startswith("scores-eval") and Path(eval).name.startswith("scores-dev"):
        raise InputError(f"dev sets the threshold, got {dev} before {eval}; swap them.")
    if filecmp.cmp(dev, eval, shallow=False):
        raise InputError(
            f"dev and eval must be two sets of scores, got the same content in {dev} and {eval}; "
            "give dev alone, or the eval scores of the run."
        )


# -- the whole file --------------------------------------------------------------


def check_direction(table: Comparisons, path: Path) -> None:
    """Raise ValueError if genuine scores are clearly lower than impostor scores."""
    genuine, impostor = (table.score[table.rows(kind)] for kind in BONA_FIDE)
    genuine, impostor = genuine[~np.isnan(genuine)], np.sort(impostor[~np.isnan(impostor)])
    m, n = len(genuine), len(impostor)
    if not m or not n:
        return
    below = sum(np.searchsorted(impostor, genuine, side).mean() for side in ("left", "right")) / 2
    area = float(below) / n
    # standard deviation of the area by chance (Mann and Whitney, 1947): few scores prove nothing
    if area > _REVERSED or 0.5 - area < 3 * np.sqrt((m + n + 1) / (12 * m * n)):
        return
    sign = -1 if table.distances else 1
    medians = " and ".join(f"{sign * np.median(values):.3g}" for values in (genuine, impostor))
    if table.distances:
        raise InputError(
            "`scores` must be distances where `--distances` is given, got genuine scores above "
            f"those of impostors (medians {medians}) in {path}; leave `--distances` out."
        )
    raise InputError(
        "`scores` must be similarities, higher for more similar faces, got genuine scores below "
        f"those of impostors (medians {medians}) in {path}; if they are distances, give "
        "`--distances` to `bob bio recon metrics`, `report` or `matrix` (in Python: "
        "`distances=True`), else check the subject ids."
    )


def doubts(table: Comparisons, lines: array[int], path: Path) -> Iterator[str]:
    """Yield a sentence for each doubt about a file; raise ValueError for what must be refused."""
    yield from _of_two_people(table, lines, path)
    yield from _repeated(table, lines, path)
    yield from _similar_names(table, lines, path)


def _of_two_people(table: Comparisons, lines: array[int], path: Path) -> Iterator[str]:
    """Attacks on another person than their template is of: refused in Type-I and Type-II."""
    for attack in table.attacks:
        rows = table.rows(attack)
        crossed = rows[table.probe_subject[rows] != table.reference_subject[rows]]
        if not len(crossed):
            continue
        where = f"(first: line {lines[crossed[0]]}, {_subjects_of(table, crossed[0])})"
        if attack in ATTACKS:
            raise InputError(
                f"`{attack}` rows must compare one person with the same one, got {len(crossed)} "
                f"of {len(rows)} of two people {where} in {path}; remove those rows, an inverted "
                "template attacks its own person."
            )
        yield (
            f"{len(crossed)} of {len(rows)} {attack} rows compare two people {where} in {path}; "
            "if the attack does not target the second, its success rate is too low."
        )


def _repeated(table: Comparisons, lines: array[int], path: Path) -> Iterator[str]:
    """Comparisons that appear twice: refused in bona fide rows, doubted in attacks.

    Protocols of pairs attack a template once for each pair that it is in, so attacks may repeat.
    """
    if table.probe[0] < 0 or table.reference[0] < 0:
        return
    columns = (table.probe_subject, table.reference_subject, table.probe, table.reference)
    keys = np.stack([*columns, table.kind])
    order = np.lexsort(keys)  # stable: equal rows stay in the order of the file
    same = (keys[:, order[1:]] == keys[:, order[:-1]]).all(axis=0)
    again = np.zeros(len(order), dtype=bool)
    again[order[1:][same]] = True

    def where(rows: np.ndarray) -> str:
        first = rows[0]
        return f"(first: line {lines[first]}, {' with '.join(table.compared(first))})"

    bona_fide = np.flatnonzero(again & (table.kind < len(BONA_FIDE)))
    if len(bona_fide):
        raise InputError(
            f"`scores` must hold each bona fide comparison once, got {len(bona_fide)} bona fide "
            f"rows that repeat one {where(bona_fide)} in {path}, and every interval would be too "
            "narrow; give one file if two were joined, and give each probe its own template id."
        )
    for attack in table.attacks:
        rows = table.rows(attack)
        repeats = rows[again[rows]]
        if len(repeats):
            yield (
                f"{len(repeats)} of {len(rows)} {attack} rows repeat a comparison "
                f"{where(repeats)} in {path}; the exact interval counts each of them and is too "
                "narrow."
            )


def _similar_names(table: Comparisons, lines: array[int], path: Path) -> Iterator[str]:
    """Impostors whose ids differ only in letter case or leading zeros."""
    plain = [re.sub(r"(?<!\d)0+(?=\d)", "", name.casefold()) for name in table.subjects]
    _, number = np.unique(plain, return_inverse=True)
    rows = table.rows("impostor")
    alike = rows[number[table.probe_subject[rows]] == number[table.reference_subject[rows]]]
    if len(alike):
        yield (
            f"{len(alike)} impostor rows compare ids that differ only in letter case or leading "
            f"zeros (first: line {lines[alike[0]]}, {_subjects_of(table, alike[0])}) in {path}; if "
            "they are one person, the threshold is too high and every success rate too low."
        )


def _subjects_of(table: Comparisons, row: int) -> str:
    ids = (table.probe_subject[row], table.reference_subject[row])
    return " with ".join(table.subjects[i] for i in ids)


# -- one line --------------------------------------------------------------------


def check_header(header: list[str], path: Path) -> None:
    """Raise ValueError unless the first line names the columns of Bob's CSV, once each."""
    columns = _column_format(header)
    if columns is not None:
        raise InputError(
            f"`scores` must be Bob's CSV with a header, got the {columns}-column text format in "
            f"{path}; it has no attack types: run the pipeline without `--write-column-scores`."
        )
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        raise InputError(
            f"`scores` must have the columns {', '.join(_REQUIRED)}, got a header without "
            f"{', '.join(missing)} in {path} (it has {', '.join(header) or 'nothing'}); "
            "give a CSV score file of Bob."
        )
    known = (*TEMPLATE_COLUMNS, *_REQUIRED, ATTACK_COLUMN)
    twice = [name for name in known if header.count(name) > 1]
    if twice:
        raise InputError(
            f"`scores` must have each column once, got {', '.join(twice)} twice in {path}; "
            "remove one."
        )
    alike = [name for name in header if "attack" in name.casefold()]
    if alike and ATTACK_COLUMN not in header:
        raise InputError(
            f"`scores` must name attacks in the column {ATTACK_COLUMN}, got the column {alike[0]} "
            f"instead in {path}, and attacks would count as genuine; rename it."
        )


def _column_format(first: list[str]) -> str | None:
    """Name of the older text format of Bob that the first line is in, or None."""
    fields = first[0].split() if len(first) == 1 else []
    name = {4: "four", 5: "five"}.get(len(fields))
    try:
        float(fields[-1]) if name else None
    except ValueError:
        return None
    return name


def check_score(text: str, line: int, path: Path) -> float:
    """Return the score of a row, nan for a failure to acquire; raise ValueError for other texts."""
    try:
        score = float(text)
    except ValueError:
        raise InputError(
            f"`score` must be a number, got {text!r} on line {line} of {path}; "
            "the file may be truncated or edited: run the pipeline again."
        ) from None
    if isinf(score):
        raise InputError(
            f"`score` must be finite, or nan for a failure to acquire, got {text!r} on line "
            f"{line} of {path}; look for a division by zero in the comparison."
        )
    return score


def check_width(fields: int, width: int, line: int, path: Path) -> None:
    """Raise ValueError unless a row has as many fields as the header."""
    if fields != width:
        raise InputError(
            f"`scores` must have {width} fields a row as in the header, got {fields} on line "
            f"{line} of {path}; the file was truncated, or its probes have different attributes: "
            "run the pipeline again."
        )


def check_attack(name: str, line: int, path: Path) -> None:
    """Raise ValueError for an attack type that is a bona fide class, or an empty cell as text."""
    check_attack_name(name)
    if name.casefold() in _EMPTY:
        raise InputError(
            f"`{ATTACK_COLUMN}` must be empty on bona fide rows, got the text {name!r} on line "
            f"{line} of {path}, which would count as an attack; leave that cell empty "
            "(pandas: na_rep=''), or give bona fide probes attack_type='' and run the pipeline "
            "again."
        )


def check_subject(name: str, column: str, line: int, path: Path) -> None:
    """Raise ValueError for a subject id that is missing."""
    if name in ("", "nan", "None"):
        raise InputError(
            f"`{column}` must name a person, got {name!r} on line {line} of {path}, which would "
            "count all such rows as one person; write the subject ids and run the pipeline again."
        )
