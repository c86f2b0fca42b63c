"""The folds of LFW view 2, which are not in score files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..common.validation import InputError, existing_file
from ..database.pairs import read_pairs
from .scores import Comparisons


def read_folds(path: Path) -> dict[str, int]:
    """Return the fold, counted from 0, of every image (``Name_0001``) in a ``pairs.txt``.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or malformed, or an image is in two folds.
    """
    path = existing_file("pairs", path, "give the view2/pairs.txt of LFW.")
    pairs = read_pairs(path)  # checks the first line too: folds, and pairs of each kind per fold
    with path.open(encoding="utf-8") as lines:
        size = 2 * int(next(lines).split()[1])
    folds: dict[str, int] = {}
    for position, pair in enumerate(pairs):
        for image in (pair.reference, pair.probe):
            fold = folds.setdefault(image.rsplit("/", 1)[-1], position // size)
            if fold != position // size:
                raise InputError(
                    f"`pairs` must keep an image in one fold, got {image} of fold {fold} again in "
                    f"line {pair.line} of {path}; restore the file."
                )
    return folds


def fold_of_rows(table: Comparisons, path: Path) -> np.ndarray:
    """Return the fold of each row, that of its reference.

    Parameters
    ----------
    table : Comparisons
        Of LFW view 2; templates are named ``Name/Name_0001`` or ``Name_0001``.
    path : Path
        The ``pairs.txt`` of the protocol.

    Returns
    -------
    ndarray of shape (n,), int

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or malformed, or a reference is in no fold or in two.
    """
    folds = read_folds(path)
    names = [name.rsplit("/", 1)[-1] for name in table.templates]
    used = np.unique(table.reference)
    missing = [names[i] for i in used if i < 0 or names[i] not in folds]
    if missing or not names:
        raise InputError(
            f"`pairs` must name every reference of the scores, got {path} without {len(missing)} "
            f"of {len(used)}"
            + (f" (first: {missing[0]})" if missing and names else "")
            + "; give the pairs.txt of the run."
        )
    fold = np.full(len(names), -1)
    fold[used] = [folds[names[i]] for i in used]
    return fold[table.reference]
