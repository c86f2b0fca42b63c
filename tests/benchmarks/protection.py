"""Protected templates under attack: ``python -m tests.benchmarks.protection --lfw LFW``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bob_recon_plugin.attack.chain import shipped_decoder
from bob_recon_plugin.common.validation import InputError
from bob_recon_plugin.protection import (
    BioHashing,
    IndexOfMax,
    InvertProtection,
    MLPHash,
    ProtectedComparison,
    QuantisedEmbedding,
    RandomProjection,
    Scheme,
)

from .common import (
    Attacked,
    Bench,
    Chosen,
    attack_options,
    choose,
    footnotes,
    opened,
    rate_columns,
    rates,
    show,
    spread_over,
)

SCHEMES: dict[str, Scheme] = {
    "BioHashing, 512 bits": BioHashing(),
    "MLP-Hash, 512 bits, one hidden layer of 512": MLPHash(),
    "IoM-GRP, 300 indices of 16": IndexOfMax(),
    "random projection, 256 of 512": RandomProjection(),
    "4 bits a dimension": QuantisedEmbedding(4),
    "1 bit a dimension": QuantisedEmbedding(1),
}
TOKENS = {
    "stolen": "stolen",
    "own": "the attacker's own",
    "other": "the attacker's own, inverted under another",
}


@dataclass(frozen=True)
class Case:
    """A row: a scheme (None: no protection), and the token that the attacker presents, if any."""

    label: str
    scheme: Scheme | None = None
    token: str = ""

    def attack(self, bench: Bench, name: str, decoder: Path, chosen: Chosen | None) -> Attacked:
        """Protect, steal, estimate, decode, present, and compare."""
        from bob_recon_plugin.decoders import read_card

        card = read_card(decoder)
        model, run = card.recognizer, {"chosen": chosen, "decoder": decoder}
        if self.scheme is None:
            return bench.attack(name, model, **run)
        scenario = "stolen" if self.token == "stolen" else "normal"
        guess = InvertProtection.before(card, self.scheme, scenario, int(self.token == "other"))
        algorithm = ProtectedComparison(self.scheme, scenario)
        return bench.attack(name, model, algorithm=algorithm, leak=[guess], **run)

    def cells(self, done: Attacked) -> list[str]:
        """Cells of the table; Bob's `Distance` writes a cosine less one."""
        more = 1 if self.scheme is None else 0
        limits = " / ".join(f"{point.threshold + more:.3f}" for point in done.points)
        return [self.label, TOKENS.get(self.token, ""), *rates(done.points), limits]


def cases(tokens: Sequence[str] = tuple(TOKENS), only: str = "") -> list[Case]:
    """All rows: no protection, and the schemes with `only` in their names, with each token."""
    chosen = {label: s for label, s in SCHEMES.items() if only.lower() in label.lower()}
    if not chosen:
        raise InputError(f"`only` must be in a name of {', '.join(SCHEMES)}, got {only!r}.")
    keyed = [(label, scheme) for label, scheme in chosen.items() if scheme.keyed]
    return [
        Case("none"),
        *(Case(label, scheme) for label, scheme in chosen.items() if not scheme.keyed),
        *(Case(label, scheme, token) for token in tokens for label, scheme in keyed),
    ]


@click.command()
@click.option("--decoder", type=click.Path(path_type=Path), help="Default: the shipped one.")
@click.option(
    "--token", "tokens", multiple=True, type=click.Choice(list(TOKENS)), default=tuple(TOKENS)
)
@click.option("--only", default="", metavar="TEXT", help="Schemes with this in their names.")
@click.option("--attacks", "some", type=click.IntRange(1), help="So many, spread over all.")
@attack_options
def protection(
    decoder: Path | None, tokens: tuple[str, ...], only: str, some: int | None, **where: Any
) -> None:
    """Attack protected templates, behind an estimate of the embeddings, and print the rates.

    For each scheme and token: TMR, and success attack rates of Type-I and Type-II, at FMR 1e-2 and
    1e-3, with thresholds of the protected system.

    \b
    Without any data, then with LFW (all folds of its view2/pairs.txt):
        python -m tests.benchmarks.protection --database demo
        python -m tests.benchmarks.protection --lfw LFW --cache embedded --attacks 400
    """
    header = ["protection", "token presented", *rate_columns("TMR", "Type-I", "Type-II")]
    header.append("threshold")
    every = cases(tokens, only)
    seen: list[Attacked] = []

    def rows(bench: Bench) -> Iterator[list[str]]:
        chosen = choose(bench.database, some, spread_over)
        for number, case in enumerate(every):
            seen.append(case.attack(bench, f"case-{number}", decoder or shipped_decoder(), chosen))
            yield case.cells(seen[-1])

    with opened(where) as bench:
        show(header, rows(bench))
        told = "Token stolen: impostors and the attacker present the target's; else their own."
        click.echo(footnotes(bench.note(seen[0].points), seen[0].points, told))


if __name__ == "__main__":
    protection()
