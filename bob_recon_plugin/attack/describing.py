"""What a run is: described for comparison, and in words for a reader."""

from __future__ import annotations

from typing import Any

import click
from bob.bio.base.pipelines import BioAlgCheckpointWrapper, BioAlgDaskWrapper, PipelineSimple

from ..common.description import describe
from ..common.record import versions
from ..database.content import describe_database
from ..recognizers import identify
from .options import AttackOptions


def bare_algorithm(algorithm: Any) -> Any:
    """Return a comparison algorithm without Bob's Dask and checkpoint layers."""
    while isinstance(algorithm, BioAlgDaskWrapper | BioAlgCheckpointWrapper):
        algorithm = algorithm.biometric_algorithm
    return algorithm


def describe_run(
    pipeline: PipelineSimple,
    inverted: PipelineSimple | None,
    reconstructor: Any,
    options: AttackOptions,
) -> dict[str, Any]:
    """Describe everything that decides the scores of a run but its database.

    Parameters
    ----------
    pipeline, inverted : PipelineSimple
        The attacked system, and the one whose templates leaked where it is another one.
    reconstructor : Reconstructor
    options : AttackOptions

    Returns
    -------
    dict
        JSON-ready: ``system``, ``algorithm`` and ``recognizer`` of the attacked system and, under
        ``inverted``, of the other one; ``decoder``, ``refinement``, ``leak``, ``reentry``,
        ``version``.
    """
    card, made = reconstructor.card(), describe(reconstructor)
    found = {
        **_described(pipeline),
        "reentry": options.reentry,
        "leak": describe(options.leak),
        "version": versions()["bob_recon_plugin"],
    }
    if "refinement" in made:
        found["refinement"] = made.pop("refinement")
    found["decoder"] = {"name": card.decoder, "recognizer": card.recognizer} | made
    if inverted is not None:
        found["inverted"] = _described(inverted)
    return found


def _described(pipeline: PipelineSimple) -> dict[str, Any]:
    """What decides the templates of a system, and how it compares them."""
    identity = identify(pipeline.transformer)
    return {
        "system": describe(pipeline.transformer),
        "algorithm": describe(bare_algorithm(pipeline.biometric_algorithm)),
        "recognizer": {"name": identity.name, "sha256": identity.sha256},
    }


def database_of_run(given: Any) -> dict[str, Any]:
    """Describe the database of Bob's command, where one runs, else the given one."""
    context = click.get_current_context(silent=True)
    named = context.params.get("database") if context is not None else None
    used = given if named is None else named
    return {} if used is None else describe_database(used)


def settings_in_words(
    pipeline: PipelineSimple, inverted: PipelineSimple | None, options: AttackOptions
) -> dict[str, Any]:
    """Every setting of both systems and of the template steps as text, for a reader."""
    found: dict[str, Any] = {"leak": [_words(step) for step in options.leak]}
    for name, one in (("attacked", pipeline), ("inverted", inverted)):
        if one is not None:
            algorithm = _words(bare_algorithm(one.biometric_algorithm))
            found[name] = {"system": _words(one.transformer), "algorithm": algorithm}
    return found


def _words(estimator: Any) -> str:
    return str(estimator.__repr__(N_CHAR_MAX=10**9))
