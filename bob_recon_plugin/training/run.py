"""Train a decoder on prepared faces, and write it with its card."""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from .. import recognizers
from ..common import record as run_record
from ..common.description import describe
from ..common.files import sha256
from ..common.memory import keep_freed_memory
from ..common.validation import InputError, existing_file, one_of
from ..decoders import DECODERS, Decoder, ModelCard, save
from ..faces.dataset import FaceDataset
from . import losses
from .batches import FaceBatches
from .callbacks import KeepBest, KeepState, Log, Progress, Samples, TensorsAlone
from .judge import FILE_NAME as WANTED
from .judge import NONE, Judge
from .leaked_templates import FILE_NAME as LEAKED
from .leaked_templates import leaked
from .lightning_module import Inversion
from .presets import Preset
from .start import start_from

logger = logging.getLogger(__name__)

DECODER, STATE, LOG, SAMPLES = "decoder.safetensors", "last.ckpt", "log.csv", "samples"


@dataclass(frozen=True)
class Plan:
    """One training.

    Parameters
    ----------
    preset : str
        Name for the model card.
    settings : Preset
    width : float
        Of decoders that have one.
    steps : int or None
        Length; None: what the preset's epochs make on these faces.
    every : int
        Steps between two validations, each with a checkpoint, a row of the log and a picture.
    patience : int
        Validations without a better cosine after which the training stops; 0: never.
    seed : int
    start : Path or None
        Decoder to start from.
    judge : str or None
        Recognition model whose gradients train the decoder, "none" for no model's; None: the
        one of the data, which the attacker then holds.
    device : str
        "auto", "cpu", "cuda".
    devices : int
        GPUs, or processes on the CPU.
    precision : str
        Lightning's; "auto": bfloat16 mixed on a GPU that has it, float32 elsewhere.
    vgg16 : Path or None
        Copy of torchvision's weights for the perceptual term; None: downloaded.
    vgg16_layers : tuple of str
        Of :class:`~bob_recon_plugin.training.losses.Perceptual`.
    decoder : str
        Name of a decoder that is trained step by step.
    leak : tuple of transformers
        What happens to a template before an attacker's decoder sees it, as of
        `AttackOptions`; the judge sees the embedding itself.
    """

    preset: str
    settings: Preset
    width: float = 1.0
    steps: int | None = None
    every: int = 200
    patience: int = 10
    seed: int = 0
    start: Path | None = None
    judge: str | None = None
    device: str = "auto"
    devices: int = 1
    precision: str = "auto"
    vgg16: Path | None = None
    vgg16_layers: tuple[str, ...] = losses.PERCEPTUAL_LAYERS
    decoder: str = "dscasconv"
    leak: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        one_of("decoder", self.decoder, [k for k, v in DECODERS.items() if not v.closed_form])
        for name, least in (("every", 1), ("patience", 0), ("devices", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"`{name}` must be at least {least}, got {getattr(self, name)}.")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"`steps` must be at least 1, got {self.steps}.")

    def length(self, faces: int) -> int:
        """Steps on so many training faces."""
        return self.steps or math.ceil(self.settings.epochs * faces / self.settings.batch_size)


def train(dataset: FaceDataset, output: Path, plan: Plan, force: bool = False) -> Path:
    """Train to the end, or continue an earlier run of the same plan.

    Parameters
    ----------
    dataset : FaceDataset
    output : Path
        Folder for ``decoder.safetensors`` (the best on held-out faces so far), ``last.ckpt``
        (the state), ``log.csv``, ``samples/*.png``, ``tensorboard/``.
    plan : Plan
    force : bool
        Replace what another training left in the folder.

    Returns
    -------
    Path
        The decoder.

    Raises
    ------
    StaleOutputError
        When the folder holds another training.
    FileNotFoundError, ValueError
        Before the training starts, for missing files and wrong parameters.
    """
    DECODERS[plan.decoder].check_installed()
    judge = Judge.of(plan.judge, dataset)
    if judge.name == dataset.about.recognizer:
        _check_recognizer(dataset)
    if plan.start is not None:
        judge.check_start(plan.start)
    plan = replace(plan, settings=judge.limited(plan.settings, bool(plan.leak)))
    steps = plan.length(int((~dataset.validation).sum()))
    plan = replace(plan, steps=steps)
    _claim(dataset, output, plan, judge, force)
    batches = _batches(dataset, output, plan, judge)
    decoder = _decoder(dataset, plan)
    module = Inversion(
        decoder, judge.load(), plan.settings, batches, steps, plan.every, _perceptual(plan)
    )
    state = output / STATE
    keep_freed_memory()
    keep = KeepState(state)
    trainer = _trainer(dataset, output, plan, judge, module.goal, keep)
    torch.set_flush_denormal(True)  # tiny activations cost a hundred times as much
    try:
        with keep.stoppable():
            trainer.fit(module, ckpt_path=str(state) if state.is_file() else None)
    finally:
        torch.set_flush_denormal(False)  # it holds for the whole process
    return output / DECODER


