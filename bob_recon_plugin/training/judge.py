"""The judge: the recognition model whose gradients train a decoder, if any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from .. import recognizers
from ..common.files import whole_or_nothing
from ..common.validation import InputError, existing_file
from ..decoders import read_card
from ..faces.dataset import FaceDataset, kept_array
from ..images.geometry import same_place
from ..recognizers import Identity, Recognizer, RecognizerTransformer, identify
from .presets import Preset

NONE = "none"
FILE_NAME = "wanted.npy"
_BATCH = 256


@dataclass(frozen=True)
class Judge:
    """The model whose gradients train a decoder, or none.

    Of a black box an attacker has embeddings and no gradient. A model of the attacker's own,
    a proxy, compares each reconstruction with the face itself; without a model only pixels are
    compared.

    Attributes
    ----------
    name : str
        Of the recognition model, or "none".
    sha256 : str or None
        Of its weights; None for none.
    proxy : bool
        Whether it is another model than the one whose embeddings are inverted.
    """

    name: str
    sha256: str | None
    proxy: bool

    @classmethod
    def of(cls, name: str | None, dataset: FaceDataset) -> Judge:
        """Find a judge by name; None is the recognition model of the data, the white box.

        Raises
        ------
        FileNotFoundError, ValueError
            For an unknown name, missing weights, or a model that takes other crops.
        """
        about = dataset.about
        if name is None or name == about.recognizer:
            return cls(about.recognizer, about.recognizer_sha256, False)
        if name == NONE:
            return cls(NONE, None, False)
        recognizer = recognizers.get(name)
        _check_crop(recognizer, dataset)
        transformer = RecognizerTransformer(name)
        transformer.transform([])  # missing weights are reported before any work
        return cls(recognizer.name, identify(transformer).sha256, True)

    def check_start(self, checkpoint: Path) -> None:
        """Refuse a decoder to start from that was trained by a model which the attacker lacks.

        Raises
        ------
        FileNotFoundError, ValueError
        """
        file = existing_file("start_from", checkpoint, "give a decoder's file.")
        seen = read_card(file).judged_by()
        own = Identity(self.name, self.sha256)
        if seen is not None and not seen.same_as(own) and (self.proxy or self.name == NONE):
            raise InputError(
                f"`start_from` must be a decoder that no gradient of another model than "
                f"{self.name} trained, got {checkpoint}, trained with those of {seen.name}; start "
                "from another decoder, or without one."
            )

    def load(self) -> nn.Module | None:
        """Load the model; None for none."""
        return None if self.name == NONE else recognizers.load_module(self.name)

    def limited(self, preset: Preset, leaks: bool = False) -> Preset:
        """Return the preset without what this judge cannot give.

        Sampled embeddings have no face that a proxy could see, and no template that could leak:
        faces take their place. Without a judge there are no identity terms.
        """
        if self.proxy or (leaks and self.name != NONE):
            return replace(preset, sampled=0, batch_size=preset.samples)
        if self.name != NONE:
            return preset
        weights = {k: v for k, v in preset.weights.items() if not k.startswith("identity")}
        # the first part of a training without the identity terms would be all of it
        return replace(
            preset, weights=weights, sampled=0, batch_size=preset.samples, pixel_share=0.0
        )

    def wanted(self, dataset: FaceDataset, folder: Path) -> np.ndarray | None:
        """Embeddings by a proxy of every face and of its mirror image, kept in the folder.

        Returns
        -------
        float32 ndarray of shape (n, 2, e), or None
            None where the stored embeddings are the judge's own, or there is no judge.
        """
        if not self.proxy:
            return None
        size = recognizers.get(self.name).embedding_size
        path = folder / FILE_NAME
        if (kept := kept_array(path, (len(dataset), 2, size))) is not None:
            return kept
        embed = RecognizerTransformer(self.name).transform
        found = np.empty((len(dataset), 2, size), np.float32)
        for start in tqdm(range(0, len(dataset), _BATCH), desc=self.name, unit="batch"):
            rows = np.arange(start, min(start + _BATCH, len(dataset)))
            faces = dataset.faces(rows)
            found[rows, 0] = embed(faces)
            found[rows, 1] = embed(faces[..., ::-1])
        with whole_or_nothing(path) as part, part.open("wb") as stream:
            np.save(stream, found)
        return found


def _check_crop(recognizer: Recognizer, dataset: FaceDataset) -> None:
    about = dataset.about
    if recognizer.image_size != about.image_size or not same_place(
        recognizer.cropped_positions, about.positions
    ):
        raise InputError(
            f"`judge` must take faces of {about.image_size} with the eyes at {about.positions}, "
            f"as the data has them, got {recognizer.name} with {recognizer.image_size} and "
            f"{recognizer.cropped_positions}; name another judge."
        )
