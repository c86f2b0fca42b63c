"""Score files: read Bob's CSV as genuine, zero-effort impostor and attack scores."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np

from ..common.validation import InputError, existing_file
from .comparisons import ATTACKS, BONA_FIDE, TYPE_I, TYPE_II, Comparisons, Scores
from .score_checks import (
    ATTACK_COLUMN,
    SCORE_COLUMN,
    SUBJECT_COLUMNS,
    TEMPLATE_COLUMNS,
    check_attack,
    check_direction,
    check_groups,
    check_header,
    check_score,
    check_subject,
    check_width,
    doubts,
)

__all__ = [
    "ATTACKS",
    "ATTACK_COLUMN",
    "TYPE_I",
    "TYPE_II",
    "Comparisons",
    "Scores",
    "check_groups",
    "load",
    "read",
]


def load(path: str | PathLike[str], distances: bool = False) -> Scores:
    """Read the scores of a file that Bob's ``CSVScoreWriter`` wrote, by class.

    A row with a non-empty ``probe_attack_type`` is an attack, as in ``bob vulnerability``; any
    other row is genuine where ``probe_subject_id == bio_ref_subject_id``, else a zero-effort
    impostor. A file without the column ``probe_attack_type`` has no attacks. White space around
    ids and attack types is ignored.

    Parameters
    ----------
    path : str or path
        For instance ``results/scores-dev.csv``.
    distances : bool
        Whether the file holds distances, where lower means more similar: their sign is changed.

    Returns
    -------
    Scores
        A class without rows is an empty array; a rate that needs it raises ValueError.

    Raises
    ------
    FileNotFoundError
        If `path` is not a file.
    ValueError
        If the file is empty, lacks a column, is in the four- or five-column format, or has a
        truncated row, a score that is not a finite number or nan, a subject without a name, or an
        attack type such as "nan" for an empty cell. Also if the rates would be wrong: genuine
        scores below those of impostors, a bona fide comparison that appears twice, a Type-I or
        Type-II row of two people. The message gives the line number.
    """
    return read(path, distances).scores()


def read(path: str | PathLike[str], distances: bool = False) -> Comparisons:
    """Read a score file with the identities of its rows.

    Parameters
    ----------
    path : str or path
        As for `load`; the columns ``probe_template_id`` and ``bio_ref_template_id`` are read too,
        if the file has them.
    distances : bool
        As for `load`.

    Returns
    -------
    Comparisons

    Raises
    ------
    FileNotFoundError, ValueError
        As `load`.
    """
    path = existing_file(
        "scores", Path(path), "give the scores-dev.csv or scores-eval.csv of a run."
    )
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            table, lines = _collect(reader, path)
        except UnicodeDecodeError as error:
            raise InputError(
                f"`scores` must be a text file in UTF-8, got {path} ({error.reason}); "
                "unpack it if it is compressed."
            ) from error
        except csv.Error as error:
            raise InputError(
                f"`scores` must be valid CSV, got {error} near line {reader.line_num} of {path}; "
                "the file may be truncated: run the pipeline again."
            ) from error
    if distances:
        table = replace(table, score=-table.score, distances=True)
    check_direction(table, path)
    return replace(table, cautions=tuple(doubts(table, lines, path)))


class _Reader(Protocol):
    """What `csv.reader` returns."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> _Reader: ...

    def __next__(self) -> list[str]: ...


def _header(reader: _Reader, path: Path) -> list[str]:
    header = next(reader, None)
    if header is None:
        raise InputError(
            f"`scores` must hold a header and scores, got the empty file {path}; "
            "the run that wrote it did not finish: run it again."
        )
    check_header(header, path)
    return header


def _rows(reader: _Reader, header: list[str], path: Path) -> Iterator[tuple[list[str], float, str]]:
    """Yield the fields of each row, its score, and its attack type."""
    width, score_at = len(header), header.index(SCORE_COLUMN)
    attack_at = header.index(ATTACK_COLUMN) if ATTACK_COLUMN in header else None
    known = {""}
    for row in reader:
        if not row:
            continue
        check_width(len(row), width, reader.line_num, path)
        score = check_score(row[score_at], reader.line_num, path)
        attack = row[attack_at].strip() if attack_at is not None else ""
        if attack not in known:
            check_attack(attack, reader.line_num, path)
            known.add(attack)
        yield row, score, attack


def _collect(reader: _Reader, path: Path) -> tuple[Comparisons, array[int]]:
    """Read the rows, and the line number of each."""
    header = _header(reader, path)
    subject_columns = [(name, header.index(name)) for name in SUBJECT_COLUMNS]
    template_columns = [header.index(n) if n in header else None for n in TEMPLATE_COLUMNS]
    scores, kinds, lines = array("d"), array("h"), array("q")
    subjects, templates = array("i"), array("i")  # of probe, then reference, row after row
    # number of each name, in the order of their first rows
    seen_kinds: dict[str, int] = dict.fromkeys(BONA_FIDE, 0) | {"impostor": 1}
    seen_subjects: dict[str, int] = {}
    seen_templates: dict[str, int] = {}
    for row, score, attack in _rows(reader, header, path):
        scores.append(score)
        lines.append(reader.line_num)
        for column, place in subject_columns:
            subject = row[place].strip()
            if subject not in seen_subjects:
                check_subject(subject, column, reader.line_num, path)
            subjects.append(seen_subjects.setdefault(subject, len(seen_subjects)))
        kind = attack or BONA_FIDE[subjects[-1] != subjects[-2]]
        kinds.append(seen_kinds.setdefault(kind, len(seen_kinds)))
        for at in template_columns:
            number = -1
            if at is not None:
                number = seen_templates.setdefault(row[at], len(seen_templates))
            templates.append(number)
    if not scores:
        raise InputError(
            f"`scores` must hold at least one row below the header, got none in {path}; "
            "the run that wrote it did not finish: run it again."
        )
    names = [*BONA_FIDE, *sorted(seen_kinds.keys() - set(BONA_FIDE))]
    in_order = np.array([names.index(kind) for kind in seen_kinds], dtype=np.int16)
    by_role = [
        np.array(values, dtype=np.int32).reshape(-1, 2).T for values in (subjects, templates)
    ]
    table = Comparisons(
        score=np.array(scores),
        kind=in_order[np.array(kinds)],
        kinds=tuple(names),
        probe_subject=by_role[0][0],
        reference_subject=by_role[0][1],
        subjects=tuple(seen_subjects),
        probe=by_role[1][0],
        reference=by_role[1][1],
        templates=tuple(seen_templates),
    )
    return table, lines
