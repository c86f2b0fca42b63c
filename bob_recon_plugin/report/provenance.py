"""What was run: everything the record of a run tells, in a reader's order."""

from __future__ import annotations

import json
from typing import Any

from bob_recon_plugin._files import sha256
from bob_recon_plugin.results import Run
from bob_recon_plugin.verdict import Verdict

from .style import count

_UNKNOWN = "not recorded"


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
    """What is known of a protection of the templates."""
    algorithm = run.identity.get("algorithm")
    if algorithm is None:
        return "whatever the unrecorded system stores"
    if str(algorithm).startswith("Distance("):
        return "plain embeddings, without protection"
    return f"what the algorithm {str(algorithm).split('(')[0]} stores"


def system_of(run: Run) -> str:
    """Every setting of the attacked system, as recorded."""
    return str(run.identity.get("system", ""))


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
    recognizer, decoder = identity.get("recognizer", {}), identity.get("decoder", {})
    settings = json.dumps(identity.get("database", {}), sort_keys=True)
    seed = card.get("seed")
    return [
        ("Command", str(run.record.get("command", _UNKNOWN))),
        ("Database", settings),
        ("Attacked system", _with_hash(recognizer)),
        ("Comparison", str(identity.get("algorithm", _UNKNOWN))),
        ("Inverted system", run.inverted),
        ("What the attacker knows", _knowledge(run)),
        ("Decoder", _with_hash(decoder)),
        ("Its training", str(decoder.get("preset") or card.get("preset") or _UNKNOWN)),
        ("Its training data", str(card.get("training_data") or _UNKNOWN)),
        ("Its training seed", _UNKNOWN if seed is None else str(seed)),
        ("Re-entry", str(identity.get("reentry", _UNKNOWN))),
        ("Versions", ", ".join(f"{k} {v}" for k, v in run.record.get("versions", {}).items())),
    ]


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
