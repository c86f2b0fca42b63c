"""What a run says at its end: the table, a JSON beside the scores, and the contact sheet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..common.record import versions, write_json
from ..evaluation.metrics import evaluate, leading
from ..evaluation.scores import load
from ..report.tables import render, short
from .contact_sheet import ContactSheet
from .knowledge import Threat


def write_summary(
    filename: Path,
    identity: dict[str, Any],
    threat: Threat,
    sheet: ContactSheet | None,
    spent: Mapping[str, Any],
) -> None:
    """Print the operating points and write ``summary-GROUP.json`` and ``contact-sheet-GROUP.png``.

    Thresholds come from ``scores-dev.csv``, never from another group.

    Parameters
    ----------
    filename : Path
        ``scores-GROUP.csv`` of an attacked system.
    identity : dict
        The attacked system and the decoder, kept in the JSON.
    threat : Threat
        What the attacker knows.
    sheet : ContactSheet or None
        People to show; None draws nothing.
    spent : mapping of str to Clock
        Images and seconds of all tasks together, by step: "embed", "attack", "compare".
    """
    click.echo(f"\nAttack {threat.number} of 5: {threat.knowledge}.")
    click.echo(_effort(spent))
    group = filename.stem.removeprefix("scores-")
    dev = filename.with_name("scores-dev.csv")
    if group != "dev" and not dev.is_file():
        click.echo(f"{filename}: no rates, thresholds come from dev; run `-g dev` too, same output")
        return
    try:
        points = evaluate(load(dev), None if group == "dev" else load(filename))
    except ValueError as error:
        click.echo(f"{filename}: no rates ({error})")
        return
    click.echo(f"\n{filename}\n\n{render(points)}\n")
    effort = {step: asdict(clock) for step, clock in spent.items()}
    record = {
        "run": identity,
        "threat": threat.describe(),
        "effort": effort,
        "versions": versions(),
        **json.loads(render(points, "json")),
    }
    write_json(filename.with_name(f"summary-{group}.json"), record)
    if sheet is not None:
        picture = filename.with_name(f"contact-sheet-{group}.png")
        point = points[leading(points)]
        caption = (
            f"accepted at score >= {point.threshold:.3f} "
            f"(FMR {short(point.target)}, threshold from {point.threshold_group})"
        )
        if sheet.write(filename, point.threshold, caption, picture):
            click.echo(f"Faces: {picture}")


def _effort(spent: Mapping[str, Any]) -> str:
    """What the tasks did, in this run and in the runs that left its checkpoints."""
    names = {
        "embed": "images embedded",
        "attack": "templates inverted and presented",
        "compare": "comparisons",
    }
    return "; ".join(
        f"{clock.images:,} {names[step]} in {clock.seconds:.1f} s" for step, clock in spent.items()
    )
