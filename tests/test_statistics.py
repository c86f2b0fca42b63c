"""Bootstrap, folds, curves and linkability against hand counts and slower ways to the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from bob_recon_plugin.evaluation.metrics import evaluate
from bob_recon_plugin.evaluation.scores import Comparisons, Scores, read
from bob_recon_plugin.evaluation.statistics import (
    MeanRate,
    bootstrap,
    cross_validate,
    d_sys,
    maximal_linkability,
    trace,
)

HEADER = "probe_template_id,probe_subject_id,bio_ref_template_id,bio_ref_subject_id,score"


def table(path: Path, rows: list[tuple[str, str, float, str]]) -> Comparisons:
    """Rows of (probe subject, reference subject, score, attack type)."""
    lines = [
        f"{p}/{i},{p},{r}/0,{r},{score},{attack}"
        for i, (p, r, score, attack) in enumerate(rows, start=1)
    ]
    path.write_text("\n".join([f"{HEADER},probe_attack_type", *lines]) + "\n")
    return read(path)


@pytest.fixture
def people(tmp_path: Path) -> Comparisons:
    """Twenty people, all against all, each with scores of his own level."""
    draw = np.random.default_rng(5)
    level = draw.normal(0, 0.3, 20)
    rows: list[tuple[str, str, float, str]] = []
    for i in range(20):
        for j in range(20):
            mean = 2.0 if i == j else 0.0
            rows.append((f"P{i}", f"P{j}", mean + level[i] + draw.normal(0, 0.3), ""))
        rows.append((f"P{i}", f"P{i}", 1.2 + level[i], "type1"))
        rows.append((f"P{i}", f"P{i}", 0.9 + level[i], "type2"))
    return table(tmp_path / "scores-dev.csv", rows)


weighted = st.lists(
    st.tuples(st.integers(-4, 4).map(lambda i: i / 2), st.integers(0, 4)), min_size=1, max_size=40
)


def test_bootstrap_is_the_slow_bootstrap(people: Comparisons) -> None:
    """People drawn with the same seed, comparisons written out as often as they count."""
    (fast,) = bootstrap(people, fmrs=[0.1], replicates=40, seed=3)
    draw = np.random.default_rng(3)
    found = []
    for _ in range(40):
        times = np.bincount(draw.integers(0, 20, 20), minlength=20)
        same = people.probe_subject == people.reference_subject
        weight = np.where(
            same,
            times[people.probe_subject],
            times[people.probe_subject] * times[people.reference_subject],
        )
        parts = {
            kind: np.repeat(people.score[people.rows(kind)], weight[people.rows(kind)])
            for kind in people.kinds
        }
        genuine, impostor = parts.pop("genuine"), parts.pop("impostor")
        (point,) = evaluate(Scores(genuine, impostor, parts), fmrs=[0.1])
        found.append([point.threshold, point.tmr.value, point.sar["type2"].value])
    low, high = np.quantile(found, [0.025, 0.975], axis=0)
    for spread, a, b in zip((fast.threshold, fast.tmr, fast.sar["type2"]), low, high, strict=True):
        assert (spread.low, spread.high) == pytest.approx((a, b))
    assert (fast.replicates, fast.subjects) == (40, 20)


def test_the_threshold_moves_and_people_widen_the_interval(people: Comparisons) -> None:
    (point,) = evaluate(people.scores(), fmrs=[0.05])
    (spread,) = bootstrap(people, fmrs=[0.05], replicates=400)
    assert spread.threshold.low < point.threshold < spread.threshold.high
    assert spread.fmr.high <= 0.05
    assert spread.sar["type2"].low <= point.sar["type2"].value <= spread.sar["type2"].high
    assert spread.sar["type2"].high - spread.sar["type2"].low > 0.1


def test_one_person_who_is_the_only_impostor_pair_can_be_lost(tmp_path: Path) -> None:
    data = table(
        tmp_path / "scores.csv",
        [("A", "A", 0.9, ""), ("B", "B", 0.8, ""), ("A", "B", 0.1, ""), ("A", "A", 0.7, "type1")],
    )
    (spread,) = bootstrap(data, fmrs=[0.5], replicates=200)
    assert 0 < spread.replicates < 200  # a draw of A alone or B alone has no impostor
    assert (spread.sar["type1"].low, spread.sar["type1"].high) == (1, 1)


def test_eval_people_are_drawn_apart(people: Comparisons, tmp_path: Path) -> None:
    rows = [(f"E{i}", f"E{(i + d) % 9}", 1.0 - d, "") for i in range(9) for d in (0, 1)]
    rows += [(f"E{i}", f"E{i}", i / 9, "type1") for i in range(9)]
    other = table(tmp_path / "scores-eval.csv", rows)
    (spread,) = bootstrap(people, other, fmrs=[0.05], replicates=100)
    (dev,) = bootstrap(people, fmrs=[0.05], replicates=100)
    assert spread.subjects == 9
    assert list(spread.sar) == ["type1"]
    assert spread.threshold.low < dev.threshold.high  # of the same people, other draws


def test_same_seed_same_interval(people: Comparisons) -> None:
    assert bootstrap(people, replicates=20, seed=1) == bootstrap(people, replicates=20, seed=1)
    assert bootstrap(people, replicates=20, seed=1) != bootstrap(people, replicates=20, seed=2)


def test_folds_by_hand(tmp_path: Path) -> None:
    rows = []
    # impostors of fold 0 reach 0.3, of fold 1 reach 0.5: each threshold comes from the other fold
    for fold, top in (("A", 0.3), ("B", 0.5)):
        rows += [(fold, f"{fold}x", top - i / 10, "") for i in range(2)]
        rows += [(fold, fold, 0.9, ""), (fold, fold, 0.4, "")]
        rows += [(fold, fold, 0.45, "type1")]
    data = table(tmp_path / "scores.csv", rows)
    folds = np.array([name.startswith("B") for name in data.subjects])[data.probe_subject]
    (point,) = cross_validate(data, folds.astype(int), fmrs=[0.5])

    def mean_and_error(rate: MeanRate) -> tuple[float, float]:
        return rate.mean, rate.error

    assert mean_and_error(point.threshold) == pytest.approx((0.4, 0.1))  # 0.5 and 0.3
    assert mean_and_error(point.fmr) == pytest.approx((0.5, 0.5))  # 0 and 1
    assert mean_and_error(point.tmr) == pytest.approx((0.75, 0.25))  # 0.5 and 1: sd 0.354 by root 2
    assert mean_and_error(point.sar["type1"]) == pytest.approx((0.5, 0.5))  # 0 and 1


def test_curves_are_exact_at_every_point() -> None:
    draw = np.random.default_rng(0)
    scores = Scores(
        np.round(draw.normal(1, 0.5, 1500), 2),
        draw.normal(0, 0.5, 5000),
        {"type1": draw.normal(0.8, 0.4, 700), "never": [np.nan]},
    )
    curves = trace(scores)
    assert list(curves.sar) == ["type1"]
    assert (curves.fmr[0], curves.fmr[-1], curves.tmr[-1]) == (0, 1, 1)
    assert len(curves.threshold) < 2500
    for i in range(0, len(curves.threshold), 50):
        threshold = curves.threshold[i]
        assert curves.fmr[i] == np.mean(scores.impostor >= threshold)
        assert curves.tmr[i] == np.mean(scores.genuine >= threshold)
        assert curves.sar["type1"][i] == np.mean(scores.attacks["type1"] >= threshold)


def test_linkability_of_two_known_densities() -> None:
    """Mated uniform on [0, 1), non-mated on [0, 2): LR is 2 below 1, so D = 1/3 for every score."""
    mated = (np.arange(2000) + 0.5) / 2000
    non_mated = (np.arange(4000) + 0.5) / 2000
    assert d_sys(mated, non_mated) == pytest.approx(1 / 3, abs=0.01)
    # the integral of the larger density: 1 below 1, and 1/2 above
    assert maximal_linkability(mated, non_mated) == pytest.approx(np.log2(1.5), abs=0.01)
    assert d_sys(mated, non_mated, omega=0.5) == pytest.approx(0, abs=0.02)


def test_linkability_agrees_with_its_formula() -> None:
    draw = np.random.default_rng(2)
    mated, non_mated = draw.normal(1, 1, 3000), draw.normal(0, 1, 3000)
    edges = np.linspace(min(mated.min(), non_mated.min()), max(mated.max(), non_mated.max()), 101)
    m = np.histogram(mated, edges, density=True)[0]
    n = np.histogram(non_mated, edges, density=True)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = m / n
        local = np.where(ratio > 1, 2 * (1 + 1 / ratio) ** -1 - 1, 0)
    assert d_sys(mated, non_mated) == pytest.approx(np.sum(local * m) * (edges[1] - edges[0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: bootstrap(c, replicates=0), "`replicates` must be at least 1, got 0"),
        (lambda c: bootstrap(c, confidence=1), r"`confidence` must be in \(0, 1\), got 1"),
        (lambda c: cross_validate(c, np.zeros(len(c.score))), "at least two folds, got 1"),
        (
            lambda c: cross_validate(c, np.arange(len(c.score))),
            "a score of every class, got none of genuine in fold 1",
        ),
        (lambda c: d_sys([], [1.0]), r"`mated` must be finite scores of shape \(n,\), n > 0"),
        (lambda c: d_sys([1.0], [np.nan]), "`non_mated` must be finite scores"),
    ],
)
def test_misuse_is_explained(
    people: Comparisons, call: Callable[[Comparisons], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(people)
