"""What refinement gains, and for whom: ``python -m tests.benchmarks.refinement --lfw LFW``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from bob_recon_plugin.attack.chain import shipped_decoder

from .attackers import cells, inverted, limits
from .common import (
    Attacked,
    Bench,
    attack_options,
    choose,
    first,
    numbers,
    opened,
    show,
)
from .results import labels_of


def searches(budgets: Sequence[int], given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and `refinement` of every row: none, then each budget over embedding and pixels."""
    yield "none", None
    for over in ("embedding", "pixels"):
        for steps in budgets:
            yield f"{over}, {steps} steps", {"over": over, "steps": steps, **given}


def change(before: Attacked, after: Attacked) -> float:
    """Mean absolute difference of the pixels of two runs' faces, in grey levels."""
    from bob_recon_plugin.images.reading import load_image

    root = before.folder / "faces"
    differences = [
        np.abs(
            load_image(path).astype(np.float32)
            - load_image(after.folder / "faces" / path.relative_to(root))
        ).mean()
        for path in root.rglob("*.png")
    ]
    return float(np.mean(differences))


def made(decoder: Path, search: Any) -> Any:
    """The reconstructor of a row."""
    from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
    from bob_recon_plugin.inversion.refinement import RefinedReconstructor

    plain = FaceReconstructor(decoder)
    return plain if search is None else RefinedReconstructor(plain, **search)


@click.command()
@click.argument("decoders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--judge", default="edgeface-s", show_default=True, help="The other recogniser.")
@click.option("-n", "some", default=300, show_default=True, help="The first attacks.")
@click.option("--steps", default="5,10,20", show_default=True, help="Budgets.")
@click.option("--enough", type=float, help="Of the refinement, as the options below.")
@click.option("--stay", type=float)
@click.option("--rate", type=float)
@click.option("--jitter/--no-jitter", default=None)
@attack_options
def refinement(
    decoders: tuple[Path, ...], judge: str, some: int, steps: str, **options: Any
) -> None:
    """Refine the faces of DECODERS (default: the shipped one) against their own recognition model.

    Plain and refined faces are presented to that model and to another one that took no part
    (--judge): what one gains and the other does not is fit to a network, not likeness to a person.
    For each budget: success attack rates at FMR 1e-3 and mean cosines on both, the change in grey
    levels, and the seconds of the processor that a face takes.

    \b
        python -m tests.benchmarks.refinement --database demo -n 20 --steps 5
        python -m tests.benchmarks.refinement --lfw LFW --cache embedded -n 50 --steps 5,10
    """
    given = {name: options.pop(name) for name in ("enough", "stay", "rate", "jitter")}
    given = {name: value for name, value in given.items() if value is not None}
    paths = decoders or (shipped_decoder(),)
    leaked, budgets = inverted(paths), numbers("--steps", steps)
    names, header = (leaked, judge), ["decoder", "refined over"]
    for name in names:
        header += [f"{name}: Type-I", "Type-II", "mean cosine I / II"]
    header += ["change, grey levels", "processor s a face"]
    seen: list[Attacked] = []

    def rows(bench: Bench) -> Iterator[list[str]]:
        chosen = choose(bench.database, some, first)
        for number, (path, label) in enumerate(zip(paths, labels_of((), paths), strict=True)):
            plain: Any = None
            for place, (told, search) in enumerate(searches(budgets, given)):
                run = {"decoder": path, "refinement": search, "keep_faces": True, "chosen": chosen}
                seen[:] = [
                    bench.attack(f"{number}-{place}-{side}", name, leaked, **run)
                    for side, name in zip(("own", "other"), names, strict=True)
                ]
                plain = plain or seen[0]
                found = [cell for done in seen for cell in cells(done)]
                seconds = bench.seconds_a_face(leaked, made(path, search))
                yield [label, told, *found, f"{change(plain, seen[0]):.1f}", f"{seconds:.3f}"]

    with opened(options) as bench:
        show(header, rows(bench))
        click.echo(limits(bench, names, seen))
        click.echo(f"- Refinement: {given or 'its defaults'}; white box of the first model.")


if __name__ == "__main__":
    refinement()
