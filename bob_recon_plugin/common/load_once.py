"""Load a file once a process, and again when it changes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")


def load_once(load: Callable[..., _T]) -> Callable[..., _T]:
    """Decorate a function that loads a file, so that all callers in a process share its result.

    Estimators are pickled and copied often: they hold a path, and load the file with such a
    function. The four most recent results are kept. Threads do not load the same file twice.

    Parameters
    ----------
    load : callable
        Takes the path of an existing file, then hashable arguments.
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
