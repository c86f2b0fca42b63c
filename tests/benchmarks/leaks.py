"""What a partial or noisy leak is worth, and an adapter: ``python -m tests.benchmarks.leaks``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bob_recon_plugin.attack.chain import shipped_decoder
from bob_recon_plugin.common.validation import InputError
from bob_recon_plugin.inversion.adapter import Adapter
from bob_recon_plugin.inversion.damage import NoisyLeak, PartialLeak, QuantizedLeak

from .common import (
    Attacked,
    Bench,
    attack_options,
    choose,
    drawn,
    footnotes,
    opened,
    rate_columns,
    rates,
    show,
)

PARTS = ("damage", "adapters")
SHARES = (0.75, 0.5, 0.375, 0.25, 0.125, 0.0625)
SIGMAS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
BITS = (1, 2, 3, 4, 8)
FACES = (100, 300, 1000, 3000)

ZERO, CONDITIONAL = "others zero", "others at their conditional mean"
NOISE, QUANTIZED, _SHARE = "white noise", "quantised", "share of dimensions leaked"
AMOUNTS = {ZERO: _SHARE, CONDITIONAL: _SHARE, NOISE: "noise over template, RMS"}
AMOUNTS[QUANTIZED] = "bits a dimension"


@dataclass(frozen=True)
class Leak:
    """A row: what becomes of stolen templates of a model, and which system judges the faces.

    `curve` is a key of `AMOUNTS`, or the name of the model whose templates an adapter maps.
    """

    curve: str
    value: float
    steps: tuple[Any, ...]
    leaked: str
    judge: str
    note: str = ""

    def cells(self, done: Attacked) -> list[str]:
        """Cells of the table."""
        label = self.curve if self.curve in AMOUNTS else f"{self.curve} through an adapter"
        amount = f"{AMOUNTS.get(self.curve, 'fitting faces')}: {self.value:g}"
        return [
            *(label if self.steps else "whole templates", amount, self.judge),
            *rates(done.points, tmr=False),
            *(done.cosines, self.note),
        ]


def leaks_of(
    model: str, faces: Path | None, others: Sequence[Path], parts: Sequence[str], folder: Path
) -> Iterator[Leak]:
    """All rows for a decoder of a model: whole templates, each damage, each adapter.

    `faces` are prepared for it, of no one in the database; `others` are the same images, prepared
    for other models; the folder gets the files of adapters.
    """
    if others and faces is None:
        raise InputError("`--other` needs the same faces for the decoder's model; give --faces.")
    if not others and "damage" not in parts:
        raise InputError("`--part adapters` needs templates of another model; give --other.")
    yield Leak(ZERO, 1.0, (), model, model)
    for curve, value, step in damages(faces) if "damage" in parts else ():
        yield Leak(curve, value, (step,), model, model)
    for path in others if "adapters" in parts else ():
        yield from adapted(model, faces, path, folder)


def damages(faces: Path | None) -> Iterator[tuple[str, float, Any]]:
    """Curve, value and template step of every damage."""
    yield from ((ZERO, share, PartialLeak(share)) for share in SHARES)
    if faces is not None:
        yield from ((CONDITIONAL, share, PartialLeak(share, faces=str(faces))) for share in SHARES)
    yield from ((NOISE, sigma, NoisyLeak(sigma)) for sigma in SIGMAS)
    yield from ((QUANTIZED, bits, QuantizedLeak(bits)) for bits in BITS)


def adapted(model: str, faces: Any, other: Path, folder: Path) -> Iterator[Leak]:
    """Fit adapters of more and more faces, each judged by its own system and by the decoder's."""
    from bob_recon_plugin.faces.dataset import FaceDataset
    from bob_recon_plugin.training.adapt import adapt

    here, there = FaceDataset(other), FaceDataset(faces)
    for n in FACES:
        path = folder / f"{here.about.recognizer}-{n}.safetensors"
        card = adapt(here, there, path, n)
        note = f"penalty {card.alpha:.2g}, cosine of held-out faces {card.cosine:.3f}"
        for judge in (card.source, model):
            yield Leak(card.source, n, (Adapter(path),), card.source, judge, note)


@click.command()
@click.option("--decoder", type=click.Path(path_type=Path), help="Default: the shipped one.")
@click.option("--faces", type=click.Path(path_type=Path), help="Prepared for the decoder's model.")
@click.option(
    "--other", "others", multiple=True, type=click.Path(path_type=Path), help="For another model."
)
@click.option("--templates", "some", default=500, show_default=True, help="Attacks, drawn.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS)
@attack_options
def leaks(
    decoder: Path | None,
    faces: Path | None,
    others: tuple[Path, ...],
    some: int,
    parts: tuple[str, ...],
    **where: Any,
) -> None:
    """Attack with partial, noisy, quantised and adapted templates, and print the rates.

    For each leak: success attack rates of Type-I and Type-II at FMR 1e-2 and 1e-3, and the mean
    cosine. Nothing is tuned on the images of the database: adapters (--part adapters) and
    conditional means come from other people's faces in folders of `bob bio recon prepare`, the
    same for the decoder's model (--faces) and for those whose templates it shall invert (--other).

    \b
    Without any data, then with LFW:
        python -m tests.benchmarks.leaks --database demo
        python -m tests.benchmarks.leaks --lfw LFW --cache embedded --faces synthetic-mbf \\
            --other synthetic-edgeface --other synthetic-sface
    """
    from bob_recon_plugin.decoders import read_card

    path = decoder or shipped_decoder()
    header = ["leak", "amount", "judged by", *rate_columns("Type-I", "Type-II")]
    header += ["mean cosine I / II", "note"]
    model, seen = read_card(path).recognizer, []

    def rows(bench: Bench) -> Iterator[list[str]]:
        run = {"chosen": choose(bench.database, some, drawn()), "decoder": path}
        for leak in leaks_of(model, faces, others, parts, bench.output):
            name = f"leak-{len(seen)}"
            seen.append(bench.attack(name, leak.judge, leak.leaked, leak=leak.steps, **run))
            yield leak.cells(seen[-1])

    with opened(where) as bench:
        show(header, rows(bench))
        click.echo(footnotes(bench.note(seen[0].points), seen[0].points))


if __name__ == "__main__":
    leaks()
