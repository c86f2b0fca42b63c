"""AttackPipeline: Bob's PipelineSimple that also attacks every enrolled template."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.bag
import numpy as np
from bob.bio.base.pipelines import (
    BioAlgCheckpointWrapper,
    BioAlgDaskWrapper,
    CSVScoreWriter,
    PipelineSimple,
)
from bob.pipelines import CheckpointWrapper, DaskWrapper, SampleSet, ToDaskBag

from . import run_record
from ._files import sha256
from ._validation import InputError, one_of
from .injection import (
    ATTACKS,
    TYPE_II,
    Gallery,
    Presenter,
    core,
    crops_by_own_positions,
    genuine_templates,
)
from .score_files import is_attack_file, merge

REENTRIES = ("camera", "recognizer")
_ALIGNED_WITHIN = 0.5  # pixels


def _on_partitions(function: Any, collection: Any, *args: Any) -> Any:
    """Apply ``function(partition, *args)`` to a Dask bag, or to a list at once."""
    if isinstance(collection, dask.bag.Bag):
        return collection.map_partitions(function, *args)
    return function(collection, *args)


def _present(templates: Sequence[Any], presenter: Presenter) -> list[Any]:
    return presenter(templates)


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
    attacks : tuple of str
        Among "type1" and "type2".
    reentry : {"camera", "recognizer"}
        Where a reconstruction enters. "camera": before the first step, as any
        image does, with the eye positions the decoder puts the eyes at; every
        safeguard of the system acts on it, and any pipeline can be attacked.
        "recognizer": behind the cropper, which must crop as the decoder does.
    database : dict
        Describes the database, for the record of the run.
    batch_size : int
        Templates that are inverted and presented at a time.

    Notes
    -----
    ``scores-GROUP.csv`` holds all rows, with a last column
    ``probe_attack_type`` ("", "type1", "type2"), for ``bob vulnerability``;
    ``scores-GROUP-licit.csv`` the bona fide rows alone, byte for byte those of
    the same run without attack, for ``bob bio roc``, ``hist`` and ``metrics``.
    The faces are kept as ``faces/TYPE/KEY.png`` in the same folder.

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
        attacks: Sequence[str] = ATTACKS,
        reentry: str = "camera",
        database: dict[str, Any] | None = None,
        batch_size: int = 64,
    ):
        if not isinstance(pipeline, PipelineSimple):
            raise TypeError(
                f"`pipeline` must be a Bob PipelineSimple, got {type(pipeline).__name__}; name a "
                "pipeline resource before `recon`."
            )
        if isinstance(pipeline, AttackPipeline):
            raise TypeError(
                "`pipeline` must be a system to attack, got one that is under attack already; "
                "chain one attack resource, last."
            )
        one_of("reentry", reentry, REENTRIES)
        for attack in attacks:
            one_of("attacks", attack, ATTACKS)
        self.reconstructor = reconstructor
        self.attacks = tuple(attacks)
        self.reentry = reentry
        self.database = database or {}
        self.batch_size = batch_size
        super().__init__(pipeline.transformer, pipeline.biometric_algorithm)
        self._unset_writer = self.score_writer  # Bob's default, until its command sets one
        self.card = reconstructor.card()
        self.identity = {
            "system": _settings(pipeline.transformer),
            "algorithm": _settings(pipeline.biometric_algorithm),
            "recognizer": _recognizer_of(pipeline.transformer),
            "decoder": _decoder_of(reconstructor, self.card),
            "reentry": reentry,
            "database": self.database,
        }
        self._injected_steps(self._steps())  # wrong geometry is told before any work
        self._sheet: Any = None

    # -- the run ---------------------------------------------------------------

    def __call__(
        self,
        background_model_samples: Sequence[Any],
        biometric_reference_samples: Sequence[SampleSet],
        probe_samples: Sequence[SampleSet],
        score_all_vs_all: bool = True,
        return_templates: bool = False,
    ) -> Any:
        """Return score SampleSets of bona fide probes, then of the attacks."""
        if return_templates:
            raise ValueError(
                "an attack must run under `bob bio pipeline simple`, got `score-norm`; "
                "normalise scores of the licit file separately."
            )
        if self.score_writer is not self._unset_writer:
            self._check_writer()  # now, not after hours
        self._claim_output()
        self._remember_for_sheet(biometric_reference_samples)
        self.train_background_model(background_model_samples)
        enrolled = self.enroll_templates(biometric_reference_samples)
        features = self.transformer.transform(probe_samples)
        algorithm = self.biometric_algorithm
        probes = algorithm.create_templates_from_samplesets(features, enroll=False)
        results = [self.compute_scores(probes, enrolled, score_all_vs_all)]

        bare = _without(BioAlgCheckpointWrapper, _without(BioAlgDaskWrapper, algorithm))
        for attack in self.attacks:
            leaked = enrolled
            if attack == TYPE_II:
                gallery = Gallery.of(biometric_reference_samples)
                leaked = _on_partitions(
                    genuine_templates, features, bare, gallery, score_all_vs_all
                )
            attackers = _on_partitions(_present, leaked, self._presenter(attack, bare))
            results.append(self.compute_scores(attackers, enrolled, False))

        if isinstance(results[0], dask.bag.Bag):
            return dask.bag.concat(results)
        return [scores for result in results for scores in result]

    def __getstate__(self) -> dict[str, Any]:
        # Bob sends the whole pipeline with every task; the pictures are for the client
        return {**self.__dict__, "_sheet": None}

    def _steps(self) -> list[Any]:
        transformer = self.transformer
        steps = (
            [s for _, s in transformer.steps] if hasattr(transformer, "steps") else [transformer]
        )
        # under Dask the first step only makes the bag; None and "passthrough" are no steps
        return [s for s in steps if hasattr(s, "transform") and not isinstance(s, ToDaskBag)]

    def _injected_steps(self, steps: list[Any]) -> list[Any]:
        """Steps that a reconstruction passes through, by the point of re-entry."""
        if self.reentry == "camera":
            return [crops_by_own_positions(step) for step in steps]
        cropper = core(steps[0])
        positions = getattr(cropper, "cropped_positions", None)
        if not isinstance(positions, dict) or len(steps) < 2:
            raise ValueError(
                "`reentry='recognizer'` must find a face cropper as the first step, got "
                f"{type(cropper).__name__}; use reentry='camera'."
            )
        ours = self.card.positions
        gap = max(
            float(np.abs(np.subtract(positions[eye], ours[eye])).max()) for eye in ("reye", "leye")
        )
        if gap > _ALIGNED_WITHIN:
            raise ValueError(
                f"`reentry='recognizer'` must find a cropper with the decoder's eye positions "
                f"{ours}, got {positions}; use reentry='camera'."
            )
        return steps[1:]

    def _presenter(self, attack: str, algorithm: Any) -> Any:
        steps = self._injected_steps(self._steps())
        arguments = {
            "attack_type": attack,
            "reconstructor": self.reconstructor,
            "algorithm": algorithm,
            "positions": self.card.positions,
            "faces_directory": self.output and self.output / "faces",
            "batch_size": self.batch_size,
        }
        if not any(isinstance(step, DaskWrapper) for step in steps):
            return Presenter(steps=steps, progress=True, **arguments)
        # a step fitted under Dask is a Delayed: let Dask fill it in, and send it once
        return dask.delayed(Presenter)(steps=[step._dask_state for step in steps], **arguments)

    # -- output ----------------------------------------------------------------

    @property
    def output(self) -> Path | None:
        """Folder of the score files, once Bob has set a CSV score writer."""
        if not isinstance(self.score_writer, CSVScoreWriter):
            return None
        return Path(os.path.normpath(self.score_writer.path)).parent

    def _claim_output(self) -> None:
        if self.output is None:
            return
        layers = []
        for step in self._steps():
            while hasattr(step, "estimator"):
                layers.append(step)
                step = step.estimator
        reuses = [
            Path(layer.features_dir)
            for layer in layers
            if isinstance(layer, CheckpointWrapper) and layer.features_dir
        ]
        algorithm = _without(BioAlgDaskWrapper, self.biometric_algorithm)
        force = False
        if isinstance(algorithm, BioAlgCheckpointWrapper):
            reuses.append(Path(algorithm.biometric_reference_dir))
            force = algorithm.force
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        about = {"card": json.loads(self.card.to_json()), "command": command}
        run_record.claim(self.output, self.identity, reuses, force, about)

    def _check_writer(self) -> None:
        if not isinstance(self.score_writer, CSVScoreWriter):
            raise InputError(
                "scores of an attack must be written with metadata, got the four-column format, "
                "which cannot tell attacks apart; drop `--write-column-scores`."
            )

    def write_scores(self, scores: Sequence[SampleSet]) -> list[str]:
        """Write one partition: bona fide and attack rows to files of their own."""
        self._check_writer()
        bona_fide = [probe for probe in scores if not hasattr(probe, "attack_type")]
        attacks = [probe for probe in scores if hasattr(probe, "attack_type")]
        return [
            path for part in (bona_fide, attacks) if part for path in self.score_writer.write(part)
        ]

    def post_process(self, score_paths: Any, filename: str) -> Any:
        """Join the partitions into both score files, then report what they say."""
        join = partial(_join, self.score_writer)
        report = partial(self._report, Path(filename))
        if isinstance(score_paths, dask.bag.Bag):
            from .client_side import AfterCompute

            return AfterCompute.of(
                dask.delayed(join)(dask.delayed(list)(score_paths), filename), report
            )
        joined = join(list(score_paths), filename)
        report()
        return joined

    def _remember_for_sheet(self, references: Sequence[SampleSet]) -> None:
        if self.output is not None:
            from .report.contact_sheet import ContactSheet

            self._sheet = ContactSheet.choose(references, self._steps(), self.card.positions)

    def _report(self, filename: Path) -> None:
        from .report.summary import write_summary

        write_summary(filename, self.identity, self._sheet)


def _join(writer: CSVScoreWriter, score_paths: Sequence[str], filename: str) -> list[str]:
    parts: dict[bool, list[str]] = {False: [], True: []}
    for path in score_paths:
        parts[is_attack_file(path)].append(path)
    return merge(writer, parts[False], parts[True], Path(filename))


def _settings(estimator: Any) -> str:
    """Every parameter of an estimator as text, the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", estimator.__repr__(N_CHAR_MAX=10**9))


def _decoder_of(reconstructor: Any, card: Any) -> dict[str, Any]:
    return {
        "name": card.decoder,
        "recognizer": card.recognizer,
        "preset": card.preset,
        "sha256": sha256(reconstructor.checkpoint),
    }


def _recognizer_of(transformer: Any) -> dict[str, Any]:
    from .recognizers import identify

    identity = identify(transformer)
    return {"name": identity.name, "sha256": identity.sha256}
