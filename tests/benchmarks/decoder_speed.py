"""How fast faces are decoded: ``python -m tests.benchmarks.decoder_speed``.

Forms of one decoder, batch sizes of the form that :class:`FaceReconstructor` uses, the same with
the recogniser behind it, and a large matrix product take turns.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import click

from bob_recon_plugin.common.validation import told_to_user

from .training_workers import timed

RECOGNIZER = "arcface-mbf"
DEFAULT = "folded, channels last, first layer a product"
_BATCH = {"cpu": 32, "cuda": 256}  # of the forms
_BATCHES = {"cpu": (8, 16, 32, 64, 128), "cuda": (32, 128, 512, 2048)}
_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrix product


@dataclass(frozen=True)
class Laps:
    """What one thing took, round by round.

    Attributes
    ----------
    name : str
    seconds : list of float
        A face; a product, for a matrix product.
    flops : float
        Of a face or product, two for each multiplication with its addition.
    against : str
        The matrix product that uses the same arithmetic.
    batch : int
        Faces at once.
    difference : float or None
        Largest of a pixel in [0, 1] from plain eager float32; None where it was not compared.
    default : bool
        This is what FaceReconstructor does.
    """

    name: str
    seconds: Sequence[float]
    flops: float
    against: str = "float32"
    batch: int = 1
    difference: float | None = None
    default: bool = False

    @property
    def gflops(self) -> list[float]:
        """GFLOP/s of each round."""
        return [self.flops / seconds / 1e9 for seconds in self.seconds]


@dataclass(frozen=True)
class Measured:
    """Laps of everything, and where they were run.

    Attributes
    ----------
    forms : list of Laps
        The first is plain eager.
    decoded, embedded : list of Laps
        The default form by batch size: alone, and with the recogniser behind it.
    products : dict of str to Laps
        By arithmetic.
    about : dict of str to str
    """

    forms: Sequence[Laps]
    decoded: Sequence[Laps]
    embedded: Sequence[Laps]
    products: Mapping[str, Laps]
    about: Mapping[str, str]

    def shares(self, laps: Laps) -> list[float]:
        """GFLOP/s over those of the matrix product, round by round."""
        products = self.products[laps.against].gflops
        return [one / other for one, other in zip(laps.gflops, products, strict=True)]


def ratios(one: Laps, other: Laps) -> list[float]:
    """How many times as long the other took, round by round."""
    return [b / a for a, b in zip(one.seconds, other.seconds, strict=True)]


# -- what takes turns --------------------------------------------------------


@dataclass
class Lane:
    """Something that takes turns.

    Attributes
    ----------
    laps : Laps
        Its name and facts; the seconds come later.
    work : callable
    allow : context manager maker
        The arithmetic that it may use.
    """

    laps: Laps
    work: Callable[[], Any]
    allow: Callable[[], AbstractContextManager[Any]] = nullcontext
    seconds: list[float] = field(default_factory=list)

    def done(self) -> Laps:
        """Its facts with its seconds."""
        return replace(self.laps, seconds=self.seconds)


def take_turns(
    lanes: Sequence[Lane], repeat: int, turn: float, device: str, clock: str = "wall"
) -> None:
    """Run all lanes once a round, in an order that changes, and note seconds a face.

    Parameters
    ----------
    lanes : sequence of Lane
    repeat : int
        Rounds.
    turn : float
        Seconds that a turn lasts at least, one call or more.
    device : str
    clock : {"wall", "cpu"}
    """
    from tqdm import tqdm

    calls = []
    for lane in lanes:
        with lane.allow():
            timed(lane.work, 2, device)  # warms up
            calls.append(max(1, round(turn / timed(lane.work, 1, device).wall)))
    order = list(zip(lanes, calls, strict=True))
    for _ in tqdm(range(repeat), desc="rounds", disable=None):
        random.shuffle(order)
        for lane, n in order:
            with lane.allow():
                lap = timed(lane.work, n, device)
            lane.seconds.append(getattr(lap, clock) / lane.laps.batch)


@dataclass(frozen=True)
class Form:
    """One way to decode: its name, embeddings to faces, and its arithmetic as in `Lane`."""

    name: str
    decode: Callable[[Any], Any]
    against: str
    allow: Callable[[], AbstractContextManager[Any]] = nullcontext


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let convolutions and products of float32 on a GPU round to TF32, or none of them."""
    import torch

    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = allowed
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def _usual(device: str) -> str:
    """The arithmetic of float32 networks as torch comes."""
    return "tf32" if device == "cuda" else "float32"


