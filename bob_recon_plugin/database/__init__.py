"""Databases: local folders, the demo faces, and LFW and MOBIO in a form that works in Bob 12.

Classes are imported when first used, since each imports parts of Bob.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .demo import DemoDatabase
    from .folder import FolderDatabase
    from .lfw import LFWDatabase
    from .mobio import MobioDatabase

__all__ = [
    "DemoDatabase",
    "FolderDatabase",
    "LFWDatabase",
    "MobioDatabase",
]

_MODULES = {
    "DemoDatabase": "demo",
    "FolderDatabase": "folder",
    "LFWDatabase": "lfw",
    "MobioDatabase": "mobio",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
