"""What was run: everything the record of a run tells, in a reader's order."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from bob_recon_plugin.common.files import sha256
from bob_recon_plugin.evaluation.findings import Verdict
from bob_recon_plugin.evaluation.run_folder import Run, took_part

from .style import count

_UNKNOWN = "not recorded"
#: what has a row of its own; the rest of a record is told behind it, under these names or its own
_IDENTITY = (
    *("recognizer", "system", "algorithm", "inverted", "leak"),
    *("decoder", "reentry", "database", "version"),
)
_DECODER = ("name", "preset", "sha256", "recognizer", "class")
_NAMES = {
    "refinement": "Refinement of the faces",
    "portraits": "whole pictures",
}


def title(run: Run) -> str:
    """Heading of a run: which templates against which system."""
    if not run.identity:
        return run.name
    if run.inverted == run.attacked:
        return f"{run.attacked}, attacked with its own templates"
    return f"{run.attacked}, attacked with templates of {run.inverted}"


def subtitle(run: Run) -> str:
    """Where the numbers come from, one line."""
    parts = [f"Run {run.name}"]
    if run.identity:
        parts.append(f"database {run.database}")
        parts.append(f"re-entry at the {run.identity.get('reentry', _UNKNOWN)}")
    else:
        parts.append("a score file alone: what was run is not recorded")
    return ", ".join(parts) + "."


def protection(run: Run) -> str:
    """What the templates are that leaked, and what the attacker makes of them first."""
    leaked = "inverted" if "inverted" in run.identity else "attacked"
    algorithm = run.identity.get("inverted", run.identity).get("algorithm")
    if algorithm is None:
        told = "whatever the unrecorded system stores"
    elif _plain(algorithm):
        told = "plain embeddings, without protection"
    else:
        told = f"what {_settings(run, leaked, 'algorithm')} stores"
    steps = _steps(run)
    return told + (f"; the decoder gets them after {', then '.join(steps)}" if steps else "")


def linked(run: Run) -> str:
    """What the genuine scores compare, of which the linkability is measured."""
    told = "an enrolled template and a probe of the same person, as the attacked system compares"
    if "algorithm" not in run.identity or _plain(run.identity["algorithm"]):
        return told
    return f"{told}; templates under two keys of one person were not compared"


def systems_of(run: Run) -> dict[str, str]:
    """Every setting of the systems, as recorded, by which system it is."""
    settings = run.record.get("settings", {})
    names = [name for name in ("attacked", "inverted") if name in settings]
    return {name: str(settings[name]["system"]) for name in names}


def _settings(run: Run, of: str, what: str) -> str:
    """Settings of a system or of its comparison, for a reader, on one line."""
    return _line(run.record.get("settings", {}).get(of, {}).get(what, _UNKNOWN))


def _steps(run: Run) -> list[str]:
    """Template steps, for a reader."""
    return [_line(step) for step in run.record.get("settings", {}).get("leak", [])]


def _plain(algorithm: Mapping[str, Any]) -> bool:
    """Whether an algorithm, as described, is Bob's comparison of plain embeddings."""
    return str(algorithm.get("class", "")).endswith(".Distance")


def _line(settings: object) -> str:
    """Settings on one line."""
    return " ".join(str(settings).split())


def facts(verdict: Verdict) -> list[tuple[str, str]]:
    """Name and value of each fact about the run."""
    run = verdict.run
    return [
        *_counts(verdict),
        *[(f"Score file, {g}", f"{p.name}, SHA-256 {sha256(p)}") for g, p in run.files.items()],
        *_identity(run),
        *_thresholds(verdict),
    ]


def _counts(verdict: Verdict) -> list[tuple[str, str]]:
    found = []
    run = verdict.run
    for group, table in (("dev", run.dev), ("eval", run.eval)):
        if table is None:
            continue
        rows = ", ".join(f"{count(len(table.rows(kind)))} {kind}" for kind in table.kinds)
        people = {*table.probe_subject.tolist(), *table.reference_subject.tolist()}
        references = set(table.reference.tolist()) - {-1}
        told = f"{rows} comparisons; {count(len(people))} people"
        told += f"; {count(len(references))} references" if references else ""
        found.append((f"Data, {group}", told))
    return found


