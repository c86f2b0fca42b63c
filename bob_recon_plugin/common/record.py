"""The record a run leaves in its output folder, and the refusal to mix two runs."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from .files import whole_or_nothing
from .json_files import read
from .validation import InputError

FILE_NAME = "recon-run.json"
_PACKAGES = ("bob_recon_plugin", "bob.bio.base", "bob.bio.face", "bob.pipelines", "torch", "numpy")


class StaleOutputError(InputError):
    """The output folder holds the work of another run."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    with whole_or_nothing(path) as part:
        part.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Sentences about every single value that differs, by its dotted path."""
    if old == new:
        return []
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(name, old.get(name), new.get(name)) for name in sorted({*old, *new})]
    elif isinstance(old, list) and isinstance(new, list):
        pairs = [(str(i), *pair) for i, pair in enumerate(zip_longest(old, new))]
    if not pairs:
        return [f"{path} was {old!r}, now {new!r}"]
    found: list[str] = []
    for name, was, now in pairs:
        inner = path if name == "parameters" else f"{path}.{name}".lstrip(".")
        found += _differences(was, now, inner)
    return found


def claim(
    directory: Path,
    identity: dict[str, Any],
    reuses: list[Path],
    force: bool,
    about: dict[str, Any] | None = None,
    forceable: bool = True,
) -> None:
    """Write the record of a run, or refuse a folder that another run filled.

    A folder in which nothing was finished is free. Checkpoints are named by the content
    of their images, so images and annotations may change between two runs: what they decide
    is computed anew, and one sentence says so.

    Parameters
    ----------
    directory : Path
        Output folder.
    identity : dict
        What decides the results, JSON-ready. ``database.content`` may differ.
    reuses : list of Path
        Files and folders of checkpoints that this run would read from; empty without checkpoints.
    force : bool
        Everything is computed anew, so nothing stale can be read.
    about : dict, optional
        What a reader wants to know beside it, JSON-ready; two runs may differ in it.
    forceable : bool
        Whether the command has an option ``--force``.

    Raises
    ------
    StaleOutputError
        Naming the differences, and what to do.
    """
    path = directory / FILE_NAME
    identity = json.loads(json.dumps(identity))
    filled = [p for p in reuses if p.is_file() or (p.is_dir() and any(p.iterdir()))]
    remedy = "choose another --output"
    remedy += ", or --force to compute everything anew." if reuses and forceable else "."
    if not force and (filled or any(directory.glob("scores-*.csv"))):
        if path.is_file():
            _refuse_another(path, identity, remedy)
        elif filled:
            raise StaleOutputError(
                f"checkpoints in {filled[0]} must come from this attack, got some without a "
                f"record ({FILE_NAME}), of an unknown system; {remedy}"
            )
    write_json(path, {**(about or {}), "identity": identity, "versions": versions()})


def _refuse_another(path: Path, identity: dict[str, Any], remedy: str) -> None:
    try:
        recorded = dict(read(path)["identity"])
        old, new = _without_content(recorded), _without_content(identity)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StaleOutputError(
            f"{path} must be the record of an earlier run, got a file that cannot be read "
            f"({error}); {remedy}"
        ) from error
    if changes := _differences(old, new):
        raise StaleOutputError(
            f"{path.parent} must hold the work of the same run, got that of another: "
            f"{'; '.join(changes)}; {remedy}"
        )
    if recorded != identity:
        click.echo(
            "Note: images, annotations or comparisons have changed since the last run in "
            f"{path.parent}; what they decide is computed anew.",
            err=True,
        )


def _without_content(identity: dict[str, Any]) -> dict[str, Any]:
    database = {k: v for k, v in identity.get("database", {}).items() if k != "content"}
    return identity | ({"database": database} if "database" in identity else {})
