"""Train the decoder that ships: ``python -m bob_recon_plugin.training.demo_decoder FACES OUTPUT``.

FACES is a folder or a zip of aligned 112 x 112 faces. Pixel terms alone warm
the network up; then the identity term joins in, on reconstructions of the
training faces and of embeddings that belong to no face at all: directions
drawn between the distribution of the training embeddings and the isotropic
one. An attacker who holds the recognition model needs no face for those, and
they carry the decoder beyond the faces it has seen.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from .. import losses, recognizers
from .._files import sha256
from ..decoders import DSCasConv, ModelCard, save
from .faces import read_faces


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, besides the faces."""

    recognizer: str = "arcface-mbf"
    width: float = 0.4375
    pixel_steps: int = 400  # of batches of 48 faces, without identity term
    steps: int = 2400  # of 16 faces and 16 embeddings of nobody
    learning_rate: float = 1.5e-3
    dssim_weight: float = 0.3
    identity_weight: float = 0.5
    norm: float = 22.0  # of the embeddings of nobody, +- 2.5
    ema: float = 0.998
    seed: int = 0


class NobodysEmbeddings:
    """Draws embeddings between a Gaussian fitted to real ones and the isotropic one."""

    def __init__(self, embeddings: torch.Tensor, recipe: Recipe, generator: torch.Generator):
        size = embeddings.shape[1]
        self.mean = embeddings.mean(0)
        covariance = torch.cov(embeddings.T) + 1e-4 * torch.eye(size)
        self.factor = torch.linalg.cholesky(covariance)
        self.recipe, self.generator = recipe, generator

    def draw(self, n: int) -> torch.Tensor:
        """Return n embeddings of shape (n, d)."""
        shape = (n, len(self.mean))
        fitted = self.mean + torch.randn(shape, generator=self.generator) @ self.factor.T
        isotropic = F.normalize(torch.randn(shape, generator=self.generator))
        share = torch.rand(n, 1, generator=self.generator)
        direction = F.normalize(share * F.normalize(fitted) + (1 - share) * isotropic)
        spread = torch.randn(n, 1, generator=self.generator).clamp(-2.5, 2.5)
        return direction * (self.recipe.norm + 2.5 * spread)


