"""The user's settings in ``bobrc.toml``, read at each call and never at import."""

from __future__ import annotations

import os
from pathlib import Path

from .validation import existing_directory


def setting(key: str, default: str | None = None) -> str | None:
    """Return the value that ``bob config set KEY VALUE`` stored, or ``default``."""
    from clapper.rc import UserDefaults

    return UserDefaults("bobrc.toml").get(key, default)


def bob_data_directory() -> Path:
    """Return the folder of the files that Bob downloads."""
    return Path(setting("bob_data_dir") or Path.home() / "bob_data").expanduser()


def directory(name: str, given: str | Path | None, key: str) -> str:
    """Return the absolute path of the folder ``given``, or of the folder in the setting ``key``.

    Raises FileNotFoundError when there is no such folder.
    """
    remedy = f"pass `{name}` or type `bob config set {key} PATH`."
    # absolute, since workers may run in another folder
    return os.path.abspath(existing_directory(name, given or setting(key), remedy))
