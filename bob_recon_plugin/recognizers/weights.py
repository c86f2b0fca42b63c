"""Find the weights file of a recognition model, and verify its hash."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from ..common.files import sha256
from ..common.settings import bob_data_directory, setting
from ..common.validation import InputError, MissingFileError, existing_file
from .description import Recognizer
from .onnx.external import external_files


def setting_key(recognizer: Recognizer) -> str:
    """Key of the setting that names the user's copy of the weights file."""
    return f"bob_recon_plugin.weights.{recognizer.name}"


def locate(recognizer: Recognizer, weights: str | Path | None = None) -> Path:
    """Return the path of the weights file, which may not exist.

    ``weights`` if given, else the file in the user's settings (``bob config set
    bob_recon_plugin.weights.NAME FILE``), else the file in the description.

    Raises
    ------
    FileNotFoundError
        If the package with the file is not installed.
    """
    own = weights or setting(setting_key(recognizer))
    if own:
        return Path(own).expanduser()
    package, colon, inside = recognizer.weights.partition(":")
    if colon and not Path(recognizer.weights).is_absolute():
        return _in_package(recognizer, package, inside)
    return bob_data_directory() / recognizer.weights  # an absolute path is not changed


def _in_package(recognizer: Recognizer, package: str, inside: str) -> Path:
    # not imported, since such packages may load models at import
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
        f"{recognizer.source}, or name your copy of the file with weights= or "
        f"`bob config set {setting_key(recognizer)} FILE`."
    )


def model_sha256(path: str | Path, network: str) -> str:
    """Return the SHA-256, in hexadecimal, of the weights of a model, external data included.

    Files are read once a process, and again when they change.

    Parameters
    ----------
    path : str or Path
        The weights file.
    network : str
        As in :class:`~.description.Recognizer`.

    Returns
    -------
    str
        Of the file; of an ONNX file with external data, of the hashes of all its files.

    Raises
    ------
    FileNotFoundError
        When the file, or a file with its external data, does not exist.
    ValueError
        When the external data is outside the model's folder.
    """
    path = Path(path).expanduser()
    own = sha256(path)
    others = external_files(path) if network == "onnx" else []
    if not others:
        return own
    return hashlib.sha256("".join([own, *map(sha256, others)]).encode()).hexdigest()


def verified(recognizer: Recognizer, weights: str | Path | None = None) -> Path:
    """Return the path of the weights file, which exists and has the hash of the description.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the hash is not that of the description.
    """
    path = existing_file(
        f"weights of {recognizer.name}", locate(recognizer, weights), _remedy(recognizer)
    )
    found = model_sha256(path, recognizer.network)
    if recognizer.sha256 not in (None, found):
        raise InputError(
            f"`weights` of {recognizer.name} must have SHA-256 {recognizer.sha256}, got {found} "
            f"({path}); {_remedy(recognizer)} For another model, write another description: "
            "use recognizers.from_onnx, or dataclasses.replace with its name and sha256."
        )
    return path
