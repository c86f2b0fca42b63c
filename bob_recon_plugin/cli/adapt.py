"""``bob bio recon adapt``: one decoder for the templates of another recognition model."""

from __future__ import annotations

import click

from ._stoppable import Stoppable


@click.command(
    cls=Stoppable,
    kept="Nothing was written: run the same command again.",
)
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option(
    "-n",
    "n",
    type=click.IntRange(1),
    metavar="FACES",
    help="Fit on so many of the images that both sets have, drawn by the seed. Default: all.",
)
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(dir_okay=False),
    help="File to write, by custom .safetensors.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draw.")
def adapt(source: str, target: str, n: int | None, output: str, seed: int) -> None:
    """Fit a linear map from one recognition model's embeddings to another's.

    SOURCE and TARGET are folders of `bob bio recon prepare`, made of the same images: SOURCE for
    the model whose templates leak, TARGET for the one that a decoder is there for. Images are
    paired by their names. A few hundred do; one in five is held out to choose the regularisation,
    and the mean cosine that is printed is theirs.

    \b
    Examples:
        bob bio recon prepare synthetic -r edgeface-s -o synthetic-edgeface
        bob bio recon prepare synthetic -r arcface-mbf -o synthetic-mbf
        bob bio recon adapt synthetic-edgeface synthetic-mbf -n 1000 -o adapter.safetensors
    """
    from bob_recon_plugin.common.validation import told_to_user
    from bob_recon_plugin.faces.dataset import FaceDataset
    from bob_recon_plugin.training.adapt import adapt as fit

    with told_to_user():
        card = fit(FaceDataset(source), FaceDataset(target), output, n, seed)
    click.echo(
        f"{output}: {card.source} to {card.target}, fitted on {card.faces} faces; mean cosine of "
        f"held-out ones {card.cosine:.3f}."
    )
