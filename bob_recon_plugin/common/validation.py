"""Validation of input: errors that say what was expected, what was given, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


def whole_number(name: str, value: object, least: int = 1) -> None:
    """Raise ValueError unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InputError(f"`{name}` must be a whole number of at least {least}, got {value!r}.")


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


def real_numbers(values: object, bits: bool = False) -> np.ndarray:
    """Return ``values`` as an array of integers or floats, without any loss.

    ``bits`` allows booleans too. Raises TypeError with what was given.
    """
    if isinstance(values, Sequence):
        values = [*values]  # once, since samples may be read from a disk
    if any(np.ma.is_masked(part) for part in (values if isinstance(values, list) else [values])):
        raise TypeError("masked entries, which have no value")
    if hasattr(values, "toarray"):
        raise TypeError("a sparse matrix")
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise TypeError(str(error)) from error
    if array.dtype.kind not in ("iufb" if bits else "iuf"):
        raise TypeError(f"entries of type {array.dtype}")
    return array


def finite_matrix(
    name: str, values: object, columns: int | None, remedy: str, bits: bool = False
) -> np.ndarray:
    """Return ``values`` as a finite float32 array of shape (n, columns).

    Raises TypeError for entries that are not real numbers (masked entries, complex numbers, text,
    objects, or booleans without ``bits``), ValueError for a wrong shape, NaN or infinity.
    """
    try:
        array = real_numbers(values, bits).astype(np.float32, copy=False)
    except TypeError as error:
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
def short_errors() -> Iterator[None]:
    """Turn errors of the operating system into one sentence, without a traceback.

    `InputError` is already shown so. Other errors are bugs and keep their traceback.

    Raises
    ------
    click.ClickException
        For a file that the operating system refuses, and for a missing system library.
    """
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        if ".so" not in str(error):
            raise
        raise click.ClickException(
            f"system libraries must be installed, got {error}; for libGL run `apt-get install "
            "libgl1 libglib2.0-0`, or install OpenCV's build for servers: `pip install "
            "--force-reinstall --no-deps opencv-python-headless`."
        ) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise click.ClickException(
            f"`{error.filename}` must be a usable file or folder, got "
            f"{error.strerror!r}; check the path, its permissions and the disk."
        ) from error
