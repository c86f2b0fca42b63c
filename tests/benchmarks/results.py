"""The results table: ``python -m tests.benchmarks.results --lfw LFW DECODER.safetensors ...``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np

from bob_recon_plugin.common.validation import InputError
from bob_recon_plugin.evaluation.scores import ATTACKS

from .common import (
    Attacked,
    Bench,
    attack_options,
    footnotes,
    opened,
    rate_columns,
    rates,
    show,
)

_BATCH = 64  # pairs of pictures


def label_of(card: Any) -> str:
    """Name of a decoder, from its card."""
    width = card.decoder_parameters.get("width")
    return card.decoder if width is None else f"{card.decoder}, width {width:g}"


def labels_of(labels: Sequence[str], decoders: Sequence[Path]) -> list[str]:
    """Names of decoders: the given ones, else by their cards."""
    from bob_recon_plugin.decoders import read_card

    if labels and len(labels) != len(decoders):
        raise InputError(
            f"`--label` must be there once for each of {len(decoders)} decoders, got "
            f"{len(labels)}; repeat it in the order of the decoders."
        )
    return list(labels) or [label_of(read_card(path)) for path in decoders]


def parameters(decoder: Path) -> int:
    """Count what was learnt; the linear decoder's weights are buffers, not torch's parameters."""
    from bob_recon_plugin.decoders import load

    statistics = ("running_mean", "running_var", "num_batches_tracked")
    state = load(decoder)[0].state_dict()
    return sum(value.numel() for name, value in state.items() if not name.endswith(statistics))


def mean_ssim(bench: Bench, done: Attacked) -> float:
    """Mean SSIM of the aligned image behind each leaked template and its reconstruction."""
    import torch

    from bob_recon_plugin.images.ssim import ssim

    values: list[float] = []
    pairs = pictures(bench, done)
    with torch.inference_mode():
        while batch := list(islice(pairs, _BATCH)):
            sides = (np.stack(side) for side in zip(*batch, strict=True))
            x, y = (torch.from_numpy(side).float() / 255 for side in sides)
            values += ssim(y, x).tolist()
    return float(np.mean(values))


def pictures(bench: Bench, done: Attacked) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each image behind a leaked template, aligned, with its reconstruction, both (3, H, W)."""
    from bob_recon_plugin.evaluation.source_images import Originals
    from bob_recon_plugin.images.reading import load_image

    roots = [done.folder / "faces" / attack for attack in ATTACKS]
    faces = {p.relative_to(r).with_suffix(""): p for r in roots for p in sorted(r.rglob("*.png"))}
    size = load_image(next(iter(faces.values()))).shape[1:]
    originals = Originals(bench.database, ["dev"], done.card.positions, size)
    for key, path in faces.items():
        original = originals.get(str(key))
        assert original is not None
        yield original.image, load_image(path)


@click.command()
@click.argument("decoders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--label", "labels", multiple=True, help="Name of a decoder, in order.")
@attack_options
def results(decoders: tuple[Path, ...], labels: tuple[str, ...], **where: Any) -> None:
    """Attack the system of each of DECODERS with it, and print the rates as Markdown.

    For each decoder: TMR, and success attack rates of Type-I and Type-II, with counts and exact
    intervals, at FMR 1e-2 and 1e-3; the mean cosine of both attacks; the mean SSIM of
    reconstructions against the aligned images behind the templates; the number of parameters.

    \b
    Without any data, then with LFW (all folds of its view2/pairs.txt):
        python -m tests.benchmarks.results --database demo DECODER.safetensors
        python -m tests.benchmarks.results --lfw LFW --cache embedded A.safetensors B.safetensors
    """
    from bob_recon_plugin.decoders import read_card

    named = labels_of(labels, decoders)
    header = ["decoder", "recogniser", "preset", "trained on"]
    header += rate_columns("TMR", "Type-I", "Type-II")
    header += ["mean cosine I / II", "mean SSIM", "parameters"]
    seen: dict[str, Attacked] = {}

    def rows(bench: Bench) -> Iterator[list[str]]:
        for number, (path, label) in enumerate(zip(decoders, named, strict=True)):
            model = read_card(path).recognizer
            done = bench.attack(f"decoder-{number}", model, decoder=path, keep_faces=True)
            about = [label, model, done.card.preset.split(":")[0], done.card.training_data]
            last = [f"{mean_ssim(bench, done):.3f}", f"{parameters(path) / 1e6:.1f} M"]
            seen[model] = done
            yield [*about, *rates(done.points), done.cosines, *last]

    with opened(where) as bench:
        show(header, rows(bench))
        for model, done in seen.items():
            limit = ", ".join(f"{point.threshold + 1:.3f}" for point in done.points)
            told = f"Thresholds of {model}, as cosines: {limit}."
            click.echo(footnotes(f"{bench.note(done.points)} {told}", done.points))


if __name__ == "__main__":
    results()
