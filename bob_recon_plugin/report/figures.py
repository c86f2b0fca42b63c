"""The charts of a run, drawn once for page, PNG and PDF."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtri

from ..evaluation.findings import Findings
from ..evaluation.metrics import CONFIDENCE, Rate
from .provenance import is_plain
from .style import ACCENT, INK, RULE, colour, count, dashes, heading, label, number, percent, short

_WIDTH = 7.2  # inches
_BINS = 90
_LOOK: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": "#8c8c8c",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#4d4d4d",
    "ytick.color": "#4d4d4d",
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "svg.hashsalt": "bob_recon_plugin",
    "svg.fonttype": "path",
    "text.parse_math": False,  # names come from files and may contain "$"
}


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure with its caption, and its description for readers who cannot see it."""

    name: str
    figure: Figure
    caption: str
    alt: str

    def data_uri(self) -> str:
        """Return the figure as an SVG in a data URI, so that the page needs no other file."""
        stream = io.BytesIO()
        with _look():
            # without date and creator the same numbers give the same bytes
            nothing = {"Date": None, "Creator": None}
            self.figure.savefig(stream, format="svg", metadata=nothing)
        return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()


@contextmanager
def _look() -> Iterator[None]:
    with matplotlib.rc_context(_LOOK):
        yield


def draw(findings: Findings) -> list[Chart]:
    """Draw the charts of a run: histograms, SAR against FMR, DET."""
    with _look():
        return [histograms(findings), success(findings), trade_off(findings)]


def _classes(findings: Findings) -> dict[str, np.ndarray]:
    scores = findings.scores
    every = {"impostor": scores.impostor, "genuine": scores.genuine, **scores.attacks}
    return {name: values for name, values in every.items() if len(values)}


def _figure(height: float, rows: int = 1) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    return figure, list(axes)


def histograms(findings: Findings) -> Chart:
    """Draw the scores of every class below each other, on one axis, with the thresholds."""
    classes = _classes(findings)
    figure, axes = _figure(0.75 + 0.82 * len(classes), len(classes))
    low = min(float(values.min()) for values in classes.values())
    high = max(float(values.max()) for values in classes.values())
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    names = list(findings.scores.attacks)
    for ax, (kind, values) in zip(axes, classes.items(), strict=True):
        shares = np.histogram(values, edges)[0] / len(values)
        ax.stairs(shares, edges, fill=True, color=colour(kind, names), alpha=0.85)
        ax.set_yticks([])
        ax.grid(False)
        ax.spines["left"].set_visible(False)
        ax.set_ylim(0, 1.12 * max(shares.max(), 1e-9))
        words = f"{label(kind)}\n{count(len(values))} scores"
        ax.set_ylabel(words, rotation=0, ha="right", va="center", color=INK)
        for point, style in zip(findings.points, _marks(len(findings.points)), strict=True):
            ax.axvline(point.threshold, color=ACCENT, linewidth=1, linestyle=style)
    _name_thresholds(axes[0], findings)
    axes[-1].set_xlabel("score: more similar to the right, accepted at or right of a threshold")
    means = ", ".join(f"{label(k)} {number(findings.means[k])}" for k in classes)
    cuts = ", ".join(f"{number(p.threshold)} at FMR {short(p.target)}" for p in findings.points)
    caption = (
        "Scores by class, each scaled to the same height. Scores right of a threshold (vertical "
        f"line) are accepted. Mean scores: {means}.{_cosine(findings)}"
    )
    return Chart("histograms", figure, caption, f"Score histograms. {caption} Thresholds: {cuts}.")


def _cosine(findings: Findings) -> str:
    """Return how the scores of Bob's usual comparison are related to cosines."""
    plain = is_plain(findings.run.identity.get("algorithm", {}))
    return " A score is the negated cosine distance: add 1 for the cosine." if plain else ""


