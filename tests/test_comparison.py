"""Scores by matrix products: those of Bob's algorithms, in the rows of Bob's writer."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import BioAlgorithm, CSVScoreWriter
from bob.pipelines import Sample, SampleSet
from hypothesis import given
from hypothesis import strategies as st

from bob_recon_plugin.attack import comparison
from bob_recon_plugin.attack.comparison import Comparison


class NegatedCityBlock(BioAlgorithm):
    """An algorithm that is no `Distance`."""

    def create_templates(self, list_of_feature_sets, enroll):
        return [np.mean(features, axis=0) for features in list_of_feature_sets]

    def compare(self, enroll_templates, probe_templates):
        return -np.array([[np.abs(e - p).sum() for p in probe_templates] for e in enroll_templates])


ALGORITHMS = [
    Distance(),
    Distance(factor=-2, probes_score_fusion="min"),
    Distance(average_probes=True),
    Distance("euclidean"),
    Distance(average_on_enroll=False),
    NegatedCityBlock(),
]


def people(seed: int, n: int, images: int, prefix: str, size: int = 6, **more) -> list[SampleSet]:
    random = np.random.default_rng(seed)
    sets = []
    for i in range(n):
        samples = [
            Sample(random.normal(size=size), key=f"{prefix}{i}/{j}") for j in range(1 + i % images)
        ]
        name = f"{prefix}{i}"
        about = {"key": name, "template_id": name, "subject_id": f"s{i // 2}, the {i}th"}  # quoted
        about |= {column: values[i] for column, values in more.items()}
        sets.append(SampleSet(samples, **about))
    return sets


def both(algorithm, all_vs_all, tmp_path, n=7, m=9, seed=0) -> tuple[str, str]:
    """Text of Bob's score file and of ours."""
    listed = [[f"r{(i + 3) % n}", f"r{i % n}"] for i in range(m)]
    enrolled = algorithm.create_templates_from_samplesets(people(seed, n, 3, "r"), enroll=True)
    probes = algorithm.create_templates_from_samplesets(
        people(seed + 1, m, 2, "p", references=listed), enroll=False
    )
    writer = CSVScoreWriter(str(tmp_path))
    [bobs] = writer.write(algorithm.score_sample_templates(probes, enrolled, all_vs_all))
    ours = tmp_path / "ours.csv"
    rows = Comparison(algorithm, enrolled).write(probes, ours, all_vs_all, writer.exclude_list)
    assert rows == (n * m if all_vs_all else 2 * m)
    return Path(bobs).read_bytes().decode(), ours.read_bytes().decode()


@pytest.mark.parametrize("all_vs_all", [True, False])
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_rows_are_those_of_bob(algorithm, all_vs_all, tmp_path):
    bobs, ours = (
        list(csv.reader(io.StringIO(text, newline="")))
        for text in both(algorithm, all_vs_all, tmp_path)
    )
    assert [row[:-1] for row in ours] == [row[:-1] for row in bobs]
    scores = [[float(row[-1]) for row in rows[1:]] for rows in (ours, bobs)]
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-12)
    assert np.ptp(scores[0]) > 0.1


def test_the_text_is_bobs_to_the_byte_where_the_arithmetic_is(tmp_path):
    bobs, ours = both(NegatedCityBlock(), True, tmp_path)
    assert ours == bobs
    assert '"s0, the 1th"' in ours


def test_a_probe_that_was_not_acquired_scores_nan(tmp_path):
    algorithm = Distance()
    enrolled = algorithm.create_templates_from_samplesets(people(0, 3, 1, "r"), enroll=True)
    sets = people(1, 2, 1, "p", references=[["r1"], ["r0", "r2"]])
    sets[1].samples = [Sample(None, key="gone")]
    probes = algorithm.create_templates_from_samplesets(sets, enroll=False)
    every = Comparison(algorithm, enrolled).against_all(probes)
    assert np.isfinite(every[0]).all()
    assert np.isnan(every[1]).all()
    listed = Comparison(algorithm, enrolled).against_listed(probes)
    assert [len(scores) for _, scores in listed] == [1, 2]
    assert np.isnan(listed[1][1]).all()


def test_a_probe_that_lists_nobody_is_told():
    algorithm = Distance()
    enrolled = algorithm.create_templates_from_samplesets(people(0, 3, 1, "r"), enroll=True)
    probe = Sample(np.ones((1, 6)), template_id="p", references=["x", "y"])
    with pytest.raises(ValueError, match=r"probe p must name enrolled templates, got \['x', 'y'\]"):
        Comparison(algorithm, enrolled).against_listed([probe])


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 60))
def test_the_block_of_scores_changes_nothing(n, m, held):
    algorithm = Distance()
    enrolled = algorithm.create_templates_from_samplesets(people(0, n, 2, "r"), enroll=True)
    probes = algorithm.create_templates_from_samplesets(people(1, m, 2, "p"), enroll=False)
    whole = Comparison(algorithm, enrolled).against_all(probes)
    before, comparison._SCORES = comparison._SCORES, held
    try:
        parts = [s for _, _, s in Comparison(algorithm, enrolled)._scored(probes, True)]
    finally:
        comparison._SCORES = before
    np.testing.assert_allclose(np.stack(parts), whole, rtol=0, atol=1e-15)
