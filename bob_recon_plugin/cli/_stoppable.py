"""The class of every subcommand: Ctrl-C and SIGTERM end it with a sentence and a status."""

from __future__ import annotations

from typing import Any

import click

from ..common.stopping import stoppable


class Stoppable(click.Command):
    """A command that says what is kept when it is stopped.

    Parameters
    ----------
    kept : str
        The sentence; ``{output}`` and the like are the command's options.
    """

    def __init__(self, *args: Any, kept: str, **more: Any):
        super().__init__(*args, **more)
        self.kept = kept

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with stoppable(self.kept.format_map(ctx.params)):
            return super().invoke(ctx)
