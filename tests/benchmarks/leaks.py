"""What a partial or noisy leak is worth, and an adapter: ``python -m tests.benchmarks.leaks``.

Templates of a protocol are damaged (or come from another recognition model), repaired as the
attacker can, inverted by one decoder, and presented to the system, as in
:mod:`tests.benchmarks.fast_attack`. Nothing is tuned on the protocol's images: adapters and
conditional means come from prepared faces of other people.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from bob_recon_plugin.attack.chain import shipped_decoder
from bob_recon_plugin.common.record import write_json
from bob_recon_plugin.common.validation import told_to_user
from bob_recon_plugin.evaluation import metrics
from bob_recon_plugin.evaluation.metrics import Rate
from bob_recon_plugin.evaluation.scores import Scores
from bob_recon_plugin.faces.dataset import FaceDataset
from bob_recon_plugin.faces.dataset import read_card as read_data
from bob_recon_plugin.inversion.adapter import Adapter
from bob_recon_plugin.inversion.damage import NoisyLeak, PartialLeak, QuantizedLeak
from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
from bob_recon_plugin.report.tables import short
from bob_recon_plugin.training.adapt import adapt

from .fast_attack import Protocol, System, cosine, read_protocol
from .results import _database, database_option, lfw_option, rate_cell

ATTACKS = ("type1", "type2")
PARTS = ("damage", "adapters")
FMRS = (1e-2, 1e-3)
SHARES = (0.75, 0.5, 0.375, 0.25, 0.125, 0.0625)
SIGMAS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
BITS = (1, 2, 3, 4, 8)
FACES = (100, 300, 1000, 3000)

ZERO, CONDITIONAL, NOISE, QUANTIZED = "zero", "conditional mean", "noise", "bits"


@dataclass(frozen=True)
class Point:
    """One row: a leak, and how often its reconstructions are accepted.

    Attributes
    ----------
    curve : str
        ZERO, CONDITIONAL (shares of the dimensions), NOISE, QUANTIZED, or the name of the model
        whose templates an adapter maps.
    value : float
        Share, relative noise, bits, or fitting faces.
    judge : str
        Recognition model of the system that accepts or rejects.
    rates : dict of str to list of Rate
        By attack, one for each of FMRS.
    cosines : dict of str to float
        Mean of enrolled template and reconstruction, by attack.
    note : str
    """

    curve: str
    value: float
    judge: str
    rates: dict[str, list[Rate]]
    cosines: dict[str, float]
    note: str = ""


class Judge:
    """A system, its thresholds, and the attacks that are measured on it.

    Parameters
    ----------
    system : System
    templates : int
        Attacks of each type, drawn from the protocol's by the seed.
    cache : Path, optional
        Of embeddings.
    seed : int
        The same one draws the same attacks on any system.
    """

    def __init__(self, system: System, templates: int, cache: Path | None, seed: int = 0):
        self.system, self.enrolled = system, system.enrolled(cache)
        rng = np.random.default_rng(seed)
        self.pairs = {}
        for attack in ATTACKS:
            every = system.protocol.pairs[attack]
            self.pairs[attack] = every[rng.permutation(len(every))[:templates]]
        self.leaked = np.unique(np.concatenate([p[:, 1] for p in self.pairs.values()]))

    @property
    def templates(self) -> np.ndarray:
        """The stolen ones, of shape (n, d)."""
        return self.enrolled[self.leaked]

    def point(
        self,
        curve: str,
        value: float,
        embeddings: np.ndarray,
        reconstructor: FaceReconstructor,
        note: str = "",
    ) -> Point:
        """Invert what became of the stolen templates, in their order, and present the faces."""
        faces = reconstructor.transform(embeddings)
        presented = np.full_like(self.enrolled, np.nan)
        presented[self.leaked] = self.system.presented(faces, reconstructor.card().positions)
        found = {
            attack: cosine(self.enrolled[pairs[:, 0]], presented[pairs[:, 1]])
            for attack, pairs in self.pairs.items()
        }
        bona_fide = [self._bona_fide(kind) for kind in ("genuine", "impostor")]
        points = metrics.evaluate(Scores(*bona_fide, found), fmrs=FMRS)
        return Point(
            curve,
            value,
            self.system.recognizer.name,
            {attack: [p.sar[attack] for p in points] for attack in ATTACKS},
            {attack: float(values.mean()) for attack, values in found.items()},
            note,
        )

    def _bona_fide(self, kind: str) -> np.ndarray:
        pairs = self.system.protocol.pairs[kind]
        return cosine(self.enrolled[pairs[:, 0]], self.enrolled[pairs[:, 1]])


def measure(
    protocol: Protocol,
    decoder: Path,
    faces: Path | None = None,
    others: Sequence[Path] = (),
    templates: int = 500,
    cache: Path | None = None,
    device: str = "auto",
    parts: Sequence[str] = PARTS,
) -> Iterator[Point]:
    """Attack with whole templates, with every damage, and with templates of every other model.

    Parameters
    ----------
    protocol : Protocol
    decoder : Path
        Decides the system under attack.
    faces : Path, optional
        Prepared faces of nobody in the protocol, for the decoder's model.
    others : sequence of Path
        The same images prepared for other models.
    templates : int
        As for Judge.
    cache : Path, optional
        Folder of embeddings.
    device : str
        Of all networks.
    parts : sequence of str
        Among PARTS: which of the last two.

    Raises
    ------
    FileNotFoundError, ValueError
        For files that do not fit, before any work.
    """
    if others and faces is None:
        raise ValueError("`--other` needs the same faces for the decoder's model; give --faces.")
    if not others and "damage" not in parts:
        raise ValueError("`--part adapters` needs templates of another model; give --other.")
    cards = [read_data(path) for path in others]
    reconstructor = FaceReconstructor(decoder, device=device).validate()
    judge = Judge(System(reconstructor.card().recognizer, protocol, device), templates, cache)
    yield judge.point(ZERO, 1.0, judge.templates, reconstructor)
    for curve, value, leak in leaks(faces) if "damage" in parts else ():
        yield judge.point(curve, value, leak.transform(judge.templates), reconstructor)
    for path, card in zip(others, cards, strict=True) if "adapters" in parts else ():
        source = Judge(System(card.recognizer, protocol, device), templates, cache)
        yield from adapted(source, judge, FaceDataset(path), FaceDataset(faces), reconstructor)


def leaks(faces: Path | None) -> Iterator[tuple[str, float, Any]]:
    """Curve, value and transformer of every damage."""
    for share in SHARES:
        yield ZERO, share, PartialLeak(share)
    for share in SHARES if faces is not None else ():
        yield CONDITIONAL, share, PartialLeak(share, faces=str(faces))
    for sigma in SIGMAS:
        yield NOISE, sigma, NoisyLeak(sigma)
    for bits in BITS:
        yield QUANTIZED, bits, QuantizedLeak(bits)


def adapted(
    source: Judge,
    target: Judge,
    here: FaceDataset,
    there: FaceDataset,
    reconstructor: FaceReconstructor,
) -> Iterator[Point]:
    """Attack with templates of another model, through adapters of more and more faces."""
    with TemporaryDirectory() as folder:
        for n in FACES:
            path = Path(folder, f"{n}.safetensors")
            card = adapt(here, there, path, n)
            mapped = Adapter(path).transform(source.templates)
            note = f"penalty {card.alpha:.2g}, cosine of held-out faces {card.cosine:.3f}"
            for judge in (source, target):
                yield judge.point(card.source, n, mapped, reconstructor, note)


# -- Markdown ----------------------------------------------------------------

HEADS = {
    ZERO: ("share of dimensions leaked", "others zero"),
    CONDITIONAL: ("share of dimensions leaked", "others at their conditional mean"),
    NOISE: ("noise over template, RMS", "white noise"),
    QUANTIZED: ("bits a dimension", "quantised"),
}


def table(points: Sequence[Point]) -> str:
    """Write the points as a Markdown table."""
    targets = [short(fmr) for fmr in FMRS]
    header = ["leak", "amount", "judged by"]
    header += [f"{name}, FMR {target}" for target in targets for name in ("Type-I", "Type-II")]
    lines = [[*header, "mean cosine I / II", "note"]]
    lines.append(["---"] * len(lines[0]))
    for point in points:
        rates = [rate_cell(point.rates[a][i]) for i in range(len(FMRS)) for a in ATTACKS]
        means = " / ".join(f"{point.cosines[attack]:.3f}" for attack in ATTACKS)
        lines.append([_label(point), _amount(point), point.judge, *rates, means, point.note])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _label(point: Point) -> str:
    if point.curve not in HEADS:
        return f"{point.curve} through an adapter"
    return "whole templates" if _whole(point) else HEADS[point.curve][1]


def _whole(point: Point) -> bool:
    return point.curve == ZERO and point.value == 1


def _amount(point: Point) -> str:
    head = HEADS[point.curve][0] if point.curve in HEADS else "fitting faces"
    return f"{head}: {point.value:g}"


def footnotes(protocol: Protocol, points: Sequence[Point]) -> list[str]:
    """What a reader must know beside the table, one sentence each."""
    sizes = {kind: len(pairs) for kind, pairs in protocol.pairs.items()}
    drawn = {attack: points[0].rates[attack][0].n for attack in ATTACKS}
    few = [short(fmr) for fmr in FMRS if metrics.few_impostors(fmr, sizes["impostor"])]
    told = [
        f"{protocol.name}: thresholds of {sizes['impostor']:,} impostor comparisons; "
        f"{drawn['type1']:,} of {sizes['type1']:,} Type-I and {drawn['type2']:,} of "
        f"{sizes['type2']:,} Type-II attacks, the same in every row; re-entry at the camera, "
        "cosine.",
        "In brackets: accepted, all, and the exact 95 % interval.",
    ]
    if few:
        told.append(f"Fewer than ten impostors set the thresholds at FMR {', '.join(few)}.")
    return told


# -- the command -------------------------------------------------------------


@click.command()
@lfw_option
@database_option
@click.option("--decoder", type=click.Path(path_type=Path), help="Default: the shipped one.")
@click.option(
    "--faces",
    type=click.Path(path_type=Path),
    help="Folder of `bob bio recon prepare` for the decoder's model: for conditional means, and "
    "the target of adapters.",
)
@click.option(
    "--other",
    "others",
    multiple=True,
    type=click.Path(path_type=Path),
    help="The same faces prepared for another model, whose templates are to be inverted.",
)
@click.option(
    "--templates",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Attacks of each type, drawn from the protocol's.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    default=PARTS,
    show_default=True,
    help="What to measure.",
)
@click.option("--cache", type=click.Path(path_type=Path), help="Folder that keeps embeddings.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Every digit.")
@click.option("--png", type=click.Path(path_type=Path), help="The curves.")
@click.option("--device", default="auto", show_default=True)
def command(
    lfw: str | None,
    database: str,
    decoder: Path | None,
    json_path: Path | None,
    png: Path | None,
    **options: Any,
) -> None:
    """Print success attack rates of partial, noisy, quantised and adapted leaks as Markdown.

    \b
    Without any data, then with LFW:
        python -m tests.benchmarks.leaks --database demo
        python -m tests.benchmarks.leaks --lfw LFW --cache embedded --faces nobody-mbf \\
            --other nobody-edgeface --other nobody-sface --png leaks.png
    """
    with told_to_user():
        started = time.perf_counter()
        protocol = read_protocol(_database(database, lfw))
        points: list[Point] = []
        for point in measure(protocol, decoder or shipped_decoder(), **options):
            points.append(point)
            click.echo(f"{len(points)}: {_label(point)}, {_amount(point)}", err=True)
            if json_path is not None:  # after every point, so that a stopped run leaves something
                write_json(json_path, [asdict(each) for each in points])
        click.echo(table(points) + "\n")
        click.echo("\n".join(f"- {line}" for line in footnotes(protocol, points)))
        click.echo(f"- Measured in {time.perf_counter() - started:.0f} s.")
        if png is not None:
            from .leak_curves import draw

            draw(points, png)


if __name__ == "__main__":
    command()
