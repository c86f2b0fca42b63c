"""How fast training runs: ``python -m tests.benchmarks.training DATA``.

Ours (``bob bio recon train`` itself) and a straightforward loop with the same networks, batch,
losses and optimiser take turns, each in a process of its own (:mod:`.training_workers`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click

from bob_recon_plugin.common.validation import told_to_user

from .training_workers import Job, Lap, working

_IMAGES = 512  # pictures that the plain loop goes through


@dataclass(frozen=True)
class Measured:
    """Laps of every round, and what was trained.

    Attributes
    ----------
    samples : int
        Reconstructions of a step.
    ours, plain : list of Lap
        In the order in which they took turns.
    parts : dict of str to list of Lap
        Of our step.
    about : dict of str to str
        Machine, networks, batch.
    """

    samples: int
    ours: Sequence[Lap]
    plain: Sequence[Lap]
    parts: Mapping[str, Sequence[Lap]]
    about: Mapping[str, str]

    def ratios(self, clock: str) -> list[float]:
        """How many times faster ours was, round by round; ``clock`` is "wall" or "cpu"."""
        pairs = zip(self.ours, self.plain, strict=True)
        return [getattr(plain, clock) / getattr(ours, clock) for ours, plain in pairs]

    def middle(self, laps: Sequence[Lap], clock: str) -> float:
        """Median seconds a step."""
        return median(getattr(lap, clock) for lap in laps)


def measure(job: Job, repeat: int, steps: int) -> Measured:
    """Let both train in turns.

    Parameters
    ----------
    job : Job
    repeat : int
        Rounds that count; one before them warms up.
    steps : int
        Steps of a turn.
    """
    from tqdm import tqdm

    ours, plain, parts = [], [], []
    with working(job) as (one, other):
        for number in tqdm(range(repeat + 1), desc="rounds", disable=None):
            laps = one.steps(steps), other.steps(steps), one.parts(steps)
            if number:
                ours.append(laps[0])
                plain.append(laps[1])
                parts.append(laps[2])
    by_name = {name: [found[name] for found in parts] for name in parts[0]}
    samples, about = _about(job)
    return Measured(samples, ours, plain, by_name, about)


def _about(job: Job) -> tuple[int, dict[str, str]]:
    import platform

    import torch

    from bob_recon_plugin.faces.dataset import open_datasets
    from bob_recon_plugin.training import presets

    preset = presets.get(job.preset, job.settings)
    threads = torch.get_num_threads()
    machine = f"{platform.machine()} CPU, {threads} thread{'s' * (threads > 1)}"
    if job.device == "cuda":
        machine = torch.cuda.get_device_name()
    told = {
        "device": machine,
        "torch": torch.__version__,
        "recogniser": open_datasets([job.data]).about.recognizer,
        "decoder": f"DSCasConv, width {job.width:g}",
        "preset": " ".join([job.preset, *(f"{k}={v}" for k, v in job.settings.items())]),
        "batch": f"{preset.batch_size} faces and {preset.sampled} sampled embeddings",
    }
    return preset.samples, told


# -- the report --------------------------------------------------------------


def report(measured: Measured) -> str:
    """Write what was measured as Markdown."""
    lines = [f"{name}: {value}  " for name, value in measured.about.items()]
    lines += ["", "| | images/s | ms a step | processor ms a step |", "|---|---|---|---|"]
    for name, laps in (("ours", measured.ours), ("straightforward loop", measured.plain)):
        wall, cpu = (measured.middle(laps, clock) for clock in ("wall", "cpu"))
        rate = measured.samples / wall
        lines.append(f"| {name} | {rate:.1f} | {1e3 * wall:.0f} | {1e3 * cpu:.0f} |")
    for clock, told in (("wall", "by the clock"), ("cpu", "in processor time")):
        ratios = measured.ratios(clock)
        lines += [
            "",
            f"Ours is {median(ratios):.2f} times as fast {told} "
            f"({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds).",
        ]
    return "\n".join([*lines, "", *_shares(measured)])


def _shares(measured: Measured) -> list[str]:
    """Where our step's time goes: by processor time on a CPU, which other programs do not disturb.

    Every part has a loop of its own, so the shares need not sum to 1; the rest says by how much.
    """
    clock = "wall" if "CPU" not in measured.about["device"] else "cpu"
    step = measured.middle(measured.ours, clock)
    times = {name: measured.middle(laps, clock) for name, laps in measured.parts.items()}
    rest = step - sum(times.values())
    lines = [f"| part of our step | ms ({clock}) | share |", "|---|---|---|"]
    for name, seconds in {**times, "rest": rest, "step": step}.items():
        lines.append(f"| {name} | {1e3 * seconds:.1f} | {100 * seconds / step:.1f} % |")
    networks = [name for name in ("decoder", "recogniser") if name in times]
    alone = ", ".join(f"{n} {measured.samples / times[n]:.1f}" for n in networks)
    bound = sum(times[name] for name in networks)
    return [
        *lines,
        "",
        f"Parts sum to {100 * (1 - rest / step):.0f} % of the step. Images/s of a network alone, "
        f"forward and backward: {alone}. The networks are at work {100 * bound / step:.0f} % of "
        "the step.",
    ]


def as_plain(measured: Measured) -> dict[str, Any]:
    """Every lap, JSON-ready."""
    return asdict(measured) | {
        "ratio": {clock: median(measured.ratios(clock)) for clock in ("wall", "cpu")}
    }


# -- the command -------------------------------------------------------------


def _settings(_context: Any, _parameter: Any, values: Sequence[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, equals, _ in pairs:
        if not equals:
            raise click.BadParameter(f"must be NAME=VALUE, got {name!r}; as in --set sampled=8.")
    return {name: value for name, _, value in pairs}


@click.command()
@click.argument("data", type=click.Path())
@click.option("--preset", default="best", show_default=True)
@click.option("--set", "settings", multiple=True, callback=_settings, metavar="NAME=VALUE")
@click.option("--width", default=0.4375, show_default=True, help="Of DSCasConv.")
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True, help="Rounds.")
@click.option("--steps", type=click.IntRange(1), default=10, show_default=True, help="Of a turn.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option(
    "--loaders",
    type=click.IntRange(0),
    help="Processes that read pictures for the plain loop; default: 0 on a CPU, 4 for a GPU.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Every lap.")
def training(
    data: str,
    preset: str,
    settings: dict[str, str],
    width: float,
    repeat: int,
    steps: int,
    device: str,
    loaders: int | None,
    json_path: Path | None,
) -> None:
    """Compare our training on DATA with a straightforward loop.

    DATA is a folder of `bob bio recon prepare`. The first part of a preset, on pixels alone, is
    left out: what is measured is the longer, slower part.

    \b
        OMP_NUM_THREADS=1 python -m tests.benchmarks.training data --repeat 5
    """
    import torch

    from bob_recon_plugin.common.record import write_json
    from bob_recon_plugin.training import presets

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if loaders is None:
        loaders = 4 if device == "cuda" else 0
    with told_to_user(), tempfile.TemporaryDirectory() as folder:
        chosen = presets.get(preset, settings)
        images = write_pictures(data, Path(folder, "pictures"))
        vgg16 = random_vgg16(Path(folder)) if "perceptual" in chosen.weights else None
        job = Job(data, preset, settings, width, device, loaders, str(images), vgg16)
        measured = measure(job, repeat, steps)
    click.echo(report(measured))
    if json_path is not None:
        write_json(json_path, as_plain(measured))


def write_pictures(data: str, folder: Path) -> Path:
    """Write the first prepared faces as PNG files, as they would lie on a student's disk."""
    from PIL import Image

    from bob_recon_plugin.faces.dataset import open_datasets

    dataset = open_datasets([data])
    folder.mkdir()
    rows = range(min(_IMAGES, len(dataset)))
    for row, face in zip(rows, dataset.faces(rows), strict=True):
        Image.fromarray(face.transpose(1, 2, 0)).save(folder / f"{row:05d}.png")
    return folder


def random_vgg16(folder: Path) -> str:
    """Write a file as torchvision's of VGG-16, of random weights: they take the same time."""
    import torch

    from bob_recon_plugin.training.losses import Perceptual

    layers = Perceptual(weights=None, layers=["relu5_3"]).features.state_dict()
    path = folder / "vgg16.pth"
    torch.save({f"features.{name}": value for name, value in layers.items()}, path)
    return str(path)


if __name__ == "__main__":
    training()
