"""What the benchmarks of attacks share: options, one run of the attack, tables."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import numpy as np

from bob_recon_plugin.attack.knowledge import Threat
from bob_recon_plugin.common.validation import InputError, told_to_user
from bob_recon_plugin.evaluation import metrics
from bob_recon_plugin.evaluation.scores import ATTACKS, Scores, read
from bob_recon_plugin.report.matrix import rate_cell
from bob_recon_plugin.report.tables import notes, short

FMRS = (1e-2, 1e-3)
Points = Sequence[metrics.OperatingPoint]
Pick = Callable[[int, int], Collection[int]]


def attack_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every benchmark that attacks, for :func:`opened`.

    The database is called `source` in Python: what a command calls `database` is taken for Bob's.
    """
    kinds, path = click.Choice(["lfw", "demo"]), click.Path(path_type=Path)
    faces = "demo: the faces that ship with the package, of people who do not exist."
    runs = "Folder that keeps every run with its scores and faces. Default: a temporary one."
    for option in (
        click.option("--output", "-o", type=path, help=runs),
        click.option("--cache", type=path, help="Folder that keeps embeddings for other runs."),
        click.option("--database", "source", type=kinds, default="lfw", help=faces),
        click.option("--lfw", type=path, help="LFW in Bob's layout, aligned to 112 x 112."),
    ):
        command = option(command)
    return command


def database_of(source: str, lfw: str | Path | None) -> Any:
    """Open the database that the options name."""
    from bob_recon_plugin.database import DemoDatabase, LFWDatabase
    from bob_recon_plugin.images import INSIGHTFACE_EYES

    if source == "demo" and lfw is None:
        return DemoDatabase()
    if lfw is None:
        raise InputError("`--lfw` must be a folder, got none; or say --database demo.")
    return LFWDatabase(original_directory=lfw, fixed_positions=INSIGHTFACE_EYES)


@contextlib.contextmanager
def opened(where: Mapping[str, Any]) -> Iterator[Bench]:
    """Open the database and the folder of runs of :func:`attack_options`."""
    with told_to_user(), contextlib.ExitStack() as stack:
        output = where["output"] or Path(stack.enter_context(TemporaryDirectory()))
        output.mkdir(parents=True, exist_ok=True)
        database = database_of(where["source"], where["lfw"])
        yield Bench(database, output, where["cache"] or output / "embeddings")


def numbers(name: str, text: str) -> list[int]:
    """Read whole numbers from 1 on, with commas between."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(f"`{name}` must be whole numbers from 1 on, got {text!r}; as in 5,10.")
    return [int(part) for part in parts]


class Chosen(NamedTuple):
    """Some attacks: keys of the images whose templates leak, and the rows that count.

    A row is attack type, ``probe_template_id`` and ``bio_ref_template_id``.
    """

    images: frozenset[str]
    rows: frozenset[tuple[str, str, str]]


def choose(database: Any, some: int | None, pick: Pick) -> Chosen | None:
    """Choose some attacks of each type, of a database of one image a template; None is all.

    ``pick`` gets the number of attacks and how many are wanted, first for Type-I, then for Type-II.
    """
    from bob_recon_plugin.attack.gallery import Gallery

    if some is None:
        return None
    references, all_vs_all = database.references(), database.score_all_vs_all
    gallery = Gallery.of(references)
    every = {
        "type1": [(one, str(one.template_id)) for one in references],
        "type2": [(p, t) for p in database.probes() for t in gallery.targets(p, all_vs_all)],
    }
    images, rows = set(), set()
    for attack, pairs in every.items():
        for place in pick(len(pairs), some):
            leaked, target = pairs[place]
            images.update(str(sample.key) for sample in leaked.samples)
            rows.add((attack, f"{attack}/{leaked.key}", target))
    return Chosen(frozenset(images), frozenset(rows))


def first(total: int, some: int) -> Collection[int]:
    """Pick the first attacks."""
    return range(min(some, total))


def spread_over(total: int, some: int) -> Collection[int]:
    """Pick attacks evenly from all."""
    return np.linspace(0, total - 1, min(some, total)).astype(int)


def drawn(seed: int = 0) -> Pick:
    """Pick attacks at random, the same for the same seed."""
    generator = np.random.default_rng(seed)
    return lambda total, some: generator.permutation(total)[:some]


def of_images(samples: Sequence[Any], images: Collection[str]) -> list[Any]:
    """Leave nothing of samples of other images, as if no face were found in them."""
    from bob.pipelines import Sample

    return [one if str(one.key) in images else Sample(None, parent=one) for one in samples]


@dataclass(frozen=True)
class Attacked:
    """What a run found: all bona fide scores, those of the chosen attacks, the decoder's card."""

    folder: Path
    scores: Scores
    threat: Threat
    card: Any

    @cached_property
    def points(self) -> list[metrics.OperatingPoint]:
        """Rates at `FMRS`."""
        return metrics.evaluate(self.scores, fmrs=FMRS)

    @property
    def cosines(self) -> str:
        """Mean score of each attack as a cosine; Bob's `Distance` writes a cosine less one."""
        return " / ".join(f"{self.scores.attacks[name].mean() + 1:.3f}" for name in ATTACKS)


