"""One measured run a process: what `tests.benchmarks.scale` compares."""

from __future__ import annotations

import copy
import json
import os
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from .common import database_of
from .turns import peak_kb, serve

NAME = "arcface-mbf"
_PEOPLE = 1000


class Some:
    """So many references and probes of a database, under new names where it has fewer.

    A probe lists its own subject's reference and another one.
    """

    def __init__(self, database: Any, references: int, probes: int):
        self._database, self._n = database, (references, probes)
        self.annotation_type = database.annotation_type
        self.fixed_positions = database.fixed_positions
        self.score_all_vs_all = False
        self.protocol = f"{database.protocol}, {references} references, {probes} probes"

    def references(self, group: str = "dev") -> list[Any]:
        return _repeated(self._database.references(group=group), self._n[0])

    def probes(self, group: str = "dev") -> list[Any]:
        owned = {str(r.subject_id): str(r.template_id) for r in self.references(group)}
        names = list(owned)
        known = [p for p in self._database.probes(group=group) if str(p.subject_id) in owned]
        sets = _repeated(known, self._n[1])
        for probe in sets:
            own = str(probe.subject_id)
            another = names[(names.index(own) + 1) % len(names)]
            probe.references = [owned[own], owned[another]]
        return sets

    def groups(self) -> list[str]:
        return ["dev"]


def _repeated(sets: list[Any], n: int) -> list[Any]:
    chosen = []
    for i in range(n):
        again, place = divmod(i, len(sets))
        one = copy.copy(sets[place])
        one.samples = [copy.copy(sample) for sample in one.samples]
        for thing in (one, *one.samples):
            thing.key = f"{again}/{thing.key}"
        one.template_id = f"{again}/{one.template_id}"
        chosen.append(one)
    return chosen


def _faces(lfw: str | None) -> Any:
    return database_of("lfw" if lfw else "demo", lfw)


def write_decoder(path: Path, width: float = 1.0) -> Path:
    """Write a DSCasConv with the weights that it is born with: as fast as a trained one."""
    import torch

    from bob_recon_plugin import recognizers
    from bob_recon_plugin.decoders import DSCasConv, ModelCard, save

    torch.manual_seed(0)
    about = recognizers.get(NAME)
    positions, size = dict(about.cropped_positions), about.embedding_size
    card = ModelCard(NAME, size, recognizer_sha256=about.sha256, positions=positions)
    return save(path, DSCasConv(size, width), card)


def _system(database: Any) -> Any:
    from bob_recon_plugin.recognizers import bob_pipeline

    return bob_pipeline(NAME, database.annotation_type, database.fixed_positions)


def _attacked(database: Any, **options: Any) -> Any:
    from bob_recon_plugin.attack.chain import attack

    return attack({"pipeline": _system(database), "database": database, **options})


def bare(decoder: str, n: int, tuned: bool) -> dict[str, float]:
    """Decode and embed in a loop over batches of 64: the two networks and nothing else.

    As torch loads them, or tuned: with the decoder folded for inference and freed memory kept.
    """
    import torch

    from bob_recon_plugin import decoders, recognizers
    from bob_recon_plugin.common.memory import keep_freed_memory

    network = decoders.load(decoder)[0].eval()
    recognizer = recognizers.load_module(NAME).eval()
    if tuned:
        keep_freed_memory()
        network = decoders.for_inference(network)
    embeddings = torch.randn(n, 512, generator=torch.Generator().manual_seed(0)) * 0.9
    with torch.inference_mode():
        recognizer(255 * network(embeddings[:64]))
        started = time.perf_counter()
        for start in range(0, n, 64):
            recognizer(255 * network(embeddings[start : start + 64]))
    return {"images": n, "seconds": time.perf_counter() - started}


def ours(decoder: str, n: int, lfw: str | None) -> dict[str, float]:
    """The attack stage of `bob bio pipeline simple ... recon`: all that it does to n templates."""
    from tests import toy

    database = Some(_faces(lfw), n, 2)
    with tempfile.TemporaryDirectory() as output:
        toy.execute(_attacked(database, decoder=decoder, attacks=("type1",)), output, database)
        return json.loads(Path(output, "summary-dev.json").read_text())["effort"]["attack"]


class OneByOne(TransformerMixin, BaseEstimator):
    """A decoder as one would first write it: each embedding through the network as it is loaded."""

    def __init__(self, checkpoint: str):
        self.checkpoint = checkpoint

    def fit(self, X: Any, y: Any = None) -> OneByOne:
        return self

    def transform(self, X: Any) -> list[np.ndarray]:
        import torch

        network = _plain(self.checkpoint)
        with torch.no_grad():
            decoded = [network(torch.from_numpy(np.asarray(x))[None])[0] for x in X]
        return [(255 * face).round().byte().numpy() for face in decoded]

    def _more_tags(self) -> dict[str, Any]:
        return {"requires_fit": False}


