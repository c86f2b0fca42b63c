"""The output of a run: its score files, its record and its faces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..common.files import inside
from ..common.identity import Identity
from ..common.json_files import read as read_json
from ..common.record import FILE_NAME
from ..common.validation import InputError, MissingFileError
from .scores import Comparisons, check_groups, read

#: what a report shows for facts that a run did not record
UNKNOWN = "not recorded"
#: parts of a record that are objects
_OBJECTS = ("identity", "card", "threat", "versions", "database", "decoder", "recognizer")


@dataclass(frozen=True, eq=False)
class RunFolder:
    """The results of an attacked system, read from disk and complete enough for a report.

    Attributes
    ----------
    name : str
        Of the folder, or of the score file.
    folder : Path
        The folder of ``faces/``, if faces were kept.
    files : mapping of str to Path
        Score file of each group, "dev" first.
    dev : Comparisons
        The group that sets the thresholds.
    eval : Comparisons or None
        The group that is reported; if None, dev is.
    record : mapping
        Content of ``recon-run.json``; empty for a bare score file.
    """

    name: str
    folder: Path
    files: Mapping[str, Path]
    dev: Comparisons
    eval: Comparisons | None
    record: Mapping[str, Any]

    @property
    def reported(self) -> Comparisons:
        """The group whose rates are reported."""
        return self.dev if self.eval is None else self.eval

    @property
    def group(self) -> str:
        """Name of the group whose rates are reported."""
        return "dev" if self.eval is None else "eval"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decided the results, as recorded; empty for a bare score file."""
        return self.record.get("identity", {})

    @property
    def inverted(self) -> str:
        """Name of the system whose templates leaked."""
        if "inverted" in self.identity or self.identity.get("leak"):
            return str(self.record.get("threat", {}).get("leaked", UNKNOWN))
        return str(self.identity.get("decoder", {}).get("recognizer", UNKNOWN))

    @property
    def attacked(self) -> str:
        """Name of the system under attack."""
        return str(self.identity.get("recognizer", {}).get("name", UNKNOWN))

    @property
    def database(self) -> str:
        """Class of the database, with its protocol."""
        about = self.identity.get("database", {})
        name, protocol = about.get("class", UNKNOWN), about.get("protocol")
        return f"{name} ({protocol})" if protocol else name

    def face(self, template: str) -> Path:
        """Path of the reconstruction with a ``probe_template_id``.

        Raises
        ------
        ValueError
            For an identifier that is a path out of the folder of faces.
        """
        return inside(self.folder / "faces", f"{template}.png")


def open_run(path: str | Path, distances: bool = False) -> RunFolder:
    """Read the results of ``bob bio pipeline simple ... recon -o RUN``.

    Parameters
    ----------
    path : str or Path
        The folder with ``scores-dev.csv`` and optionally ``scores-eval.csv``; or one score file,
        which then sets its own thresholds.
    distances : bool
        Whether the score files hold distances, where lower means more similar.

    Returns
    -------
    RunFolder

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file, or no ``scores-dev.csv`` in it.
    ValueError
        If a file cannot be read, or lacks the scores that a report needs.
    """
    path = Path(path).expanduser()
    files = _in_folder(path) if path.is_dir() else {"dev": path}
    check_groups(files["dev"], files.get("eval"))
    tables = {group: read(file, distances) for group, file in files.items()}
    _needs(tables["dev"], files["dev"], ("impostor",))
    reported = list(files)[-1]
    _needs(tables[reported], files[reported], ("genuine", "impostor", "attack"))
    folder = path if path.is_dir() else path.parent
    name = (path if path.is_dir() else path.with_suffix("")).resolve().name
    if not path.is_dir() and name.startswith("scores-"):
        name = f"{path.resolve().parent.name}/{name}"
    return RunFolder(name, folder, files, tables["dev"], tables.get("eval"), _record(folder))


