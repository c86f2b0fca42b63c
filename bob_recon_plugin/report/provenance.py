"""What was run: the content of a run's record, ordered for readers."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from ..common.files import sha256
from ..evaluation.findings import Findings
from ..evaluation.run_folder import UNKNOWN, RunFolder, took_part
from .style import count

#: settings with a row of their own; all others follow, under their name or that of `_NAMES`
_IDENTITY = (
    *("recognizer", "system", "algorithm", "inverted", "leak"),
    *("decoder", "reentry", "database", "version"),
)
_DECODER = ("name", "preset", "sha256", "recognizer", "class")
_NAMES = {
    "refinement": "Refinement of the faces",
    "portraits": "whole pictures",
}


def title(run: RunFolder) -> str:
    """Return the heading of a run: which templates against which system."""
    if not run.identity:
        return run.name
    if run.inverted == run.attacked:
        return f"{run.attacked}, attacked with its own templates"
    return f"{run.attacked}, attacked with templates of {run.inverted}"


def subtitle(run: RunFolder) -> str:
    """Return the origin of the numbers in one line."""
    parts = [f"Run {run.name}"]
    if run.identity:
        parts.append(f"database {run.database}")
        parts.append(f"re-entry at the {run.identity.get('reentry', UNKNOWN)}")
    else:
        parts.append("a score file without a record of what was run")
    return ", ".join(parts) + "."


def protection(run: RunFolder) -> str:
    """Return what the leaked templates are, and how the attacker processes them first."""
    leaked = "inverted" if "inverted" in run.identity else "attacked"
    algorithm = run.identity.get("inverted", run.identity).get("algorithm")
    if algorithm is None:
        stored = "those of a system that is not recorded"
    elif is_plain(algorithm):
        stored = "plain embeddings, without protection"
    else:
        stored = f"those of {_settings(run, leaked, 'algorithm')}"
    steps = _steps(run)
    return stored + (f"; the decoder inverts them after {', then '.join(steps)}" if steps else "")


def linked(run: RunFolder) -> str:
    """Return which templates are linked by the genuine scores."""
    mated = "an enrolled template and a probe of the same person, compared by the attacked system"
    if "algorithm" not in run.identity or is_plain(run.identity["algorithm"]):
        return mated
    return f"{mated}; templates of one person with two keys were not compared"


def systems_of(run: RunFolder) -> dict[str, str]:
    """Return the recorded settings of the attacked and the inverted system."""
    settings = run.record.get("settings", {})
    names = [name for name in ("attacked", "inverted") if name in settings]
    return {name: str(settings[name]["system"]) for name in names}


def _settings(run: RunFolder, of: str, what: str) -> str:
    """Return the settings of a system or of its comparison on one line."""
    return _line(run.record.get("settings", {}).get(of, {}).get(what, UNKNOWN))


def _steps(run: RunFolder) -> list[str]:
    """Return the settings of the template steps."""
    return [_line(step) for step in run.record.get("settings", {}).get("leak", [])]


def is_plain(algorithm: Mapping[str, Any]) -> bool:
    """Return whether a described algorithm is Bob's comparison of plain embeddings."""
    return str(algorithm.get("class", "")).endswith(".Distance")


def _line(settings: object) -> str:
    """Return settings on one line."""
    return " ".join(str(settings).split())


def facts(findings: Findings) -> list[tuple[str, str]]:
    """Return name and value of each fact about a run."""
    run = findings.run
    return [
        *_counts(findings),
        *[(f"Score file, {g}", f"{p.name}, SHA-256 {sha256(p)}") for g, p in run.files.items()],
        *_identity(run),
        *_thresholds(findings),
    ]


def _counts(findings: Findings) -> list[tuple[str, str]]:
    found = []
    run = findings.run
    for group, table in (("dev", run.dev), ("eval", run.eval)):
        if table is None:
            continue
        rows = ", ".join(f"{count(len(table.rows(kind)))} {kind}" for kind in table.kinds)
        people = {*table.probe_subject.tolist(), *table.reference_subject.tolist()}
        references = set(table.reference.tolist()) - {-1}
        text = f"{rows} comparisons; {count(len(people))} people"
        text += f"; {count(len(references))} references" if references else ""
        found.append((f"Data, {group}", text))
    return found


