"""A face system small enough to compute by hand: a linear projection of 16 x 16 images."""

from __future__ import annotations

import csv
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from bob.bio.base.algorithm import Distance
from bob.bio.base.pipelines import Database, PipelineSimple, execute_pipeline_simple
from bob.pipelines import DelayedSample, SampleSet, wrap
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline

from bob_recon_plugin.recognizers import Recognizer, from_onnx

SIDE, SIZE = 16, 8
POSITIONS = {"reye": (5.0, 5.0), "leye": (5.0, 10.0)}


def projection(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """Fixed matrix of shape (3 * 16 * 16, size)."""
    return np.random.default_rng(seed).standard_normal((3 * SIDE * SIDE, size)) / 100


class ToyRecognizer(TransformerMixin, BaseEstimator):
    """Images (n, 3, 16, 16) in [0, 255] to embeddings (n, 8), linear about mid grey."""

    def __init__(self, seed: int = 0):
        self.seed = seed

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        images = np.stack([np.asarray(x, dtype=np.float64) for x in X])
        return (images.reshape(len(images), -1) - 127.5) @ projection(self.seed)

    def _more_tags(self):
        return {"requires_fit": False}


class SlowRecognizer(ToyRecognizer):
    """Takes a while for every batch, so that a test can disturb it."""

    def __init__(self, seed: int = 0, pause: float = 0.2):
        super().__init__(seed)
        self.pause = pause

    def transform(self, X):
        time.sleep(self.pause)
        return super().transform(X)


class NaNRecognizer(ToyRecognizer):
    """Gives NaN for every image."""

    def transform(self, X):
        return super().transform(X) * np.nan


def image(seed: int) -> np.ndarray:
    """Image of one person: a person's base pattern and a little noise, uint8 (3, 16, 16)."""
    person, shot = divmod(seed, 100)
    base = np.random.default_rng(person).normal(127.5, 40, (3, SIDE, SIDE))
    noise = np.random.default_rng(10_000 + 100 * person + shot).normal(0, 15, base.shape)
    return np.clip(base + noise, 0, 255).astype(np.uint8)


class ToyDatabase(Database):
    """People with one enrolled image and some probes each, all against all or by list."""

    def __init__(self, people: int = 6, probes: int = 3, score_all_vs_all: bool = True):
        super().__init__(protocol="toy", score_all_vs_all=score_all_vs_all)
        self.people, self.n_probes = people, probes

    def sample_set(self, person: int, shot: int, **more: object) -> SampleSet:
        key = f"p{person}/{shot}"
        sample = DelayedSample(partial(image, 100 * person + shot), key=key, annotations=POSITIONS)
        names = {"key": key, "template_id": key, "subject_id": f"p{person}"}
        return SampleSet([sample], **names, **more)

    def references(self, group="dev"):
        return [self.sample_set(p, 0, gender="mf"[p % 2]) for p in range(self.people)]

    def probes(self, group="dev"):
        everyone = [f"p{p}/0" for p in range(self.people)]
        sets = []
        for p in range(self.people):
            for shot in range(1, 1 + self.n_probes):
                neighbours = [f"p{p}/0", f"p{(p + 1) % self.people}/0"]
                listed = everyone if self.score_all_vs_all else neighbours
                sets.append(self.sample_set(p, shot, gender="mf"[p % 2], references=listed))
        return sets

    def background_model_samples(self):
        return []

    def all_samples(self, groups=None):
        return [s for sets in (self.references(), self.probes()) for x in sets for s in x]

    def groups(self):
        return ["dev", "eval"]

    def protocols(self):
        return ["toy"]


def system(recognizer: BaseEstimator | None = None) -> PipelineSimple:
    """The toy system as a Bob pipeline."""
    steps = [("embedding", wrap(["sample"], recognizer or ToyRecognizer()))]
    return PipelineSimple(Pipeline(steps), Distance())


def decoder(path: Path, seed: int = 0) -> Path:
    """Write a checkpoint of the linear decoder that inverts the toy recogniser exactly."""
    from bob_recon_plugin.decoders import LinearDecoder, ModelCard, save

    faces = np.random.default_rng(1).integers(0, 256, (400, 3, SIDE, SIDE), dtype=np.uint8)
    embeddings = ToyRecognizer(seed).transform(faces)
    fitted = LinearDecoder.fit(embeddings, faces, alpha=1e-6)
    card = ModelCard(recognizer="toy", embedding_size=SIZE, positions=POSITIONS)
    save(path, fitted, card)
    return path


class Shifted(TransformerMixin, BaseEstimator):
    """A cropper in small: shifts an image by the row of its right eye; no eyes, no image."""

    def fit(self, X, y=None):
        return self

    def transform(self, X, annotations=None):
        if annotations is None or annotations[0] is None:
            raise ValueError("annotations are needed to find the eyes")
        rows = [round(eyes["reye"][0] - POSITIONS["reye"][0]) for eyes in annotations]
        return [np.roll(image, row, axis=1) for image, row in zip(X, rows, strict=True)]

    def _more_tags(self):
        return {"requires_fit": False}


def attack(
    checkpoint: Path,
    recognizer=None,
    database=None,
    inverted=None,
    reconstructor=None,
    pipeline=None,
    **options,
):
    """The toy system, or another pipeline, under attack, with options of the attack by name."""
    from bob_recon_plugin.attack.options import AttackOptions
    from bob_recon_plugin.attack.pipeline import AttackPipeline
    from bob_recon_plugin.inversion.reconstructor import FaceReconstructor

    return AttackPipeline(
        pipeline or system(recognizer),
        reconstructor or FaceReconstructor(str(checkpoint)),
        AttackOptions(**options),
        database,
        inverted,
    )


def execute(pipeline, output, database=None, client=None, **options) -> None:
    """Run a pipeline as Bob's command does, with other arguments of it by name."""
    arguments = {
        "dask_client": client,
        "groups": ["dev"],
        "write_metadata_scores": True,
        "checkpoint": True,
        "dask_n_partitions": 3 if client else None,
        "dask_partition_size": None,
        "dask_n_workers": None,
    }
    execute_pipeline_simple(
        pipeline=pipeline,
        database=database or ToyDatabase(),
        output=str(output),
        **(arguments | options),
    )


def run(pipeline, output: Path, database=None, client=None, **options) -> list[dict[str, str]]:
    """Run a pipeline as Bob's command does; return the rows of the full score file."""
    execute(pipeline, output, database, client, **options)
    return rows(output / "scores-dev.csv")


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a score file."""
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def of(rows, attack: str):
    return [row for row in rows if row["probe_attack_type"] == attack]


def same_rows(found: list[str], stock: list[str], within: float) -> None:
    """Assert that lines of two score files differ in the rounding of scores alone."""
    rows, others = (list(csv.reader(lines)) for lines in (found, stock))
    at = others[0].index("score")
    assert [r[:at] + r[at + 1 :] for r in rows] == [r[:at] + r[at + 1 :] for r in others]
    scores = ([float(r[at]) for r in table[1:]] for table in (rows, others))
    np.testing.assert_allclose(*scores, rtol=0, atol=within)


def write_onnx(path, *, batch="n", out="nd", sides=(16, 16), channels=3, tail=()):
    """Convolution, PReLU, global mean, linear to 6 numbers; variants of it that are wrong."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(4, channels, 3, 3)),
        "b": rng.normal(size=4),
        "slopes": rng.uniform(-0.5, 0.5, size=(4, 1, 1)),
        "m": rng.normal(size=(6, 4)),
        "c": rng.normal(size=6),
    }
    initializers = [numpy_helper.from_array(v.astype("f4"), k) for k, v in constants.items()]
    last = "flat"
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["conv"], strides=[2, 2]),
        helper.make_node("PRelu", ["conv", "slopes"], ["act"]),
        helper.make_node("GlobalAveragePool", ["act"], ["mean"]),
    ]
    if batch == 1:
        initializers.append(numpy_helper.from_array(np.array([1, 4]), "shape"))
        nodes.append(helper.make_node("Reshape", ["mean", "shape"], ["flat"]))
    else:
        nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    nodes.append(helper.make_node("Gemm", [last, "m", "c"], ["y"], transB=1))
    name, shape = {"nd": ("y", ["n", 6]), "map": ("mean", ["n", 4, 1, 1]), "open": ("y", None)}[out]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
    outputs += [helper.make_tensor_value_info(t, TensorProto.FLOAT, None) for t in tail]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, *sides])],
        outputs,
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def write_recognizer(path: Path, seed: int = 0, size: int = SIZE) -> Recognizer:
    """Write the toy recogniser as an ONNX file; its description, under the name of the decoder."""
    flatten = helper.make_node("Flatten", ["x"], ["flat"])
    project = helper.make_node("MatMul", ["flat", "p"], ["y"])
    matrix = numpy_helper.from_array(projection(seed, size).astype("f4"), "p")
    graph = helper.make_graph(
        [flatten, project],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", size])],
        [matrix],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return from_onnx(path, name="toy", mean=127.5, scale=1.0, cropped_positions=POSITIONS)
