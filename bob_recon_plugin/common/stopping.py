"""Stop a command on Ctrl-C, or on SIGTERM from a job queue, with a message."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

#: Exit statuses as in shells: 128 plus the number of the signal.
INTERRUPTED, TERMINATED = 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM was received; job queues send it at a time limit."""


@contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """Print a message when Ctrl-C or SIGTERM stops the block.

    Parameters
    ----------
    kept : str
        A sentence: which results are kept, and how to continue.

    Raises
    ------
    SystemExit
        Within a command, with the status 130 or 143.
    KeyboardInterrupt
        Outside of commands.
    """
    before = _raise_on_signals()
    try:
        yield
    except (KeyboardInterrupt, click.Abort, SystemExit) as error:
        if (stop := _stop(error)) is None:
            raise
        context = click.get_current_context(silent=True)
        if context is not None and context.params.get("force"):
            kept += " Leave out --force, which would start from the beginning."
        click.echo(f"\nStopped. {kept}", err=True)
        if context is None:
            raise
        raise SystemExit(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_on_signals() -> dict[signal.Signals, Any]:
    """Make both signals raise errors, and return their old handlers; ignored signals stay so."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] in (signal.SIG_IGN, None):
        del before[signal.SIGINT]
    else:  # dask_jobqueue's handler would exit with success
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if before[signal.SIGTERM] is not signal.SIG_DFL:
        del before[signal.SIGTERM]
    else:
        signal.signal(signal.SIGTERM, _terminate)
    return before


def _terminate(*_: Any) -> NoReturn:
    raise Terminated


def _stop(error: BaseException) -> BaseException | None:
    """Return the error by which a signal stopped the block; None for any other error."""
    if isinstance(error, SystemExit):
        if error.code is None:  # by dask_jobqueue's handler, if imported in the block
            return KeyboardInterrupt()
        if error.code in (INTERRUPTED, TERMINATED):  # the message was printed already
            return None
        error = error.__context__ or error  # Lightning exits with another status
    if isinstance(error, click.Abort):
        error = error.__cause__ or error
    return error if isinstance(error, KeyboardInterrupt) else None
