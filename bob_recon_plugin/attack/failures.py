"""Images that were not acquired: counted, listed with their reasons, and limited."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from ..common.files import whole_or_nothing
from ..common.validation import InputError

#: reason by kind ("references" or "probes") and key of the image
Failures = dict[tuple[str, str], str]

FILE_NAME = "failures.csv"
#: images that may fail in any run, however small
FEW = 3
_COLUMNS = ("group", "kind", "key", "reason")
_NAMED = 3  # reasons in a message


def check_share(share: object) -> None:
    """Raise InputError unless ``max_failures`` is a share from 0 to 1."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(
            f"`max_failures` must be a share of the images from 0 to 1, got {share!r}; "
            "0.05 lets five of a hundred fail."
        )


@dataclass
class Tally:
    """Failures to acquire of one group of a run, as its parts report them.

    Parameters
    ----------
    path : Path
        CSV file of all groups: columns group, kind, key, reason.
    group : str
    images : int
        References and probes of the group.
    share : float
        That may fail before the run ends, from 0 to 1. :data:`FEW` images always may,
        unless it is 0.
    """

    path: Path
    group: str
    images: int
    share: float
    failures: Failures = field(default_factory=dict)

    @property
    def limit(self) -> int:
        """How many images may fail."""
        return max(FEW, math.floor(self.share * self.images)) if self.share else 0

    def add(self, failures: Failures) -> None:
        """Count failures, the same one once.

        Raises
        ------
        InputError
            Beyond the limit, with the first reasons; all so far are in the file.
        """
        self.failures |= failures
        if len(self.failures) <= self.limit:
            return
        self.write()
        first = [f"{key}: {reason}" for (_, key), reason in self.failures.items()][:_NAMED]
        raise InputError(
            f"at most {self.limit} of the {self.images} images may fail to be acquired, got "
            f"{len(self.failures)} (first: {'; '.join(first)}); see {self.path}, mend the images, "
            f"or allow a larger share than {self.share:g} with `max_failures`."
        )

    def write(self) -> None:
        """Write this group's rows beside those of other groups; no file where nothing failed."""
        mine = [[self.group, *where, reason] for where, reason in sorted(self.failures.items())]
        rows = [row for row in self._written() if row[0] != self.group] + mine
        if not rows:
            self.path.unlink(missing_ok=True)
            return
        with whole_or_nothing(self.path) as part, part.open("w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows([_COLUMNS, *rows])

    def _written(self) -> Iterator[list[str]]:
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as stream:
                yield from list(csv.reader(stream))[1:]

    def close(self) -> None:
        """Write the file, and say how many images failed."""
        self.write()
        if self.failures:
            click.echo(
                f"{len(self.failures)} of {self.images} images were not acquired (their scores are "
                f"NaN and count in no rate): see {self.path}."
            )
