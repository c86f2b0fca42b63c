"""`python -m tests.slurm up|down`: a Slurm on this machine, by hand."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests import slurm

FOLDER = Path(tempfile.gettempdir(), "slurm-by-hand")


def main(arguments: list[str]) -> str | None:
    """Do what is asked; return what went wrong."""
    if arguments == ["up"]:
        if reason := slurm.unavailable():
            return reason
        if FOLDER.exists():
            return f"{FOLDER} must not exist, got one; `python -m tests.slurm down` first."
        try:
            print(f"export SLURM_CONF={slurm.up(FOLDER)}")
        except BaseException:
            slurm.down(FOLDER)
            raise
        return None
    if arguments == ["down"]:
        return slurm.down(FOLDER)
    return "usage: python -m tests.slurm up|down"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
