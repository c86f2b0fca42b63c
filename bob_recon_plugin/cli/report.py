"""``bob bio recon report``: one page about one or several runs."""

from __future__ import annotations

from typing import Any

import click

from . import _options
from ._stoppable import Stoppable


@click.command(
    cls=Stoppable,
    kept="A file that was printed is whole: run the same command again for the others.",
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path())
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    default="report.html",
    show_default=True,
    help="The HTML file to write.",
)
@_options.fmr
@_options.distances
@click.option("--pdf", is_flag=True, help="Also write a PDF of headline, rates and figures.")
@click.option("--png", is_flag=True, help="Also write each figure as a PNG file.")
@click.option(
    "--faces/--no-faces",
    default=True,
    show_default=True,
    help="Show faces. They may be of real people: leave them out of a page that you share.",
)
@click.option(
    "--originals",
    metavar="DATABASE",
    help="Database of the original images: a resource such as recon-lfw-view2, or a "
    "Python file that sets `database`. Default: the database of the run, if it can be opened.",
)
@click.option(
    "--quality",
    type=click.IntRange(min=0),
    default=500,
    show_default=True,
    metavar="N",
    help="Number of reconstructions to measure image quality on; 0 for none.",
)
@click.option(
    "--recognizer",
    metavar="NAME",
    help="Recognition model to compare identities with; it must have taken no part in the run. "
    "Default: the first such model whose weights are installed.",
)
@click.option(
    "--folds",
    "pairs",
    type=click.Path(),
    metavar="PAIRS",
    help="pairs.txt of LFW view 2, to average over its folds. Default: that of the run.",
)
@click.option(
    "--replicates",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Replicates of the bootstrap over people; 0 for none.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the bootstrap.",
)
def report(runs: tuple[str, ...], output: str, originals: str | None, **options: Any) -> None:
    """Write a report of one or several runs, as one HTML file that needs nothing else.

    A RUN is the output folder of `bob bio pipeline simple ... recon -o RUN`, or a score file.
    Where a folder has dev and eval, dev sets the thresholds and eval is reported. A report
    of several runs begins with a matrix of inverted by attacked system, also written as CSV.

    The page has no script and loads nothing. --pdf is drawn by matplotlib and needs no browser; for
    a PDF of the full page with faces, print the HTML file from a browser.

    \b
    Examples:
        bob bio recon report results
        bob bio recon report lfw -o lfw.html --fmr 1e-3 --fmr 1e-4 --pdf --png
        bob bio recon report lfw --no-faces --recognizer edgeface-s
        bob bio recon report a-on-a a-on-b b-on-b -o matrix.html
    """
    from bob_recon_plugin.report.build import Options, write_report

    database = None if originals is None else _database(originals)
    for path in write_report(runs, output, Options(originals=database, **options)):
        click.echo(path)


def _database(name: str) -> Any:
    """Load a database as `bob bio pipeline simple` does: by resource or by file."""
    from clapper.config import load

    from bob_recon_plugin.common.validation import InputError

    try:
        return load([name], entry_point_group="bob.bio.config", attribute_name="database")
    except (AttributeError, ImportError, OSError, SyntaxError, ValueError) as error:
        raise InputError(
            "`originals` must be a database resource such as recon-lfw-view2, or a Python file "
            f"that sets `database`, got {name} ({error}); name the database of the run."
        ) from error
