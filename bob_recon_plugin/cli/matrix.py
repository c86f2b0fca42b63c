"""``bob bio recon matrix``: templates of every system against every system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from . import _options
from ._stoppable import Stoppable


@click.command(
    cls=Stoppable,
    kept="The cells done so far are kept in {output}: the same command goes on from there.",
)
@click.argument("database")
@click.argument("systems", nargs=-1, required=True, metavar="SYSTEM...")
@click.option(
    "--output", "-o", required=True, type=click.Path(file_okay=False), help="Folder to fill."
)
@click.option(
    "--decoder",
    "decoders",
    multiple=True,
    callback=_options.pairs_like("SYSTEM=FILE"),
    metavar="SYSTEM=FILE",
    help="Decoder of a system. Default: the one set by `bob config set`, or the included one.",
)
@_options.fmr
@_options.distances
@click.option(
    "--pass",
    "passed",
    default="",
    metavar="OPTIONS",
    help="Options of `bob bio pipeline simple` for every cell, like '-l recon-local -g dev'.",
)
def matrix(
    database: str,
    systems: tuple[str, ...],
    output: str,
    decoders: dict[str, str],
    fmrs: tuple[float, ...],
    distances: bool,
    passed: str,
) -> None:
    """Attack every SYSTEM with the templates of every SYSTEM, to see if inversions transfer.

    Rows are the systems whose templates leaked, columns the systems under attack; on the diagonal
    both are the same. Each cell is a run of `bob bio pipeline simple` in OUTPUT/ROW-on-COLUMN
    with its own score files. Finished cells are not run again, and each system embeds the images
    once for all cells. The tables are printed, and written as matrix.csv and as pictures.

    \b
    Examples:
        bob bio recon matrix recon-lfw-view2 arcface-mbf edgeface-s \\
            --decoder edgeface-s=edge/decoder.safetensors -o matrix
        bob bio recon report matrix/*-on-* -o matrix.html
    """
    import shlex

    from bob_recon_plugin.attack import matrix as transfer

    planned = transfer.cells(database, systems, decoders, Path(output).absolute())
    options = shlex.split(passed)
    for number, cell in enumerate(planned, start=1):
        click.echo(f"{number}/{len(planned)}: {cell.inverted} on {cell.attacked}", err=True)
        if not cell.run(_simple, database, options):
            click.echo(f"{cell.folder} is done", err=True)
    _report([cell.folder for cell in planned], fmrs, distances, Path(output))


def _simple(arguments: list[str]) -> None:
    from bob.bio.base.script.pipeline_simple import pipeline_simple

    pipeline_simple.main(arguments, standalone_mode=False)


def _report(runs: Sequence[Path], fmrs: Sequence[float], distances: bool, output: Path) -> None:
    """Print the matrices as Markdown and write them as CSV and pictures."""
    from bob_recon_plugin.common.files import whole_or_nothing
    from bob_recon_plugin.evaluation.findings import analyse
    from bob_recon_plugin.evaluation.run_folder import open_run
    from bob_recon_plugin.report import matrix as tables

    findings = [analyse(open_run(run, distances), fmrs, replicates=0) for run in runs]
    with whole_or_nothing(output / "matrix.csv") as part:
        part.write_text(tables.to_csv(findings), encoding="utf-8")
    for table in tables.matrices(findings):
        click.echo(f"\n{table.title}\n\n{tables.to_markdown(table)}")
        with whole_or_nothing(output / f"{table.attack}-fmr-{table.target:g}.png") as part:
            tables.draw(table).savefig(part, format="png", dpi=150)
    click.echo(f"\n{output / 'matrix.csv'}")
