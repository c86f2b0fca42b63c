"""``bob bio recon train`` itself, stopped after every few steps to read the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytorch_lightning as pl
import torch

from bob_recon_plugin.faces.dataset import open_datasets
from bob_recon_plugin.training import losses, presets
from bob_recon_plugin.training import run as training
from bob_recon_plugin.training.callbacks import Progress
from bob_recon_plugin.training.lightning_module import Inversion, update_average

from .training_workers import Job, Lap, Turns, timed

_ENDLESS = 100_000  # steps, and steps to the first validation


class _Enough(Exception):
    """All turns are done."""


class _Pace(pl.Callback):
    """Trains in turns."""

    def __init__(self, turns: Turns):
        self.turns = turns

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Inversion)
        self.turns.parts = lambda n: parts(trainer, module, n, self.turns.device)
        if not self.turns.begin():
            raise _Enough

    def on_train_batch_end(self, *_: Any) -> None:
        if not self.turns.step_done():
            raise _Enough


def run(job: Job, turns: Turns, folder: Path) -> None:
    """Train as the command does, in turns.

    Parameters
    ----------
    job : Job
    turns : Turns
    folder : Path
        For what a training writes.
    """
    settings = replace(presets.get(job.preset, job.settings), pixel_share=0.0)
    plan = training.Plan(
        job.preset,
        settings,
        width=job.width,
        steps=_ENDLESS,
        every=_ENDLESS,
        patience=0,
        device=job.device,
        vgg16=Path(job.vgg16) if job.vgg16 else None,
    )

    class Paced(pl.Trainer):
        def __init__(self, callbacks: list[pl.Callback], **more: Any):
            quiet = [each for each in callbacks if not isinstance(each, Progress)]
            super().__init__(callbacks=[*quiet, _Pace(turns)], **more)

    try:
        with patch.object(training.pl, "Trainer", Paced):
            training.train(open_datasets([job.data]), folder, plan)
    except _Enough:
        pass


def parts(trainer: pl.Trainer, module: Inversion, n: int, device: str) -> dict[str, Lap]:
    """Time each part of a training step alone, on one batch.

    Parameters
    ----------
    trainer : Trainer
    module : Inversion
    n : int
        Repetitions.
    device : str

    Returns
    -------
    dict of str to Lap
        "data", "decoder", "recogniser", "pixel losses", "optimiser, average"; the networks
        forward and backward.
    """
    step = trainer.global_step
    drawn = iter(range(step, step + 2 * n + 2))
    with trainer.precision_plugin.train_step_context():
        targets, embeddings, _, random, _ = module._draw(step)
        works = _works(trainer, module, targets, embeddings, random)
        works = {"data": lambda: module._draw(next(drawn)), **works}
        found = {}
        for name, work in works.items():
            work()
            found[name] = timed(work, n, device)
    return found


def _works(
    trainer: pl.Trainer,
    module: Inversion,
    targets: torch.Tensor,
    embeddings: torch.Tensor,
    random: torch.Generator,
) -> dict[str, Any]:
    decoded = module.decoder(embeddings).detach()
    gradient = torch.randn_like(decoded)
    weights = module.preset.weights
    (optimiser,) = trainer.optimizers

    def decoder() -> None:
        optimiser.zero_grad()
        module.decoder(embeddings).backward(gradient)

    def last() -> None:
        for group in optimiser.param_groups:
            group["lr"] = 0.0  # the same work, and the weights stay
        optimiser.step()
        if module.average is not None:
            update_average(module.average, module.decoder, module.preset.ema, trainer.global_step)

    works = {"decoder": decoder}
    identity = {k: w for k, w in weights.items() if k.startswith("identity")}
    pixels = {k: w for k, w in weights.items() if k not in identity}
    if identity:
        module.watched.generator = random if module.preset.jitter else None
        judge = losses.Loss(identity, module.watched)
        works["recogniser"] = _judged(judge, decoded, targets, embeddings)
    if pixels:
        judge = losses.Loss(pixels, perceptual=module.loss.perceptual)
        works["pixel losses"] = _judged(judge, decoded[: len(targets)], targets, None)
    return {**works, "optimiser, average": last}


def _judged(loss: losses.Loss, faces: Any, targets: Any, embeddings: Any) -> Any:
    """Loss and its gradient with respect to the faces."""
    leaf = faces.clone().requires_grad_()

    def work() -> None:
        leaf.grad = None
        terms: Mapping[str, torch.Tensor] = loss(leaf, targets, embeddings)
        terms["total"].backward()

    return work
