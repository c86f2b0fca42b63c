"""All numbers of a report, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .lfw_folds import fold_of_rows
from .metrics import OperatingPoint, Rate, evaluate, leading
from .run_folder import RunFolder
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
    """How well scores distinguish templates of one person from those of two people.

    Attributes
    ----------
    mated : str
        Class of the mated scores: "genuine", or "type2" for a linkage through a reconstruction.
    d_sys, maximal : float
        In [0, 1]; see `bob_recon_plugin.evaluation.statistics`.
    """

    mated: str
    d_sys: float
    maximal: float


@dataclass(frozen=True, eq=False)
class Findings:
    """The numbers of one run.

    Attributes
    ----------
    run : RunFolder
    scores : Scores
        Of the group that is reported.
    points : list of OperatingPoint
        One per target FMR, from the loosest to the strictest.
    opened : list of Rate or None
        Per point, the share of leaked templates of which at least one Type-I reconstruction is
        accepted; None without Type-I attacks.
    spreads : list of Resampled
        Per point, the bootstrap over subjects; empty without replicates.
    folds : list of Folded
        Per point; empty without folds.
    folds_note : str
        Which file the folds are from, or why there are none; may be empty.
    curves : Curves
    linkability : list of Linkability
    means : mapping of str to float
        Mean score of each class with scores.
    seed, replicates : int
        Of the bootstrap.
    """

    run: RunFolder
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
        """Index of the point that the headline is about; see `metrics.leading`."""
        return leading(self.points)


def analyse(
    run: RunFolder,
    fmrs: Sequence[float] = (1e-2, 1e-3),
    replicates: int = 1000,
    seed: int = 0,
    pairs: str | Path | None = None,
) -> Findings:
    """Compute all numbers that a report shows of a run.

    Parameters
    ----------
    run : RunFolder
    fmrs : sequence of float
        Target false match rates, in [0, 1].
    replicates : int
        Of the bootstrap over subjects; 0 for none.
    seed : int
        Of the bootstrap.
    pairs : str or Path, optional
        ``pairs.txt`` of LFW, over whose folds the rates are averaged. Default: the file of the
        database of the run, if this is an LFW that is still there.

    Returns
    -------
    Findings

    Raises
    ------
    FileNotFoundError, ValueError
        If `pairs` is given and does not match the scores.
    """
    fmrs = sorted(set(fmrs), reverse=True)
    dev = run.dev.scores()
    reported = dev if run.eval is None else run.eval.scores()
    points = evaluate(dev, None if run.eval is None else reported, fmrs)
    folded, note = _folds(run, fmrs, pairs)
    every = {"genuine": reported.genuine, "impostor": reported.impostor, **reported.attacks}
    return Findings(
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
    """Return the share of leaked templates of which some Type-I reconstruction is accepted.

    Reconstructions that were not acquired are ignored. Without the column of reference templates
    each row counts as a template.
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
        )
        for name, values in mated.items()
        if len(values)
    ]


def _folds(
    run: RunFolder, fmrs: Sequence[float], pairs: str | Path | None
) -> tuple[list[Folded], str]:
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