def _batches(dataset: FaceDataset, output: Path, plan: Plan, judge: Judge) -> FaceBatches:
    wanted = judge.wanted(dataset, output)
    if not plan.leak:
        return FaceBatches(dataset, plan.seed, wanted)
    if wanted is None:
        wanted = dataset.embeddings
    return FaceBatches(dataset, plan.seed, wanted, leaked(dataset, plan.leak, output))


def fit(
    dataset: FaceDataset, output: Path, decoder: str, alpha: float, force: bool = False
) -> Path:
    """Solve for a decoder in closed form, on the training faces of the dataset.

    Parameters
    ----------
    dataset : FaceDataset
    output : Path
        Folder for ``decoder.safetensors``.
    decoder : str
        Name of a decoder of closed form.
    alpha : float
        Ridge penalty a face.
    force : bool
        Replace what another training left in the folder.

    Returns
    -------
    Path
        The decoder.
    """
    _check_recognizer(dataset)
    kind = DECODERS[decoder]
    identity = {"data": _data(dataset), "decoder": decoder, "alpha": alpha}
    run_record.claim(output, identity, _kept(output), force)
    rows = np.flatnonzero(~dataset.validation)
    fitted = kind.fit(dataset.embeddings[rows, 0], dataset.faces(rows), alpha=alpha)
    preset = f"{kind.preset}, alpha {alpha:g}"
    card = replace(_card(dataset, preset, dataset.embeddings[:, 0]), judge=NONE)
    return save(output / DECODER, fitted, card)


def _kept(output: Path) -> list[Path]:
    """What an earlier training leaves behind."""
    return [output / name for name in (SAMPLES, STATE, DECODER, WANTED, LEAKED)]


def _check_recognizer(dataset: FaceDataset) -> None:
    """Stored embeddings and the judge must be one model."""
    about = recognizers.get(dataset.about.recognizer)
    if about.sha256 is not None and about.sha256 != dataset.about.recognizer_sha256:
        raise InputError(
            f"`data` must hold embeddings of {about.name} with SHA-256 {about.sha256}, got "
            f"{dataset.about.recognizer_sha256}; prepare the faces again."
        )


def _data(dataset: FaceDataset) -> dict[str, Any]:
    return {**asdict(dataset.about), "n": len(dataset), "embeddings": describe(dataset.embeddings)}


def _identity(dataset: FaceDataset, plan: Plan, judge: Judge) -> dict[str, Any]:
    """What decides the weights."""
    return {
        "leak": describe(plan.leak),
        "judge": [judge.name, judge.sha256],
        "decoder": plan.decoder,
        "data": _data(dataset),
        "preset": plan.settings.describe(),
        "width": plan.width,
        "steps": plan.steps,
        "every": plan.every,
        "patience": plan.patience,
        "seed": plan.seed,
        "start_from": _start_hash(plan),
        "devices": plan.devices,
        "precision": plan.precision,
        "vgg16_layers": plan.vgg16_layers if "perceptual" in plan.settings.weights else None,
        "vgg16": describe(plan.vgg16),
    }


def _start_hash(plan: Plan) -> str | None:
    if plan.start is None:
        return None
    return sha256(existing_file("start_from", plan.start, "give a decoder's file."))


def _claim(dataset: FaceDataset, output: Path, plan: Plan, judge: Judge, force: bool) -> None:
    run_record.claim(output, _identity(dataset, plan, judge), _kept(output), force)
    if force:
        for name in (STATE, LOG, DECODER, WANTED, LEAKED):
            (output / name).unlink(missing_ok=True)


def _decoder(dataset: FaceDataset, plan: Plan) -> Decoder:
    about = dataset.about
    torch.manual_seed(plan.seed)  # here: loading a recognition model draws random numbers too
    decoder = DECODERS[plan.decoder].for_faces(
        about.embedding_size, about.image_size, about.positions, plan.width
    )
    if plan.start is not None:
        start_from(decoder, plan.start, dataset)
    return decoder.to(memory_format=torch.channels_last)


