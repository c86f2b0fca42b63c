"""Every number of a report, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .lfw_folds import fold_of_rows
from .metrics import OperatingPoint, Rate, evaluate, leading
from .run_folder import Run
from .scores import TYPE_I, TYPE_II, Comparisons, Scores
from .statistics import (
    Curves,
    Folded,
    Resampled,
    bootstrap,
    cross_validate,
    d_sys,
    maximal_linkability,
    trace,
)


@dataclass(frozen=True)
class Linkability:
    """How well two templates of one person are told from those of two people.

    Attributes
    ----------
    mated : str
        Class of the mated scores: "genuine", or "type2" for a linkage through a reconstruction.
    d_sys, maximal : float
        In [0, 1]; see `bob_recon_plugin.evaluation.statistics`.
    n_mated, n_non_mated : int
    """

    mated: str
    d_sys: float
    maximal: float
    n_mated: int
    n_non_mated: int


@dataclass(frozen=True, eq=False)
class Verdict:
    """What is told of one run.

    Attributes
    ----------
    run : Run
    scores : Scores
        Of the group that is reported.
    points : list of OperatingPoint
        One per target FMR, from the loosest to the strictest.
    opened : list of Rate or None
        Per point, the leaked templates that at least one of their own reconstructions opens;
        None without Type-I attacks.
    spreads : list of Resampled
        Per point, the bootstrap over subjects; empty when it was not asked for.
    folds : list of Folded
        Per point; empty without folds.
    folds_note : str
        Why there are none, or where they came from.
    curves : Curves
    linkability : list of Linkability
    means : mapping of str to float
        Mean score of each class that has one.
    seed, replicates : int
        Of the bootstrap.
    """

    run: Run
    scores: Scores
    points: list[OperatingPoint]
    opened: list[Rate | None]
    spreads: list[Resampled]
    folds: list[Folded]
    folds_note: str
    curves: Curves
    linkability: list[Linkability]
    means: Mapping[str, float]
    seed: int
    replicates: int

    @property
    def headline(self) -> int:
        """Index of the point to speak of first; see `metrics.leading`."""
        return leading(self.points)


def judge(
    run: Run,
    fmrs: Sequence[float] = (1e-2, 1e-3),
    replicates: int = 1000,
    seed: int = 0,
    pairs: str | Path | None = None,
) -> Verdict:
    """Compute what a report tells of a run.

    Parameters
    ----------
    run : Run
    fmrs : sequence of float
        Target false match rates, in [0, 1].
    replicates : int
        Of the bootstrap over subjects; 0 leaves it out.
    seed : int
        Of the bootstrap.
    pairs : str or Path, optional
        ``pairs.txt`` of LFW, whose folds the scores are averaged over. Default: that of the
        run's own database, where it is an LFW and still there.

    Returns
    -------
    Verdict

    Raises
    ------
    FileNotFoundError, ValueError
        If `pairs` is given and does not fit.
    """
    fmrs = sorted(set(fmrs), reverse=True)
    dev = run.dev.scores()
    reported = dev if run.eval is None else run.eval.scores()
    points = evaluate(dev, None if run.eval is None else reported, fmrs)
    folded, note = _folds(run, fmrs, pairs)
    every = {"genuine": reported.genuine, "impostor": reported.impostor, **reported.attacks}
    return Verdict(
        run=run,
        scores=reported,
        points=points,
        opened=[_opened(run.reported, point.threshold) for point in points],
        spreads=bootstrap(run.dev, run.eval, fmrs, replicates, seed) if replicates else [],
        folds=folded,
        folds_note=note,
        curves=trace(reported),
        linkability=_linkability(reported),
        means={name: float(values.mean()) for name, values in every.items() if len(values)},
        seed=seed,
        replicates=replicates,
    )


def _opened(table: Comparisons, threshold: float) -> Rate | None:
    """Leaked templates that one of their Type-I reconstructions opens; not acquired ones left out.

    Without the column of reference templates each row counts as a template of its own.
    """
    if TYPE_I not in table.attacks:
        return None
    rows = table.rows(TYPE_I)
    rows = rows[~np.isnan(table.score[rows])]
    templates = table.reference[rows]
    if len(rows) and templates[0] < 0:
        templates = np.arange(len(rows))
    accepted = np.unique(templates[table.score[rows] >= threshold])
    return Rate.of(len(accepted), len(np.unique(templates)))


def _linkability(scores: Scores) -> list[Linkability]:
    mated = {"genuine": scores.genuine}
    mated |= {name: scores.attacks[name] for name in (TYPE_II,) if name in scores.attacks}
    return [
        Linkability(
            name,
            d_sys(values, scores.impostor),
            maximal_linkability(values, scores.impostor),
            len(values),
            len(scores.impostor),
        )
        for name, values in mated.items()
        if len(values)
    ]


def _folds(run: Run, fmrs: Sequence[float], pairs: str | Path | None) -> tuple[list[Folded], str]:
    if pairs is not None:
        path = Path(pairs).expanduser()
        return cross_validate(run.dev, fold_of_rows(run.dev, path), fmrs), f"Folds of {path}."
    about = run.identity.get("database", {})
    if about.get("class") != "LFWDatabase" or run.eval is not None:
        return [], ""
    path = Path(str(about.get("original_directory", "")), "view2", "pairs.txt")
    try:
        return cross_validate(run.dev, fold_of_rows(run.dev, path), fmrs), f"Folds of {path}."
    except (OSError, ValueError) as error:
        return [], f"No rates over folds: {error}"
