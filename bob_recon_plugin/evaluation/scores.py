"""Score files: Bob's CSV split into genuine, zero-effort impostor and attack scores."""

from __future__ import annotations

import csv
import filecmp
import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isinf
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np

from bob_recon_plugin.common.validation import InputError, existing_file

ATTACK_COLUMN = "probe_attack_type"
TYPE_I, TYPE_II = ATTACKS = ("type1", "type2")
REQUIRED_COLUMNS = ("probe_subject_id", "bio_ref_subject_id", "score")
TEMPLATE_COLUMNS = ("probe_template_id", "bio_ref_template_id")
_BONA_FIDE = ("genuine", "impostor")
_OWN = ("type1", "type2")  # attacks on the person whose template was inverted
#: how pandas, R and SQL write an empty cell, in lower case
_EMPTY = {"nan", "none", "null", "na", "n/a", "<na>", "nat"}
#: area under the ROC curve below which genuine scores clearly lie under those of impostors
_REVERSED = 1 / 3


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
    distances : bool
        Whether these are distances with their sign changed.
    cautions : tuple of str
        What a reader of the rates must know of the file, a sentence each.

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
    distances: bool = False
    cautions: tuple[str, ...] = ()
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
    distances, cautions
        As of `Scores`.
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
    distances: bool = False
    cautions: tuple[str, ...] = ()

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
        genuine, impostor = (by_kind.pop(kind) for kind in _BONA_FIDE)
        return Scores(genuine, impostor, by_kind, self.distances, self.cautions)


def load(path: str | PathLike[str], distances: bool = False) -> Scores:
    """Read the scores of a file that Bob's ``CSVScoreWriter`` wrote, by class.

    A row with a non-empty ``probe_attack_type`` is an attack, as in ``bob vulnerability``; any
    other row is genuine where ``probe_subject_id == bio_ref_subject_id``, else a zero-effort
    impostor. A file without the column ``probe_attack_type`` has no attacks. White space around
    ids and attack types does not count.

    Parameters
    ----------
    path : str or path
        For instance ``results/scores-dev.csv``.
    distances : bool
        Whether the file holds distances, lower is more alike: their sign is changed.

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
        that is cut, a score that is no number or infinite, a subject without a name, or an attack
        type such as "nan" that stands for an empty cell. Also where the rates would be wrong:
        genuine scores below those of impostors, a bona fide comparison that stands twice, a
        Type-I or Type-II row of two people. Row faults come with their line number.
    """
    return read(path, distances).scores()


def read(path: str | PathLike[str], distances: bool = False) -> Comparisons:
    """Read a score file with the identities of its rows.

    Parameters
    ----------
    path : str or path
        As for `load`; the columns ``probe_template_id`` and ``bio_ref_template_id`` are read where
        they are.
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
                "the file may be cut: run the pipeline again."
            ) from error
    if distances:
        table = replace(table, score=-table.score, distances=True)
    _check_direction(table, path)
    faults = [
        *_of_two_people(table, lines, path),
        *_repeated(table, lines, path),
        *_alike_names(table, lines, path),
    ]
    return replace(table, cautions=tuple(faults))


def check_groups(dev: str | PathLike[str], eval: str | PathLike[str] | None) -> None:
    """Raise ValueError unless two existing score files are those of dev and of eval.

    Parameters
    ----------
    dev : str or path
        Sets the threshold.
    eval : str or path or None
        Is reported; None where dev is.

    Raises
    ------
    ValueError
        If both files hold the same, their names say that they are swapped, or `dev` is the eval
        scores of a run whose dev scores stand beside it.
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


def _rows(reader: _Reader, header: list[str], path: Path) -> Iterator[tuple[list[str], float, str]]:
    """Yield the fields of each row, its score, and its attack type."""
    width, score_at = len(header), header.index("score")
    attack_at = header.index(ATTACK_COLUMN) if ATTACK_COLUMN in header else None
    known = {""}
    for row in reader:
        if len(row) != width:
            if not row:
                continue
            raise _cut_row(len(row), width, reader.line_num, path)
        score = _number(row[score_at], reader.line_num, path)
        attack = row[attack_at].strip() if attack_at is not None else ""
        if attack not in known:
            _check_attack(attack, reader.line_num, path)
            known.add(attack)
        yield row, score, attack


def _collect(reader: _Reader, path: Path) -> tuple[Comparisons, array[int]]:
    """Read the rows, and the line of the file that each stands on."""
    header = _header(reader, path)
    subject_columns = [(name, header.index(name)) for name in REQUIRED_COLUMNS[:2]]
    template_columns = [header.index(n) if n in header else None for n in TEMPLATE_COLUMNS]
    scores, kinds, lines = array("d"), array("h"), array("q")
    subjects, templates = array("i"), array("i")  # of probe, then reference, row after row
    # number of each name, in the order of their first rows
    seen_kinds: dict[str, int] = dict.fromkeys(_BONA_FIDE, 0) | {"impostor": 1}
    seen_subjects: dict[str, int] = {}
    seen_templates: dict[str, int] = {}
    for row, score, attack in _rows(reader, header, path):
        scores.append(score)
        lines.append(reader.line_num)
        for column, place in subject_columns:
            subject = row[place].strip()
            if subject not in seen_subjects:
                _check_subject(subject, column, reader.line_num, path)
            subjects.append(seen_subjects.setdefault(subject, len(seen_subjects)))
        kind = attack or _BONA_FIDE[subjects[-1] != subjects[-2]]
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
    names = [*_BONA_FIDE, *sorted(seen_kinds.keys() - set(_BONA_FIDE))]
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


