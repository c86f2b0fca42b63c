"""The same training as one would write it from the paper: a loop of twenty lines.

It has the networks, the batch, the losses and the optimiser of ours (and our loss functions, so
that a gain there is not counted), and none of its preparations: pictures are decoded one by one,
real faces are embedded anew in every step, the recognition model is what onnx2torch makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from bob_recon_plugin import recognizers
from bob_recon_plugin.decoders import DSCasConv
from bob_recon_plugin.faces.dataset import open_datasets
from bob_recon_plugin.recognizers.backbones import load_backbone
from bob_recon_plugin.recognizers.weights import verified
from bob_recon_plugin.training import losses, presets
from bob_recon_plugin.training.batches import generator
from bob_recon_plugin.training.sampled_embeddings import SampledEmbeddings

from .training_workers import Job, Turns


class Pictures(Dataset):
    """Image files, one at a time, in [0, 1], mirrored half of the time if so wanted."""

    def __init__(self, folder: str, mirror: bool):
        self.paths, self.mirror = sorted(Path(folder).glob("*.png")), mirror

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        pixels = np.array(Image.open(self.paths[index]).convert("RGB"))
        face = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        return face.flip(2) if self.mirror and torch.rand(()) < 0.5 else face


class PlainRecognizer(nn.Module):
    """A recognition model as its converter gives it, behind its normalisation."""

    def __init__(self, name: str):
        super().__init__()
        self.about = recognizers.get(name)
        path = verified(self.about)
        if self.about.network == "onnx":
            import onnx
            import onnx2torch

            self.network = onnx2torch.convert(onnx.load(path))
        else:
            self.network = load_backbone(self.about, path)
        self.eval().requires_grad_(False)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        if self.about.color == "bgr":
            faces = faces.flip(1)
        return self.network((faces - self.about.mean) / self.about.scale)


class _Jittered(nn.Module):
    """Small random changes before the recogniser sees a face, where the preset has them."""

    def __init__(self, recognizer: nn.Module):
        super().__init__()
        self.recognizer = recognizer

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        down, right = torch.randint(-2, 3, (2,)).tolist()
        faces = torch.roll(faces, (down, right), (2, 3))
        if torch.rand(()) < 0.5:
            faces = faces.flip(3)
        return self.recognizer(faces + 2.55 * torch.randn_like(faces))


def run(job: Job, turns: Turns, folder: Path) -> None:
    """Train in turns; the parameters are those of :func:`.training_ours.run`."""
    loop = steps(job)
    go = turns.begin()
    while go:
        next(loop)
        go = turns.step_done()


def steps(job: Job) -> Iterator[torch.Tensor]:
    """Train, a step at a time; yields the loss."""
    preset = replace(presets.get(job.preset, job.settings), pixel_share=0.0)
    dataset = open_datasets([job.data])
    side = dataset.about.image_size[0]
    device = torch.device(job.device)
    recognizer = PlainRecognizer(dataset.about.recognizer).to(device)
    decoder = DSCasConv(dataset.about.embedding_size, job.width, side).to(device)
    judge = _Jittered(recognizer) if preset.jitter else recognizer
    loss = losses.Loss(preset.weights, judge, _perceptual(job)).to(device)
    sampled = SampledEmbeddings(torch.from_numpy(dataset.embeddings[:, 0])).to(device)
    optimizer = torch.optim.Adam(
        decoder.parameters(), preset.learning_rate, betas=(0.9, preset.beta2)
    )
    average = None
    if preset.ema:
        average = AveragedModel(decoder, multi_avg_fn=get_ema_multi_avg_fn(preset.ema))
    random = generator(0)
    for images in _endless(job, preset):
        images = images.to(device)
        with torch.no_grad():
            embeddings = recognizer(255 * images)
        if preset.sampled:
            embeddings = torch.cat([embeddings, sampled.draw(preset.sampled, random)])
        total = loss(decoder(embeddings), images, embeddings)["total"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        if average is not None:
            average.update_parameters(decoder)
        yield total.detach()


def _endless(job: Job, preset: Any) -> Iterator[torch.Tensor]:
    loader = DataLoader(
        Pictures(job.images, preset.mirror),
        preset.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=job.loaders,
        persistent_workers=job.loaders > 0,
    )
    while True:
        yield from loader


def _perceptual(job: Job) -> nn.Module | None:
    return None if job.vgg16 is None else losses.Perceptual(Path(job.vgg16))
