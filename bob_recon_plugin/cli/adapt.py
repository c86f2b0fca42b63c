"""``bob bio recon adapt``: use a decoder for the templates of another recognition model."""

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
    help="Number of images to fit on, drawn from those that both folders have. Default: all.",
)
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(dir_okay=False),
    help="File to write, a .safetensors.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draw.")
def adapt(source: str, target: str, n: int | None, output: str, seed: int) -> None:
    """Fit a linear map from the embeddings of one recognition model to those of another.

    SOURCE and TARGET are folders of `bob bio recon prepare`, made from the same images: SOURCE
    with the model whose templates leaked, TARGET with the model of the decoder. Images are paired
    by name, and a few hundred are enough. One in five is held out to choose the regularisation;
    the mean cosine that is printed is measured on these.

    \b
    Examples:
        bob bio recon prepare faces -r edgeface-s -o faces-edgeface
        bob bio recon prepare faces -r arcface-mbf -o faces-mbf
        bob bio recon adapt faces-edgeface faces-mbf -n 1000 -o adapter.safetensors
    """
    from bob_recon_plugin.faces.dataset import FaceDataset
    from bob_recon_plugin.training.adapt import adapt as fit

    card = fit(FaceDataset(source), FaceDataset(target), output, n, seed)
    click.echo(
        f"{output}: {card.source} to {card.target}, fitted on {card.faces} faces; mean cosine on "
        f"held-out faces {card.cosine:.3f}."
    )
