"""The picture of :mod:`tests.benchmarks.leaks`: success attack rate against what leaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from bob_recon_plugin.common.files import whole_or_nothing
from bob_recon_plugin.report.figures import _look
from bob_recon_plugin.report.style import colour
from bob_recon_plugin.report.tables import short

from .leaks import CONDITIONAL, FMRS, HEADS, NOISE, QUANTIZED, ZERO, Point

_NAMES = {"type1": "Type-I", "type2": "Type-II"}
_ACROSS = 3


def draw(points: Sequence[Point], path: Path) -> None:
    """Draw a panel for each kind of leak, at the strictest FMR, with 95 % intervals.

    Parameters
    ----------
    points : sequence of Point
        The whole template first.
    path : Path
        PNG to write.
    """
    panels = _panels(points)
    across = min(len(panels), _ACROSS)
    rows = -(-len(panels) // across)
    with _look():
        figure = Figure(figsize=(3.6 * across, 3.5 * rows), layout="constrained")
        grid = figure.subplots(rows, across, sharey=True, squeeze=False)
        for (panel, these), ax in zip(panels, grid.flat, strict=False):
            panel(these, ax)
        for ax in grid.flat[len(panels) :]:
            ax.set_visible(False)
        for ax in filter(Axes.has_data, grid.flat):
            ax.set_ylim(-0.02, 1.02)
            ax.yaxis.set_major_formatter(PercentFormatter(1))
            ax.legend(fontsize=8)
        for ax in grid[:, 0]:
            ax.set_ylabel(f"SAR at FMR {short(FMRS[-1])}")
        with whole_or_nothing(path) as part, part.open("wb") as stream:
            figure.savefig(stream, format="png", dpi=140)


def _panels(points: Sequence[Point]) -> list[tuple[Callable[..., None], list[Point]]]:
    """What is drawn, and of which points."""
    whole, *others = points
    sources = dict.fromkeys(p.curve for p in others if p.curve not in HEADS)
    panels = [
        (_shares, [whole, *(p for p in others if p.curve in (ZERO, CONDITIONAL))]),
        (_noise, [whole, *(p for p in others if p.curve == NOISE)]),
        (_bits, [p for p in others if p.curve == QUANTIZED]),
        *((_adapters, [p for p in others if p.curve == source]) for source in sources),
    ]
    return [(panel, these) for panel, these in panels if any(p is not whole for p in these)]


def _shares(points: Sequence[Point], ax: Any) -> None:
    whole = [p for p in points if p.value == 1]
    _curves(ax, [p for p in points if p.curve == ZERO], ", others zero")
    if guessed := [p for p in points if p.curve == CONDITIONAL]:
        _curves(ax, whole + guessed, ", others guessed", dashes=(0, (4, 2)), marker="s")
    ax.set_xscale("log", base=2)
    _ticks(ax, [p.value for p in points if p.curve == ZERO])
    ax.set_xlabel("share of the dimensions that leaks")


def _noise(points: Sequence[Point], ax: Any) -> None:
    at = [0 if p.curve == ZERO else p.value for p in points]
    _curves(ax, points, at=at)
    ax.set_xlabel("noise, root mean square over that of the template")


def _bits(points: Sequence[Point], ax: Any) -> None:
    _curves(ax, points)
    _ticks(ax, [p.value for p in points])
    ax.set_xlabel("bits a dimension")


def _adapters(points: Sequence[Point], ax: Any) -> None:
    source = points[0].curve
    _curves(ax, [p for p in points if p.judge == source], f", judged by {source}")
    others = [p for p in points if p.judge != source]
    _curves(ax, others, f", by {others[0].judge}", dashes=(0, (4, 2)), marker="s")
    ax.set_xscale("log")
    _ticks(ax, [p.value for p in points])
    ax.set_xlabel(f"faces an adapter from {source} is fitted on")


def _curves(
    ax: Any,
    points: Sequence[Point],
    told: str = "",
    dashes: Any = "-",
    marker: str = "o",
    at: Sequence[float] | None = None,
) -> None:
    x = at or [p.value for p in points]
    for attack, name in _NAMES.items():
        rates = [p.rates[attack][-1] for p in points]
        low = [r.value - r.low for r in rates]
        high = [r.high - r.value for r in rates]
        ax.errorbar(
            x,
            [r.value for r in rates],
            yerr=(low, high),
            color=colour(attack),
            linestyle=dashes,
            marker=marker,
            markersize=4,
            linewidth=1.4,
            elinewidth=0.8,
            capsize=2,
            label=name + told,
        )


def _ticks(ax: Any, values: Sequence[float]) -> None:
    ticks = sorted(set(values))
    ax.set_xticks(ticks, [f"{value:g}" for value in ticks])
    ax.xaxis.set_minor_formatter(NullFormatter())
