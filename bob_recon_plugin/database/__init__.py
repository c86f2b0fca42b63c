"""Databases that Bob lacks or cannot open: LFW repaired, MOBIO, local folders, the demo faces.

Names are imported when first used: a worker that unpickles a sample needs the
image reader only, not every database of Bob.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..images.annotations import ALIGNED_POSITIONS
    from ..images.reading import load_image
    from .demo import DemoDatabase
    from .folder import FolderDatabase
    from .lfw import LFWDatabase
    from .mobio import MobioDatabase

__all__ = [
    "ALIGNED_POSITIONS",
    "DemoDatabase",
    "FolderDatabase",
    "LFWDatabase",
    "MobioDatabase",
    "load_image",
]

_MODULES = {
    "ALIGNED_POSITIONS": "_annotations",
    "DemoDatabase": "demo",
    "FolderDatabase": "folder",
    "LFWDatabase": "lfw",
    "MobioDatabase": "mobio",
    "load_image": "_images",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
