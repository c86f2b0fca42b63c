"""``bob bio recon metrics``: the table of rates of a score file."""

from __future__ import annotations

import click

from . import _options
from ._stoppable import Stoppable


@click.command(
    cls=Stoppable,
    kept="Nothing was written: run the same command again.",
)
@click.argument("scores_dev", type=click.Path())
@click.argument("scores_eval", type=click.Path(), required=False)
@_options.fmr
@_options.distances
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "markdown", "csv", "json"]),
    default="text",
    show_default=True,
    help="Format of the table.",
)
def metrics(
    scores_dev: str,
    scores_eval: str | None,
    fmrs: tuple[float, ...],
    distances: bool,
    format_: str,
) -> None:
    """Print how often genuine users, impostors and reconstructed faces are accepted.

    The zero-effort impostors of SCORES_DEV set a threshold for each false match rate (FMR). The
    rates are those of SCORES_EVAL, or of SCORES_DEV if it is given alone: true match rate (TMR)
    and success attack rate (SAR), with counts and 95 % intervals. Type-I attacks are compared with
    the template they were reconstructed from, Type-II attacks with another template of the person.

    \b
    Examples:
        bob bio recon metrics results/scores-dev.csv
        bob bio recon metrics results/scores-dev.csv results/scores-eval.csv
        bob bio recon metrics --fmr 1e-3 --format markdown results/scores-dev.csv
        bob bio recon metrics --distances euclidean/scores-dev.csv
    """
    from bob_recon_plugin.evaluation.metrics import evaluate
    from bob_recon_plugin.evaluation.scores import check_groups, load
    from bob_recon_plugin.report.tables import read_as, render, warnings

    dev = load(scores_dev, distances)
    eval_ = load(scores_eval, distances) if scores_eval else None
    check_groups(scores_dev, scores_eval)
    points = evaluate(dev, eval_, fmrs)
    click.echo(render(points, format_))
    if format_ == "csv":  # the only format without notes
        for line in [*([read_as(points)] if distances else []), *warnings(points)]:
            click.echo(line, err=True)
