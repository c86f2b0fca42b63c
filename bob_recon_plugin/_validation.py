"""One form of message: what was expected, what came, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np


class InputError(click.ClickException, ValueError):
    """Wrong input: a command shows the sentence, without a traceback, and exits with 2."""

    exit_code = 2


class InputTypeError(InputError, TypeError):
    """An input of the wrong type."""


class MissingFileError(InputError, FileNotFoundError):
    """An input file or folder that does not exist."""


def one_of(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise ValueError unless ``value`` is among ``choices``."""
    choices = list(choices)
    if value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise InputError(f"`{name}` must be one of {listed}, got {value!r}.")


def existing_file(name: str, path: str | Path, remedy: str) -> Path:
    """Return ``path`` as a Path, or raise FileNotFoundError with what to do."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingFileError(f"`{name}` must be an existing file, got {path}; {remedy}")
    return path


def existing_directory(name: str, path: str | Path | None, remedy: str) -> Path:
    """Return ``path`` as a Path, or raise FileNotFoundError with what to do."""
    if not path:
        raise MissingFileError(f"`{name}` must be an existing directory, got none; {remedy}")
    path = Path(path).expanduser()
    if not path.is_dir():
        raise MissingFileError(f"`{name}` must be an existing directory, got {path}; {remedy}")
    return path


def finite_matrix(name: str, values: object, columns: int | None, remedy: str) -> np.ndarray:
    """Return ``values`` as a finite float32 array of shape (n, columns).

    Raises TypeError for what is no numbers, ValueError for a wrong shape, NaN or infinity.
    """
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"`{name}` must be an array of numbers of shape (n, d), "
            f"got {type(values).__name__} ({error}); {remedy}"
        ) from error
    expected = "d" if columns is None else columns
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        raise InputError(f"`{name}` must have shape (n, {expected}), got {array.shape}; {remedy}")
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise InputError(
            f"`{name}` must be finite, got NaN or infinity in {int(bad.sum())} of {len(array)} "
            f"rows (first: row {int(np.flatnonzero(bad)[0])}); {remedy}"
        )
    return array


@contextmanager
def told_to_user() -> Iterator[None]:
    """Show what the system refuses as one sentence, as an `InputError` shows itself.

    Our own bugs keep their traceback.

    Raises
    ------
    click.ClickException
        For an error of the operating system on a file, and for a missing library of the system.
    """
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        if ".so" not in str(error):
            raise
        raise click.ClickException(
            f"the libraries of the system must be there, got {error}; for libGL run `apt-get "
            "install libgl1 libglib2.0-0`, or put OpenCV's build for servers over the other: `pip "
            "install --force-reinstall --no-deps opencv-python-headless`."
        ) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise click.ClickException(
            f"`{error.filename}` must be a file or folder that can be used, got "
            f"{error.strerror!r}; check the path, its permissions and the disk."
        ) from error