def _identity(run: RunFolder) -> list[tuple[str, str]]:
    identity, card = run.identity, run.record.get("card", {})
    if not identity:
        return [("Run", UNKNOWN)]
    decoder = identity.get("decoder", {})
    settings = json.dumps(identity.get("database", {}), sort_keys=True)
    seed = card.get("seed")
    return [
        ("Command", str(run.record.get("command", UNKNOWN))),
        ("Database", settings),
        ("Attacked system", _with_hash(identity.get("recognizer", {}))),
        ("Comparison of the attacked system", _settings(run, "attacked", "algorithm")),
        *_inverted(run),
        *([("Template steps before the decoder", "; ".join(_steps(run)))] if _steps(run) else []),
        ("Knowledge of the attacker", _knowledge(run)),
        ("Decoder", _with_hash(decoder)),
        ("Training of the decoder", str(decoder.get("preset") or card.get("preset") or UNKNOWN)),
        ("Training data of the decoder", str(card.get("training_data") or UNKNOWN)),
        ("Training seed of the decoder", UNKNOWN if seed is None else str(seed)),
        ("Re-entry", str(identity.get("reentry", UNKNOWN))),
        *_more("Decoder, ", decoder, _DECODER),
        *_more("", identity, _IDENTITY),
        *_models(run),
        ("Versions", ", ".join(f"{k} {v}" for k, v in run.record.get("versions", {}).items())),
    ]


def _inverted(run: RunFolder) -> list[tuple[str, str]]:
    """Return the facts about the system whose templates leaked."""
    if "inverted" not in run.identity:
        return [("Inverted system", run.inverted)]
    return [
        ("Inverted system", _with_hash(run.identity["inverted"].get("recognizer", {}))),
        ("Comparison of the inverted system", _settings(run, "inverted", "algorithm")),
    ]


def _more(before: str, about: Mapping[str, Any], known: Collection[str]) -> list[tuple[str, str]]:
    """Return all other settings that decided the results: none of the record is left out."""
    found = []
    for name, value in about.items():
        if name not in known and value not in (None, "", [], {}):
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            found.append((before + _NAMES.get(name, name), _line(text)))
    return found


def _models(run: RunFolder) -> list[tuple[str, str]]:
    """Return every recognition model that took part, with its roles."""
    roles: dict[tuple[str, str | None], list[str]] = {}
    for part in took_part(run.record):
        roles.setdefault((part.model.name, part.model.sha256), []).append(part.role)
    models = [
        f"{name} (SHA-256 {digest or UNKNOWN}) {', '.join(did)}"
        for (name, digest), did in roles.items()
    ]
    return [("Recognition models", "; ".join(models))]


def _knowledge(run: RunFolder) -> str:
    threat = run.record.get("threat", {})
    if not threat:
        return UNKNOWN
    return f"attack {threat['attack']} of 5: {threat['knowledge']}"


def _with_hash(about: dict[str, Any]) -> str:
    digest = about.get("sha256")
    return f"{about.get('name', UNKNOWN)}, SHA-256 {digest or UNKNOWN}"


def _thresholds(findings: Findings) -> list[tuple[str, str]]:
    cuts = ", ".join(
        f"{p.threshold:.10g} at FMR {p.target:g} ({p.fmr.k} of {p.fmr.n} impostors of {p.group} "
        "accepted)"
        for p in findings.points
    )
    group = findings.points[0].threshold_group
    used = count(findings.points[0].threshold_impostors)
    found = [("Thresholds", f"from {used} impostors of {group}: {cuts}")]
    if findings.spreads:
        kept = ", ".join(str(s.replicates) for s in findings.spreads)
        text = f"{findings.replicates} replicates ({kept} complete), seed {findings.seed}, "
        text += f"{count(findings.spreads[0].subjects)} people"
        found.append(("Bootstrap", text))
    return found
