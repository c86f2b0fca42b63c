"""How fast faces are decoded: ``python -m tests.benchmarks.decoder_speed``."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import click
from tqdm import tqdm

from bob_recon_plugin.common.validation import told_to_user

from .common import numbers
from .turns import spread, timed

RECOGNIZER = "arcface-mbf"
DEFAULT = "folded, channels last, first layer a product"
_BATCH = {"cpu": 32, "cuda": 256}  # of the forms
_BATCHES = {"cpu": "8,16,32,64,128", "cuda": "32,128,512,2048"}
_SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrix product


@dataclass
class Lane:
    """Something that takes turns, and the seconds of a face, or product, round by round.

    It has so many operations a face (two for each multiplication with its addition), `batch` faces
    at once, and the `difference` of its pixels, in [0, 1], from the plain form at most.
    """

    name: str
    work: Callable[[], Any]
    flops: float
    batch: int = 1
    difference: float = 0.0
    seconds: list[float] = field(default_factory=list)

    @property
    def gflops(self) -> list[float]:
        """GFLOP/s, round by round."""
        return [self.flops / seconds / 1e9 for seconds in self.seconds]


def take_turns(lanes: Sequence[Lane], rounds: int, turn: float, device: str) -> None:
    """Run all lanes once a round, in an order that changes, each at least ``turn`` seconds."""
    calls = []
    for lane in lanes:
        timed(lane.work, 2, device)  # warms up
        calls.append(max(1, round(turn / max(timed(lane.work, 1, device).wall, 1e-9))))
    order = list(zip(lanes, calls, strict=True))
    for _ in tqdm(range(rounds), desc="rounds", disable=None):
        random.shuffle(order)
        for lane, n in order:
            lane.seconds.append(timed(lane.work, n, device).wall / lane.batch)


def counted_flops(network: Any, example: Any) -> int:
    """Operations of one example, two for each multiply-add, with those on zero padding."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(example)
    return counter.get_total_flops()


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
    for _ in range(3):  # statistics that are not 0 and 1
        decoder(torch.randn(8, 512))
    decoder.eval()
    # faces that are not flat, or every form would draw the same
    decoder.head.weight *= 2 / decoder(torch.randn(8, 512)).logit().std()
    return decoder.to(device), f"random, DSCasConv of width {width:g}", 512**0.5


def form_lanes(decoder: Any, x: Any) -> list[Lane]:
    """The decoder as it is, channels last, and as FaceReconstructor runs it, on embeddings x."""
    import torch

    from bob_recon_plugin.decoders import for_inference

    last = copy.deepcopy(decoder).to(memory_format=torch.channels_last)
    forms = {"plain eager": decoder, "channels last": last, DEFAULT: for_inference(decoder)}
    expected, flops = decoder(x), counted_flops(decoder, x[:1])
    return [
        Lane(name, partial(form, x), flops, len(x), (form(x) - expected).abs().max().item())
        for name, form in forms.items()
    ]


def batch_lanes(decoder: Any, x: Any, batches: Sequence[int]) -> tuple[list[Lane], list[Lane]]:
    """The default form by batch size, alone and with the recogniser behind it."""
    from bob_recon_plugin.decoders import for_inference
    from bob_recon_plugin.recognizers import load_module

    fast, recognizer = for_inference(decoder), load_module(RECOGNIZER).to(x.device)
    flops = counted_flops(decoder, x[:1])
    both = flops + counted_flops(recognizer, 255 * fast(x[:1]))

    def embed(rows: Any) -> Any:
        return recognizer((255 * fast(rows)).round_())

    return (
        [Lane("decoder", partial(fast, x[:n]), flops, n) for n in batches],
        [Lane(f"decoder and {RECOGNIZER}", partial(embed, x[:n]), both, n) for n in batches],
    )


