"""Files beside the images that are read: left out, and counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

import click

from ..common.validation import InputError

#: what a folder may hold beside its images
ANNOTATIONS = "annotations.csv"
_OWN = (ANNOTATIONS, "synthesis.json", "recon-run.json")
_ENDINGS = 5  # in a message


def is_hidden(path: str) -> bool:
    """Whether a part of a relative path hides it from a user's eyes."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


class LeftOut:
    """Files that are not read, by the reason.

    Parameters
    ----------
    extensions : iterable of str
        Of images, such as ".png"; small and capital letters are the same.
    """

    def __init__(self, extensions: Iterable[str]) -> None:
        self.extensions = {extension.lower() for extension in extensions}
        self.images: dict[str, list[str]] = {}
        self.others: Counter[str] = Counter()

    def is_image(self, path: str) -> bool:
        """Whether a path is that of an image in sight; one that is not is counted."""
        ending = PurePosixPath(path).suffix.lower()
        if ending in self.extensions:
            if not is_hidden(path):
                return True
            self.add("hidden images", path)
        elif path not in _OWN and not is_hidden(path):
            self.others[ending or "no extension"] += 1
        return False

    def add(self, reason: str, path: str) -> None:
        """Count a path, for instance among images ``"images in deeper folders"``."""
        self.images.setdefault(reason, []).append(path)

    def __str__(self) -> str:
        told = [
            f"{reason}: {len(paths)} (first: {min(paths)})" for reason, paths in self.images.items()
        ]
        if self.others:
            kinds = sorted(self.others, key=lambda ending: (-self.others[ending], ending))
            more = ", ..." if len(self.others) > _ENDINGS else ""
            named = ", ".join(kinds[:_ENDINGS]) + more
            told.append(f"files of other extensions: {sum(self.others.values())} ({named})")
        return "; ".join(told)

    def tell(self, place: str) -> None:
        """Say in one line on stderr how many files of a place are left out; nothing if none."""
        if told := str(self):
            click.echo(f"Note: left out of {place}: {told}.", err=True)


def walk(root: str | Path, left_out: LeftOut) -> Iterator[str]:
    """Yield all files below a folder, relative to it, with ``/``.

    Links are followed. A folder is read once: a second way to it is counted in ``left_out``.

    Raises InputError for a folder that may not be read.
    """
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refuse):
        real = os.path.realpath(folder)
        if real in seen:
            left_out.add("links to folders that are read", _relative(folder, root))
            subfolders.clear()
            continue
        seen.add(real)
        # the folder itself before a link to it, on every machine
        subfolders.sort(key=lambda name: (os.path.islink(os.path.join(folder, name)), name))
        for file in files:
            yield _relative(os.path.join(folder, file), root)


def _relative(path: str, root: str | Path) -> str:
    return Path(path).relative_to(root).as_posix()


def _refuse(error: OSError) -> NoReturn:
    raise InputError(
        f"folders of images must be readable, got {error.strerror!r} for {error.filename}; change "
        "its permissions, or move it away."
    ) from error