@dataclass(frozen=True)
class Bench:
    """A database whose people are attacked; the folders of runs, and of embeddings for all runs."""

    database: Any
    output: Path
    embeddings: Path

    def system(self, recognizer: Any, algorithm: Any = None, images: Any = None) -> Any:
        """Make Bob's pipeline around a recognition model.

        ``algorithm`` compares instead of the cosine; ``images`` are the keys of those that it
        acquires, by default all.
        """
        from bob.bio.base.pipelines import PipelineSimple
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import FunctionTransformer

        from bob_recon_plugin.recognizers import bob_pipeline

        database = self.database
        made = bob_pipeline(recognizer, database.annotation_type, database.fixed_positions)
        steps = list(made.transformer.steps)
        if images is not None:
            only = FunctionTransformer(partial(of_images, images=images))
            steps.insert(0, ("leaked", only))
        return PipelineSimple(Pipeline(steps), algorithm or made.biometric_algorithm)

    def attack(
        self,
        name: str,
        attacked: Any,
        leaked: Any = None,
        algorithm: Any = None,
        chosen: Chosen | None = None,
        **options: Any,
    ) -> Attacked:
        """Run the attack as `bob bio pipeline simple DATABASE SYSTEM recon` does, in a folder.

        `attacked` and `leaked` (default: the same) are recognition models, as `bob_pipeline` takes
        them; `algorithm` compares instead of Bob's cosine; `chosen` attacks count, and the
        templates of other images do not leak; `options` are those of `ChainOptions`.
        """
        from bob_recon_plugin.attack.chain import attack
        from tests import toy

        context = {"keep_faces": False, **options, "embeddings": self.embeddings}
        context |= {"pipeline": self.system(attacked, algorithm), "database": self.database}
        if chosen is not None:
            context["inverted"] = self.system(leaked or attacked, algorithm, chosen.images)
            context["max_failures"] = 1.0  # what did not leak counts as not acquired
        elif leaked not in (None, attacked):
            context["inverted"] = self.system(leaked, algorithm)
        pipeline, folder = attack(context), self.output / name
        click.echo(name, err=True)
        folder.mkdir(exist_ok=True)
        with (folder / "output.txt").open("w") as log, contextlib.redirect_stdout(log):
            toy.execute(pipeline, folder, self.database)
        table = read(folder / "scores-dev.csv")
        if chosen is not None:
            names, kinds = table.templates, table.kinds
            kept = [
                kind < 2 or (kinds[kind], names[probe], names[target]) in chosen.rows
                for kind, probe, target in zip(
                    table.kind, table.probe, table.reference, strict=True
                )
            ]
            table = replace(table, score=table.score[kept], kind=table.kind[kept])
        return Attacked(folder, table.scores(), pipeline.threat, pipeline.card)

    def seconds_a_face(self, recognizer: Any, reconstructor: Any) -> float:
        """Seconds of the processor a face, of the first eight references together."""
        images = [one.samples[0] for one in self.database.references()[:8]]
        embedded = self.system(recognizer).transformer.transform(images)
        templates = np.stack([np.asarray(sample.data) for sample in embedded])
        reconstructor.transform(templates[:2])  # loads what is not loaded
        started = time.process_time()
        reconstructor.transform(templates)
        return (time.process_time() - started) / len(templates)

    def note(self, points: Points) -> str:
        """Say what was compared, and by how many attacks."""
        attacks = points[0].sar
        return (
            f"{type(self.database).__name__} ({self.database.protocol}): "
            f"{points[0].tmr.n:,} genuine and {points[0].fmr.n:,} impostor comparisons, "
            f"{attacks['type1'].n:,} Type-I and {attacks['type2'].n:,} Type-II attacks; re-entry "
            "at the camera."
        )


def line(cells: Sequence[str]) -> str:
    """Write a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    return "\n".join(map(line, (header, ["---"] * len(header), *rows)))


def show(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; its rows go to the terminal as they come, since each takes long."""
    found = []
    for row in rows:
        found.append(row)
        click.echo(line(row), err=True)
    click.echo(table(header, found) + "\n")


def rate_columns(*names: str) -> list[str]:
    """Titles of rates at `FMRS`."""
    return [f"{name}, FMR {short(fmr)}" for fmr in FMRS for name in names]


def rates(points: Points, tmr: bool = True) -> list[str]:
    """Cells of the TMR, if wanted, and of both attacks at every point."""
    found = [[*([p.tmr] if tmr else []), *(p.sar[name] for name in ATTACKS)] for p in points]
    return [rate_cell(rate) for some in found for rate in some]


def footnotes(told: str, points: Points, *more: str) -> str:
    """What a reader must know beside a table, a sentence each."""
    return "\n".join(f"- {each}" for each in (told, *more, *notes(points)[1:]))