def product_lane(device: str, side: int) -> Lane:
    """A square matrix product, in the arithmetic of convolutions: what the chip gives at best."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    name = f"product of {side} x {side} matrices"
    return Lane(name, partial(torch.matmul, a, b), 2 * side**3)


def report(
    about: Mapping[str, str],
    product: Lane,
    forms: Sequence[Lane],
    alone: Sequence[Lane],
    behind: Sequence[Lane],
) -> str:
    """Write what was measured as Markdown; the first form is the plain one."""
    plain = forms[0]
    lines = [f"{name}: {value}  " for name, value in about.items()]
    lines += [
        f"{product.name}: {spread(product.gflops, ',.0f', ' GFLOP/s')}  ",
        f"a face: {plain.flops / 1e9:.4g} GFLOP, two a multiply-add, zero padding included  ",
        "",
        "| form | ms a face | faces/s | times as fast | GFLOP/s | share of the product's | "
        "largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for lane in forms:
        name = f"**{lane.name}** (default)" if lane.name == DEFAULT else lane.name
        faster = [b / a for a, b in zip(lane.seconds, plain.seconds, strict=True)]
        cells = [name, *_times(lane), spread(faster), f"{median(lane.gflops):,.1f}"]
        cells += [_share(lane, product), f"{lane.difference:.0e}" if lane.difference else "0"]
        lines.append(f"| {' | '.join(cells)} |")
    header = "| batch | default form: ms a face | faces/s | share of the product's | "
    header += f"with {RECOGNIZER}: ms a face | faces/s | share of the product's |"
    lines += ["", header, "|---|---|---|---|---|---|---|"]
    for one, other in zip(alone, behind, strict=True):
        cells = [str(one.batch)]
        for lane in (one, other):
            cells += [*_times(lane), _share(lane, product)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _times(lane: Lane) -> list[str]:
    seconds = median(lane.seconds)
    return [f"{1e3 * seconds:.3g}", f"{1 / seconds:,.0f}"]


def _share(lane: Lane, product: Lane) -> str:
    shares = [100 * a / b for a, b in zip(lane.gflops, product.gflops, strict=True)]
    return spread(shares, ".0f", " %")


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
@click.option("--batches", help="Sizes to compare, with commas between.")
@click.option("--side", type=click.IntRange(1), help="Of the matrices; default: 2048, 8192.")
@click.option("--turn", default=0.5, show_default=True, help="Seconds of a turn, at least a call.")
def decoder_speed(
    width: float | None,
    threads: int | None,
    repeat: int,
    device: str,
    batch: int | None,
    batches: str | None,
    side: int | None,
    turn: float,
) -> None:
    """Compare the forms of a decoder with each other, and with a large matrix product.

    The form marked as default is what FaceReconstructor runs. A share is the median over the
    rounds of the form's GFLOP/s over those of the matrix product in the same round; above 100 %,
    the convolutions' kernels are better than the product's. Differences are of pixels in [0, 1];
    a grey level is 4e-3. Take a decoder's batch size from the second table.

    \b
        python -m tests.benchmarks.decoder_speed --threads 2
        python -m tests.benchmarks.decoder_speed --width 1.0 --threads 1
    """
    import torch

    from bob_recon_plugin.common.devices import torch_device
    from bob_recon_plugin.common.memory import keep_freed_memory

    if threads is not None:
        torch.set_num_threads(threads)
    keep_freed_memory()  # as the attack does
    torch.manual_seed(0)
    random.seed(0)
    with told_to_user(), torch.inference_mode():
        device = torch_device(device).type
        sizes = numbers("--batches", batches or _BATCHES[device])
        batch = batch or _BATCH[device]
        decoder, told, norm = decoder_of(width, device)
        rows = torch.randn(max(batch, *sizes), decoder.embedding_size, device=device)
        x = norm * torch.nn.functional.normalize(rows)
        forms, product = form_lanes(decoder, x[:batch]), product_lane(device, side or _SIDE[device])
        alone, behind = batch_lanes(decoder, x, sizes)
        take_turns([*forms, *alone, *behind, product], repeat, turn, device)
    about = {"device": device, "threads": str(torch.get_num_threads()), "torch": torch.__version__}
    about |= {"decoder": told, "batch": f"{batch} faces"}
    click.echo(report(about, product, forms, alone, behind))


if __name__ == "__main__":
    decoder_speed()
