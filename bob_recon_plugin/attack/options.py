"""The options of an attack, checked once: types, ranges, and names that are nearly right."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..common.template_steps import TemplateStep
from ..common.validation import InputError, InputTypeError, one_of
from ..evaluation.scores import ATTACKS
from .failures import check_share
from .presenting import REENTRIES

#: What Bob's own command and resources set in a chain, which no misspelt option is.
_BOBS = {
    *("annotation_type", "checkpoint_dir", "dask_client", "dask_n_partitions", "dask_n_workers"),
    *("dask_partition_size", "database", "fixed_positions", "force", "groups", "memory", "no_dask"),
    *("inverted", "output", "pipeline", "scenario", "seed", "transformer", "verbose"),
    "write_metadata_scores",
}


@dataclass(frozen=True)
class AttackOptions:
    """How an attack runs.

    Parameters
    ----------
    attacks : sequence of str
        Among "type1" and "type2".
    reentry : {"camera", "recognizer"}
        Where a reconstruction enters. "camera": before the first step, as any
        image does, with the eye positions the decoder puts the eyes at; every
        safeguard of the system acts on it, and any pipeline can be attacked.
        "recognizer": behind the cropper, which must crop as the decoder does.
    leak : sequence of TemplateStep
        What the attacker makes of stolen templates before the decoder sees them, in order.
    batch_size : int
        Images, or templates, that go through a network at a time.
    part_size : int
        Images of a part of the work, where Bob's command names no partitions:
        what a task does, a checkpoint holds, and a stopped run loses at most.
    keep_faces : bool
        Write every reconstructed face as ``faces/TYPE/KEY.png``.
    resources : mapping of str to float
        What a worker of a cluster must offer, as ``{"GPU": 1}``.
    embeddings : path or None
        Folder that keeps what systems make of images, for other runs on the
        same images to find. None: with the other checkpoints of the run.
    max_failures : float
        Share of a group's images, from 0 to 1, that may fail to be acquired (a file
        that cannot be read, no eye positions, no face) before the run ends with an
        error; three images always may, unless it is 0. They are listed in
        ``failures.csv``.

    Raises
    ------
    TypeError, ValueError
        With what was expected, for an option of another type or out of range.
    """

    attacks: tuple[str, ...] = ATTACKS
    reentry: str = "camera"
    leak: tuple[TemplateStep, ...] = ()
    batch_size: int = 64
    part_size: int = 128
    keep_faces: bool = True
    resources: Mapping[str, float] = field(default_factory=dict)
    embeddings: str | os.PathLike[str] | None = None
    max_failures: float = 0.05

    def __post_init__(self) -> None:
        _sequence("attacks", self.attacks, 'write ("type1",) or ("type1", "type2").')
        for attack in self.attacks:
            one_of("attacks", attack, ATTACKS)
        if not 0 < len(set(self.attacks)) == len(self.attacks):
            raise InputError(
                f"`attacks` must name each attack once, at least one of {', '.join(ATTACKS)}, got "
                f"{list(self.attacks)}; leave the option out for both."
            )
        one_of("reentry", self.reentry, REENTRIES)
        _sequence("leak", self.leak, "write `leak = []` for none.")
        for step in self.leak:
            if not isinstance(step, TemplateStep):
                raise InputTypeError(
                    f"`leak` must hold template steps, got {step!r}; see "
                    "bob_recon_plugin.inversion and bob_recon_plugin.protection."
                )
        for name in ("batch_size", "part_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"`{name}` must be a whole number from 1 on, got {value!r}.")
        check_share(self.max_failures)
        _typed("keep_faces", self.keep_faces, bool, "write True or False.")
        _typed("resources", self.resources, Mapping, 'write {"GPU": 1}.')
        for resource, amount in self.resources.items():
            if not isinstance(resource, str) or not isinstance(amount, int | float) or amount <= 0:
                raise InputError(
                    "`resources` must map names to positive numbers, got "
                    f'{dict(self.resources)!r}; write {{"GPU": 1}}.'
                )
        if self.embeddings is not None:
            _typed("embeddings", self.embeddings, (str, os.PathLike), "give the path of a folder.")
            object.__setattr__(self, "embeddings", Path(os.path.abspath(self.embeddings)))
        object.__setattr__(self, "attacks", tuple(self.attacks))
        object.__setattr__(self, "leak", tuple(self.leak))
        object.__setattr__(self, "resources", dict(self.resources))


@dataclass(frozen=True)
class ChainOptions(AttackOptions):
    """Options of an attack that files of a chain set, with those that make its reconstructor.

    Parameters
    ----------
    decoder : path or None
        File of a decoder. None: of the user's settings, or the shipped one.
    portraits : bool
        Whole pictures, of a decoder that draws such.
    refinement : mapping or None
        Parameters of a :class:`~bob_recon_plugin.inversion.refinement.RefinedReconstructor`, all
        but the reconstructor. None: faces are not refined.
    """

    decoder: str | os.PathLike[str] | None = None
    portraits: bool = False
    refinement: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoder is not None:
            _typed("decoder", self.decoder, (str, os.PathLike), "give the path of a file.")
        _typed("portraits", self.portraits, bool, "write True or False.")
        if self.refinement is not None:
            self._check_refinement(self.refinement)

    @staticmethod
    def _check_refinement(given: Any) -> None:
        from inspect import signature

        from ..inversion.refinement import RefinedReconstructor

        _typed("refinement", given, Mapping, 'write {"over": "pixels", "steps": 5}.')
        known = [n for n in signature(RefinedReconstructor).parameters if n != "reconstructor"]
        for name in given:
            if name not in known:
                raise InputError(
                    f"`refinement` must have the names {', '.join(known)}, got {name!r}"
                    f"{_suggestion(name, known)}."
                )

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> ChainOptions:
        """Take the options out of the names of a chain.

        Raises
        ------
        TypeError, ValueError
            For a wrong option, and for a plain value under a name that is nearly one.
        """
        known = [f.name for f in fields(cls)]
        for name, value in context.items():
            plain = isinstance(value, bool | int | float | str | list | tuple | dict | None)
            if not plain or name.startswith("_") or name in known or name in _BOBS:
                continue
            if suggestion := _suggestion(name, known):
                raise InputError(
                    f"the chain must set options by their names, got {name!r}{suggestion} Rename "
                    "it if it is none of them."
                )
        return cls(**{name: context[name] for name in known if name in context})


def _suggestion(name: object, known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.8)
    return f"; did you mean `{near[0]}`?" if near else ""


def _typed(name: str, value: object, wanted: Any, remedy: str) -> None:
    if not isinstance(value, wanted):
        kinds = wanted if isinstance(wanted, tuple) else (wanted,)
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise InputTypeError(
            f"`{name}` must be of type {expected}, got {value!r} ({type(value).__name__}); {remedy}"
        )


def _sequence(name: str, value: object, remedy: str) -> None:
    _typed(name, value, (list, tuple), remedy)
