"""AttackPipeline: Bob's PipelineSimple that also attacks every enrolled template."""

from __future__ import annotations

import json
import os
import shlex
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
from bob.bio.base.pipelines import (
    BioAlgCheckpointWrapper,
    BioAlgDaskWrapper,
    CSVScoreWriter,
    PipelineSimple,
)
from bob.pipelines import CheckpointWrapper, DaskWrapper, SampleSet, ToDaskBag

from ..common import record as run_record
from ..common.description import describe, digest
from ..common.validation import InputError, InputTypeError
from ..database.content import describe_database
from ..inversion.adapter import Adapter
from ..recognizers import identify
from .checkpoints import Checkpoints
from .effort import Clock
from .failures import FILE_NAME as FAILURES
from .failures import Tally
from .gallery import Leaking
from .knowledge import Threat
from .options import AttackOptions
from .presenting import Presenter, injected_steps
from .schedule import Schedule, ScheduledAttack
from .score_files import merge
from .system import System, check_eyes
from .tasks import BONA_FIDE, Work, Written


def _without(wrapper: type[Any], algorithm: Any) -> Any:
    return algorithm.biometric_algorithm if isinstance(algorithm, wrapper) else algorithm


class AttackPipeline(PipelineSimple):
    """Score a system with its bona fide probes and with reconstructed faces.

    Two attacks run beside the bona fide comparisons. *Type-I*: the enrolled
    template is inverted and presented to its own reference. *Type-II*: the
    template of another image of the same subject, a genuine probe's, is
    inverted and presented to the references that the protocol compares this
    probe with.

    Parameters
    ----------
    pipeline : PipelineSimple
        The system under attack.
    reconstructor : FaceReconstructor
        Embeddings of shape (n, d) to faces uint8 (n, 3, H, W), RGB, [0, 255].
    options : AttackOptions
        How the attack runs.
    database : Bob database, optional
        Whose samples will come, for the record of the run. Under Bob's command: the one
        that the command uses, whatever stands here.
    inverted : PipelineSimple, optional
        The system whose templates leaked, of the same images; the reconstructor
        inverts its templates. Default: ``pipeline``, the one under attack.

    Notes
    -----
    Each image is read once and goes through the steps of the pipeline in
    batches; one that is enrolled is not embedded again as a probe.

    ``scores-GROUP.csv`` holds all rows, with a last column
    ``probe_attack_type`` ("", "type1", "type2"), for ``bob vulnerability``;
    ``scores-GROUP-licit.csv`` the bona fide rows alone, those of the same run
    without attack (to 1e-5: batches round differently), for ``bob bio roc``,
    ``hist`` and ``metrics``.

    References
    ----------
    H. Otroshi Shahreza, V. Krivokuća Hahn, S. Marcel, ICIP 2022,
    DOI 10.1109/ICIP46576.2022.9897535. Type-I and Type-II: G. Mai, K. Cao,
    P. C. Yuen, A. K. Jain, IEEE TPAMI 41(5), 2019.
    """

    def __init__(
        self,
        pipeline: PipelineSimple,
        reconstructor: Any,
        options: AttackOptions | None = None,
        database: Any = None,
        inverted: PipelineSimple | None = None,
    ):
        if not isinstance(pipeline, PipelineSimple):
            raise InputTypeError(
                f"`pipeline` must be a Bob PipelineSimple, got {type(pipeline).__name__}; name a "
                "pipeline resource before `recon`."
            )
        if isinstance(pipeline, AttackPipeline):
            raise InputTypeError(
                "`pipeline` must be a system to attack, got one that is under attack already; "
                "chain one attack resource, last."
            )
        if inverted is not None and not isinstance(inverted, PipelineSimple):
            raise InputTypeError(
                f"`inverted` must be a Bob PipelineSimple, got {type(inverted).__name__}; name the "
                "pipeline resource of the system whose templates leaked."
            )
        self.reconstructor = reconstructor
        self.options = options or AttackOptions()
        self.database = database
        self.inverted = inverted
        self.ran = False
        super().__init__(pipeline.transformer, pipeline.biometric_algorithm)
        self.card = reconstructor.card()
        attacked = identify(pipeline.transformer)
        leaked = attacked if inverted is None else identify(inverted.transformer)
        made = describe(reconstructor)
        refinement = made.pop("refinement", None)
        self.threat = Threat.of(leaked, attacked, self.card, refinement is not None)
        self.identity = {
            **_described(pipeline),
            "decoder": {"name": self.card.decoder, "recognizer": self.card.recognizer} | made,
            "reentry": self.options.reentry,
            "leak": describe(self.options.leak),
            "version": run_record.versions()["bob_recon_plugin"],
        }
        if inverted is not None:
            self.identity["inverted"] = _described(inverted)
        if refinement is not None:
            self.identity["refinement"] = refinement
        # wrong geometry is told before any work
        injected_steps(self._steps(), self.options.reentry, self.card.positions)
        self._own = tuple(
            step.features_dir for step in self._steps() if isinstance(step, CheckpointWrapper)
        )

    # -- the run ---------------------------------------------------------------

    def __call__(
        self,
        background_model_samples: Sequence[Any],
        biometric_reference_samples: Sequence[SampleSet],
        probe_samples: Sequence[SampleSet],
        score_all_vs_all: bool = True,
        return_templates: bool = False,
    ) -> Any:
        """Return the schedule of the run; `post_process` computes it and writes the scores."""
        if return_templates:
            raise InputError(
                "an attack must run under `bob bio pipeline simple`, got `score-norm`; "
                "normalise scores of the licit file separately."
            )
        self._check_writer()  # now, not after hours
        check_eyes(self._steps(), [*biometric_reference_samples, *probe_samples])
        self.ran = True
        sheet = self._sheet_of(biometric_reference_samples)
        checkpoints = self._claim_output()
        self.train_background_model(background_model_samples)
        if self.inverted is not None:
            self.inverted.train_background_model(background_model_samples)
        dasked = isinstance(self.biometric_algorithm, BioAlgDaskWrapper)
        steps = [getattr(s, "_dask_state", s) if dasked else s for s in self._steps()]
        folder = self.output / "tmp" / uuid.uuid4().hex  # another group may run beside this one

        def work(call: Callable[..., Any]) -> Any:
            return call(_work)(
                steps,
                kept=self._own,
                algorithm=self._bare_algorithm(),
                reentry=self.options.reentry,
                reconstructor=self.reconstructor,
                positions=self.card.positions,
                batch_size=self.options.batch_size,
                faces=self.output / "faces" if self.options.keep_faces else None,
                checkpoints=checkpoints,
                attacks=self.options.attacks,
                all_vs_all=score_all_vs_all,
                folder=folder,
                excluded=tuple(self.score_writer.exclude_list),
                leak=self.options.leak,
                embedded=self._embedded(self.identity, checkpoints, "."),
                leaking=self._leaking(checkpoints),
            )

        schedule = Schedule(
            work,
            biometric_reference_samples,
            probe_samples,
            self._part_size(biometric_reference_samples, probe_samples),
            self._resources_of_steps() | dict(self.options.resources),
            checkpoints.folder,
            folder,
        )
        return _Run(schedule, sheet, dasked)

    def _steps(self) -> list[Any]:
        transformer = self.transformer
        steps = (
            [s for _, s in transformer.steps] if hasattr(transformer, "steps") else [transformer]
        )
        # under Dask the first step only makes the bag; None and "passthrough" are no steps
        return [s for s in steps if hasattr(s, "transform") and not isinstance(s, ToDaskBag)]

    def _leaking(self, checkpoints: Checkpoints) -> Leaking | None:
        """The system whose templates leaked, where it is another one."""
        if self.inverted is None:
            return None
        transformer = self.inverted.transformer
        steps = [s for _, s in getattr(transformer, "steps", [("", transformer)])]
        steps = [step for step in steps if hasattr(step, "transform")]
        system = System(steps, batch_size=self.options.batch_size)
        kept = self._embedded(self.identity["inverted"], checkpoints, "leaked")
        return Leaking(system, self.inverted.biometric_algorithm, kept)

    def _embedded(self, about: dict[str, Any], own: Checkpoints, below: str) -> Checkpoints:
        """Where a system's embeddings are kept: below the run's own, or for all runs."""
        if own.folder is None:
            return own
        if self.options.embeddings is None:
            return Checkpoints(own.folder / below, own.force)
        # of images, which name their parts themselves, so of any database
        decides = [about["system"], about["recognizer"]["sha256"], self.identity["version"]]
        return Checkpoints(Path(self.options.embeddings) / digest(decides)[:16], own.force)

    def _bare_algorithm(self) -> Any:
        algorithm = _without(BioAlgDaskWrapper, self.biometric_algorithm)
        return _without(BioAlgCheckpointWrapper, algorithm)

    def _resources_of_steps(self) -> dict[str, float]:
        """Bob's own way to ask for workers, which never reaches its scheduler."""
        tags = (step.transform_tag for step in self._steps() if isinstance(step, DaskWrapper))
        return {tag: 1 for tag in tags if tag}

    def _part_size(self, *sets: Sequence[SampleSet]) -> int:
        """Images of a part: as ``--dask-partition-size`` or ``--dask-n-partitions`` say."""
        steps = getattr(self.transformer, "steps", [])
        bag = next((step for _, step in steps if isinstance(step, ToDaskBag)), None)
        if bag is not None and bag.partition_size:
            return bag.partition_size
        if bag is not None and bag.npartitions:
            largest = max(sum(map(len, some)) for some in sets)
            return max(1, -(-largest // bag.npartitions))
        return self.options.part_size

    # -- output ----------------------------------------------------------------

    @property
    def output(self) -> Path:
        """Folder of the score files, once Bob has set a CSV score writer."""
        # absolute: workers may stand in another folder
        return Path(os.path.abspath(self.score_writer.path)).parent

    def _claim_output(self) -> Checkpoints:
        """Refuse a folder of another run; return where this one keeps what it finished."""
        algorithm = _without(BioAlgDaskWrapper, self.biometric_algorithm)
        folder, force = None, False
        if isinstance(algorithm, BioAlgCheckpointWrapper):  # Bob's command did: no --memory
            folder, force = Path(algorithm.base_dir).absolute() / "checkpoints", algorithm.force
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        about = {
            "settings": self._settings(),
            "card": json.loads(self.card.to_json()),
            "image_size": self.reconstructor.image_size,
            "command": command,
            "threat": self.threat.describe(),
            "adapters": [asdict(s.card()) for s in self.options.leak if isinstance(s, Adapter)],
        }
        reuses = [folder] if folder else []
        self.identity["database"] = self._database()
        run_record.claim(self.output, self.identity, reuses, force, about)
        return Checkpoints(folder, force)

    def _database(self) -> dict[str, Any]:
        """Describe the database of the run: the one of Bob's command, where it runs."""
        context = click.get_current_context(silent=True)
        named = context.params.get("database") if context is not None else None
        used = self.database if named is None else named
        return {} if used is None else describe_database(used)

    def _settings(self) -> dict[str, Any]:
        """Every setting as text, for a reader."""
        found: dict[str, Any] = {"leak": [_settings(step) for step in self.options.leak]}
        for name, one in (("attacked", self), ("inverted", self.inverted)):
            if one is not None:
                algorithm = _without(BioAlgDaskWrapper, one.biometric_algorithm)
                algorithm = _without(BioAlgCheckpointWrapper, algorithm)
                texts = {"system": _settings(one.transformer), "algorithm": _settings(algorithm)}
                found[name] = texts
        return found

    def _check_writer(self) -> None:
        if not isinstance(self.score_writer, CSVScoreWriter):
            raise InputError(
                "scores of an attack must be written with metadata, got the four-column format, "
                "which cannot tell attacks apart; drop `--write-column-scores`, or set a "
                "CSVScoreWriter as `score_writer`."
            )
        if self.output.exists() and not self.output.is_dir():
            raise InputError(
                f"`--output` must be a folder, got the file {self.output}; choose another one."
            )

    def write_scores(self, scores: _Run) -> _Run:
        """Return the run: its tasks write their scores themselves."""
        return scores

    def post_process(self, score_paths: _Run, filename: str) -> Any:
        """Compute the run, join its scores into both files, then report what they say.

        Under Dask a Delayed is returned, which does so with the client's scheduler.
        """
        schedule, path = score_paths.schedule, Path(filename)
        group = path.stem.removeprefix("scores-")
        tally = Tally(self.output / FAILURES, group, schedule.images, self.options.max_failures)
        finish = partial(self._finish, path, score_paths, tally)
        if score_paths.dasked:
            return ScheduledAttack.of(schedule, tally, finish)
        return finish(schedule.run(tally))

    def _finish(
        self, filename: Path, run: _Run, tally: Tally, done: Sequence[Written]
    ) -> list[str]:
        from .summary import write_summary

        bona_fide = [str(d.files[BONA_FIDE]) for d in done if BONA_FIDE in d.files]
        attacks = [str(d.files[a]) for a in self.options.attacks for d in done if a in d.files]
        with run.schedule.resumable():
            files = merge(self.score_writer, bona_fide, attacks, filename)
            tally.close()
        run.schedule.clean()
        spent = {
            step: sum((d.done[step] for d in done if step in d.done), Clock())
            for step in ("embed", "attack", "compare")
        }
        write_summary(filename, self.identity, self.threat, run.sheet, spent)
        return files

    def _sheet_of(self, references: Sequence[SampleSet]) -> Any:
        from .contact_sheet import ContactSheet

        if not self.options.keep_faces:
            return None
        size = self.reconstructor.image_size
        return ContactSheet.choose(references, self._steps(), self.card.positions, size)


class _Run:
    """A schedule on its way through Bob's command, which maps its writer over results of Dask."""

    def __init__(self, schedule: Schedule, sheet: Any, dasked: bool):
        self.schedule, self.sheet, self.dasked = schedule, sheet, dasked

    def map_partitions(self, _write: Any) -> _Run:
        """Return the run: its tasks write their scores themselves."""
        return self


def _work(
    steps: Sequence[Any],
    kept: tuple[str, ...],
    algorithm: Any,
    reentry: str,
    reconstructor: Any,
    positions: dict[str, tuple[float, float]],
    batch_size: int,
    faces: Path | None,
    checkpoints: Checkpoints,
    leak: Sequence[Any],
    embedded: Checkpoints,
    **more: Any,
) -> Work:
    """Put together what every task needs; under Dask, once the steps are fitted."""
    system = System(steps, kept, batch_size)
    injected = System(injected_steps(system.steps, reentry, positions), kept, batch_size)
    presenter = Presenter(injected, algorithm, reconstructor, positions, faces, checkpoints, leak)
    return Work(system, presenter, algorithm, embedded, **more)


def _settings(estimator: Any) -> str:
    """Every parameter of an estimator as text, for a reader."""
    return str(estimator.__repr__(N_CHAR_MAX=10**9))


def _described(pipeline: PipelineSimple) -> dict[str, Any]:
    """What decides the templates of a system, and how it compares them."""
    identity = identify(pipeline.transformer)
    return {
        "system": describe(pipeline.transformer),
        "algorithm": describe(pipeline.biometric_algorithm),
        "recognizer": {"name": identity.name, "sha256": identity.sha256},
    }
