"""Options of several subcommands."""

from __future__ import annotations

from collections.abc import Callable

import click

fmr = click.option(
    "--fmr",
    "fmrs",
    type=click.FloatRange(0, 1),
    multiple=True,
    default=(1e-2, 1e-3),
    show_default=True,
    metavar="RATE",
    help="Target false match rate, from 0 to 1, of a threshold; may be given several times.",
)

distances = click.option(
    "--distances",
    is_flag=True,
    help="The files hold distances: lower means more similar, accepted at or below the threshold.",
)


def pairs_like(form: str, hint: str = "") -> Callable[..., dict[str, str]]:
    """Return a callback that parses values of the form ``NAME=VALUE`` into a dict."""

    def read(
        _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
    ) -> dict[str, str]:
        pairs = [value.partition("=") for value in values]
        for name, equals, _ in pairs:
            if not equals:
                raise click.BadParameter(f"must be {form}, got {name!r}{hint}.")
        return {name: value for name, _, value in pairs}

    return read
