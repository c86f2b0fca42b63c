"""What a training shows and writes: progress, log, sample pictures, the best decoder, its state."""

from __future__ import annotations

import csv
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.plugins.io import TorchCheckpointIO
from tqdm import tqdm

from ..common.files import whole_or_nothing
from ..common.validation import InputError
from ..common.weights_files import read_weights
from .lightning_module import Inversion

_SAMPLES = 12


class Progress(pl.Callback):
    """A bar over the whole training, with the loss and the last validation."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Open the bar where the training stands."""
        assert isinstance(module, Inversion)
        self.bar = tqdm(
            total=module.steps,
            initial=trainer.global_step,
            unit="step",
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Count a step."""
        self.bar.update()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Show what was measured on held-out faces."""
        assert isinstance(module, Inversion)
        self.bar.set_postfix({k: f"{v:.3f}" for k, v in module.measured.items()})

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()


class Log(pl.Callback):
    """``log.csv``: one row a validation, of the mean loss terms since the last and what was seen.

    Ends the training with a message when the loss is not finite.
    """

    def __init__(self, path: Path, tensorboard: Any = None):
        self.path, self.tensorboard, self.seconds = path, tensorboard, 0.0
        self._reset()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Drop rows of steps after the last checkpoint."""
        self.started = time.perf_counter() - self.before
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as stream:
                rows = [r for r in csv.DictReader(stream) if int(r["step"]) <= trainer.global_step]
            self._write(rows)

    def _reset(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.steps, self.images = 0, 0
        self.before, self.started = 0.0, time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Add the terms of a step."""
        assert isinstance(module, Inversion)
        for name, value in module.terms.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)).to(value) + value
        self.steps += 1
        self.images += module.preset.samples

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the row."""
        assert isinstance(module, Inversion)
        step = trainer.global_step
        terms = {name: (value / self.steps).item() for name, value in self.sums.items()}
        _check_finite(terms, step)
        seconds = time.perf_counter() - self.started
        self.seconds += seconds
        row = {
            "step": step,
            "learning_rate": module.optimizers().param_groups[0]["lr"],  # type: ignore[union-attr]
            "minutes": self.seconds / 60,
            "images_per_second": self.images / seconds,
            **{f"train/{name}": value for name, value in terms.items()},
            **{f"val/{name}": value for name, value in module.measured.items()},
        }
        if trainer.is_global_zero:
            self._append(row)
        if self.tensorboard is not None:
            self.tensorboard.log_metrics({k: v for k, v in row.items() if k != "step"}, step)
        module.minutes = self.seconds / 60
        self._reset()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {
            "seconds": self.seconds,
            "sums": self.sums,
            "steps": self.steps,
            "images": self.images,
            "before": time.perf_counter() - self.started if self.steps else 0.0,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.seconds = state["seconds"]
        self.sums, self.steps, self.images = dict(state["sums"]), state["steps"], state["images"]
        self.before = state["before"]

    def _append(self, row: dict[str, Any]) -> None:
        rows: list[dict[str, Any]] = []
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
        self._write([*rows, row])

    def _write(self, rows: list[dict[str, Any]]) -> None:
        # terms may join on the way: the identity terms after the pixel terms
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with (
            whole_or_nothing(self.path) as part,
            part.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(rows)


def _check_finite(terms: dict[str, float], step: int) -> None:
    bad = ", ".join(name for name, value in terms.items() if not math.isfinite(value))
    if bad:
        raise InputError(
            f"the loss must stay finite, got NaN or infinity in {bad} before step {step}; "
            "lower the rate (--set learning_rate=...). The last good decoder is kept."
        )


class Samples(pl.Callback):
    """``samples/step-000200.png``: held-out faces above their reconstructions."""

    def __init__(self, folder: Path):
        self.folder = folder

    @torch.no_grad()
    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw the grid."""
        assert isinstance(module, Inversion)
        if not trainer.is_global_zero:
            return
        faces, embeddings = module.batches.take(module.batches.held_out[:_SAMPLES])
        decoded = module.result.eval()(embeddings)
        grid = torch.stack([faces, decoded]).mul(255).round().clamp(0, 255).byte().cpu().numpy()
        # (2, n, 3, H, W) -> (2 H, n W, 3)
        picture = np.concatenate(
            [np.concatenate(list(row.transpose(0, 2, 3, 1)), 1) for row in grid]
        )
        with whole_or_nothing(self.folder / f"step-{trainer.global_step:06d}.png") as part:
            Image.fromarray(picture).save(part, "png")


class KeepBest(pl.Callback):
    """Write the decoder whenever it is the best on the held-out faces so far."""

    def __init__(self, save: Callable[[Inversion, int], None]):
        self.save, self.best = save, -math.inf

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Compare with the best."""
        assert isinstance(module, Inversion)
        if module.measured[module.goal] > self.best:
            self.best = module.measured[module.goal]
            if trainer.is_global_zero:
                self.save(module, trainer.global_step)

    def state_dict(self) -> dict[str, float]:
        """Return what a resumed training needs."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore it."""
        self.best = state["best"]


class TensorsAlone(TorchCheckpointIO):
    """Reads the state of a training as tensors and plain values, whichever Lightning this is."""

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read it onto the CPU.

        Raises
        ------
        ValueError
            For a file that holds anything else, or cannot be read.
        """
        remedy = "remove it, or train with --force from the start."
        state = read_weights(path, "last.ckpt", remedy)
        if not isinstance(state, dict) or not {"state_dict", "optimizer_states"} <= set(state):
            raise InputError(f"`last.ckpt` must be the state of a training, got {path}; {remedy}")
        return state


class KeepState(pl.Callback):
    """Write ``last.ckpt`` after every validation, every minute, and when the training is stopped.

    The file is replaced as a whole. A first Ctrl-C or SIGTERM ends the training after the
    current stretch of steps (:attr:`Inversion.STRETCH`), a second one at once.
    """

    seconds = 60  # between two states

    def __init__(self, path: Path):
        self.path, self.written = path, time.monotonic()
        self.stopped_by: int | None = None
        self.handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take over the handlers of signals, after Lightning set its own."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            if number in self.handlers:
                signal.signal(number, self._stop)

    def _stop(self, number: int, frame: Any) -> None:
        if self.stopped_by is not None:
            self.handlers[number](number, frame)
        self.stopped_by = number
        click.echo("\nStopping, to keep the state; once more: at once, without it.", err=True)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Delay signals that arrive in the block to its end."""
        found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.handlers = {number: handler for number, handler in found.items() if callable(handler)}
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in self.handlers.items():
                    signal.signal(number, handler)
        if self.stopped_by is not None:
            self.handlers[self.stopped_by](self.stopped_by, None)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write it when due, and stop when asked to; one process decides for all."""
        assert isinstance(module, Inversion)
        due = time.monotonic() - self.written > self.seconds
        stopped = self.stopped_by is not None
        due, stopped = trainer.strategy.broadcast((due, stopped))
        if due or stopped or module.validates:
            part = self.path.with_suffix(".part")
            trainer.save_checkpoint(part)
            if trainer.is_global_zero:
                os.replace(part, self.path)
            self.written = time.monotonic()
        if stopped:
            trainer.should_stop = True
