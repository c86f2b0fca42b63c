"""Score files: Bob's CSV split into genuine, zero-effort impostor and attack scores."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isinf
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np

from bob_recon_plugin._validation import existing_file

ATTACK_COLUMN = "probe_attack_type"
REQUIRED_COLUMNS = ("probe_subject_id", "bio_ref_subject_id", "score")
_BONA_FIDE = ("genuine", "impostor")


@dataclass(frozen=True, eq=False)
class Scores:
    """Comparison scores of one group, by class; a higher score is more alike.

    NaN, Bob's mark of a failure to acquire, is taken out of the arrays and counted in
    `not_acquired`: rates hold for acquired scores, as in Bob's own reports.

    Parameters
    ----------
    genuine : array-like of shape (n_genuine,)
        Bona fide probes against a reference of the same subject.
    impostor : array-like of shape (n_impostor,)
        Zero-effort impostors: bona fide probes against another subject.
    attacks : mapping of str to array-like of shape (n_attack,)
        By attack type, the content of ``probe_attack_type``: ``"type1"`` for a reconstruction
        against the template it came from, ``"type2"`` against another template of the subject.

    Attributes
    ----------
    genuine, impostor, attacks
        As given, as float64 without NaN; `attacks` is sorted by name.
    not_acquired : dict of str to int
        Number of NaN scores of ``"genuine"``, ``"impostor"`` and each attack type.

    Raises
    ------
    ValueError
        If an attack type is called "genuine" or "impostor".

    Examples
    --------
    >>> scores = Scores([0.9, float("nan")], [0.1, 0.2], {"type1": [0.8]})
    >>> scores.genuine, scores.not_acquired
    (array([0.9]), {'genuine': 1, 'impostor': 0, 'type1': 0})
    """

    genuine: np.ndarray
    impostor: np.ndarray
    attacks: Mapping[str, np.ndarray] = field(default_factory=dict)
    not_acquired: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        for name in _BONA_FIDE:
            if name in self.attacks:
                raise ValueError(
                    f"`attacks` must not use the name of a bona fide class, got {name!r}; "
                    "rename that attack type."
                )
        given = {"genuine": self.genuine, "impostor": self.impostor}
        given |= dict(sorted(self.attacks.items()))
        raw = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
        missing = {name: np.isnan(values) for name, values in raw.items()}
        kept = {name: raw[name][~missing[name]] for name in raw}
        object.__setattr__(self, "genuine", kept.pop("genuine"))
        object.__setattr__(self, "impostor", kept.pop("impostor"))
        object.__setattr__(self, "attacks", kept)
        object.__setattr__(self, "not_acquired", {k: int(v.sum()) for k, v in missing.items()})


def load(path: str | PathLike[str]) -> Scores:
    """Read a score file that Bob's ``CSVScoreWriter`` wrote.

    The file is read row by row and only the scores are kept. A row with a non-empty
    ``probe_attack_type`` is an attack, whatever its identities, as in ``bob vulnerability``;
    any other row is genuine where ``probe_subject_id == bio_ref_subject_id``, else a zero-effort
    impostor. A file without the column ``probe_attack_type`` has no attacks.

    Parameters
    ----------
    path : str or path
        For instance ``results/scores-dev.csv``.

    Returns
    -------
    Scores
        A class without rows is an empty array; the rate that needs it complains.

    Raises
    ------
    FileNotFoundError
        If `path` is no file.
    ValueError
        If the file is empty, lacks a column, is in the four- or five-column format, or has a row
        that is cut, a score that is no number or infinite, or the attack type "None"; row faults
        come with their line number.
    """
    path = existing_file(
        "scores", Path(path), "give the scores-dev.csv or scores-eval.csv of a run."
    )
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            return _collect(reader, path)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"`scores` must be a text file in UTF-8, got {path} ({error.reason}); "
                "unpack it if it is compressed."
            ) from error
        except csv.Error as error:
            raise ValueError(
                f"`scores` must be valid CSV, got {error} near line {reader.line_num} of {path}; "
                "the file may be cut: run the pipeline again."
            ) from error


class _Reader(Protocol):
    """What `csv.reader` returns."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> _Reader: ...

    def __next__(self) -> list[str]: ...


def _collect(reader: _Reader, path: Path) -> Scores:
    header = next(reader, None)
    if header is None:
        raise ValueError(
            f"`scores` must hold a header and scores, got the empty file {path}; "
            "the run that wrote it did not finish: run it again."
        )
    _check_header(header, path)
    width = len(header)
    probe, reference, score_at = (header.index(name) for name in REQUIRED_COLUMNS)
    attack_at = header.index(ATTACK_COLUMN) if ATTACK_COLUMN in header else None
    genuine, impostor = array("d"), array("d")
    attacks: dict[str, array[float]] = {}
    for row in reader:
        if len(row) != width:
            if not row:
                continue
            raise _cut_row(len(row), width, reader.line_num, path)
        score = _number(row[score_at], reader.line_num, path)
        attack = row[attack_at] if attack_at is not None else ""
        if attack:
            if attack not in attacks:
                _check_attack(attack, reader.line_num, path)
                attacks[attack] = array("d")
            attacks[attack].append(score)
        elif row[probe] == row[reference]:
            genuine.append(score)
        else:
            impostor.append(score)
    if not (genuine or impostor or attacks):
        raise ValueError(
            f"`scores` must hold at least one row below the header, got none in {path}; "
            "the run that wrote it did not finish: run it again."
        )
    as_arrays = {name: np.frombuffer(values) for name, values in attacks.items()}
    return Scores(np.array(genuine), np.array(impostor), as_arrays)


def _check_header(header: list[str], path: Path) -> None:
    columns = _column_format(header)
    if columns is not None:
        raise ValueError(
            f"`scores` must be Bob's CSV with a header, got the {columns}-column text format in "
            f"{path}; it has no attack types: run the pipeline without `--write-column-scores`."
        )
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:
        raise ValueError(
            f"`scores` must have the columns {', '.join(REQUIRED_COLUMNS)}, got a header without "
            f"{', '.join(missing)} in {path} (it has {', '.join(header) or 'nothing'}); "
            "give a CSV score file of Bob."
        )


def _column_format(first: list[str]) -> str | None:
    """Name of Bob's older text format if the first line is in it."""
    fields = first[0].split() if len(first) == 1 else []
    name = {4: "four", 5: "five"}.get(len(fields))
    try:
        float(fields[-1]) if name else None
    except ValueError:
        return None
    return name


def _number(text: str, line: int, path: Path) -> float:
    try:
        score = float(text)
    except ValueError:
        raise ValueError(
            f"`score` must be a number, got {text!r} on line {line} of {path}; "
            "the file may be cut or edited: run the pipeline again."
        ) from None
    if isinf(score):
        raise ValueError(
            f"`score` must be finite, or nan for a failure to acquire, got {text!r} on line "
            f"{line} of {path}; look for a division by zero in the comparison."
        )
    return score


def _cut_row(fields: int, width: int, line: int, path: Path) -> ValueError:
    return ValueError(
        f"`scores` must have {width} fields a row as in the header, got {fields} on line {line} "
        f"of {path}; the file was cut, or its probes do not all carry the same attributes: "
        "run the pipeline again."
    )


def _check_attack(name: str, line: int, path: Path) -> None:
    if name == "None":
        raise ValueError(
            f"`{ATTACK_COLUMN}` must be empty on bona fide rows, got the text 'None' on line "
            f"{line} of {path}, which would make an attack of it; give bona fide probes "
            "attack_type='' and run the pipeline again."
        )