def _check_direction(table: Comparisons, path: Path) -> None:
    """Raise ValueError where genuine scores lie clearly below those of impostors."""
    genuine, impostor = (table.score[table.rows(kind)] for kind in _BONA_FIDE)
    genuine, impostor = genuine[~np.isnan(genuine)], np.sort(impostor[~np.isnan(impostor)])
    m, n = len(genuine), len(impostor)
    if not m or not n:
        return
    below = sum(np.searchsorted(impostor, genuine, side).mean() for side in ("left", "right")) / 2
    area = float(below) / n
    # standard deviation of the area under chance (Mann and Whitney, 1947): few scores prove nothing
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
        "`scores` must be similarities, higher is more alike, got genuine scores below those of "
        f"impostors (medians {medians}) in {path}; where they are distances, give `--distances` to "
        "`bob bio recon metrics` or `report` (in Python: `distances=True`), else check the "
        "subject ids."
    )


def _of_two_people(table: Comparisons, lines: array[int], path: Path) -> Iterator[str]:
    """Attacks on another person than they come from; a fault in Type-I and Type-II."""
    for attack in table.attacks:
        rows = table.rows(attack)
        crossed = rows[table.probe_subject[rows] != table.reference_subject[rows]]
        if not len(crossed):
            continue
        where = f"(first: line {lines[crossed[0]]}, {_subjects_of(table, crossed[0])})"
        if attack in _OWN:
            raise InputError(
                f"`{attack}` rows must compare a person with himself, got {len(crossed)} of "
                f"{len(rows)} of two people {where} in {path}; leave those rows out, an inverted "
                "template is not aimed at them."
            )
        yield (
            f"{len(crossed)} of {len(rows)} {attack} rows compare two people {where} in {path}; "
            "if the attack is not aimed at the second, its success rate is too low."
        )


def _repeated(table: Comparisons, lines: array[int], path: Path) -> Iterator[str]:
    """Comparisons that stand twice: a fault in bona fide rows, a caution in attacks.

    Protocols of pairs attack a template once for each pair it is in, so attacks may repeat.
    """
    if table.probe[0] < 0 or table.reference[0] < 0:
        return
    columns = (table.probe_subject, table.reference_subject, table.probe, table.reference)
    keys = np.stack([*columns, table.kind])
    order = np.lexsort(keys)  # stable: of equal rows the first of the file stays first
    same = (keys[:, order[1:]] == keys[:, order[:-1]]).all(axis=0)
    again = np.zeros(len(order), dtype=bool)
    again[order[1:][same]] = True

    def where(rows: np.ndarray) -> str:
        first = rows[0]
        names = [table.templates[at[first]] for at in (table.probe, table.reference)]
        return f"(first: line {lines[first]}, {' with '.join(names)})"

    bona_fide = np.flatnonzero(again & (table.kind < len(_BONA_FIDE)))
    if len(bona_fide):
        raise InputError(
            f"`scores` must hold each bona fide comparison once, got {len(bona_fide)} bona fide "
            f"rows that repeat one {where(bona_fide)} in {path}, and every interval would be too "
            "narrow; give one file if two were joined, and each probe a template id of its own."
        )
    for attack in table.attacks:
        rows = table.rows(attack)
        repeats = rows[again[rows]]
        if len(repeats):
            yield (
                f"{len(repeats)} of {len(rows)} {attack} rows repeat a comparison "
                f"{where(repeats)} in {path}; the exact interval counts each as another and is "
                "too narrow."
            )


def _alike_names(table: Comparisons, lines: array[int], path: Path) -> Iterator[str]:
    """Impostors whose ids differ in letter case or leading zeros only."""
    plain = [re.sub(r"(?<!\d)0+(?=\d)", "", name.casefold()) for name in table.subjects]
    _, number = np.unique(plain, return_inverse=True)
    rows = table.rows("impostor")
    alike = rows[number[table.probe_subject[rows]] == number[table.reference_subject[rows]]]
    if len(alike):
        yield (
            f"{len(alike)} impostor rows compare ids that differ in letter case or leading zeros "
            f"only (first: line {lines[alike[0]]}, {_subjects_of(table, alike[0])}) in {path}; if "
            "they are one person, the threshold is too high and every success rate too low."
        )


def _subjects_of(table: Comparisons, row: int) -> str:
    ids = (table.probe_subject[row], table.reference_subject[row])
    return " with ".join(table.subjects[i] for i in ids)


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
    known = (*TEMPLATE_COLUMNS, *REQUIRED_COLUMNS, ATTACK_COLUMN)
    twice = [name for name in known if header.count(name) > 1]
    if twice:
        raise InputError(
            f"`scores` must have each column once, got {', '.join(twice)} twice in {path}; "
            "leave one out."
        )
    alike = [name for name in header if "attack" in name.casefold()]
    if alike and ATTACK_COLUMN not in header:
        raise InputError(
            f"`scores` must tell attacks in the column {ATTACK_COLUMN}, got the column {alike[0]} "
            f"instead in {path}, and attacks would count as genuine; rename it."
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
    if name in _BONA_FIDE:
        raise _no_attack(name)
    if name.casefold() in _EMPTY:
        raise InputError(
            f"`{ATTACK_COLUMN}` must be empty on bona fide rows, got the text {name!r} on line "
            f"{line} of {path}, which would make an attack of it; leave that cell empty "
            "(pandas: na_rep=''), or give bona fide probes attack_type='' and run the pipeline "
            "again."
        )


def _check_subject(name: str, column: str, line: int, path: Path) -> None:
    if name in ("", "nan", "None"):
        raise InputError(
            f"`{column}` must name a person, got {name!r} on line {line} of {path}, which would "
            "count all such rows as one person; write the subject ids and run the pipeline again."
        )