class Trainer:
    """The training, from faces to the averaged decoder; resumes from its last state."""

    def __init__(self, faces: np.ndarray, output: Path, recipe: Recipe):
        self.recipe, self.output = recipe, output
        self.recognizer = recognizers.load_module(recipe.recognizer)
        embeddings = self._embeddings(faces)
        validation = np.arange(len(faces)) % 20 == 0
        self.faces, self.embeddings = torch.from_numpy(faces[~validation]), embeddings[~validation]
        self.validation = embeddings[validation][:96, 0]
        self.generator = torch.Generator().manual_seed(recipe.seed + 1)
        self.nobody = NobodysEmbeddings(self.embeddings.flatten(0, 1), recipe, self.generator)
        size = embeddings.shape[2]
        torch.manual_seed(recipe.seed)  # here: loading a recogniser draws random numbers too
        self.decoder = DSCasConv(size, recipe.width)
        self.average = copy.deepcopy(self.decoder).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.decoder.parameters(), betas=(0.9, 0.99))
        self.step = 0

    def _embeddings(self, faces: np.ndarray) -> torch.Tensor:
        """Embeddings of every face and of its mirror image, of shape (n, 2, d)."""
        transformer = recognizers.RecognizerTransformer(self.recipe.recognizer)
        both = (faces, np.ascontiguousarray(faces[..., ::-1]))
        rows = [transformer.transform(side) for side in both]
        return torch.from_numpy(np.stack(rows, axis=1))

    def _embed(self, faces: torch.Tensor, jitter: bool) -> torch.Tensor:
        """Embed reconstructions in [0, 1]; shifted, mirrored and noisy when ``jitter``."""
        if jitter:
            shift = torch.randint(-2, 3, (2,), generator=self.generator).tolist()
            faces = torch.roll(faces, shift, (2, 3))
            if torch.rand((), generator=self.generator) < 0.5:
                faces = faces.flip(3)
            faces = faces + 0.01 * torch.randn(faces.shape, generator=self.generator)
        return self.recognizer(255 * faces.contiguous(memory_format=torch.channels_last))

    def _batch(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        index = torch.randint(len(self.faces), (n,), generator=self.generator)
        mirrored = torch.rand(n, generator=self.generator) < 0.5
        faces = self.faces[index].float() / 255
        faces[mirrored] = faces[mirrored].flip(3)
        return faces, self.embeddings[index, mirrored.long()]

    def _rate(self) -> float:
        recipe = self.recipe
        progress = max(0.0, (self.step - recipe.pixel_steps) / recipe.steps)
        warm = min(1.0, (self.step + 1) / 100)
        cosine = 0.5 + 0.5 * math.cos(math.pi * progress)
        return max(recipe.learning_rate * warm * cosine, 0.01 * recipe.learning_rate)

    def _advance(self) -> None:
        recipe = self.recipe
        self.decoder.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        warming = self.step < recipe.pixel_steps
        targets, embeddings = self._batch(48 if warming else 16)
        inputs = embeddings if warming else torch.cat([embeddings, self.nobody.draw(16)])
        decoded = self.decoder(inputs)
        seen = decoded[: len(targets)]
        loss = losses.mae(seen, targets) + recipe.dssim_weight * losses.dssim(seen, targets)
        if not warming:
            identity = losses.identity_cosine(self._embed(decoded, jitter=True), inputs)
            loss = loss + recipe.identity_weight * identity
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.step += 1
        self._update_average()

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.recipe.ema, (self.step + 1) / (self.step + 10))
        state = self.decoder.state_dict()
        for name, averaged in self.average.state_dict().items():
            if averaged.dtype.is_floating_point:
                averaged.lerp_(state[name], 1 - keep)
            else:
                averaged.copy_(state[name])

    @torch.no_grad()
    def cosine(self) -> float:
        """Mean cosine of held-out embeddings to those of their 8-bit reconstructions."""
        faces = (255 * self.average(self.validation)).round() / 255
        embedded = self._embed(faces, jitter=False)
        return F.cosine_similarity(embedded, self.validation).mean().item()

    def _state(self) -> dict:
        return {
            "step": self.step,
            "generator": self.generator.get_state(),
            "decoder": self.decoder.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def _resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.step = state["step"]
        self.generator.set_state(state["generator"])
        self.decoder.load_state_dict(state["decoder"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def run(self, every: int = 200) -> None:
        """Train to the end; keep the state beside the output every so many steps."""
        path = self.output.with_suffix(".resume.pt")
        if path.is_file():
            self._resume(path)
        total = self.recipe.pixel_steps + self.recipe.steps
        torch.set_flush_denormal(True)
        with tqdm(total=total, initial=self.step, unit="step") as progress:
            while self.step < total:
                self._advance()
                progress.update()
                if self.step % every == 0:
                    part = path.with_suffix(".part")
                    torch.save(self._state(), part)
                    os.replace(part, path)
                    progress.set_postfix(cosine=f"{self.cosine():.3f}")


def main(arguments: list[str] | None = None) -> None:
    """Train and write the decoder with its model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path, help="folder or zip of aligned faces")
    parser.add_argument("output", type=Path, help="DECODER.safetensors")
    parser.add_argument("--about", default="", help="what the faces are, for the model card")
    options = parser.parse_args(arguments)
    recipe = Recipe()
    faces = read_faces(options.faces)
    trainer = Trainer(faces, options.output, recipe)
    trainer.run()
    about = recognizers.get(recipe.recognizer)
    save(
        options.output,
        trainer.average,
        ModelCard(
            recognizer=recipe.recognizer,
            recognizer_sha256=about.sha256,
            embedding_size=trainer.embeddings.shape[2],
            embedding_norm=trainer.embeddings.norm(dim=2).mean().item(),
            training_data=f"{len(faces)} faces; {options.about}".rstrip("; "),
            preset=f"demo_decoder {recipe}",
            seed=recipe.seed,
            licence="non-commercial research, as the recognition model it inverts",
            metrics={"cosine on held-out training faces": round(trainer.cosine(), 4)},
        ),
    )
    print(f"{options.output}  sha256 {sha256(options.output)}")


if __name__ == "__main__":
    main()