def counted_flops(network: Any, example: Any) -> int:
    """Operations of one example, two for each multiply-add, with those on zero padding."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(example)
    return counter.get_total_flops()


def product_lanes(device: str, side: int) -> dict[str, Lane]:
    """Square matrix products by arithmetic: what the chip gives at best."""
    import torch

    kinds = {"float32": torch.float32}
    if device == "cuda":
        kinds |= {"tf32": torch.float32, "bfloat16": torch.bfloat16}
    lanes = {}
    for name, dtype in kinds.items():
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        facts = Laps(f"product of {side} x {side} matrices, {name}", [], 2 * side**3, name)
        lanes[name] = Lane(facts, partial(torch.matmul, a, b), partial(tf32, name == "tf32"))
    return lanes


def decoder_of(width: float | None, device: str) -> tuple[Any, str, float]:
    """The shipped decoder, or one of random weights; what it is; the norm of its embeddings."""
    import torch

    from bob_recon_plugin.attack.chain import shipped_decoder
    from bob_recon_plugin.decoders import DSCasConv, load

    if width is None:
        decoder, card = load(shipped_decoder(), device)
        told = f"shipped, DSCasConv of width {decoder.width:g}"
        return decoder.requires_grad_(False), told, card.embedding_norm or 1.0
    decoder = DSCasConv(512, width).requires_grad_(False)
    norm = 512**0.5
    for _ in range(3):  # statistics that are not 0 and 1
        decoder(torch.randn(8, 512))
    decoder.eval()
    # faces that are not flat, or every form would draw the same
    before = decoder(torch.randn(8, 512)).logit()
    decoder.head.weight *= 2 / before.std()
    return decoder.to(device), f"random, DSCasConv of width {width:g}", norm


def form_lanes(
    decoder: Any, fast: Any, x: Any, compiled: bool, about: dict[str, str]
) -> list[Lane]:
    """Every form of a decoder on the embeddings ``x``; ``about`` is told what cannot be run."""
    forms = _eager_forms(decoder, fast, x.device.type)
    forms += _half_forms(fast, x.device.type, about)
    if compiled and (made := _compiled(fast, x, about)) is not None:
        forms.append(Form("the same, torch.compile", made, forms[1].against))
    with forms[0].allow():
        expected, flops = forms[0].decode(x), counted_flops(decoder, x[:1])
    lanes = []
    for form in forms:
        with form.allow():
            apart = (form.decode(x).float() - expected).abs().max().item()
        facts = Laps(form.name, [], flops, form.against, len(x), apart, form.name == DEFAULT)
        lanes.append(Lane(facts, partial(form.decode, x), form.allow))
    return lanes


def _eager_forms(decoder: Any, fast: Any, device: str) -> list[Form]:
    import copy

    import torch

    def last(network: Any) -> Any:
        return copy.deepcopy(network).to(memory_format=torch.channels_last)

    usual, folded = _usual(device), _folded_alone(decoder)
    forms = [Form("plain eager", decoder, "float32", partial(tf32, False))]
    if device == "cuda":
        forms.append(Form("plain eager, TF32 as torch comes", decoder, usual))
    return [
        *forms,
        Form("channels last", last(decoder), usual),
        Form("batch norms folded", folded, usual),
        Form("folded, channels last", last(folded), usual),
        Form(DEFAULT, fast, usual),
    ]


def _folded_alone(decoder: Any) -> Any:
    """A copy without batch normalisations and nothing else changed."""
    import copy

    from torch import nn

    from bob_recon_plugin.decoders._blocks import folded

    copied = copy.deepcopy(decoder)
    for block in copied.blocks:
        block.deconv = folded(block.deconv)
        block.cascade = nn.Sequential(*(folded(layers) for layers in block.cascade))
    return copied


def _half_forms(fast: Any, device: str, about: dict[str, str]) -> list[Form]:
    import copy

    import torch

    if not has_bfloat16(device):
        about["bfloat16"] = "left out, this processor has no instructions for it"
        return []
    against = "bfloat16" if device == "cuda" else "float32"
    mixed = partial(torch.autocast, device, torch.bfloat16)
    half = copy.deepcopy(fast).to(torch.bfloat16)
    return [
        Form("the same, autocast to bfloat16", fast, against, mixed),
        Form("the same, weights in bfloat16", lambda x: half(x.bfloat16()), against),
    ]


def has_bfloat16(device: str) -> bool:
    """Whether the device computes in bfloat16, where emulation would be slower than float32."""
    if device == "cuda":
        return True
    listed = Path("/proc/cpuinfo")
    return listed.is_file() and "bf16" in listed.read_text()


def _compiled(network: Any, x: Any, about: dict[str, str]) -> Callable[[Any], Any] | None:
    """Compile from nothing, as a worker on a new machine has to."""
    import torch

    made = torch.compile(network, mode="reduce-overhead" if x.is_cuda else "default")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {_CACHE: folder}):
        try:
            for _ in range(3):
                made(x)
        except Exception as error:  # whatever a compiler that is half installed raises
            told = str(error).partition("\n")[0]
            about["torch.compile"] = f"left out, {type(error).__name__}: {told}"
            return None
    about["torch.compile"] = f"{time.perf_counter() - start:.0f} s before the first face"
    return made


def batch_lanes(
    decode: Callable[[Any], Any], embeddings: Any, batches: Sequence[int], flops: int
) -> tuple[list[Lane], list[Lane]]:
    """The default form by batch size, alone and with the recogniser behind it."""
    import torch

    from bob_recon_plugin.recognizers import load_module

    device = embeddings.device.type
    recognizer = load_module(RECOGNIZER).to(device)

    def embed(x: Any) -> Any:
        return recognizer((255 * decode(x)).round_())

    both = flops + counted_flops(recognizer, 255 * decode(embeddings[:1]))
    arithmetic: list[tuple[str, Any]] = [(_usual(device), nullcontext)]
    if device == "cuda":
        arithmetic.append(("bfloat16", partial(torch.autocast, device, torch.bfloat16)))
    alone, behind = [], []
    for against, allow in arithmetic:
        for n in batches:
            x = embeddings[:n]
            one = Laps("decoder", [], flops, against, n)
            other = Laps(f"decoder and {RECOGNIZER}", [], both, against, n)
            alone.append(Lane(one, partial(decode, x), allow))
            behind.append(Lane(other, partial(embed, x), allow))
    return alone, behind


def measure(
    decoder: Any,
    embeddings: Any,
    *,
    batch: int,
    batches: Sequence[int],
    side: int,
    repeat: int,
    turn: float,
    compiled: bool = False,
    clock: str = "wall",
) -> Measured:
    """Let all forms, batch sizes and matrix products take turns.

    Parameters
    ----------
    decoder : DSCasConv
        In evaluation mode.
    embeddings : Tensor of shape (n, d)
        As many as the largest batch, on the decoder's device.
    batch : int
        Faces at once, for the forms.
    batches : sequence of int
        Batch sizes of the default form.
    side : int
        Of the matrices.
    repeat : int
        Rounds.
    turn : float
        Seconds of a turn.
    compiled : bool
        With torch.compile.
    clock : {"wall", "cpu"}
    """
    import torch

    about: dict[str, str] = {}
    device = embeddings.device.type
    with torch.inference_mode():
        fast = decoder.for_inference()
        forms = form_lanes(decoder, fast, embeddings[:batch], compiled, about)
        flops = counted_flops(decoder, embeddings[:1])
        alone, behind = batch_lanes(fast, embeddings, batches, flops)
        products = product_lanes(device, side)
        lanes = [*forms, *alone, *behind, *products.values()]
        take_turns(lanes, repeat, turn, device, clock)
    return Measured(
        [lane.done() for lane in forms],
        [lane.done() for lane in alone],
        [lane.done() for lane in behind],
        {name: lane.done() for name, lane in products.items()},
        about,
    )


# -- the report --------------------------------------------------------------


def report(measured: Measured) -> str:
    """Write what was measured as Markdown."""
    lines = [f"{name}: {value}  " for name, value in measured.about.items()]
    for laps in measured.products.values():
        speeds = laps.gflops
        lines.append(f"{laps.name}: {median(speeds):,.0f} GFLOP/s ({_range(speeds, ',.0f')})  ")
    plain = measured.forms[0]
    lines += [
        f"a face: {plain.flops / 1e9:.4g} GFLOP, two a multiply-add, zero padding included  ",
        "",
        "| form | ms a face | faces/s | times as fast | GFLOP/s | share of the product's | "
        "largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for laps in measured.forms:
        cells = [
            f"**{laps.name}** (default)" if laps.default else laps.name,
            *_times(laps),
            _spread(ratios(laps, plain), ".2f"),
            f"{median(laps.gflops):,.1f}",
            _share(measured, laps),
            f"{laps.difference:.0e}" if laps.difference else "0",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_batches(measured)])


def _batches(measured: Measured) -> list[str]:
    lines = [
        "| batch | default form: ms a face | faces/s | share of the product's | "
        f"with {RECOGNIZER}: ms a face | faces/s | share of the product's |",
        "|---|---|---|---|---|---|---|",
    ]
    for one, other in zip(measured.decoded, measured.embedded, strict=True):
        cells = [str(one.batch)]
        for laps in (one, other):
            cells += [*_times(laps), _share(measured, laps)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _times(laps: Laps) -> list[str]:
    seconds = median(laps.seconds)
    return [f"{1e3 * seconds:.3g}", f"{1 / seconds:,.0f}"]


def _share(measured: Measured, laps: Laps) -> str:
    share = _spread([100 * value for value in measured.shares(laps)], ".0f", " %")
    return share if len(measured.products) == 1 else f"{share} of {laps.against}"


def _spread(values: Sequence[float], form: str, unit: str = "") -> str:
    return f"{median(values):{form}}{unit} ({_range(values, form)})"


def _range(values: Sequence[float], form: str) -> str:
    return f"{min(values):{form}}-{max(values):{form}}"


# -- the command -------------------------------------------------------------


def _machine(device: str, clock: str) -> dict[str, str]:
    import platform

    import torch

    threads = torch.get_num_threads()
    told = f"{platform.machine()} CPU ({torch.backends.cpu.get_cpu_capability()})"
    machine = f"{told}, {threads} thread{'s' * (threads > 1)}"
    if device == "cuda":
        machine = torch.cuda.get_device_name()
    clocks = {"wall": "of the wall", "cpu": "of the processor"}
    return {"device": machine, "torch": torch.__version__, "clock": clocks[clock]}


@click.command()
@click.option(
    "--width",
    type=click.FloatRange(0, min_open=True),
    help="Of a DSCasConv with random weights; the shipped decoder without it.",
)
@click.option("--threads", type=click.IntRange(1), help="Of torch; its own choice without it.")
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True, help="Rounds.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--batch", type=click.IntRange(1), help="Of the forms; default: 32, on a GPU 256.")
@click.option(
    "--batches",
    help="Sizes to compare, with commas between; default: 8,16,32,64,128, on a GPU "
    "32,128,512,2048.",
)
@click.option("--side", type=click.IntRange(1), help="Of the matrices; default: 2048, 8192.")
@click.option("--turn", default=0.5, show_default=True, help="Seconds of a turn, at least a call.")
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=None,
    help="Try torch.compile too; default: where there is a C++ compiler.",
)
@click.option(
    "--clock",
    type=click.Choice(["wall", "cpu"]),
    default="wall",
    show_default=True,
    help="cpu: processor time, for one thread where other programs run too.",
)
@click.option(
    "--keep-memory/--no-keep-memory",
    "keep",
    default=True,
    show_default=True,
    help="Keep freed memory in the process, as the attack does.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Every lap.")
def decoder_speed(
    width: float | None,
    threads: int | None,
    repeat: int,
    device: str,
    batch: int | None,
    batches: str | None,
    side: int | None,
    turn: float,
    compiled: bool | None,
    clock: str,
    keep: bool,
    json_path: Path | None,
) -> None:
    """Compare the forms of a decoder, and with a matrix product.

    The form marked as default is what FaceReconstructor runs. A share is the median over the
    rounds of the form's GFLOP/s over those of a large matrix product in the same round; above
    100 %, the convolutions' kernels are better than the product's. Differences are of pixels in
    [0, 1]; a grey level is 4e-3. Take a decoder's batch size from the second table.

    \b
        python -m tests.benchmarks.decoder_speed --threads 2
        python -m tests.benchmarks.decoder_speed --width 1.0 --threads 1 --json speed.json
        python -m tests.benchmarks.decoder_speed --device cuda
    """
    import torch

    from bob_recon_plugin.common.memory import keep_freed_memory
    from bob_recon_plugin.common.record import write_json

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("`--device` must be one that torch can use here, got cuda; try cpu.")
    if threads is not None:
        torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()
    torch.manual_seed(0)
    random.seed(0)
    with told_to_user():
        sizes = _sizes(batches) if batches else _BATCHES[device]
        batch = batch or _BATCH[device]
        decoder, told, norm = decoder_of(width, device)
        rows = torch.randn(max(batch, *sizes), decoder.embedding_size, device=device)
        measured = measure(
            decoder,
            norm * torch.nn.functional.normalize(rows),
            batch=batch,
            batches=sizes,
            side=side or _SIDE[device],
            repeat=repeat,
            turn=turn,
            compiled=_compiler() if compiled is None else compiled,
            clock=clock,
        )
    about = {**_machine(device, clock), "decoder": told, "batch": f"{batch} faces"}
    about["freed memory"] = "kept, as in the attack" if keep else "left to the C library"
    measured = replace(measured, about={**about, **measured.about})
    click.echo(report(measured))
    if json_path is not None:
        write_json(json_path, asdict(measured))


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(size) for size in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise ValueError(f"`--batches` must be positive integers, got {text!r}; as in 16,32,64.")
    return sizes


def _compiler() -> bool:
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))


if __name__ == "__main__":
    decoder_speed()