def _in_folder(folder: Path) -> dict[str, Path]:
    dev, eval_ = (folder / f"scores-{group}.csv" for group in ("dev", "eval"))
    if not dev.is_file():
        raise MissingFileError(
            f"`run` must be a folder with scores-dev.csv, got {folder} without it"
            + (", and eval sets no threshold" if eval_.is_file() else "")
            + "; give the output folder of `bob bio pipeline simple ... recon -g dev`."
        )
    return {"dev": dev} | ({"eval": eval_} if eval_.is_file() else {})


def _needs(table: Comparisons, path: Path, classes: tuple[str, ...]) -> None:
    """Raise ValueError unless every class has scores."""
    rows = {"genuine": table.rows("genuine"), "impostor": table.rows("impostor")}
    rows["attack"] = np.flatnonzero(table.kind > 1)
    if len(rows["attack"]) == len(table.kind):
        raise InputError(
            f"`scores` must hold genuine and zero-effort rows beside the attacks, got "
            f"{len(table.kind)} attack rows and nothing else in {path}: without impostors there is "
            "no threshold; give the scores-dev.csv that the run wrote."
        )
    remedies = {
        "genuine": "are the subject ids of probes and references those of one list?",
        "impostor": "a threshold needs zero-effort impostors, so compare different people too.",
        "attack": "give the full score file, not the licit one.",
    }
    for name in classes:
        if not len(rows[name]):
            raise InputError(
                f"`scores` must hold {name} rows, got none among {len(table.kind)} in {path}; "
                f"{remedies[name]}"
            )
        if np.isnan(table.score[rows[name]]).all():
            raise InputError(
                f"`scores` must hold {name} scores, got nan for all {len(rows[name])} in {path}: "
                "no image was acquired; check the cropper and the annotations."
            )


def _record(folder: Path) -> Mapping[str, Any]:
    path = folder / FILE_NAME
    if not path.is_file():
        return {}
    try:
        record = read_json(path)
        parts = {**record, **record["identity"]}
        for name in _OBJECTS:
            if not isinstance(parts.get(name, {}), dict):
                raise ValueError(f"{name} holds {type(parts[name]).__name__}, not an object")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} must be the record of the run, got a file that cannot be read ({error}); "
            "run the pipeline again, or give the score file alone from another folder."
        ) from error
    return record


class Part(NamedTuple):
    """A recognition model that took part in a run, and its role."""

    role: str
    model: Identity


def took_part(record: Mapping[str, Any]) -> list[Part]:
    """List every recognition model that took part in a run.

    Parameters
    ----------
    record : mapping
        Content of ``recon-run.json``; empty where there is none.

    Returns
    -------
    list of Part
        One for each role; a model with several roles is listed several times.
    """
    from ..decoders import ModelCard  # loads torch

    def model(about: Mapping[str, Any]) -> Identity | None:
        return Identity(str(about["name"]), about.get("sha256")) if about.get("name") else None

    identity, card = record.get("identity", {}), record.get("card", {})
    leaked = identity.get("inverted", identity).get("recognizer", {})
    parts = [
        ("is under attack", model(identity.get("recognizer", {}))),
        ("made the stolen templates", model(leaked)),
    ]
    if card.get("recognizer"):
        decoder = ModelCard.from_json(json.dumps(card))
        parts.append(("made the embeddings that the decoder inverts", decoder.inverts))
        parts.append(("judged the decoder's training", decoder.judged_by()))
        if "refinement" in identity:
            parts.append(("refined the faces", decoder.inverts))
    elif inverted := identity.get("decoder", {}).get("recognizer"):
        parts.append(("made the embeddings that the decoder inverts", Identity(inverted)))
    for adapter in record.get("adapters", []):
        for side, what in (("source", "went into"), ("target", "came out of")):
            role = f"made the embeddings that {what} the training of an adapter"
            parts.append((role, Identity(adapter[side], adapter[f"{side}_sha256"])))
    return [Part(role, known) for role, known in parts if known is not None]
