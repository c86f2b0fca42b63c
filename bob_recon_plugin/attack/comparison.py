"""Scores of many probes at once, straight to CSV: matrix products instead of a loop over pairs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from bob.bio.base.algorithm import Distance
from bob.pipelines import SampleBatch

from ..common.files import whole_or_nothing
from ..common.validation import InputError

_SCORES = 1 << 20  # held at a time


def _is_valid(template: Any) -> bool:
    """Whether a probe holds a feature; one of which no image was acquired does not."""
    return template is not None and len(template) > 0 and np.size(template[0]) > 0


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class Comparison:
    """Enrolled templates, ready to be compared with probes.

    Parameters
    ----------
    algorithm : BioAlgorithm
        Bob's ``Distance`` with the cosine, on averaged enrolment, goes through
        matrix products in float64; any other through its own ``compare``, which
        gets what Bob hands it: enrolled templates that know their metadata.
    references : sequence of Sample
        Enrolled templates with their metadata. One whose data is None, because no image of it
        was acquired, scores NaN with everyone.
    """

    def __init__(self, algorithm: Any, references: Sequence[Any]):
        self.algorithm, self.references = algorithm, list(references)
        self.enrolled = [row for row, one in enumerate(references) if one.data is not None]
        self.rows: dict[str, list[int]] = {}
        for row, reference in enumerate(self.references):
            self.rows.setdefault(str(reference.template_id), []).append(row)
        self.by_cosine = (
            type(algorithm) is Distance
            and algorithm.distance_function == "cosine"
            and algorithm.average_on_enroll
        )

    @cached_property
    def _matrix(self) -> np.ndarray:
        """Enrolled templates of unit length, of shape (n, d); NaN where there is none."""
        rows = _unit(np.stack([np.asarray(self.references[i].data) for i in self.enrolled]))
        every = np.full((len(self.references), rows.shape[1]), np.nan)
        every[self.enrolled] = rows
        return every

    def listed(self, probe: Any) -> list[int]:
        """Rows of the references that a probe lists, in the order of enrolment."""
        wanted = dict.fromkeys(str(name) for name in probe.references)
        found = sorted(row for name in wanted for row in self.rows.get(name, ()))
        if not found:
            raise InputError(
                f"`references` of probe {probe.template_id} must name enrolled templates, got "
                f"{list(wanted)}; correct the protocol's lists."
            )
        return found

    def against_all(self, probes: Sequence[Any]) -> np.ndarray:
        """Scores of every probe with every reference, of shape (probes, references)."""
        scores = np.full((len(probes), len(self.references)), np.nan)
        valid = [i for i, probe in enumerate(probes) if _is_valid(probe.data)]
        if not (valid and self.enrolled):
            return scores
        if not self.by_cosine:
            enrolled = SampleBatch([self.references[row] for row in self.enrolled])
            found = self.algorithm.compare(enrolled, [probes[i].data for i in valid])
            scores[np.ix_(valid, self.enrolled)] = np.asarray(found, dtype=float).T
            return scores
        features = [np.atleast_2d(np.asarray(probes[i].data)) for i in valid]
        products = _unit(np.concatenate(features)) @ self._matrix.T
        every = self.algorithm.factor * (1 - products)
        starts = np.cumsum([0, *map(len, features)])
        for place, i in enumerate(valid):
            several = every[starts[place] : starts[place + 1]]
            scores[i] = self.algorithm.fuse_probe_scores(several, axis=0)
        return scores

    def against_listed(self, probes: Sequence[Any]) -> list[tuple[list[int], np.ndarray]]:
        """Rows and scores of the references that each probe lists."""
        listed = [(probe, self.listed(probe)) for probe in probes]
        return [(rows, self._with(probe, rows)) for probe, rows in listed]

    def _with(self, probe: Any, rows: list[int]) -> np.ndarray:
        scores = np.full(len(rows), np.nan)
        there = [i for i, row in enumerate(rows) if self.references[row].data is not None]
        if not (there and _is_valid(probe.data)):
            return scores
        if not self.by_cosine:
            enrolled = SampleBatch([self.references[rows[i]] for i in there])
            found = self.algorithm.compare(enrolled, [probe.data])
            scores[there] = np.asarray(found, dtype=float)[:, 0]
            return scores
        products = self._matrix[rows] @ _unit(np.atleast_2d(np.asarray(probe.data))).T
        return self.algorithm.fuse_probe_scores(self.algorithm.factor * (1 - products), axis=1)

    def write(
        self, probes: Sequence[Any], path: Path, all_vs_all: bool, excluded: Sequence[str]
    ) -> int:
        """Compare probes and write the rows as Bob's ``CSVScoreWriter`` does.

        Parameters
        ----------
        probes : sequence of Sample
            Probe templates, with the same metadata each.
        path : Path
            Appears whole or not at all. Memory is bounded by a million scores.
        all_vs_all : bool
            With every reference, or with those that a probe lists.
        excluded : sequence of str
            Metadata that is not written.

        Returns
        -------
        int
            Rows.
        """
        written = 0
        with whole_or_nothing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            columns = _Columns(probes[0], self.references[0], excluded)
            file.write(columns.header)
            of_references = columns.of_references(self.references)
            for probe, rows, scores in self._scored(probes, all_vs_all):
                start = columns.of_probe(probe)
                file.writelines(
                    f"{start},{of_references[row]},{score!r}\r\n"
                    for row, score in zip(rows, scores.tolist(), strict=True)
                )
                written += len(rows)
        return written

    def _scored(
        self, probes: Sequence[Any], all_vs_all: bool
    ) -> Iterator[tuple[Any, Sequence[int], np.ndarray]]:
        if not all_vs_all:
            for probe, (rows, scores) in zip(probes, self.against_listed(probes), strict=True):
                yield probe, rows, scores
            return
        everyone = range(len(self.references))
        at_once = max(1, _SCORES // len(everyone))
        for first in range(0, len(probes), at_once):
            block = probes[first : first + at_once]
            for probe, scores in zip(block, self.against_all(block), strict=True):
                yield probe, everyone, scores


class _Columns:
    """Columns of Bob's score files, and their text for a probe or a reference."""

    def __init__(self, probe: Any, reference: Any, excluded: Sequence[str]):
        def written(sample: Any) -> list[str]:
            return [k for k in vars(sample) if k not in excluded and not k.startswith("_")]

        self.probe = ["template_id", *(k for k in written(probe) if k != "template_id")]
        self.reference = written(reference)
        names = [f"probe_{k}" for k in self.probe] + [f"bio_ref_{k}" for k in self.reference]
        self.header = _text([*names, "score"]) + "\r\n"

    def of_probe(self, probe: Any) -> str:
        return _text([str(getattr(probe, name)) for name in self.probe])

    def of_references(self, references: Sequence[Any]) -> list[str]:
        return [_text([str(getattr(r, name)) for name in self.reference]) for r in references]


def _text(cells: list[str]) -> str:
    """Cells as a line of CSV without its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
