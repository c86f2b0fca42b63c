"""What `tests.benchmarks.training` compares, a process each: ours, and the plain loop.

The loop has the networks, the batch, the losses and the optimiser of ours (and our loss
functions, so that a gain there is not counted), and none of its preparations: faces are embedded
anew in every step, and the recognition model is what onnx2torch makes of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx
import onnx2torch
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from bob_recon_plugin import recognizers
from bob_recon_plugin.decoders import DSCasConv
from bob_recon_plugin.faces.dataset import open_datasets
from bob_recon_plugin.recognizers.weights import verified
from bob_recon_plugin.training import losses, presets
from bob_recon_plugin.training import run as training
from bob_recon_plugin.training.batches import generator
from bob_recon_plugin.training.callbacks import Progress
from bob_recon_plugin.training.sampled_embeddings import NobodysEmbeddings

from .turns import clock, lap, serve, timed

_WARM = 2  # steps before the clock starts
_ENDLESS = 100_000  # steps, and steps to the first validation


def _preset(name: str, settings: dict[str, str]) -> presets.Preset:
    """The preset without its first part, on pixels alone."""
    return replace(presets.get(name, settings), pixel_share=0.0)


class _Enough(Exception):
    """The clock has been read."""


class _Pace(pl.Callback):
    """Reads the clock after n steps, and ends the training."""

    def __init__(self, n: int, device: str):
        self.n, self.device, self.found = n, device, {}

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.global_step == _WARM:
            self.start = clock(self.device)
        if trainer.global_step == _WARM + self.n:
            self.found = asdict(lap(self.start, self.device, self.n))
            raise _Enough


def ours(data: str, preset: str, settings: dict, n: int, **plan: Any) -> dict[str, Any]:
    """Seconds of a step of the training that the command runs."""
    pace, chosen = _Pace(n, plan["device"]), _preset(preset, settings)
    made = training.Plan(preset, chosen, steps=_ENDLESS, every=_ENDLESS, patience=0, **plan)

    class Paced(pl.Trainer):
        def __init__(self, callbacks: list[pl.Callback], **more: Any):
            quiet = [each for each in callbacks if not isinstance(each, Progress)]
            super().__init__(callbacks=[*quiet, pace], **more)

    with tempfile.TemporaryDirectory() as folder, patch.object(training.pl, "Trainer", Paced):
        try:
            training.train(open_datasets([data]), Path(folder), made)
        except _Enough:
            return pace.found
    raise RuntimeError("the training ended before its time was measured")


class Faces(Dataset):
    """Prepared faces, one at a time, in [0, 1], mirrored half of the time if so wanted."""

    def __init__(self, dataset: Any, mirror: bool):
        self.dataset, self.mirror = dataset, mirror

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> torch.Tensor:
        face = torch.from_numpy(self.dataset.faces([index])[0]).float() / 255
        return face.flip(2) if self.mirror and torch.rand(()) < 0.5 else face


class PlainRecognizer(nn.Module):
    """A recognition model as its converter gives it; with `jitter`, faces are disturbed before."""

    def __init__(self, name: str):
        super().__init__()
        self.about, self.jitter = recognizers.get(name), False
        self.network = onnx2torch.convert(onnx.load(verified(self.about)))
        self.eval().requires_grad_(False)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        if self.jitter:
            faces = torch.roll(faces, torch.randint(-2, 3, (2,)).tolist(), (2, 3))
            faces = faces.flip(3) if torch.rand(()) < 0.5 else faces
            faces = faces + 2.55 * torch.randn_like(faces)
        faces = faces.flip(1) if self.about.color == "bgr" else faces
        return self.network((faces - self.about.mean) / self.about.scale)


def steps(
    data: str, preset: str, settings: dict, width: float, device: str
) -> Iterator[torch.Tensor]:
    """Train, a step at a time; yields the loss."""
    chosen, dataset = _preset(preset, settings), open_datasets([data])
    recognizer = PlainRecognizer(dataset.about.recognizer).to(device)
    side = dataset.about.image_size[0]
    decoder = DSCasConv(dataset.about.embedding_size, width, side).to(device)
    loss = losses.Loss(chosen.weights, recognizer).to(device)
    nobody = NobodysEmbeddings(torch.from_numpy(dataset.embeddings[:, 0])).to(device)
    betas = (0.9, chosen.beta2)
    optimizer = torch.optim.Adam(decoder.parameters(), chosen.learning_rate, betas=betas)
    average = None
    if chosen.ema:
        average = AveragedModel(decoder, multi_avg_fn=get_ema_multi_avg_fn(chosen.ema))
    known, random = Faces(dataset, chosen.mirror), generator(0)
    loader = DataLoader(known, chosen.batch_size, shuffle=True, drop_last=True)
    while True:
        for batch in loader:
            faces = batch.to(device)
            recognizer.jitter = False
            with torch.no_grad():
                embeddings = recognizer(255 * faces)
            if chosen.nobody:
                embeddings = torch.cat([embeddings, nobody.draw(chosen.nobody, random)])
            recognizer.jitter = chosen.jitter
            total = loss(decoder(embeddings), faces, embeddings)["total"]
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            if average is not None:
                average.update_parameters(decoder)
            yield total.detach()


def plain(n: int, device: str, **job: Any) -> dict[str, float]:
    """Seconds of a step of the straightforward loop."""
    loop = steps(device=device, **job)
    for _ in range(_WARM):
        next(loop)
    return asdict(timed(lambda: next(loop), n, device))


if __name__ == "__main__":
    serve({"ours": ours, "plain": plain})