def _perceptual(plan: Plan) -> losses.Perceptual | None:
    if "perceptual" not in plan.settings.weights:
        return None
    if plan.vgg16 is None:
        return losses.Perceptual(layers=plan.vgg16_layers)
    file = existing_file("vgg16", plan.vgg16, "give torchvision's vgg16-397923af.pth.")
    return losses.Perceptual(file, plan.vgg16_layers)


def _trainer(
    dataset: FaceDataset, output: Path, plan: Plan, judge: Judge, goal: str, keep: KeepState
) -> pl.Trainer:
    cuda = plan.device == "cuda" or (plan.device == "auto" and torch.cuda.is_available())
    precision = plan.precision
    if precision == "auto":
        precision = "bf16-mixed" if cuda and torch.cuda.is_bf16_supported() else "32-true"
    for noisy in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*[Cc]heckpoint.*", module="pytorch_lightning")
    tensorboard = _tensorboard(output)
    origin = _start_hash(plan)  # now: the file may be replaced while this runs
    callbacks: list[pl.Callback] = [
        Progress(),
        Log(output / LOG, tensorboard),
        Samples(output / SAMPLES),
        KeepBest(lambda module, step: _keep(module, step, dataset, output, plan, judge, origin)),
    ]
    if plan.patience:
        callbacks.append(
            pl.callbacks.EarlyStopping(
                f"val/{goal}", mode="max", patience=plan.patience, check_on_train_epoch_end=False
            )
        )
    return pl.Trainer(
        accelerator="cuda" if cuda else "cpu",
        devices=plan.devices,
        precision=precision,  # type: ignore[arg-type]
        max_steps=plan.steps or -1,
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[*callbacks, keep],
        plugins=[TensorsAlone()],
    )


def _tensorboard(output: Path) -> Any:
    try:
        return pl.loggers.TensorBoardLogger(output, name="tensorboard", version="")
    except ModuleNotFoundError:
        logger.info("no TensorBoard log: run `pip install tensorboard` to have one.")
        return None


def _keep(
    module: Inversion,
    step: int,
    dataset: FaceDataset,
    output: Path,
    plan: Plan,
    judge: Judge,
    origin: str | None,
) -> None:
    names = {"sampled": "sampled embeddings: cosine"}
    measured = module.measured.items()
    metrics = {names.get(k, f"held-out faces: {k}"): round(v, 4) for k, v in measured}
    start = f", started from {origin[:16]}" if origin else ""
    behind = f", behind {list(plan.leak)}" if plan.leak else ""
    about = f"{plan.preset}, step {step} of {plan.steps}{start}{behind}"
    preset = f"{about}: {plan.settings.describe()}"
    metrics["training: minutes"] = round(module.minutes, 1)
    versions = {**run_record.versions(), "device": _device_name(module.device, plan.devices)}
    card = replace(
        _card(dataset, preset, module.batches.embeddings[:, 0].cpu().numpy()),
        judge=judge.name,
        judge_sha256=judge.sha256,
        metrics=metrics,
        seed=plan.seed,
        versions=versions,
    )
    save(output / DECODER, module.result, card)


def _device_name(device: torch.device, devices: int) -> str:
    if device.type == "cuda":
        return f"{devices} x {torch.cuda.get_device_name(device)}"
    return f"{devices} x CPU, {torch.get_num_threads()} threads"


def _card(dataset: FaceDataset, preset: str, seen: np.ndarray) -> ModelCard:
    """Card of a decoder that saw embeddings of shape (n, d): those of the faces, or leaked ones."""
    about = dataset.about
    held_out = int(dataset.validation.sum())
    licence = "as the recognition model it inverts"
    if about.recognizer in recognizers.names():  # a black box may be of no description
        licence += f": {recognizers.get(about.recognizer).licence}"
    return ModelCard(
        recognizer=about.recognizer,
        recognizer_sha256=about.recognizer_sha256,
        embedding_size=about.embedding_size,
        embedding_norm=float(np.linalg.norm(seen, axis=1).mean()),
        positions=dict(about.positions),
        training_data=f"{len(dataset) - held_out} faces, {held_out} held out; {about.about}",
        preset=preset,
        licence=licence,
    )
