"""Templates of every system against every system: one run of Bob's command a cell."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.description import describe
from ..common.files import sha256
from ..common.json_files import read
from ..common.record import versions, write_json
from ..common.validation import InputError
from ..database.content import describe_database
from .chain import decoder_for

_RECORD, _CHAIN = "cell.json", "cell.py"


@dataclass(frozen=True)
class Cell:
    """One pair of systems.

    Attributes
    ----------
    inverted, attacked : str
        Resources, or files, of the leaked system and of the attacked system.
    decoder : Path
        Of the inverted system.
    folder : Path
        Of the run.
    decides : mapping
        What decides its scores: database, systems and decoder, by content.
    """

    inverted: str
    attacked: str
    decoder: Path
    folder: Path
    decides: Mapping[str, Any]

    @property
    def chain(self) -> list[str]:
        """Everything between the database and the options of the command."""
        leaked = [self.inverted, "recon-leaked"] if self.inverted != self.attacked else []
        return [*leaked, self.attacked, str(self.folder / _CHAIN), "recon"]

    def run(self, command: Callable[[list[str]], None], database: str, more: list[str]) -> bool:
        """Run the cell unless it is done; return whether it was run.

        ``command`` runs `bob bio pipeline simple` with the given arguments.
        """
        about = {
            "database": database,
            "chain": self.chain,
            "decides": json.loads(json.dumps(self.decides)),
            "options": more,
            "versions": versions(),
        }
        record = self.folder / _RECORD
        with suppress(OSError, ValueError):  # no record, or a damaged one: not done
            if read(record) == about:
                return False
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"decoder = {str(self.decoder)!r}", f"embeddings = {str(self._shared)!r}"]
        (self.folder / _CHAIN).write_text("\n".join(lines) + "\n", encoding="utf-8")
        command([database, *self.chain, "-o", str(self.folder), *more])
        write_json(record, about)
        return True

    @property
    def _shared(self) -> Path:
        """What systems make of images, for all cells."""
        return self.folder.parent / "embeddings"


def cells(
    database: str, systems: Sequence[str], decoders: Mapping[str, str], output: Path
) -> list[Cell]:
    """Pair every system that has a decoder with every system.

    Parameters
    ----------
    database : str
        Resource or file, as `bob bio pipeline simple` takes it.
    systems : sequence of str
        Resources or files of pipelines.
    decoders : mapping of str to str
        Decoder of a system; else that of the user's settings, or the shipped one.
    output : Path
        Folder for the runs, which are called INVERTED-on-ATTACKED.

    Returns
    -------
    list of Cell
        In the order of the systems.

    Raises
    ------
    click.UsageError, FileNotFoundError, ValueError
        Before anything runs, when a system, its weights or its decoder is missing, or is another.
    """
    if unknown := sorted(set(decoders) - set(systems)):
        raise InputError(
            f"`--decoder` must be for one of the systems {', '.join(systems)}, got "
            f"{', '.join(unknown)}; name the system as you do in the matrix."
        )
    names = {system: _short(system) for system in systems}
    if len(set(names.values())) < len(systems):
        raise InputError(
            f"`systems` must have names of their own, got {', '.join(systems)}; leave out what is "
            "given twice, or rename a file."
        )
    found = {system: _checked(database, system, decoders.get(system)) for system in systems}
    about = describe_database(_loaded(database, systems[0]).database)
    return [
        Cell(
            inverted,
            attacked,
            found[inverted][0],
            output / f"{names[inverted]}-on-{names[attacked]}",
            {
                "database": about,
                "inverted": found[inverted][1],
                "attacked": found[attacked][1],
                "decoder": sha256(found[inverted][0]),
            },
        )
        for inverted in systems
        for attacked in systems
    ]


def _short(system: str) -> str:
    return Path(system).stem if system.endswith(".py") else system


def _loaded(database: str, system: str) -> Any:
    from clapper.config import load

    try:
        return load([database, system], entry_point_group="bob.bio.config")
    except InputError:
        raise
    except (ImportError, SyntaxError, ValueError) as error:
        raise InputError(
            f"database and systems must be names of resources or Python files, got {database} and "
            f"{system} ({error}); correct the name or the file."
        ) from error


def _checked(database: str, system: str, chosen: str | None) -> tuple[Path, dict[str, Any]]:
    """Load a system and its decoder; return the decoder's path and the system's description."""
    from ..inversion.reconstructor import FaceReconstructor
    from ..recognizers import identify

    pipeline = _loaded(database, system).pipeline
    about = identify(pipeline.transformer)
    decoder = decoder_for(about.name, chosen)
    FaceReconstructor(decoder, about.name if about.sha256 else None, about.sha256).validate()
    described = {
        "system": describe(pipeline.transformer),
        "algorithm": describe(pipeline.biometric_algorithm),
    }
    return Path(decoder).absolute(), described
