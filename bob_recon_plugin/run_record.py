"""The record a run leaves in its output folder, and the refusal to mix two runs."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ._files import whole_or_nothing
from ._json import read
from ._validation import InputError

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


def describe_database(database: object) -> dict[str, Any]:
    """Class of a Bob database, its plain public attributes and its fixed positions."""
    plain = {
        name: value
        for name, value in vars(database).items()
        if not name.startswith("_") and isinstance(value, str | int | float | bool)
    }
    fixed = getattr(database, "fixed_positions", None)
    return {"class": type(database).__name__, "fixed_positions": fixed, **plain}


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    with whole_or_nothing(path) as part:
        part.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [
        f"{name} was {old.get(name)!r}, now {new.get(name)!r}"
        for name in sorted(set(old) | set(new))
        if old.get(name) != new.get(name)
    ]


def claim(
    directory: Path,
    identity: dict[str, Any],
    reuses: list[Path],
    force: bool,
    about: dict[str, Any] | None = None,
) -> None:
    """Write the record of a run, or refuse a folder that another run filled.

    Parameters
    ----------
    directory : Path
        Output folder.
    identity : dict
        What decides the content of the checkpoints, JSON-ready.
    reuses : list of Path
        Checkpoint folders this run would read from; empty without checkpoints.
    force : bool
        Everything is computed anew, so nothing stale can be read.
    about : dict, optional
        What a reader wants to know beside it, JSON-ready; two runs may differ in it.

    Raises
    ------
    StaleOutputError
        Naming the differences, and what to do.
    """
    path = directory / FILE_NAME
    identity = json.loads(json.dumps(identity))
    filled = [folder for folder in reuses if folder.is_dir() and any(folder.iterdir())]
    remedy = "choose another --output"
    remedy += ", or --force to compute everything anew." if reuses else "."
    if not force:
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
    except (ValueError, KeyError, TypeError) as error:
        raise StaleOutputError(
            f"{path} must be the record of an earlier run, got a file that cannot be read "
            f"({error}); {remedy}"
        ) from error
    if changes := _differences(recorded, identity):
        raise StaleOutputError(
            f"{path.parent} must hold the work of the same run, got that of another: "
            f"{'; '.join(changes)}; {remedy}"
        )
