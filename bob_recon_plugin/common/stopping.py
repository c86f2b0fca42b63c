"""What ends a command before its time: Ctrl-C, or a queue at its time limit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

#: Exit statuses, as shells give them: 128 and the number of the signal.
INTERRUPTED, TERMINATED = 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM came, which queues send at a time limit."""


@contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """Say what is kept when Ctrl-C or SIGTERM ends the block.

    Parameters
    ----------
    kept : str
        A sentence: what is kept, and how to go on.

    Raises
    ------
    SystemExit
        Within a command, with the status 130 or 143.
    KeyboardInterrupt
        Outside of commands.
    """
    before = _heed()
    try:
        yield
    except (KeyboardInterrupt, click.Abort, SystemExit) as error:
        if (stop := _stop(error)) is None:
            raise
        context = click.get_current_context(silent=True)
        if context is not None and context.params.get("force"):
            kept += " Leave --force out: it would begin anew."
        click.echo(f"\nStopped. {kept}", err=True)
        if context is None:
            raise
        raise SystemExit(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heed() -> dict[signal.Signals, Any]:
    """Let both signals be errors, and return what they were; what is ignored stays so."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] in (signal.SIG_IGN, None):
        del before[signal.SIGINT]
    else:  # importing dask_jobqueue makes it a silent success
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if before[signal.SIGTERM] is not signal.SIG_DFL:
        del before[signal.SIGTERM]
    else:
        signal.signal(signal.SIGTERM, _terminate)
    return before


def _terminate(*_: Any) -> NoReturn:
    raise Terminated


def _stop(error: BaseException) -> BaseException | None:
    """What stopped the command; None for what ended it otherwise."""
    if isinstance(error, SystemExit):
        if error.code is None:  # of dask_jobqueue's handler, where it was imported in the block
            return KeyboardInterrupt()
        if error.code in (INTERRUPTED, TERMINATED):  # said already
            return None
        error = error.__context__ or error  # Lightning leaves by another status
    if isinstance(error, click.Abort):
        error = error.__cause__ or error
    return error if isinstance(error, KeyboardInterrupt) else None
