"""Train on templates as an attacker gets them: protected and estimated, in part, or with noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..common.files import whole_or_nothing
from ..common.template_steps import TemplateStep, apply_steps
from ..common.validation import InputError, existing_file
from ..faces.dataset import FaceDataset, kept_array

FILE_NAME = "leaked.npy"
_BATCH = 256


def read_leak(path: str | Path) -> tuple[Any, ...]:
    """Read the list ``leak`` of a Python file, which is run, as a chain's files are.

    Raises
    ------
    FileNotFoundError, ValueError
        For a file that is missing, or defines no such list.
    """
    from clapper.config import load

    file = existing_file("leak", Path(path), "give a Python file that says `leak = [...]`.")
    try:
        steps = load([str(file)], attribute_name="leak")
    except (ImportError, SyntaxError, UnicodeDecodeError) as error:
        raise InputError(
            f"`leak` must be defined in {file}, got none ({error}); write `leak = [...]` in it."
        ) from error
    if not isinstance(steps, list | tuple) or not all(isinstance(s, TemplateStep) for s in steps):
        raise InputError(
            f"`leak` must be a list of template steps, got {steps!r} in {file}; see "
            "bob_recon_plugin.inversion.damage and .protection."
        )
    return tuple(steps)


def leaked(dataset: FaceDataset, steps: Sequence[Any], folder: Path) -> np.ndarray:
    """Templates as an attacker gets them, of every face and its mirror image, kept in a folder.

    Each face counts as another subject, with a key of its own.

    Returns
    -------
    float32 ndarray of shape (n, 2, d)

    Raises
    ------
    ValueError
        When the steps do not end at embeddings of the recognition model's length.
    """
    wanted = (len(dataset), 2, dataset.about.embedding_size)
    path = folder / FILE_NAME
    if (kept := kept_array(path, wanted)) is not None:
        return kept
    found = np.empty(wanted, np.float32)
    for start in tqdm(range(0, len(dataset), _BATCH), desc="leak", unit="batch", disable=None):
        rows = slice(start, start + _BATCH)
        subjects = dataset.keys[rows]
        both = dataset.embeddings[rows].swapaxes(0, 1).reshape(-1, wanted[2])
        got = apply_steps(steps, both, [*subjects, *subjects])  # both sides of a face under its key
        if got.shape[1] != wanted[2]:
            raise InputError(
                f"`leak` must end at embeddings of {wanted[2]} dimensions, got {got.shape[1]}; "
                "put InvertProtection behind ProtectTemplates."
            )
        found[rows] = got.reshape(2, -1, wanted[2]).swapaxes(0, 1)
    with whole_or_nothing(path) as part, part.open("wb") as stream:
        np.save(stream, found)
    return found
