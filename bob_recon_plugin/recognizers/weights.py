"""Find the weights file of a recognition model, and make sure it is the right one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..common.files import sha256
from ..common.settings import bob_data_directory, setting
from ..common.validation import InputError, MissingFileError, existing_file
from .description import Recognizer


def rc_key(recognizer: Recognizer) -> str:
    """Key of Bob's configuration under which a user puts an own copy of the file."""
    return f"bob_recon_plugin.weights.{recognizer.name}"


def locate(recognizer: Recognizer, weights: str | Path | None = None) -> Path:
    """Path of the weights file, which need not exist.

    ``weights`` if given, else the user's own copy (``bob config set
    bob_recon_plugin.weights.NAME FILE``), else where the description says.

    Raises
    ------
    FileNotFoundError
        If the package that carries the file is not installed.
    """
    own = weights or setting(rc_key(recognizer))
    if own:
        return Path(own).expanduser()
    package, colon, inside = recognizer.weights.partition(":")
    if colon and not Path(recognizer.weights).is_absolute():
        return _in_package(recognizer, package, inside)
    return bob_data_directory() / recognizer.weights  # an absolute path stays as it is


def _in_package(recognizer: Recognizer, package: str, inside: str) -> Path:
    # found, not imported: such packages may load models when imported
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingFileError(
            f"`weights` of {recognizer.name} must be in the package {package}, got no such "
            f"package; {_remedy(recognizer)}"
        )
    return Path(next(iter(spec.submodule_search_locations))) / inside


def at_hand(recognizer: Recognizer) -> Path | None:
    """Path of the weights file; None where it is not here."""
    try:
        path = locate(recognizer)
    except FileNotFoundError:  # its package is not installed
        return None
    return path if path.is_file() else None


def _remedy(recognizer: Recognizer) -> str:
    return (
        f"{recognizer.source}, or point to an own copy with weights= or "
        f"`bob config set {rc_key(recognizer)} FILE`."
    )


def verified(recognizer: Recognizer, weights: str | Path | None = None) -> Path:
    """Path of the weights file, present and with the hash of the description.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another file than the description means.
    """
    path = existing_file(
        f"weights of {recognizer.name}", locate(recognizer, weights), _remedy(recognizer)
    )
    found = sha256(path)
    if recognizer.sha256 not in (None, found):
        raise InputError(
            f"`weights` of {recognizer.name} must have SHA-256 {recognizer.sha256}, got {found} "
            f"({path}); {_remedy(recognizer)} A model of your own gets an own description: "
            "recognizers.from_onnx, or dataclasses.replace with its name and sha256."
        )
    return path
