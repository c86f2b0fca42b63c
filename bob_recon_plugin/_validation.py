"""One form of message: what was expected, what came, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np


class InputError(click.ClickException, ValueError):
    """Wrong input found in the middle of a run: commands show the sentence, no traceback."""


def one_of(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise ValueError unless ``value`` is among ``choices``."""
    choices = list(choices)
    if value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise ValueError(f"`{name}` must be one of {listed}, got {value!r}.")


def existing_file(name: str, path: str | Path, remedy: str) -> Path:
    """Return ``path`` as a Path, or raise FileNotFoundError with what to do."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"`{name}` must be an existing file, got {path}; {remedy}")
    return path


def existing_directory(name: str, path: str | Path | None, remedy: str) -> Path:
    """Return ``path`` as a Path, or raise FileNotFoundError with what to do."""
    if not path:
        raise FileNotFoundError(f"`{name}` must be an existing directory, got none; {remedy}")
    path = Path(path).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"`{name}` must be an existing directory, got {path}; {remedy}")
    return path


def finite_matrix(name: str, values: object, columns: int | None, remedy: str) -> np.ndarray:
    """Return ``values`` as a finite float32 array of shape (n, columns).

    Raises TypeError for what is no numbers, ValueError for a wrong shape, NaN or infinity.
    """
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`{name}` must be an array of numbers of shape (n, d), "
            f"got {type(values).__name__} ({error}); {remedy}"
        ) from error
    expected = "d" if columns is None else columns
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        raise ValueError(f"`{name}` must have shape (n, {expected}), got {array.shape}; {remedy}")
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise ValueError(
            f"`{name}` must be finite, got NaN or infinity in {int(bad.sum())} of {len(array)} "
            f"rows (first: row {int(np.flatnonzero(bad)[0])}); {remedy}"
        )
    return array


@contextmanager
def told_to_user() -> Iterator[None]:
    """Turn errors of wrong input into a command's usage error: the sentence, no traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        raise click.UsageError(str(error)) from error
