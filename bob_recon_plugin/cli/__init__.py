"""Subcommands of ``bob bio recon``, one file each, imported when they are run.

A file ``some_name.py`` in this folder holds a click command called ``some_name`` and is listed as
``some-name``. It imports nothing but click at its top, so that ``--help`` is fast. The
command is a `Stoppable`, with a sentence on what is kept when Ctrl-C ends it.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import click

_GUIDE = Path(__file__).parents[1] / "guide" / "index.md"


class _LazyGroup(click.Group):
    """Group whose subcommands are the modules beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = (module.name for module in pkgutil.iter_modules(__path__))
        return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        return getattr(importlib.import_module(f"{__name__}.{name}"), name)


@click.group(cls=_LazyGroup, epilog=f"\b\nGuide: {_GUIDE}")
def recon() -> None:
    """Measure how far a face recognition system is exposed to template inversion.

    A stolen template is inverted to a face, and the face is presented to the system.

    \b
    Run the demo, without network, then print how many attacks are accepted:
        bob bio pipeline simple recon-demo -o results
        bob bio recon metrics results/scores-dev.csv

    \b
    To attack another system name a database, a pipeline, then recon:
        bob bio pipeline simple recon-lfw-view2 arcface-mbf recon -o results
    """
