"""Rates against hand counts, laws, scipy and Bob."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_recon_plugin.evaluation import metrics
from bob_recon_plugin.evaluation.metrics import (
    Rate,
    clopper_pearson,
    evaluate,
    few_impostors,
    fmr,
    fnmr,
    sar,
    threshold_at_fmr,
    tmr,
)
from bob_recon_plugin.evaluation.scores import Scores, load

# few distinct values, so that ties are frequent
tied = st.lists(st.integers(-5, 5).map(lambda i: i / 4), min_size=1, max_size=60)
free = st.lists(st.floats(-1, 1), min_size=1, max_size=60)
targets = st.floats(0, 1) | st.fractions(0, 1, max_denominator=60).map(float)


@pytest.mark.parametrize(
    ("impostors", "target", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], 0.25, 0.4),
        ([0.4, 0.1, 0.3, 0.2], 0.5, 0.3),
        ([0.1, 0.2, 0.3, 0.4], 0.6, 0.3),
        ([0.1, 0.2, 0.3, 0.4], 1.0, 0.1),
        ([0.1, 0.3, 0.3, 0.4], 0.5, 0.4),  # both or none of the tied pair
        ([0.1, 0.3, 0.3, 0.4], 0.75, 0.3),
        ([0.1, 0.2, 0.3, 0.4], 0.2, np.nextafter(0.4, 1)),  # none may pass
        ([0.1, 0.2, 0.4, 0.4], 0.25, np.nextafter(0.4, 1)),
        ([0.4], 0.0, np.nextafter(0.4, 1)),
        ([-2.0, -1.0], 0.5, -1.0),
    ],
)
def test_threshold_by_hand(impostors: list[float], target: float, expected: float) -> None:
    assert threshold_at_fmr(impostors, target) == expected


def test_rounding_of_the_product_costs_no_impostor() -> None:
    impostors = np.arange(100) / 100
    assert 0.29 * 100 < 29
    assert fmr(impostors, threshold_at_fmr(impostors, 0.29)) == 0.29


@given(st.one_of(tied, free), targets)
def test_fmr_never_exceeds_its_target(impostors: list[float], target: float) -> None:
    assert fmr(impostors, threshold_at_fmr(impostors, target)) <= target


@given(st.one_of(tied, free), targets)
def test_no_lower_impostor_score_would_do(impostors: list[float], target: float) -> None:
    threshold = threshold_at_fmr(impostors, target)
    lower = [s for s in impostors if s < threshold]
    if lower:
        assert fmr(impostors, max(lower)) > target


@given(st.one_of(tied, free), targets, targets)
def test_threshold_falls_as_the_target_grows(
    impostors: list[float], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert threshold_at_fmr(impostors, low) >= threshold_at_fmr(impostors, high)


@given(free, st.floats(-1, 1), st.floats(-1, 1))
def test_rates_fall_as_the_threshold_grows(scores: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert sar(scores, low) >= sar(scores, high)
    assert fnmr(scores, low) <= fnmr(scores, high)


@given(tied, st.integers(-6, 6).map(lambda i: i / 4))
def test_rates_count_scores_at_the_threshold_as_accepted(
    scores: list[float], threshold: float
) -> None:
    accepted = Fraction(sum(s >= threshold for s in scores), len(scores))
    for rate in (fmr, tmr, sar):
        assert rate(scores, threshold) == float(accepted)
    assert fnmr(scores, threshold) == float(1 - accepted)


counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_interval_holds_its_rate(count: tuple[int, int]) -> None:
    rate = Rate.of(*count)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert rate.value == count[0] / count[1]


@given(counts)
def test_interval_mirrors_when_accepted_and_rejected_are_swapped(count: tuple[int, int]) -> None:
    k, n = count
    low, high = clopper_pearson(k, n)
    assert clopper_pearson(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 3000), (943, 1000), (1, 1), (7, 9)])
def test_interval_agrees_with_quantiles_of_the_beta_distribution(
    k: int, n: int, confidence: float
) -> None:
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = beta.ppf(tail, k, n - k + 1) if k else 0
    high = beta.ppf(1 - tail, k + 1, n - k) if k < n else 1
    assert clopper_pearson(k, n, confidence) == pytest.approx((low, high), abs=1e-9)


def test_no_trial_says_nothing() -> None:
    rate = Rate.of(0, 0)
    assert np.isnan(rate.value)
    assert (rate.low, rate.high) == (0, 1)


@pytest.mark.parametrize(
    ("target", "n", "few"),
    [(1e-3, 3000, True), (1e-3, 9999, True), (1e-3, 10_000, False), (1e-2, 1000, False)],
)
def test_ten_impostors_are_enough(target: float, n: int, few: bool) -> None:
    assert few_impostors(target, n) is few


DEV = Scores(
    genuine=[0.9, 0.8, 0.25, np.nan],
    impostor=[0.1, 0.2, 0.3, 0.4],
    attacks={"type1": [0.7, 0.3], "type2": [0.35, 0.2, 0.1, np.nan]},
)
EVAL = Scores(genuine=[0.9, 0.2], impostor=[0.31, 0.32, np.nan], attacks={"mask": [0.3]})


def test_rates_of_dev_alone() -> None:
    (point,) = evaluate(DEV, fmrs=[0.5])
    assert (point.threshold, point.threshold_group, point.group) == (0.3, "dev", "dev")
    assert (point.fmr.k, point.fmr.n, point.threshold_impostors) == (2, 4, 4)
    assert (point.tmr.k, point.tmr.n) == (2, 3)
    assert {name: (r.k, r.n) for name, r in point.sar.items()} == {"type1": (2, 2), "type2": (1, 3)}
    assert point.not_acquired == {"dev": {"genuine": 1, "impostor": 0, "type1": 0, "type2": 1}}
    assert point.few_impostors


def test_dev_sets_the_threshold_and_eval_is_reported() -> None:
    strict, loose = evaluate(DEV, EVAL, [0.25, 0.5])
    assert (strict.threshold, loose.threshold) == (0.4, 0.3)
    assert (strict.fmr.value, loose.fmr.value) == (0, 1)
    assert (loose.threshold_group, loose.group, loose.threshold_impostors) == ("dev", "eval", 4)
    assert (loose.tmr.k, loose.tmr.n) == (1, 2)
    assert list(loose.sar) == ["mask"]
    assert loose.not_acquired["eval"]["impostor"] == 1


def test_default_targets() -> None:
    assert [point.target for point in evaluate(DEV)] == [1e-2, 1e-3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: threshold_at_fmr([], 0.1), "`impostors` must hold at least one score, got none"),
        (lambda: threshold_at_fmr([0.1], 2), r"`fmr` must be in \[0, 1\], got 2; 1e-3 is"),
        (lambda: threshold_at_fmr([0.1, np.inf], 0), "`impostors` must be finite, got infinity"),
        (lambda: few_impostors(-1, 10), r"`fmr` must be in \[0, 1\], got -1"),
        (lambda: fmr([], 0), "`impostors` must hold at least one score"),
        (lambda: tmr([np.nan, 1], 0), "`genuine` must hold no NaN, got 1 of 2; count failures"),
        (lambda: sar([[0.1]], 0), r"`attacks` must have shape \(n,\), got \(1, 1\)"),
        (lambda: fnmr([0.1], np.nan), "`threshold` must be a number, got NaN"),
        (lambda: clopper_pearson(3, 2), r"`k` must be in \[0, n\], got 3 of 2"),
        (lambda: clopper_pearson(1, 2, 95), r"`confidence` must be in \(0, 1\), got 95"),
        (lambda: evaluate(Scores([1], [])), "`dev.impostor` must hold .* a threshold needs"),
        (lambda: evaluate(Scores([], [1])), "`dev.genuine` must hold at least one score"),
        (lambda: evaluate(DEV, Scores([1], [])), "`eval.impostor` must hold at least one score"),
        (
            lambda: evaluate(DEV, Scores([1], [0], distances=True)),
            "`dev` and `eval` must both be distances or both similarities, got",
        ),
    ],
)
def test_misuse_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.realfaces
def test_published_figures(shared_data: Path) -> None:
    points = evaluate(load(shared_data / "lfwview2-scores" / "scores-dev.csv"))
    expected = [(0.17046, 30, 2992, 3000, 2970), (0.24756, 3, 2988, 3000, 2829)]
    for point, (threshold, impostors, genuine, type1, type2) in zip(points, expected, strict=True):
        assert point.threshold == pytest.approx(threshold, abs=5e-6)
        assert (point.fmr.k, point.fmr.n) == (impostors, 3000)
        assert (point.tmr.k, point.tmr.n) == (genuine, 3000)
        assert (point.sar["type1"].k, point.sar["type1"].n) == (type1, 3000)
        assert (point.sar["type2"].k, point.sar["type2"].n) == (type2, 3000)


def bob_rates(path: Path, *options: str) -> tuple[float, dict[str, tuple[int, int]]]:
    """Threshold and counts by name that `bob vulnerability metrics` prints."""
    from bob.bio.base.script.vulnerability import vulnerability
    from click.testing import CliRunner

    result = CliRunner().invoke(vulnerability, ["metrics", *options, str(path)])
    assert result.exit_code == 0, result.output
    found = re.findall(r"^(\w.*?)\s{2,}[\d.]+% \((\d+)/(\d+)\)", result.output, re.MULTILINE)
    rates = {name: (int(k), int(n)) for name, k, n in found}
    threshold = re.search(r"Threshold on Development set .*: (\S+)", result.output)
    assert threshold
    return float(threshold[1]), rates


@pytest.fixture
def score_file(tmp_path: Path) -> Path:
    """Rounded scores, hence ties at the threshold, and some failures to acquire."""
    draw = np.random.default_rng(7)
    path = tmp_path / "scores-dev.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["probe_subject_id", "bio_ref_subject_id", "score", "probe_attack_type"])
        for probe, attack, mean, n in [
            ("A", "", 0.7, 200),
            ("B", "", 0.0, 500),
            ("A", "type1", 0.5, 150),
            ("A", "type2", 0.3, 100),
        ]:
            values = np.round(draw.normal(mean, 0.15, n), 2)
            values[:3] = np.nan
            writer.writerows([probe, "A", value, attack] for value in values)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.0, 1e-3, 1e-2, 0.05, 0.3])
def test_agreement_with_bob_vulnerability(score_file: Path, target: float) -> None:
    (point,) = evaluate(load(score_file), fmrs=[target])
    threshold, bob = bob_rates(score_file, "--criterion", "far", "--far-value", str(target))
    assert threshold == pytest.approx(point.threshold, rel=1e-6)
    assert bob["Licit False Match Rate"] == (point.fmr.k, point.fmr.n)
    rejected = point.tmr.n - point.tmr.k
    assert bob["Licit False Non Match Rate"] == (rejected, point.tmr.n)
    attacks = point.sar.values()  # Bob counts every attack type as one
    assert bob["Attack Presentation Match Rate"] == (
        sum(rate.k for rate in attacks),
        sum(rate.n for rate in attacks),
    )


@pytest.mark.slow
def test_agreement_with_bob_at_a_threshold_that_scores_share(score_file: Path) -> None:
    scores = load(score_file)
    attacks = np.concatenate(list(scores.attacks.values()))
    assert (attacks == 0.35).any()
    _, bob = bob_rates(score_file, "--thres", "0.35")
    k, n = bob["Attack Presentation Match Rate"]
    assert sar(attacks, 0.35) == k / n


@pytest.mark.slow
def test_agreement_with_bob_measure() -> None:
    from bob.measure import far_threshold, farfrr

    draw = np.random.default_rng(3)
    for digits in (1, 2, 15):
        impostors = np.round(draw.normal(0, 0.2, 237), digits)
        genuine = np.round(draw.normal(0.5, 0.2, 111), digits)
        for target in (0.0, 1e-3, 0.01, 0.29, 0.5, 0.99):
            threshold = threshold_at_fmr(impostors, target)
            assert threshold == far_threshold(impostors, genuine, target)
            rates = metrics.fmr(impostors, threshold), metrics.fnmr(genuine, threshold)
            assert rates == farfrr(impostors, genuine, threshold)
