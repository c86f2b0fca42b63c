"""The faces of a training step, which depend on the seed and the number of the step alone.

A training that was stopped at step k and continues therefore sees the same faces.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from ..faces.dataset import FaceDataset

#: Part of the device's free memory that the faces may take.
_SHARE = 0.5


def generator(*numbers: int) -> torch.Generator:
    """Random numbers of the CPU that belong to a seed, a step and further numbers."""
    (seed,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(seed >> np.uint64(1)))


class FaceBatches:
    """Training and held-out faces, on the device where they fit.

    Parameters
    ----------
    dataset : FaceDataset
    seed : int
    wanted : float32 ndarray of shape (n, 2, e), optional
        Embeddings by the judge of every face and of its mirror image.
        Default: the stored embeddings; their recognition model is the judge then.
    leaked : float32 ndarray of shape (n, 2, d), optional
        What the decoder sees in the place of the stored embeddings.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        seed: int,
        wanted: np.ndarray | None = None,
        leaked: np.ndarray | None = None,
    ):
        self.dataset, self.seed = dataset, seed
        held_out = dataset.validation
        self.training, self.held_out = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        self.embeddings = torch.from_numpy(dataset.embeddings if leaked is None else leaked)
        self._wanted = None if wanted is None else torch.from_numpy(wanted)
        self._resident: torch.Tensor | None = None
        self._order = lru_cache(maxsize=2)(self._shuffled)

    @property
    def judged_by_recognizer(self) -> bool:
        """Whether the stored embeddings are the judge's own: the white box."""
        return self._wanted is None

    def to(self, device: torch.device) -> FaceBatches:
        """Move the embeddings, and the faces when half of a GPU's free memory holds them."""
        self.embeddings = self.embeddings.to(device)
        if self._wanted is not None:
            self._wanted = self._wanted.to(device)
        if device.type == "cuda" and self._resident is None:
            everything = np.arange(len(self.dataset))
            size = len(everything) * int(np.prod(self.dataset.faces(everything[:1]).shape))
            if size < _SHARE * torch.cuda.mem_get_info(device)[0]:
                faces = self.dataset.faces(everything)
                self._resident = torch.from_numpy(faces).to(device)
        return self

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(self.training)

    def rows(self, start: int, n: int) -> np.ndarray:
        """Return n faces of the endless stream of shuffled epochs, from the start-th on."""
        places = np.arange(start, start + n)
        epochs, within = np.divmod(places, len(self.training))
        return np.array([self._order(int(e))[w] for e, w in zip(epochs, within, strict=True)])

    def take(
        self, rows: np.ndarray, mirrored: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gather faces with their stored embeddings.

        Parameters
        ----------
        rows : int ndarray of shape (n,)
        mirrored : bool Tensor of shape (n,), on the CPU, optional
            Which faces to mirror.

        Returns
        -------
        faces : Tensor of shape (n, 3, H, W)
            In [0, 1].
        embeddings : Tensor of shape (n, d)
        """
        device = self.embeddings.device
        index = torch.from_numpy(rows).to(device)
        if self._resident is None:
            pixels = torch.from_numpy(self.dataset.faces(rows)).to(device, non_blocking=True)
        else:
            pixels = self._resident[index]
        faces = pixels.float().div_(255)
        if mirrored is None:
            return faces, self.embeddings[index, 0]
        side = mirrored.to(device)
        faces = torch.where(side[:, None, None, None], faces.flip(3), faces)
        return faces, self.embeddings[index, side.long()]

    def wanted(
        self, rows: np.ndarray, embeddings: torch.Tensor, mirrored: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embeddings that the judge should make of the reconstructions of some faces.

        ``rows``, ``mirrored`` and ``embeddings`` are those of :meth:`take`.
        """
        if self._wanted is None:
            return embeddings
        device = self._wanted.device
        side = torch.zeros(len(rows), dtype=torch.long) if mirrored is None else mirrored.long()
        return self._wanted[torch.from_numpy(rows).to(device), side.to(device)]
