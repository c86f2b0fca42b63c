"""Something to do on the client once Dask has computed a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dask.delayed import Delayed
from tqdm.dask import TqdmCallback


class AfterCompute(Delayed):
    """A Delayed that shows its progress and calls ``then()`` after ``compute``.

    Bob computes the scores at the end of its command and returns; workers of a
    cluster must not print reports, and the client gets no other hook.
    """

    __slots__ = ("_then",)

    @classmethod
    def of(cls, delayed: Delayed, then: Callable[[], None]) -> AfterCompute:
        """Take over ``delayed``."""
        self = cls(delayed.key, delayed.dask, layer=delayed._layer)
        self._then = then
        return self

    def compute(self, **kwargs: Any) -> Any:
        """Compute as a Delayed does, then call back."""
        # shown on terminals; clusters have Dask's dashboard
        with TqdmCallback(desc="attack", unit="task", disable=None):
            result = super().compute(**kwargs)
        self._then()
        return result