@lru_cache(maxsize=1)
def _plain(checkpoint: str) -> Any:
    from bob_recon_plugin import decoders

    return decoders.load(checkpoint)[0].eval()


def stock(decoder: str, n: int, lfw: str | None) -> dict[str, float]:
    """The same attack as a transformer before Bob's own steps, on Bob's own wrappers."""
    from bob.bio.base.pipelines import PipelineSimple, checkpoint_pipeline_simple
    from bob.pipelines import Sample, SampleSet, wrap
    from sklearn.pipeline import Pipeline

    from bob_recon_plugin.decoders import read_card

    system = _system(_faces(lfw))
    cropper, embedding = (step for _, step in system.transformer.steps)
    cropper.estimator.fixed_positions = None
    cropper.transform_extra_arguments = (("annotations", "annotations"),)
    invert = wrap(["sample"], OneByOne(decoder))
    steps = [("invert", invert), ("cropper", cropper), ("embedding", embedding)]
    eyes = {**read_card(decoder).positions, "topleft": (0, 0), "bottomright": (112, 112)}
    leaked = np.random.default_rng(0).normal(0, 0.9, (n, 512)).astype(np.float32)
    probes = [
        SampleSet([Sample(e, key=f"{i}", annotations=eyes)], key=f"{i}", template_id=f"{i}")
        for i, e in enumerate(leaked)
    ]
    with tempfile.TemporaryDirectory() as output:
        pipeline = PipelineSimple(Pipeline(steps), system.biometric_algorithm)
        checkpoint_pipeline_simple(pipeline, output)
        pipeline.probe_templates(probes[:2])  # weights are loaded
        started = time.perf_counter()
        pipeline.probe_templates(probes[2:])
        return {"images": n - 2, "seconds": time.perf_counter() - started}


def command(lfw: str | None, attacked: bool) -> dict[str, float]:
    """`bob bio pipeline simple`: bona fide alone as Bob does it, or with both attacks."""
    from tests import toy

    started = time.perf_counter()
    database = _faces(lfw)
    pipeline = _attacked(database) if attacked else _system(database)
    with tempfile.TemporaryDirectory() as output:
        toy.execute(pipeline, output, database)
    return {"seconds": time.perf_counter() - started}


def workers(lfw: str | None, count: int, n: int, cores: int | None) -> dict[str, float]:
    """Both attacks and the bona fide part on so many workers of one thread.

    ``cores`` is how many the workers, their scheduler and the client share; None: all.
    """
    from bob_recon_plugin.clients import local
    from tests import toy

    if cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    client = local(count, threads=1)
    try:
        client.wait_for_workers(count, timeout=300)
        # a long run starts once: every worker imports and loads before the clock does
        client.run(_warm)
        database = Some(_faces(lfw), n, n)
        pipeline = _attacked(database, part_size=64)
        with tempfile.TemporaryDirectory() as output:
            started = time.perf_counter()
            more = {"dask_n_partitions": None, "dask_partition_size": 64}
            toy.execute(pipeline, output, database, client, **more)
            return {"seconds": time.perf_counter() - started}
    finally:
        client.close()
        client.cluster.close()


def _warm() -> None:
    from bob_recon_plugin.attack.chain import shipped_decoder
    from bob_recon_plugin.inversion.reconstructor import FaceReconstructor
    from bob_recon_plugin.recognizers import RecognizerTransformer

    found = FaceReconstructor(shipped_decoder(), NAME).transform(np.ones((2, 512)))
    RecognizerTransformer(NAME).transform(found)


def memory(probes: int, dask: bool) -> dict[str, float]:
    """Peak memory of the process that a user starts."""
    from bob_recon_plugin.clients import local
    from tests import toy

    database = toy.ToyDatabase(_PEOPLE, probes // _PEOPLE, score_all_vs_all=False)
    client = local(2) if dask else None
    with tempfile.TemporaryDirectory() as output:
        pipeline = toy.attack(toy.decoder(Path(output, "toy.safetensors")), keep_faces=False)
        try:
            started = time.perf_counter()
            toy.execute(pipeline, output, database, client, dask_n_partitions=None)
        finally:
            if client is not None:
                client.close()
                client.cluster.close()
        with open(Path(output, "scores-dev.csv")) as scores:
            rows = sum(1 for _ in scores) - 1
    return {
        "rows": rows,
        "seconds": time.perf_counter() - started,
        "peak_mb": peak_kb() / 1024,
    }


if __name__ == "__main__":
    jobs = (bare, ours, stock, command, workers, memory)
    serve({job.__name__: job for job in jobs})
