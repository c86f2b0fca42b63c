"""Score files: Bob's CSV split into genuine, zero-effort impostor and attack scores."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isinf
from os import PathLike
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from bob_recon_plugin._validation import InputError, existing_file

ATTACK_COLUMN = "probe_attack_type"
REQUIRED_COLUMNS = ("probe_subject_id", "bio_ref_subject_id", "score")
TEMPLATE_COLUMNS = ("probe_template_id", "bio_ref_template_id")
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
                raise _no_attack(name)
        given = {"genuine": self.genuine, "impostor": self.impostor}
        given |= dict(sorted(self.attacks.items()))
        raw = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
        missing = {name: np.isnan(values) for name, values in raw.items()}
        kept = {name: raw[name][~missing[name]] for name in raw}
        object.__setattr__(self, "genuine", kept.pop("genuine"))
        object.__setattr__(self, "impostor", kept.pop("impostor"))
        object.__setattr__(self, "attacks", kept)
        object.__setattr__(self, "not_acquired", {k: int(v.sum()) for k, v in missing.items()})


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Every row of a score file: its score, its class, and who was compared with whom.

    `Scores` is what rates need; this is what is needed to resample people, to split folds and to
    find the face behind a score.

    Attributes
    ----------
    score : ndarray of shape (n,), float64
        In the order of the file; NaN for a failure to acquire.
    kind : ndarray of shape (n,), int16
        Index into `kinds`.
    kinds : tuple of str
        ``"genuine"``, ``"impostor"``, then the attack types in alphabetical order.
    probe_subject, reference_subject : ndarray of shape (n,), int32
        Index into `subjects`.
    subjects : tuple of str
    probe, reference : ndarray of shape (n,), int32
        Index into `templates`: ``probe_template_id`` and ``bio_ref_template_id``. All -1 where the
        file lacks the column.
    templates : tuple of str
    """

    score: np.ndarray
    kind: np.ndarray
    kinds: tuple[str, ...]
    probe_subject: np.ndarray
    reference_subject: np.ndarray
    subjects: tuple[str, ...]
    probe: np.ndarray
    reference: np.ndarray
    templates: tuple[str, ...]

    @property
    def attacks(self) -> tuple[str, ...]:
        """Attack types, in alphabetical order."""
        return self.kinds[len(_BONA_FIDE) :]

    def rows(self, kind: str) -> np.ndarray:
        """Indices of the rows of a class, those without a score included."""
        return np.flatnonzero(self.kind == self.kinds.index(kind))

    def scores(self) -> Scores:
        """Return the scores by class, as `load` gives them."""
        by_kind = {kind: self.score[self.rows(kind)] for kind in self.kinds}
        return Scores(by_kind.pop("genuine"), by_kind.pop("impostor"), by_kind)


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
    return _opened(path, _collect)


def read(path: str | PathLike[str]) -> Comparisons:
    """Read a score file with the identities of its rows.

    Parameters
    ----------
    path : str or path
        As for `load`; the columns ``probe_template_id`` and ``bio_ref_template_id`` are read where
        they are.

    Returns
    -------
    Comparisons

    Raises
    ------
    FileNotFoundError, ValueError
        As `load`.
    """
    return _opened(path, _collect_all)


_T = TypeVar("_T")


def _opened(path: str | PathLike[str], collect: Callable[[_Reader, Path], _T]) -> _T:
    """Give an open file to `collect`, and say what is wrong with one that is no CSV."""
    path = existing_file(
        "scores", Path(path), "give the scores-dev.csv or scores-eval.csv of a run."
    )
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            return collect(reader, path)
        except UnicodeDecodeError as error:
            raise InputError(
                f"`scores` must be a text file in UTF-8, got {path} ({error.reason}); "
                "unpack it if it is compressed."
            ) from error
        except csv.Error as error:
            raise InputError(
                f"`scores` must be valid CSV, got {error} near line {reader.line_num} of {path}; "
                "the file may be cut: run the pipeline again."
            ) from error


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
    _check_header(header, path)
    return header


