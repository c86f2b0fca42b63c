"""From a chain of Bob resources, `DATABASE PIPELINE recon`, to an AttackPipeline."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from clapper.rc import UserDefaults

from ._command import check_command
from ._validation import InputTypeError

_USAGE = "bob bio pipeline simple DATABASE PIPELINE recon"
_USAGE_TWO = "bob bio pipeline simple DATABASE LEAKED recon-leaked ATTACKED recon"
_RC_KEY = "bob_recon_plugin.decoders"
_OPTIONS = (
    *("reentry", "attacks", "keep_faces", "resources", "batch_size", "part_size"),
    *("inverted", "leak", "embeddings", "max_failures"),
)


def shipped_decoder() -> Path:
    """Path of the decoder that ships with the package, made for `arcface-mbf`."""
    return Path(str(files("bob_recon_plugin.data"))) / "arcface-mbf.safetensors"


def decoder_for(recognizer: str | None, chosen: Any) -> str:
    """Choose the decoder: the given one, else of the user's settings, else the shipped one."""
    settings = UserDefaults("bobrc.toml")
    path = chosen or settings.get(f"{_RC_KEY}.{recognizer}")
    if isinstance(path, str | Path):
        return str(Path(path).expanduser())
    if recognizer == "arcface-mbf":
        return str(shipped_decoder())
    raise click.UsageError(
        f"`recon` must have a decoder trained for {recognizer}, got only the one shipped for "
        f"arcface-mbf; train one on photographs of faces (`bob bio recon prepare FACES -r "
        f"{recognizer} -o DATA`, then `bob bio recon train DATA -o TRAINED`) and name it with `bob "
        f"config set {_RC_KEY}.{recognizer} TRAINED/decoder.safetensors`, or in a file before "
        '`recon` that says `decoder = "TRAINED/decoder.safetensors"`; or adapt the templates to '
        "the shipped one (prepare the same FACES with `-r arcface-mbf -o MBF` too, then `bob bio "
        "recon adapt DATA MBF -o A.safetensors`) with a file that says `from "
        "bob_recon_plugin.adapters import Adapter; leak = [Adapter('A.safetensors')]`."
    )


def pipeline_for(context: Mapping[str, Any], recognizer: str) -> Any:
    """Make Bob's pipeline around a recognition model, for the database of the chain.

    Parameters
    ----------
    context : mapping
        ``database``, a Bob database; without it (``-d`` and ``-p`` on the command line) eyes are
        taken from annotations.
    recognizer : str
        See :func:`~bob_recon_plugin.recognizers.bob_pipeline`.

    Returns
    -------
    PipelineSimple

    Raises
    ------
    TypeError
        When ``database`` is none.
    """
    check_command()
    from bob.bio.face.utils import lookup_config_from_database

    from .recognizers import bob_pipeline

    database = context.get("database")
    _check_database(database)
    annotation_type, fixed_positions, _ = lookup_config_from_database(database)
    return bob_pipeline(recognizer, annotation_type, fixed_positions)


def _check_database(database: Any) -> None:
    if database is not None and not hasattr(database, "references"):
        raise InputTypeError(
            f"`database` must be a Bob database, got {type(database).__name__}; for a folder write "
            "`database = FolderDatabase(PATH)`, from bob_recon_plugin.database."
        )


def _check_pipeline(pipeline: Any) -> None:
    from bob.bio.base.pipelines import PipelineSimple

    if not isinstance(pipeline, PipelineSimple):
        raise InputTypeError(
            f"`pipeline` must be a Bob PipelineSimple, got {type(pipeline).__name__}; name a "
            "pipeline resource, or write `pipeline = bob_pipeline(...)`, from "
            "bob_recon_plugin.recognizers."
        )


def leaked(context: Mapping[str, Any]) -> Any:
    """Return the pipeline that the chain has built so far, whose templates leaked.

    Raises
    ------
    click.UsageError
        When no pipeline stands before `recon-leaked`.
    """
    pipeline = context.get("pipeline")
    if pipeline is None:
        raise click.UsageError(
            "`recon-leaked` must be chained behind the pipeline whose templates leaked, got no "
            f"pipeline before it; write `{_USAGE_TWO}`."
        )
    _check_pipeline(pipeline)
    return pipeline


