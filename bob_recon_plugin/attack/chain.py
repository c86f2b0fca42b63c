"""From a chain of Bob resources, `DATABASE PIPELINE recon`, to an AttackPipeline."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..common.command import check_command
from ..common.settings import setting
from ..common.validation import InputError, InputTypeError

if TYPE_CHECKING:
    from .options import ChainOptions

_USAGE = "bob bio pipeline simple DATABASE PIPELINE recon"
_USAGE_TWO = "bob bio pipeline simple DATABASE LEAKED recon-leaked ATTACKED recon"
_RC_KEY = "bob_recon_plugin.decoders"


def shipped_decoder() -> Path:
    """Path of the decoder that ships with the package, made for `arcface-mbf`."""
    from ..inversion import reconstructor

    return reconstructor.shipped_decoder()


def decoder_for(recognizer: str | None, chosen: str | os.PathLike[str] | None) -> str:
    """Choose the decoder: the given one, else of the user's settings, else the shipped one."""
    path = chosen or setting(f"{_RC_KEY}.{recognizer}")
    if path is not None:
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
        "bob_recon_plugin.inversion.adapter import Adapter; leak = [Adapter('A.safetensors')]`."
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

    from ..recognizers import bob_pipeline

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

    from ..decoders import read_card
    from ..protection import InvertProtection, ProtectedComparison
    from ..recognizers import identify
    from .options import ChainOptions

    options = ChainOptions.of(context)
    setting = {"scenario": context.get("scenario", "normal"), "seed": context.get("seed", 0)}
    guarded = PipelineSimple(pipeline.transformer, ProtectedComparison(scheme, **setting))
    if context.get("inverted") is not None:
        return guarded, options.leak
    if options.leak:
        raise InputError(
            "`leak` must follow the protection, because protected templates leak, got "
            f"{list(options.leak)!r} before it; put it into a file after the resource, as "
            "`leak = [*leak, ...]` for what happens to the estimates of embeddings, or "
            "`leak = [..., *leak]` for what happens to the protected templates."
        )
    card = read_card(decoder_for(identify(pipeline.transformer).name, options.decoder))
    return guarded, (InvertProtection.before(card, scheme, **setting),)


def attack(context: Mapping[str, Any], number: int | None = None) -> Any:
    """Wrap the pipeline that the chain has built so far.

    Parameters
    ----------
    context : mapping
        Names of the chain: ``pipeline`` (required), ``database``, ``inverted``, and the options
        of :class:`~bob_recon_plugin.attack.options.ChainOptions`, which files of the chain set.
    number : int, optional
        Of the attack that it must be, from 1 to 5, by what the attacker knows; see
        :class:`~bob_recon_plugin.attack.knowledge.Threat`.

    Returns
    -------
    AttackPipeline

    Raises
    ------
    click.UsageError
        When no pipeline stands before `recon`, or there is no decoder for the system whose
        templates leaked.
    FileNotFoundError, TypeError, ValueError
        When the decoder is missing, broken, or made for another recogniser, an option is
        wrong or misspelt, or this is another attack.
    """
    pipeline, inverted = context.get("pipeline"), context.get("inverted")
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
    _check_database(context.get("database"))
    from .options import ChainOptions
    from .pipeline import AttackPipeline

    options = ChainOptions.of(context)
    leaked = pipeline if inverted is None else inverted
    _check_protection(leaked, options)
    reconstructor = _reconstructor(leaked, options)
    attacked = AttackPipeline(pipeline, reconstructor, options, context.get("database"), inverted)
    if number is not None:
        attacked.threat.check(number)
    _note_if_replaced(attacked)
    return attacked


def _reconstructor(leaked: Any, options: ChainOptions) -> Any:
    """Make what inverts the templates of a pipeline, behind its template steps."""
    from ..inversion.reconstructor import FaceReconstructor
    from ..recognizers import identify

    system = identify(leaked.transformer)
    for step in options.leak:
        system = step.leads_to(system)
    reconstructor: Any = FaceReconstructor(
        decoder_for(system.name, options.decoder),
        recognizer=system.name if system.sha256 else None,
        recognizer_sha256=system.sha256,
        portraits=options.portraits,
    )
    if options.refinement is not None:
        from ..inversion.refinement import RefinedReconstructor

        reconstructor = RefinedReconstructor(reconstructor, **options.refinement)
    reconstructor.validate()
    if system.sha256 is None:
        made_for = reconstructor.card().recognizer
        click.echo(
            f"Note: the weights of {system.name} are not known, so nothing checks that it is the "
            f"model for which the decoder was trained ({made_for}).",
            err=True,
        )
    return reconstructor


def _check_protection(leaked: Any, options: ChainOptions) -> None:
    """Refuse protected templates that nothing inverts, and an inversion of plain ones."""
    from ..protection import InvertProtection, ProtectedComparison

    protects = isinstance(leaked.biometric_algorithm, ProtectedComparison)
    inverts = any(isinstance(step, InvertProtection) for step in options.leak)
    if protects and not inverts:
        raise InputError(
            "`leak` must invert the protection of the templates, got "
            f"{list(options.leak)!r} for templates of {leaked.biometric_algorithm.scheme!r}; "
            "write `leak = [*leak, ...]` behind the protection, which keeps its inversion."
        )
    if inverts and not protects:
        raise InputError(
            "`leak` must not invert a protection that the templates do not have, got an "
            "InvertProtection; chain the protection, as `recon-biohashing`, behind the pipeline "
            "whose templates leaked."
        )


def _note_if_replaced(attacked: Any) -> None:
    """Print a note where Bob's --pipeline has replaced the chain's, which Bob does silently."""
    context = click.get_current_context(silent=True)
    if context is None:
        return
    parameters = context.params

    def note() -> None:
        if not attacked.ran and sys.exc_info()[0] is None and parameters.get("pipeline"):
            click.echo(
                "Note: nothing was attacked: another pipeline took the place of `recon`. Put it "
                "before `recon` in the chain, instead of behind --pipeline.",
                err=True,
            )

    context.call_on_close(note)
