"""Keep freed memory in the process, since returning large tensors to the kernel is slow."""

from __future__ import annotations

import ctypes
from functools import lru_cache

# of malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Tell glibc, once a process, to keep freed memory for the next batch.

    A network's activations are allocated and freed for every batch. By default, glibc returns
    large ones to the kernel, which clears them each time. Threads
    that start later share one heap, the only one that can keep large ones. Does nothing for other
    C libraries.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 1 << 28)
    mallopt(_MMAP_THRESHOLD, 2**31 - 1)
    mallopt(_ARENA_MAX, 1)
