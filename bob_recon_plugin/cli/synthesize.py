"""``bob bio recon synthesize``: synthetic faces."""

from __future__ import annotations

import click

from ._stoppable import Stoppable


@click.command(
    cls=Stoppable,
    kept="The faces drawn so far are kept in {output}: the same command goes on from there.",
)
@click.option("-n", "n", required=True, type=click.IntRange(1), help="How many faces.")
@click.option("--output", "-o", required=True, type=click.Path(file_okay=False), help="Folder.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Face i depends on the seed and i alone.",
)
@click.option(
    "--psi",
    type=click.FloatRange(0, 2, min_open=True),
    default=0.85,
    show_default=True,
    help="Distance from the average face: at 1 as the generator was trained; below 1 faces are "
    "more alike and have fewer faults.",
)
@click.option(
    "--recognizer",
    "-r",
    default="arcface-mbf",
    show_default=True,
    metavar="NAME",
    help="Recognition model for whose size and eye positions the faces are cropped.",
)
def synthesize(n: int, output: str, seed: int, psi: float, recognizer: str) -> None:
    """Draw aligned synthetic faces, for `bob bio recon prepare`.

    They come from MobileStyleGAN, trained on FFHQ, and take about half a second of a core each.
    The same command again continues a run that was stopped, and a larger -n adds faces. The
    generator is in a package, of which only the weights are used:

    \b
        pip install --no-deps random-face==2021.7.21.1

    They are less diverse than real faces. As FFHQ, they are licensed CC BY-NC-SA 4.0.

    \b
    Examples:
        bob bio recon synthesize -n 10000 -o synthetic
        bob bio recon prepare synthetic -r arcface-mbf -o synthetic-mbf
    """
    from bob_recon_plugin.faces.synthesize import synthesize as draw

    drawn = draw(n, output, seed=seed, psi=psi, recognizer=recognizer)
    click.echo(f"{output}: {n} faces, {drawn} of them new.")