def _marks(n: int) -> list[Any]:
    styles: list[Any] = ["-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 1, 1, 1))]
    return [styles[i % len(styles)] for i in range(n)]


def _name_thresholds(ax: Any, findings: Findings) -> None:
    """Write the FMR above each line, to the left of the first line and to the right of others."""
    ordered = sorted(findings.points, key=lambda p: p.threshold)
    for i, point in enumerate(ordered):
        right = i == len(ordered) - 1 or i > 0
        ax.annotate(
            f"FMR {short(point.target)}",
            (point.threshold, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3 if right else -3, 2 + 10 * max(0, i - 1)),
            textcoords="offset points",
            ha="left" if right else "right",
            fontsize=8.5,
            color=ACCENT,
        )


def _floor(n: int) -> float:
    return 0.5 / max(n, 1)


def success(findings: Findings) -> Chart:
    """Draw TMR and SAR against FMR, over all thresholds."""
    curves = findings.curves
    figure, (ax,) = _figure(3.0)
    names = list(curves.sar)
    # of all thresholds with the same FMR the highest, an impostor score, as in the table
    x, at = np.unique(curves.fmr, return_index=True)
    x, at = x[x > 0], at[x > 0]
    for kind, rates in {"genuine": curves.tmr, **curves.sar}.items():
        name = "TMR" if kind == "genuine" else heading(kind)
        style = {"color": colour(kind, names), "linestyle": dashes(kind, names)}
        ax.step(x, rates[at], where="post", label=name, **style)
    for point, mark in zip(findings.points, _marks(len(findings.points)), strict=True):
        ax.axvline(point.target, color=ACCENT, linewidth=1, linestyle=mark)
        for kind, rate in point.sar.items():
            if rate.n:
                _bar(ax, point.target, rate, colour(kind, names))
    ax.set_xscale("log")
    # the default labels need math text
    ax.xaxis.set_major_formatter(lambda rate, _: short(rate))
    ax.xaxis.set_minor_formatter(lambda rate, _: "")
    ax.set_xlim(min([x.min(), *(p.target for p in findings.points if p.target)]) / 1.3, 1)
    ax.set_ylim(-0.02, 1.02)
    ax.set_yticks(np.linspace(0, 1, 6), [f"{v} %" for v in range(0, 101, 20)])
    ax.set_xlabel("FMR: share of zero-effort impostors accepted")
    ax.set_ylabel("accepted")
    ax.legend(loc="lower right")
    at_targets = "; ".join(
        f"at FMR {short(p.target)} "
        + ", ".join(f"{label(k)} {percent(r.value)}" for k, r in p.sar.items() if r.n)
        for p in findings.points
    )
    caption = (
        "Success of the attacks against the false match rate that the operator sets, with the ROC "
        f"of genuine users. Bars: {100 * CONFIDENCE:g} % Clopper-Pearson intervals at the targets "
        "(vertical lines)."
    )
    return Chart("sar-fmr", figure, caption, f"{caption} SAR {at_targets}.")


def _bar(ax: Any, x: float, rate: Rate, shade: str) -> None:
    """Draw a rate with its interval; rounding must not make a length negative."""
    if x > 0:
        ends = np.maximum([[rate.value - rate.low], [rate.high - rate.value]], 0)
        ax.errorbar(x, rate.value, ends, fmt="o", markersize=4, capsize=3, linewidth=1, color=shade)


def trade_off(findings: Findings) -> Chart:
    """Draw the DET: rejected genuine users against accepted impostors and accepted attacks."""
    curves = findings.curves
    figure, (ax,) = _figure(3.9)
    names = list(curves.sar)
    floor_y = _floor(curves.genuine)
    fnmr = np.clip(1 - curves.tmr, floor_y, 1 - floor_y)
    floor_x = _floor(curves.impostors)
    for kind, rates in {"impostor": curves.fmr, **curves.sar}.items():
        style = {"color": colour(kind, names), "linestyle": dashes(kind, names)}
        x = np.clip(rates, floor_x, 1 - floor_x)
        ax.plot(ndtri(x), ndtri(fnmr), label=label(kind), **style)
    operating = findings.points[findings.headline]
    rejected = np.clip(1 - operating.tmr.value, floor_y, 1 - floor_y)
    ax.axhline(ndtri(rejected), color=ACCENT, linewidth=1)
    ax.annotate(
        f"threshold of FMR {short(operating.target)}",
        (0.55, ndtri(rejected)),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=8.5,
        color=ACCENT,
    )
    _probit_axis(ax.set_xticks, ax.set_xlim, floor_x)
    _probit_axis(ax.set_yticks, ax.set_ylim, floor_y)
    ax.set_xlabel("accepted: FMR of impostors, SAR of attacks")
    ax.set_ylabel("FNMR: genuine rejected")
    ax.legend(loc="upper right")
    sar = ", ".join(f"{label(k)} {percent(r.value)}" for k, r in operating.sar.items() if r.n)
    caption = (
        "DET, with axes scaled by the normal distribution. A system is safe from an attack if the "
        "curve of the attack is as far left as that of impostors. A rate of zero is drawn at half "
        "a score."
    )
    at_headline = (
        f" At FMR {short(operating.target)}: FNMR {percent(1 - operating.tmr.value)}, "
        f"impostors {percent(operating.fmr.value)}, {sar}."
    )
    return Chart("det", figure, caption, caption + at_headline)


_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999)


def _probit_axis(set_ticks: Any, set_limits: Any, floor: float) -> None:
    shown = [tick for tick in _TICKS if floor <= tick <= 1 - floor]
    set_ticks([ndtri(t) for t in shown], [f"{100 * t:g} %" for t in shown])
    set_limits(ndtri(floor) - 0.15, ndtri(1 - floor) + 0.15)
