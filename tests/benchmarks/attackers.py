"""Decoders before several systems: ``python -m tests.benchmarks.attackers --lfw LFW``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from bob_recon_plugin.attack.chain import shipped_decoder
from bob_recon_plugin.common.validation import InputError
from bob_recon_plugin.evaluation.scores import ATTACKS
from bob_recon_plugin.report.matrix import rate_cell
from bob_recon_plugin.report.tables import short

from .common import (
    FMRS,
    Attacked,
    Bench,
    attack_options,
    choose,
    first,
    opened,
    show,
)
from .results import labels_of


def inverted(decoders: Sequence[Path]) -> str:
    """Name of the one recogniser that all decoders invert."""
    from bob_recon_plugin.decoders import read_card

    names = sorted({read_card(path).recognizer for path in decoders})
    if len(names) > 1:
        raise InputError(
            f"`decoders` must be made for one recogniser, got {', '.join(names)}; measure them one "
            "after the other."
        )
    return names[0]


def cells(done: Attacked) -> list[str]:
    """Rates of both attacks at the strictest FMR, and their mean cosine."""
    return [*(rate_cell(done.points[-1].sar[name]) for name in ATTACKS), done.cosines]


def limits(bench: Bench, names: Sequence[str], seen: Sequence[Attacked]) -> str:
    """Say how many attacks were made, and the threshold and the TMR of each system."""
    told = [
        f"{name} {done.points[-1].threshold + 1:.3f} (TMR {rate_cell(done.points[-1].tmr)})"
        for name, done in zip(names, seen, strict=True)
    ]
    note = bench.note(seen[0].points)
    return f"- {note}\n- Thresholds at FMR {short(FMRS[-1])}, as cosines: {'; '.join(told)}."


@click.command()
@click.argument("decoders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--label", "labels", multiple=True, help="Name of a decoder, in order.")
@click.option("--attacked", multiple=True, help="Recogniser of another system; repeatable.")
@click.option("-n", "some", type=click.IntRange(1), help="The first attacks. Default: all.")
@attack_options
def attackers(
    decoders: tuple[Path, ...],
    labels: tuple[str, ...],
    attacked: tuple[str, ...],
    some: int | None,
    **where: Any,
) -> None:
    """Present faces of DECODERS (default: the shipped one) for one leaked model to several systems.

    For each decoder and system: which of the five attacks it is, by what the attacker knows;
    success attack rates of Type-I and Type-II at FMR 1e-3 and their mean cosine; and the seconds
    of the processor that a face takes.

    \b
        python -m tests.benchmarks.attackers --database demo -n 20 -o runs
        python -m tests.benchmarks.attackers --lfw LFW --cache embedded --attacked edgeface-s \\
            black-box/decoder.safetensors
    """
    from bob_recon_plugin.inversion.reconstructor import FaceReconstructor

    paths = decoders or (shipped_decoder(),)
    named = labels_of(labels, paths)
    leaked = inverted(paths)
    names = (leaked, *attacked)
    header = ["decoder", "gradients of"]
    for name in names:
        header += [f"{name}: attack", "Type-I", "Type-II", "mean cosine I / II"]
    header.append("processor s a face")
    seen: list[Attacked] = []

    def rows(bench: Bench) -> Iterator[list[str]]:
        chosen = choose(bench.database, some, first)
        for number, (path, label) in enumerate(zip(paths, named, strict=True)):
            run = {"chosen": chosen, "decoder": path}
            seen[:] = [bench.attack(f"{number}-on-{name}", name, leaked, **run) for name in names]
            found = [cell for done in seen for cell in (str(done.threat.number), *cells(done))]
            seconds = bench.seconds_a_face(leaked, FaceReconstructor(path))
            yield [label, seen[0].threat.judge, *found, f"{seconds:.3f}"]

    with opened(where) as bench:
        show(header, rows(bench))
        click.echo(limits(bench, names, seen))


if __name__ == "__main__":
    attackers()
