"""What a part of the work took: images and seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds and images of a part of the work, since the clock was made.

    Examples
    --------
    >>> sum([Clock(3, 1.5), Clock(1, 0.5)], Clock())
    Clock(images=4, seconds=2.0)
    """

    images: int = 0
    seconds: float = 0.0

    def __add__(self, other: Clock) -> Clock:
        return Clock(self.images + other.images, self.seconds + other.seconds)

    @classmethod
    def since(cls, started: float, images: int) -> Clock:
        """Return what a part took that started at a value of ``time.perf_counter``."""
        return cls(images, time.perf_counter() - started)
