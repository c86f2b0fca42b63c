"""Claim an output folder for one piece of work, or refuse it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common.record import FILE_NAME, claim
from ..common.validation import InputError

RECORD = FILE_NAME


def claim_folder(directory: Path, identity: dict[str, Any], force: bool | None = None) -> None:
    """Write the record of this work into a folder that is new or has results of the same work.

    Parameters
    ----------
    directory : Path
        Output folder.
    identity : dict
        What decides the content of the folder, JSON-ready.
    force : bool, optional
        Whether other work may be replaced; None for commands without ``--force``.

    Raises
    ------
    ValueError
        For a folder with unknown files, and for a folder of other work, with the differences.
    """
    if directory.is_dir() and any(directory.iterdir()) and not (directory / RECORD).is_file():
        raise InputError(
            f"`output` must be a new folder, got {directory} with other files in it; choose "
            "another --output."
        )
    claim(directory, identity, [directory], force)