def _rows(
    reader: _Reader, header: list[str], path: Path
) -> Iterator[tuple[list[str], float, str, bool]]:
    """Yield the fields of each row, its score, its attack type, and if the subjects are one."""
    width = len(header)
    probe, reference, score_at = (header.index(name) for name in REQUIRED_COLUMNS)
    attack_at = header.index(ATTACK_COLUMN) if ATTACK_COLUMN in header else None
    known = set()
    for row in reader:
        if len(row) != width:
            if not row:
                continue
            raise _cut_row(len(row), width, reader.line_num, path)
        score = _number(row[score_at], reader.line_num, path)
        attack = row[attack_at] if attack_at is not None else ""
        if attack and attack not in known:
            _check_attack(attack, reader.line_num, path)
            known.add(attack)
        yield row, score, attack, row[probe] == row[reference]


def _no_rows(path: Path) -> InputError:
    return InputError(
        f"`scores` must hold at least one row below the header, got none in {path}; "
        "the run that wrote it did not finish: run it again."
    )


def _collect(reader: _Reader, path: Path) -> Scores:
    genuine, impostor = array("d"), array("d")
    attacks: dict[str, array[float]] = {}
    for _, score, attack, mated in _rows(reader, _header(reader, path), path):
        if attack:
            attacks.setdefault(attack, array("d")).append(score)
        elif mated:
            genuine.append(score)
        else:
            impostor.append(score)
    if not (genuine or impostor or attacks):
        raise _no_rows(path)
    as_arrays = {name: np.frombuffer(values) for name, values in attacks.items()}
    return Scores(np.array(genuine), np.array(impostor), as_arrays)


def _collect_all(reader: _Reader, path: Path) -> Comparisons:
    header = _header(reader, path)
    subject_columns = [header.index(name) for name in REQUIRED_COLUMNS[:2]]
    template_columns = [header.index(n) if n in header else None for n in TEMPLATE_COLUMNS]
    scores, kinds = array("d"), array("h")
    subjects, templates = array("i"), array("i")  # of probe, then reference, row after row
    # number of each name, in the order of their first rows
    seen_kinds: dict[str, int] = dict.fromkeys(_BONA_FIDE, 0) | {"impostor": 1}
    seen_subjects: dict[str, int] = {}
    seen_templates: dict[str, int] = {}
    for row, score, attack, mated in _rows(reader, header, path):
        scores.append(score)
        if attack in _BONA_FIDE:
            raise _no_attack(attack)
        kind = attack or _BONA_FIDE[not mated]
        kinds.append(seen_kinds.setdefault(kind, len(seen_kinds)))
        for column in subject_columns:
            subjects.append(seen_subjects.setdefault(row[column], len(seen_subjects)))
        for at in template_columns:
            number = -1
            if at is not None:
                number = seen_templates.setdefault(row[at], len(seen_templates))
            templates.append(number)
    if not scores:
        raise _no_rows(path)
    names = [*_BONA_FIDE, *sorted(seen_kinds.keys() - set(_BONA_FIDE))]
    in_order = np.array([names.index(kind) for kind in seen_kinds], dtype=np.int16)
    by_role = [
        np.array(values, dtype=np.int32).reshape(-1, 2).T for values in (subjects, templates)
    ]
    return Comparisons(
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


def _check_header(header: list[str], path: Path) -> None:
    columns = _column_format(header)
    if columns is not None:
        raise InputError(
            f"`scores` must be Bob's CSV with a header, got the {columns}-column text format in "
            f"{path}; it has no attack types: run the pipeline without `--write-column-scores`."
        )
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:
        raise InputError(
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
        raise InputError(
            f"`score` must be a number, got {text!r} on line {line} of {path}; "
            "the file may be cut or edited: run the pipeline again."
        ) from None
    if isinf(score):
        raise InputError(
            f"`score` must be finite, or nan for a failure to acquire, got {text!r} on line "
            f"{line} of {path}; look for a division by zero in the comparison."
        )
    return score


def _cut_row(fields: int, width: int, line: int, path: Path) -> InputError:
    return InputError(
        f"`scores` must have {width} fields a row as in the header, got {fields} on line {line} "
        f"of {path}; the file was cut, or its probes do not all carry the same attributes: "
        "run the pipeline again."
    )


def _no_attack(name: str) -> InputError:
    return InputError(
        f"`attacks` must not use the name of a bona fide class, got {name!r}; "
        "rename that attack type."
    )


def _check_attack(name: str, line: int, path: Path) -> None:
    if name == "None":
        raise InputError(
            f"`{ATTACK_COLUMN}` must be empty on bona fide rows, got the text 'None' on line "
            f"{line} of {path}, which would make an attack of it; give bona fide probes "
            "attack_type='' and run the pipeline again."
        )
