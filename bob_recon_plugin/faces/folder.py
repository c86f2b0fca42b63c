"""Take an output folder for one piece of work, or refuse it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common.record import FILE_NAME, claim
from ..common.validation import InputError

RECORD = FILE_NAME


def take(directory: Path, identity: dict[str, Any], force: bool | None = None) -> None:
    """Write the record of this work into a folder that is new, or holds the same work.

    Parameters
    ----------
    directory : Path
        Output folder.
    identity : dict
        What decides its content, ready for JSON.
    force : bool, optional
        Whether other work of this kind may be replaced; None where the command
        knows no ``--force``.

    Raises
    ------
    ValueError
        For a folder of somebody else's files, and, with the differences, of other work.
    """
    if directory.is_dir() and any(directory.iterdir()) and not (directory / RECORD).is_file():
        raise InputError(
            f"`output` must be a folder of its own, got {directory} with other files in it; choose "
            "another --output."
        )
    claim(directory, identity, [directory], bool(force), forceable=force is not None)
