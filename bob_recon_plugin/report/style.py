"""Colours, line styles, names and number formats of figures, tables and page."""

from __future__ import annotations

from collections.abc import Sequence

#: Colour and line style of each class. Okabe and Ito's palette, which colour-blind readers can tell
#: apart; grey for impostors.
_LOOKS: dict[str, tuple[str, str | tuple[int, tuple[float, ...]]]] = {
    "genuine": ("#0072B2", "-"),
    "impostor": ("#8f8f8f", (0, (1, 1.2))),
    "type1": ("#D55E00", "-"),
    "type2": ("#9A4C7F", (0, (5, 2))),
}
_MORE = (("#007A5A", (0, (3, 1, 1, 1))), ("#8A6D00", (0, (7, 2))), ("#3B3B98", (0, (2, 2))))
_NAMES = {"type1": "Type-I", "type2": "Type-II"}
_PERCENT = "\N{NO-BREAK SPACE}%"
INK, PAPER, RULE, ACCENT = "#1a1a1a", "#ffffff", "#d9d9d9", "#9c3a00"


def colour(kind: str, others: Sequence[str] = ()) -> str:
    """Return the colour of a class; unknown attack types take one by their place in `others`."""
    return _look(kind, others)[0]


def dashes(kind: str, others: Sequence[str] = ()) -> str | tuple[int, tuple[float, ...]]:
    """Return the line style of a class, so that classes do not differ by colour alone."""
    return _look(kind, others)[1]


def _look(kind: str, others: Sequence[str]) -> tuple[str, str | tuple[int, tuple[float, ...]]]:
    if kind in _LOOKS:
        return _LOOKS[kind]
    unknown = [other for other in others if other not in _LOOKS]
    return _MORE[(unknown.index(kind) if kind in unknown else 0) % len(_MORE)]


def label(kind: str) -> str:
    """Return the name of a class: "Genuine", "Zero-effort impostors", "Type-I attack"."""
    bona_fide = {"genuine": "Genuine", "impostor": "Zero-effort impostors"}
    return bona_fide.get(kind) or f"{_NAMES.get(kind, kind)} attack"


def heading(attack: str) -> str:
    """Return the name of a success attack rate: "SAR Type-I" for "type1"."""
    return f"SAR {_NAMES.get(attack, attack)}"


def percent(value: float, digits: int = 2) -> str:
    """Format a rate: "99.47 %"; "0 %" and "100 %" have no decimals."""
    if value != value:
        return "none"
    return f"{100 * value:.{0 if value in (0, 1) else digits}f}{_PERCENT}"


def limits(low: float, high: float, between: str = " to ", unit: str = _PERCENT) -> str:
    """Format an interval in percent: "98.5 to 99.5 %"."""
    if low != low:
        return "none"
    ends = [f"{100 * value:.{0 if value in (0, 1) else 1}f}" for value in (low, high)]
    return between.join(ends) + unit


def short(value: float) -> str:
    """Format a rate in short scientific notation: "1e-3"."""
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if value else "0"


def count(n: int) -> str:
    """Format a count with narrow no-break spaces between thousands: "2 269"."""
    return f"{n:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def number(value: float, digits: int = 3) -> str:
    """Format a score, with a typographic minus sign."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def fmr_words(target: float) -> str:
    """Return a target FMR in words: "1 in 1 000 impostors", or as a share."""
    one_in = round(1 / target) if target else 0
    if one_in and abs(1 / target - one_in) < 1e-6 * one_in:
        return f"1 in {count(one_in)} impostors"
    return f"a share of {short(target)} of impostors"
