"""The training of a decoder as a Lightning module."""

from __future__ import annotations

import copy
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ..decoders import Decoder
from ..recognizers.jitter import JitteredRecognizer
from . import losses
from .batches import FaceBatches, generator
from .presets import Preset
from .sampled_embeddings import SampledEmbeddings

_SAMPLED = 128  # embeddings without a face that a validation reconstructs
_BATCH = 64
_LONGEST = 50  # steps of a stretch
_NEVER = sys.maxsize  # epochs


class Inversion(pl.LightningModule):
    """Train a decoder to invert a recognition model.

    A "batch" of Lightning is the number of a step: the faces are drawn from it
    (:mod:`~bob_recon_plugin.training.batches`). An "epoch" of Lightning is a
    stretch of some steps, at whose end the state can be kept; one whose end is a
    multiple of ``every`` ends with a validation.

    Parameters
    ----------
    decoder : Decoder
    judge : Module or None
        Recognition model of the identity terms, of
        :func:`~bob_recon_plugin.recognizers.load_module`; None for none.
    preset : Preset
    batches : FaceBatches
    steps : int
        Length of the whole training.
    every : int
        Steps between two validations.
    perceptual : Module, optional
        As for :class:`~bob_recon_plugin.training.losses.Loss`.
    """

    STRETCH = 2.0  #: seconds that the steps between two chances to keep the state take, about
    strict_loading = False  # checkpoints hold the decoder, without the judge
    minutes = 0.0  # of training until the last validation, set by the log

    def __init__(
        self,
        decoder: Decoder,
        judge: nn.Module | None,
        preset: Preset,
        batches: FaceBatches,
        steps: int,
        every: int,
        perceptual: nn.Module | None = None,
    ):
        super().__init__()
        self.decoder = decoder
        self.average = copy.deepcopy(decoder).eval().requires_grad_(False) if preset.ema else None
        self.preset, self.batches, self.steps, self.every = preset, batches, steps, every
        self.validates = False  # at the end of this stretch
        self._last = (0, 0.0)  # step and time at which the last stretch began
        self.watched = None if judge is None else JitteredRecognizer(judge)
        self.loss = losses.Loss(preset.weights, self.watched, perceptual)
        self.pixel_loss = self._without_identity() if preset.pixel_share else None
        self.sampled: SampledEmbeddings | None = None
        if judge is not None and batches.judged_by_recognizer and decoder.takes_sampled:
            fitted = batches.embeddings[batches.training].flatten(0, 1)
            self.sampled = SampledEmbeddings(fitted)

    def _without_identity(self) -> losses.Loss:
        weights = {k: v for k, v in self.preset.weights.items() if not k.startswith("identity")}
        return losses.Loss(weights, perceptual=self.loss.perceptual)

    @property
    def result(self) -> Decoder:
        """The decoder that is kept: the averaged one where the preset averages."""
        return self.average or self.decoder

    @property
    def goal(self) -> str:
        """What decides which decoder is best: the judge's "cosine", or "ssim" without a judge."""
        return "ssim" if self.watched is None else "cosine"

    def setup(self, stage: str) -> None:
        """Move the faces to the device."""
        self.batches.to(self.device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam; its rate is set before every step."""
        return torch.optim.Adam(self.decoder.parameters(), betas=(0.9, self.preset.beta2))

    def train_dataloader(self) -> DataLoader:
        """Return the numbers of the steps of a stretch."""
        start = self.global_step
        next_validation = (start // self.every + 1) * self.every
        stop = min(start + self._steps_of_a_stretch(start), next_validation, self.steps)
        self.validates = stop in (next_validation, self.steps)
        self.trainer.check_val_every_n_epoch = 1 if self.validates else _NEVER
        return DataLoader(list(range(start, stop)), batch_size=None)  # type: ignore[arg-type]

    def _steps_of_a_stretch(self, start: int) -> int:
        """Count them by the pace of the last stretch, alike in all processes."""
        (before, began), now = self._last, time.perf_counter()
        self._last = (start, now)
        steps = round(self.STRETCH * (start - before) / (now - began)) if before < start else 1
        return self.trainer.strategy.broadcast(min(max(1, steps), _LONGEST))

    def val_dataloader(self) -> DataLoader:
        """Return one number: a validation is one batch to Lightning."""
        return DataLoader([0], batch_size=None)  # type: ignore[arg-type]

    def _draw(
        self, step: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Generator, bool]:
        """Draw this process's share of a step.

        Faces, embeddings (more of them), embeddings wanted by the judge, random numbers, and
        whether this step has no identity terms.
        """
        preset, rank, world = self.preset, self.global_rank, self.trainer.world_size
        random = generator(self.batches.seed, step, rank)
        first = round(preset.pixel_share * self.steps)
        seen = min(step, first) * preset.samples + max(0, step - first) * preset.batch_size
        pixels_only = step < first
        n = preset.samples if pixels_only else preset.batch_size
        rows = self.batches.rows(seen, n)[rank::world]
        mirrored = torch.rand(len(rows), generator=random) < 0.5 if preset.mirror else None
        faces, embeddings = self.batches.take(rows, mirrored)
        wanted = self.batches.wanted(rows, embeddings, mirrored)
        if self.sampled is not None and preset.sampled and not pixels_only:
            share = len(range(preset.sampled)[rank::world])
            embeddings = torch.cat([embeddings, self.sampled.draw(share, random)])
            wanted = embeddings
        return faces, embeddings, wanted, random, pixels_only

    def training_step(self, step: int) -> torch.Tensor:
        """Return the loss of one step."""
        step = int(step)
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.preset.rate(step, self.steps, len(self.batches.training))
        targets, embeddings, wanted, random, pixels_only = self._draw(step)
        self.decoder.drafts = step < round(self.preset.draft_share * self.steps)
        decoded = self.decoder(embeddings)
        if self.watched is not None:
            self.watched.generator = random if self.preset.jitter else None
        loss = self.pixel_loss if pixels_only and self.pixel_loss is not None else self.loss
        terms = loss(decoded, targets, wanted)
        departure = self.decoder.departure(embeddings) if self.preset.departure else None
        if departure is not None:
            terms["departure"] = departure
            terms["total"] = terms["total"] + self.preset.departure * departure
        self.terms = {name: value.detach() for name, value in terms.items()}
        return terms["total"]

    def on_train_batch_end(self, *_: Any) -> None:
        """Move the average a little towards the weights of this step."""
        if self.average is not None:
            update_average(self.average, self.decoder, self.preset.ema, self.global_step)

    @torch.no_grad()
    def validation_step(self, _: int) -> None:
        """Reconstruct held-out faces and sampled embeddings, and measure."""
        if self.watched is not None:
            self.watched.generator = None
        rows = self.batches.held_out[: self.decoder.validation_faces]
        found: dict[str, list[torch.Tensor]] = {}
        for start in range(0, len(rows), _BATCH):
            block = rows[start : start + _BATCH]
            faces, embeddings = self.batches.take(block)
            decoded = self._decoded(embeddings)
            terms = {
                "cosine": self._cosine(decoded, self.batches.wanted(block, embeddings)),
                "ssim": losses.ssim(decoded, faces),
                "mae": (decoded - faces).abs().mean((1, 2, 3)),
            }
            for name, values in terms.items():
                found.setdefault(name, []).append(values)
        if self.sampled is not None:
            drawn = self.sampled.draw(_SAMPLED, generator(self.batches.seed, -1 & 0xFFFF))
            found["sampled"] = [self._cosine(self._decoded(drawn), drawn)]
        means = {name: torch.cat(values).mean().item() for name, values in found.items()}
        self.measured = {name: value for name, value in means.items() if value == value}
        self.log_dict({f"val/{k}": v for k, v in self.measured.items()}, batch_size=1)

    def _decoded(self, embeddings: torch.Tensor) -> torch.Tensor:
        """8-bit reconstructions in [0, 1]."""
        return (255 * self.result.eval()(embeddings)).round() / 255

    def _cosine(self, decoded: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Cosine of the judge's embeddings to the wanted ones, shape (n,); NaN without a judge."""
        if self.watched is None:
            return torch.full((len(decoded),), torch.nan)
        return F.cosine_similarity(self.watched(255 * decoded), wanted)

    def on_validation_model_eval(self) -> None:
        """Set the decoder to evaluation; Lightning sets it back."""
        self.decoder.eval()

    def on_validation_model_train(self) -> None:
        """Set the decoder alone back to training: the average and the judge never train."""
        self.decoder.train()

    def on_train_start(self) -> None:
        """Leave everything but the decoder in evaluation mode."""
        if self.average is not None:
            self.average.eval()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the judge and the perceptual network out of the file."""
        kept = {
            name: tensor
            for name, tensor in checkpoint["state_dict"].items()
            if name.startswith(("decoder.", "average."))
        }
        checkpoint["state_dict"] = kept


@torch.no_grad()
def update_average(average: nn.Module, decoder: nn.Module, decay: float, step: int) -> None:
    """Move ``average`` towards ``decoder``, faster during the first steps."""
    keep = min(decay, (step + 1) / (step + 10))
    state = decoder.state_dict()
    for name, averaged in average.state_dict().items():
        if averaged.dtype.is_floating_point:
            averaged.lerp_(state[name], 1 - keep)
        else:
            averaged.copy_(state[name])
