"""Write the two score files of an attacked system from the partitions Bob wrote."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..common.files import whole_or_nothing
from ..evaluation.scores import ATTACK_COLUMN


def licit_path(full: Path) -> Path:
    """Path of the bona fide rows beside ``scores-GROUP.csv``."""
    return full.with_name(f"{full.stem}-licit{full.suffix}")


def _rows(licit: Path, attacks: Sequence[str]) -> Iterator[list[str]]:
    with open(licit, newline="", encoding="utf-8") as handle:
        reader = csv.reader(handle)
        columns = next(reader)
        yield [*columns, ATTACK_COLUMN]
        for row in reader:
            yield [*row, ""]
    for path in attacks:
        with open(path, newline="", encoding="utf-8") as handle:
            for attack in csv.DictReader(handle):
                yield [attack.get(column, "") for column in columns] + [attack[ATTACK_COLUMN]]


def merge(writer: Any, bona_fide: Sequence[str], attacks: Sequence[str], full: Path) -> list[str]:
    """Join partitions into ``full`` and into its licit file; remove the partitions.

    The licit file is joined by Bob's own writer, so its bytes are those of a
    run without attack. Each row of the full file is that row with an empty
    ``probe_attack_type`` at its end; the attack rows follow, under the same
    columns. Both files appear whole or not at all.

    Parameters
    ----------
    writer : CSVScoreWriter
    bona_fide, attacks : list of str
        Partitions, removed when both files are written.
    full : Path
        ``scores-GROUP.csv``.

    Returns
    -------
    list of str
        Both files.
    """
    licit = licit_path(full)
    with whole_or_nothing(licit) as licit_part, whole_or_nothing(full) as full_part:
        writer.post_process(list(bona_fide), str(licit_part))
        with open(full_part, "w", newline="", encoding="utf-8") as handle:
            csv.writer(handle, lineterminator="\n").writerows(_rows(licit_part, attacks))
    for path in attacks:
        os.remove(path)
    return [str(licit), str(full)]
