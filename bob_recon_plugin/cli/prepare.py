"""``bob bio recon prepare``: from images to the faces and embeddings that training reads."""

from __future__ import annotations

import click

from ._stoppable import Stoppable


@click.command(
    cls=Stoppable,
    kept="The shards made so far are kept in {output}: the same command goes on from there.",
)
@click.argument("source")
@click.option(
    "--recognizer",
    "-r",
    required=True,
    metavar="NAME",
    help="Recognition model whose embeddings are to be inverted, for instance arcface-mbf.",
)
@click.option(
    "--output", "-o", required=True, type=click.Path(file_okay=False), help="Folder of the dataset."
)
@click.option(
    "--crop",
    type=click.Choice(["aligned", "ffhq", "annotations"]),
    help="aligned: images are already cropped for this model and stay as they are. ffhq: eyes are "
    "at the positions of FFHQ, in images of 1024 x 1024 pixels or scaled down. annotations: eye "
    "positions from the database or a CSV file. Default: annotations if there are some, else "
    "aligned.",
)
@click.option(
    "--annotations",
    type=click.Path(),
    metavar="FILE",
    help="CSV file with the columns path, reye_y, reye_x, leye_y, leye_x, for a folder or an "
    "archive. Default: annotations.csv in the folder.",
)
@click.option("--about", metavar="TEXT", help="Origin of the faces, for the decoder's model card.")
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Images per shard: the unit of work of Dask, and the most that a stopped run loses.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Faces per batch of the recognition model.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option(
    "--dask-client",
    "-l",
    metavar="NAME",
    help="Dask client, as for `bob bio pipeline simple`: local-parallel, slurm, sge, ... "
    "Default: none, this process uses all cores.",
)
@click.option("--force", "-f", is_flag=True, help="Compute everything again.")
def prepare(
    source: str,
    recognizer: str,
    output: str,
    crop: str | None,
    annotations: str | None,
    about: str | None,
    shard_size: int,
    batch_size: int,
    device: str,
    dask_client: str | None,
    force: bool,
) -> None:
    """Crop and embed the images of SOURCE once, for `bob bio recon train`.

    SOURCE is a folder of images, a .zip, .tar or .tar.gz file of images, the name of a Bob
    database, or a Python file that defines `database`. Faces are cropped to the size and the eye
    positions of the recognition model; each is embedded, and so is its mirror image.

    The same command continues a stopped one. Images that give no face (damaged, of the wrong size,
    without eye positions, too small) are left out, counted, and listed with the reason in bad.csv.

    FFHQ is licensed CC BY-NC-SA 4.0, and its authors state that it is not meant for facial
    recognition technologies. `bob bio recon synthesize` draws faces of people who do not exist.

    \b
    Examples:
        bob bio recon prepare faces -r arcface-mbf -o faces-mbf
        bob bio recon prepare ffhq/images1024x1024 -r arcface-mbf --crop ffhq -o ffhq-mbf \\
            --about "FFHQ, CC BY-NC-SA 4.0"
        bob bio recon prepare thumbnails128x128.zip -r arcface-mbf --crop ffhq -o thumbs-mbf
        bob bio recon prepare recon-mobio-all -r arcface-iresnet100 -l slurm -o mobio-r100
    """
    from bob_recon_plugin.faces.dataset import BAD
    from bob_recon_plugin.faces.prepare import load_client
    from bob_recon_plugin.faces.prepare import prepare as prepare_faces

    card = prepare_faces(
        source,
        recognizer,
        output,
        crop=crop,
        annotations=annotations,
        about=about,
        shard_size=shard_size,
        batch_size=batch_size,
        device=device,
        dask_client=load_client(dask_client),
        force=force,
    )
    left_out = f"; {card.bad} images left out, see {output}/{BAD}" if card.bad else ""
    click.echo(f"{output}: {card.n} faces for {card.recognizer}{left_out}.")
