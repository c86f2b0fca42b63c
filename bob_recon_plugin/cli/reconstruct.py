"""``bob bio recon reconstruct``: faces from a file of vectors."""

from __future__ import annotations

import click

from ._stoppable import Stoppable


@click.command(
    cls=Stoppable,
    kept="The faces drawn so far are kept in {output}: the same command goes on from there.",
)
@click.argument("vectors", type=click.Path())
@click.option(
    "--recognizer",
    "-r",
    default="arcface-mbf",
    show_default=True,
    metavar="MODEL",
    help="Recognition model that made the vectors.",
)
@click.option(
    "--output", "-o", required=True, type=click.Path(file_okay=False), help="Folder to fill."
)
@click.option(
    "--decoder",
    type=click.Path(),
    metavar="FILE",
    help="Decoder of that model. Default: the one that `bob config set` names, or that ships.",
)
@click.option(
    "--adapter",
    type=click.Path(),
    metavar="FILE",
    help="Adapter of `bob bio recon adapt`, from that model to the one of a decoder.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Vectors that are decoded at once.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--force", "-f", is_flag=True, help="Draw all faces again.")
def reconstruct(
    vectors: str,
    recognizer: str,
    output: str,
    decoder: str | None,
    adapter: str | None,
    batch_size: int,
    device: str,
    force: bool,
) -> None:
    """Turn the embeddings of a file into faces, without a database and without a system.

    VECTORS is a .npy, .npz, CSV, JSON lines, HDF5, safetensors or Parquet file with one embedding
    a row, of any scale, with ids or without. Its content tells which.

    OUTPUT gets a face of each as ID.png, reconstructions.csv (id, file, norm, cosine), and
    contact-sheet.png, the first 24. The cosine is that of the vector and of what the model makes
    of the face: a system of this model accepts the face for that vector where its threshold is
    not higher. Rows that cannot be inverted are left out, counted, and listed with the reason in
    failures.csv. The same command again goes on where a stopped one was.

    \b
    Examples:
        bob bio recon reconstruct stolen.npy -o faces
        bob bio recon reconstruct stolen.csv -r edgeface-s --decoder edge/decoder.safetensors \\
            -o edge-faces
        bob bio recon reconstruct stolen.jsonl -r edgeface-s --adapter edge-to-mbf.safetensors \\
            -o adapted-faces
    """
    from bob_recon_plugin.inversion.reconstruct_file import FAILURES, SHEET, reconstruct_file

    checkpoint = _decoder(recognizer, decoder, adapter)
    made = reconstruct_file(
        vectors,
        output,
        recognizer,
        checkpoint,
        adapter,
        batch_size=batch_size,
        device=device,
        force=force,
    )
    left_out = f", {made.failures} rows left out (see {output}/{FAILURES})" if made.failures else ""
    cosine = "" if made.cosine is None else f", mean cosine {made.cosine:.3f} with their vectors"
    click.echo(
        f"{output}: {made.faces} faces of {recognizer}, {made.drawn} drawn now{left_out}{cosine}; "
        f"the first stand in {output}/{SHEET}."
    )


def _decoder(recognizer: str, chosen: str | None, adapter: str | None) -> str:
    """Decoder of the model of the vectors, or of the one that the adapter leads to."""
    from bob_recon_plugin.attack.chain import decoder_for
    from bob_recon_plugin.common.validation import InputError, one_of
    from bob_recon_plugin.inversion.reconstruct_file import inverted
    from bob_recon_plugin.recognizers import names

    target = inverted(recognizer, adapter).name
    try:
        return decoder_for(target, chosen)
    except click.UsageError as error:
        one_of("recognizer", target, names())
        raise InputError(
            f"`--decoder` must be given for vectors of {target}, got none, and only that of "
            "arcface-mbf ships; train one (`bob bio recon prepare FACES -r "
            f"{target} -o DATA`, `bob bio recon train DATA -o TRAINED`) and pass `--decoder "
            "TRAINED/decoder.safetensors`, or pass an `--adapter` to arcface-mbf (`bob bio recon "
            "adapt`)."
        ) from error
