"""Read a file once a process, and again when it changes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")


def load_once(load: Callable[..., _T]) -> Callable[..., _T]:
    """Decorate a function of a file so that all callers in a process share what it returns.

    Estimators are pickled and copied freely; they hold paths, and load through this. The four
    results that were used last are kept. Threads that start together load one copy.

    Parameters
    ----------
    load : callable
        Of the path of an existing file, and of arguments that can be hashed.
    """
    lock = threading.Lock()

    @lru_cache(maxsize=4)
    def loaded(path: str, _modified: int, _size: int, *args: Any) -> _T:
        return load(Path(path), *args)

    @wraps(load)
    def shared(path: str | os.PathLike[str], *args: Any) -> _T:
        file = Path(path).expanduser().resolve()
        state = file.stat()
        with lock:
            return loaded(str(file), state.st_mtime_ns, state.st_size, *args)

    return shared
