"""Keep freed memory in the process: giving large tensors back at every step costs much time."""

from __future__ import annotations

import ctypes
from functools import lru_cache

# of malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Ask glibc, once, to keep what is freed for the next batch.

    A network's activations are freed and asked for at every batch; by default
    each large one goes back to the kernel, which clears it again. Threads that start later
    share one heap, which alone can keep large ones. Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 1 << 28)
    mallopt(_MMAP_THRESHOLD, 2**31 - 1)
    mallopt(_ARENA_MAX, 1)
