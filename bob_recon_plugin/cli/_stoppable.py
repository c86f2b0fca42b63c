"""The class of every subcommand: the one place for its errors and for the signals that stop it."""

from __future__ import annotations

from typing import Any

import click

from ..common.stopping import stoppable


class Stoppable(click.Command):
    """A command that shows wrong input as one sentence, and says what is kept when it is stopped.

    Parameters
    ----------
    kept : str
        The sentence for Ctrl-C and SIGTERM; ``{output}`` and the like are options of the command.
    """

    def __init__(self, *args: Any, kept: str, **more: Any):
        super().__init__(*args, **more)
        self.kept = kept

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; its imports are covered too."""
        with stoppable(self.kept.format_map(ctx.params)):
            from ..common.validation import short_errors  # loads numpy

            with short_errors():
                return super().invoke(ctx)
