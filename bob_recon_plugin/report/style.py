"""Colours, line styles and words that figures and page share."""

from __future__ import annotations

from collections.abc import Sequence

from .tables import attack_label, short

#: Okabe and Ito's palette, told apart by colour-blind readers; grey for those who only chance it.
_KNOWN = {
    "genuine": ("#0072B2", "-", "Genuine"),
    "impostor": ("#8f8f8f", (0, (1, 1.2)), "Zero-effort impostors"),
    "type1": ("#D55E00", "-", "Type-I attack"),
    "type2": ("#9A4C7F", (0, (5, 2)), "Type-II attack"),
}
_MORE = (("#007A5A", (0, (3, 1, 1, 1))), ("#8A6D00", (0, (7, 2))), ("#3B3B98", (0, (2, 2))))
_PERCENT = "\N{NO-BREAK SPACE}%"
INK, PAPER, RULE, ACCENT = "#1a1a1a", "#ffffff", "#d9d9d9", "#9c3a00"


def colour(kind: str, others: Sequence[str] = ()) -> str:
    """Colour of a class; attack types that have none of their own take the next of `others`."""
    return _look(kind, others)[0]


def dashes(kind: str, others: Sequence[str] = ()) -> str | tuple[int, tuple[float, ...]]:
    """Line style of a class, so that colour is never the only difference."""
    return _look(kind, others)[1]


def _look(kind: str, others: Sequence[str]) -> tuple[str, str | tuple[int, tuple[float, ...]]]:
    if kind in _KNOWN:
        return _KNOWN[kind][0], _KNOWN[kind][1]  # type: ignore[return-value]
    unknown = [other for other in others if other not in _KNOWN]
    return _MORE[(unknown.index(kind) if kind in unknown else 0) % len(_MORE)]


def label(kind: str) -> str:
    """Name of a class in a figure: "Type-I attack"."""
    return _KNOWN[kind][2] if kind in _KNOWN else f"Attack {kind}"


def heading(rate: str) -> str:
    """Name of a rate: "TMR", "SAR Type-I"."""
    return rate if rate in ("TMR", "FMR") else attack_label(rate)


def percent(value: float, digits: int = 2) -> str:
    """A rate for readers: "99.47 %"; "100 %" without digits that say nothing."""
    if value != value:
        return "none"
    return f"{100 * value:.{0 if value in (0, 1) else digits}f}{_PERCENT}"


def limits(low: float, high: float, digits: int = 1) -> str:
    """An interval in percent: "98.5 to 99.5 %"."""
    if low != low:
        return "none"
    ends = [f"{100 * v:.{0 if v in (0, 1) else digits}f}" for v in (low, high)]
    return f"{ends[0]} to {ends[1]}{_PERCENT}"


def count(n: int) -> str:
    """A count with a narrow space, which no line breaks at, for thousands: "2 269"."""
    return f"{n:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def number(value: float, digits: int = 3) -> str:
    """A score with a minus sign that is one."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def fmr_words(target: float) -> str:
    """What a target means: "1 in 1 000 impostors", or the rate itself."""
    one_in = round(1 / target) if target else 0
    if one_in and abs(1 / target - one_in) < 1e-6 * one_in:
        return f"1 in {count(one_in)} impostors"
    return f"a share of {short(target)} of impostors"