def _identity(run: Run) -> list[tuple[str, str]]:
    identity, card = run.identity, run.record.get("card", {})
    if not identity:
        return [("Run", _UNKNOWN)]
    decoder = identity.get("decoder", {})
    settings = json.dumps(identity.get("database", {}), sort_keys=True)
    seed = card.get("seed")
    return [
        ("Command", str(run.record.get("command", _UNKNOWN))),
        ("Database", settings),
        ("Attacked system", _with_hash(identity.get("recognizer", {}))),
        ("Its comparison", _settings(run, "attacked", "algorithm")),
        *_inverted(run),
        *([("Before the decoder", "; ".join(_steps(run)))] if _steps(run) else []),
        ("What the attacker knows", _knowledge(run)),
        ("Decoder", _with_hash(decoder)),
        ("Its training", str(decoder.get("preset") or card.get("preset") or _UNKNOWN)),
        ("Its training data", str(card.get("training_data") or _UNKNOWN)),
        ("Its training seed", _UNKNOWN if seed is None else str(seed)),
        ("Re-entry", str(identity.get("reentry", _UNKNOWN))),
        *_more("Decoder, ", decoder, _DECODER),
        *_more("", identity, _IDENTITY),
        *_models(run),
        ("Versions", ", ".join(f"{k} {v}" for k, v in run.record.get("versions", {}).items())),
    ]


def _inverted(run: Run) -> list[tuple[str, str]]:
    """The system whose templates leaked, where it is not the one under attack."""
    if "inverted" not in run.identity:
        return [("Inverted system", run.inverted)]
    return [
        ("Inverted system", _with_hash(run.identity["inverted"].get("recognizer", {}))),
        ("Its comparison", _settings(run, "inverted", "algorithm")),
    ]


def _more(before: str, about: Mapping[str, Any], known: Collection[str]) -> list[tuple[str, str]]:
    """What decided the results too, whatever it is: nothing of the record is left out."""
    found = []
    for name, value in about.items():
        if name not in known and value not in (None, "", [], {}):
            told = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            found.append((before + _NAMES.get(name, name), _line(told)))
    return found


def _models(run: Run) -> list[tuple[str, str]]:
    """Every recognition model that took part, a line each, with what it did."""
    roles: dict[tuple[str, str | None], list[str]] = {}
    for part in took_part(run.record):
        roles.setdefault((part.model.name, part.model.sha256), []).append(part.role)
    told = [
        f"{name} (SHA-256 {digest or _UNKNOWN}) {', '.join(did)}"
        for (name, digest), did in roles.items()
    ]
    return [("Recognition models", "; ".join(told))]


def _knowledge(run: Run) -> str:
    threat = run.record.get("threat", {})
    if not threat:
        return _UNKNOWN
    return f"attack {threat['attack']} of 5: {threat['knowledge']}"


def _with_hash(about: dict[str, Any]) -> str:
    digest = about.get("sha256")
    return f"{about.get('name', _UNKNOWN)}, SHA-256 {digest or _UNKNOWN}"


def _thresholds(verdict: Verdict) -> list[tuple[str, str]]:
    cuts = ", ".join(
        f"{p.threshold:.10g} at FMR {p.target:g} ({p.fmr.k} of {p.fmr.n} impostors of {p.group} "
        "accepted)"
        for p in verdict.points
    )
    group = verdict.points[0].threshold_group
    used = count(verdict.points[0].threshold_impostors)
    found = [("Thresholds", f"from {used} impostors of {group}: {cuts}")]
    if verdict.spreads:
        kept = ", ".join(str(s.replicates) for s in verdict.spreads)
        told = f"{verdict.replicates} replicates ({kept} complete), seed {verdict.seed}, "
        told += f"{count(verdict.spreads[0].subjects)} people"
        found.append(("Bootstrap", told))
    return found
