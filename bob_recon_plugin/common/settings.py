"""Settings of the user, read from ``bobrc.toml`` when asked for and never at import."""

from __future__ import annotations

import os
from pathlib import Path

from .validation import existing_directory


def setting(key: str, default: str | None = None) -> str | None:
    """Return what ``bob config set KEY VALUE`` has stored, or ``default``."""
    from clapper.rc import UserDefaults

    return UserDefaults("bobrc.toml").get(key, default)


def bob_data_directory() -> Path:
    """Return the folder in which Bob keeps what it fetches."""
    return Path(setting("bob_data_dir") or Path.home() / "bob_data").expanduser()


def directory(name: str, given: str | Path | None, key: str) -> str:
    """Return the absolute path of the folder ``given``, or of the one that ``key`` names.

    Raises FileNotFoundError when neither names an existing folder.
    """
    remedy = f"pass `{name}` or type `bob config set {key} PATH`."
    # workers may run in another folder
    return os.path.abspath(existing_directory(name, given or setting(key), remedy))
