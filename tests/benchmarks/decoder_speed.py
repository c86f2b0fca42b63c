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

from bob_recon_plugin.common.validation import short_errors

from .common import numbers, table
from .turns import spread, timed

RECOGNIZER = "arcface-mbf"
DEFAULT = "folded, channels last, first layer a product"
_BATCH = {"cpu": 32, "cuda": 256}  # of the forms
_BATCHES = {"cpu": "8,16,32,64,128", "cuda": "32,128,512,2048"}
_SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrix product


@dataclass
class Lane:
    """Something that takes turns, and the seconds of a face or product, round by round.

    `difference` is the largest of a pixel, in [0, 1], from the plain form.
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


def take_turns(lanes: Sequence[Lane], device: str, repeat: int, turn: float) -> None:
    """Run all lanes once a round, in an order that changes, each at least ``turn`` seconds."""
    calls = []
    for lane in lanes:
        timed(lane.work, 2, device)  # warms up
        calls.append(max(1, round(turn / max(timed(lane.work, 1, device).wall, 1e-9))))
    order = list(zip(lanes, calls, strict=True))
    for _ in tqdm(range(repeat), desc="rounds", disable=None):
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

    last = copy.deepcopy(decoder).to(memory_format=torch.channels_last)
    forms = {"plain eager": decoder, "channels last": last, DEFAULT: decoder.for_inference()}
    expected, flops = decoder(x), counted_flops(decoder, x[:1])
    return [
        Lane(name, partial(form, x), flops, len(x), (form(x) - expected).abs().max().item())
        for name, form in forms.items()
    ]


def batch_lanes(decoder: Any, x: Any, batches: Sequence[int]) -> list[tuple[Lane, Lane]]:
    """The default form by batch size, alone and with the recogniser behind it."""
    from bob_recon_plugin.recognizers import load_module

    fast, recognizer = decoder.for_inference(), load_module(RECOGNIZER).to(x.device)
    flops = counted_flops(decoder, x[:1])
    both = flops + counted_flops(recognizer, 255 * fast(x[:1]))

    def embed(rows: Any) -> Any:
        return recognizer((255 * fast(rows)).round_())

    lanes = []
    for n in batches:
        alone = Lane("decoder", partial(fast, x[:n]), flops, n)
        lanes.append((alone, Lane("both", partial(embed, x[:n]), both, n)))
    return lanes


def product_lane(device: str) -> Lane:
    """A square matrix product, in the arithmetic of convolutions: what the chip gives at best."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    side = _SIDE[device]
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    name = f"product of {side} x {side} matrices"
    return Lane(name, partial(torch.matmul, a, b), 2 * side**3)


def report(
    about: Mapping[str, str], product: Lane, forms: Sequence[Lane], *pairs: tuple[Lane, Lane]
) -> str:
    """Write what was measured as Markdown: the forms, then the pairs of :func:`batch_lanes`."""
    plain, speed, share = forms[0], ["ms a face", "faces/s"], "share of the product's"
    told = [f"{name}: {value}  " for name, value in about.items()]
    told += [
        f"{product.name}: {spread(product.gflops, ',.0f', ' GFLOP/s')}  ",
        f"a face: {plain.flops / 1e9:.4g} GFLOP, two a multiply-add, zero padding included  ",
    ]
    rows = []
    for lane in forms:
        name = f"**{lane.name}** (default)" if lane.name == DEFAULT else lane.name
        faster = spread([b / a for a, b in zip(lane.seconds, plain.seconds, strict=True)])
        *times, part = _cells(lane, product)
        apart = f"{lane.difference:.0e}" if lane.difference else "0"
        rows.append([name, *times, faster, f"{median(lane.gflops):,.1f}", part, apart])
    header = ["form", *speed, "times as fast", "GFLOP/s", share, "largest difference"]
    behind = [f"with {RECOGNIZER}: ms a face", "faces/s", share]
    by_batch = [
        [str(one.batch), *_cells(one, product), *_cells(both, product)] for one, both in pairs
    ]
    tables = table(header, rows), table(["batch", *speed, share, *behind], by_batch)
    return "\n".join([*told, "", tables[0], "", tables[1]])


def _cells(lane: Lane, product: Lane) -> list[str]:
    """Milliseconds a face, faces a second, and the share of the product's speed."""
    seconds = median(lane.seconds)
    shares = [100 * a / b for a, b in zip(lane.gflops, product.gflops, strict=True)]
    return [f"{1e3 * seconds:.3g}", f"{1 / seconds:,.0f}", spread(shares, ".0f", " %")]


@click.command()
@click.option("--width", type=click.FloatRange(0, min_open=True), help="Of random weights.")
@click.option("--threads", type=click.IntRange(1), help="Of torch; its own choice without it.")
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True, help="Rounds.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--batches", help="Sizes to compare, with commas between.")
@click.option("--turn", default=0.5, show_default=True, help="Seconds of a turn, at least a call.")
def decoder_speed(
    width: float | None, threads: int | None, device: str, batches: str | None, **turns: Any
) -> None:
    """Compare the forms of a decoder with each other, and with a large matrix product.

    The decoder is the shipped one, or a DSCasConv of --width with random weights.

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
    with short_errors(), torch.inference_mode():
        device = torch_device(device).type
        sizes = numbers("--batches", batches or _BATCHES[device])
        decoder, told, norm = decoder_of(width, device)
        rows = torch.randn(max(*sizes, _BATCH[device]), decoder.embedding_size, device=device)
        x = norm * torch.nn.functional.normalize(rows)
        forms, product = form_lanes(decoder, x[: _BATCH[device]]), product_lane(device)
        pairs = batch_lanes(decoder, x, sizes)
        take_turns([*forms, *(e for pair in pairs for e in pair), product], device, **turns)
    about = {"device": device, "threads": str(torch.get_num_threads()), "torch": torch.__version__}
    about |= {"decoder": told, "batch": f"{_BATCH[device]} faces"}
    click.echo(report(about, product, forms, *pairs))


if __name__ == "__main__":
    decoder_speed()