def protected(context: Mapping[str, Any], scheme: Any) -> tuple[Any, tuple[Any, ...]]:
    """Protect the templates of the pipeline that the chain has built so far.

    Parameters
    ----------
    context : mapping
        ``pipeline`` (required); ``scenario``, "normal" (default) or "stolen"; ``seed`` of the
        keys (default 0); ``decoder``.
    scheme : Scheme
        Of :mod:`bob_recon_plugin.protection`.

    Returns
    -------
    pipeline : PipelineSimple
        The system, protected.
    leak : tuple of transformers
        What an attacker does to its templates first. Where the templates of another
        system leaked, it is that one's.

    Raises
    ------
    click.UsageError
        When no pipeline stands before, or there is no decoder for it.
    TypeError, ValueError
        For an unknown scenario.
    """
    pipeline = context.get("pipeline")
    if pipeline is None:
        raise click.UsageError(
            "template protection must be chained behind the pipeline that it protects, got no "
            "pipeline before it; write `bob bio pipeline simple DATABASE PIPELINE recon-biohashing "
            "recon`."
        )
    _check_pipeline(pipeline)
    from bob.bio.base.pipelines import PipelineSimple

    from .decoders import read_card
    from .protection import InvertProtection, ProtectedComparison
    from .recognizers import identify

    setting = {"scenario": context.get("scenario", "normal"), "seed": context.get("seed", 0)}
    guarded = PipelineSimple(pipeline.transformer, ProtectedComparison(scheme, **setting))
    if context.get("inverted") is not None:
        return guarded, context.get("leak", ())
    card = read_card(decoder_for(identify(pipeline.transformer).name, context.get("decoder")))
    return guarded, (InvertProtection.before(card, scheme, **setting),)


def attack(context: Mapping[str, Any], number: int | None = None) -> Any:
    """Wrap the pipeline that the chain has built so far.

    Parameters
    ----------
    context : mapping
        Names of the chain: ``pipeline`` (required), ``database``, and options
        that a file in the chain may set: ``decoder`` (path), ``reentry``
        ("camera" or "recognizer"), ``attacks``, ``keep_faces``, ``resources``,
        ``batch_size``, ``part_size``, ``inverted``, ``leak``, ``embeddings``,
        ``max_failures``; see AttackPipeline. ``refinement``: parameters of a
        RefinedReconstructor. ``portraits``: of the FaceReconstructor.
    number : int, optional
        Of the attack that it must be, from 1 to 5, by what the attacker knows; see
        :class:`~bob_recon_plugin.threat.Threat`.

    Returns
    -------
    AttackPipeline

    Raises
    ------
    click.UsageError
        When no pipeline stands before `recon`, or there is no decoder for the system whose
        templates leaked.
    FileNotFoundError, ValueError
        When the decoder is missing, broken, or made for another recogniser, or this is
        another attack.
    """
    pipeline, database = context.get("pipeline"), context.get("database")
    inverted = context.get("inverted")
    if pipeline is None:
        raise click.UsageError(
            "`recon` must be chained last, behind the pipeline it attacks, got no pipeline before "
            f"it; write `{_USAGE}`."
        )
    if inverted is pipeline:
        raise click.UsageError(
            "`recon` must find the attacked system behind `recon-leaked`, got none; write "
            f"`{_USAGE_TWO}`."
        )
    check_command()
    _check_pipeline(pipeline)
    _check_database(database)
    from .pipeline import AttackPipeline
    from .recognizers import identify
    from .reconstructor import FaceReconstructor
    from .run_record import describe_database

    system = identify((pipeline if inverted is None else inverted).transformer)
    for step in context.get("leak", ()):
        if hasattr(step, "leads_to"):  # an adapter: to the embeddings of another model
            system = step.leads_to(system)
    reconstructor = FaceReconstructor(
        decoder_for(system.name, context.get("decoder")),
        recognizer=system.name if system.sha256 else None,
        recognizer_sha256=system.sha256,
    )
    options = {name: context[name] for name in _OPTIONS if context.get(name) is not None}
    if "batch_size" in options:
        reconstructor.set_params(batch_size=options["batch_size"])
    if context.get("portraits"):
        reconstructor.set_params(portraits=True)
    if context.get("refinement") is not None:
        from .refinement import RefinedReconstructor

        reconstructor = RefinedReconstructor(reconstructor, **context["refinement"])
    reconstructor.validate()
    if system.sha256 is None:
        made_for = reconstructor.card().recognizer
        click.echo(
            f"Note: the weights of {system.name} cannot be told, so nothing checks that it is the "
            f"model for which the decoder was trained ({made_for}).",
            err=True,
        )
    attacked = AttackPipeline(
        pipeline,
        reconstructor,
        database=None if database is None else describe_database(database),
        **options,
    )
    if number is not None:
        attacked.threat.check(number)
    return attacked
