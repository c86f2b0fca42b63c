"""Count the files in a folder of images that are left out, by reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

import click

from ..common.validation import InputError

#: name of the file with eye positions in a folder of images
ANNOTATIONS = "annotations.csv"
_KNOWN_FILES = (ANNOTATIONS, "synthesis.json", "recon-run.json")
_LISTED = 5  # extensions listed in a message


def is_hidden(path: str) -> bool:
    """Whether a relative path has a hidden file or folder."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


class LeftOut:
    """Files that are left out, by reason.

    Parameters
    ----------
    extensions : iterable of str
        Extensions of images, such as ".png"; case is ignored.
    """

    def __init__(self, extensions: Iterable[str]) -> None:
        self.extensions = {extension.lower() for extension in extensions}
        self.images: dict[str, list[str]] = {}
        self.others: Counter[str] = Counter()

    def is_image(self, path: str) -> bool:
        """Whether a path is an image that is not hidden; other paths are counted."""
        ending = PurePosixPath(path).suffix.lower()
        if ending in self.extensions:
            if not is_hidden(path):
                return True
            self.add("hidden images", path)
        elif path not in _KNOWN_FILES and not is_hidden(path):
            self.others[ending or "no extension"] += 1
        return False

    def add(self, reason: str, path: str) -> None:
        """Count a path, with a reason such as ``"images in deeper folders"``."""
        self.images.setdefault(reason, []).append(path)

    def __str__(self) -> str:
        parts = [
            f"{reason}: {len(paths)} (first: {min(paths)})" for reason, paths in self.images.items()
        ]
        if self.others:
            kinds = sorted(self.others, key=lambda ending: (-self.others[ending], ending))
            more = ", ..." if len(self.others) > _LISTED else ""
            named = ", ".join(kinds[:_LISTED]) + more
            parts.append(f"files of other extensions: {sum(self.others.values())} ({named})")
        return "; ".join(parts)

    def report(self, place: str) -> None:
        """Print a line on stderr with the numbers of files left out; nothing if there are none."""
        if text := str(self):
            click.echo(f"Note: left out of {place}: {text}.", err=True)


def walk(root: str | Path, left_out: LeftOut) -> Iterator[str]:
    """Yield all files below a folder, relative to it, with ``/``.

    Links are followed. Each folder is read once: further links to it are counted in ``left_out``.

    Raises InputError for a folder without permission to read.
    """
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refuse):
        real = os.path.realpath(folder)
        if real in seen:
            left_out.add("links to folders that are read already", _relative(folder, root))
            subfolders.clear()
            continue
        seen.add(real)
        # folders before links to them, so that the result is the same on every machine
        subfolders.sort(key=lambda name: (os.path.islink(os.path.join(folder, name)), name))
        for file in files:
            yield _relative(os.path.join(folder, file), root)


def _relative(path: str, root: str | Path) -> str:
    return Path(path).relative_to(root).as_posix()


def _refuse(error: OSError) -> NoReturn:
    raise InputError(
        f"folders of images must be readable, got {error.strerror!r} for {error.filename}; change "
        "its permissions, or move it elsewhere."
    ) from error
