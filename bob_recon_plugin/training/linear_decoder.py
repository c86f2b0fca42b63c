"""Fit the linear baseline: ``python -m bob_recon_plugin.training.linear_decoder FACES OUTPUT``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from .. import recognizers
from ..decoders import LinearDecoder, ModelCard, save
from .faces import read_faces


def main(arguments: list[str] | None = None) -> None:
    """Embed the faces, solve the ridge regression, write the decoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path, help="folder or zip of aligned faces")
    parser.add_argument("output", type=Path, help="FILE.safetensors")
    parser.add_argument("--recognizer", default="arcface-mbf", choices=recognizers.names())
    parser.add_argument("--alpha", type=float, default=0.3, help="ridge penalty per face")
    parser.add_argument("--about", default="", help="what the faces are, for the model card")
    options = parser.parse_args(arguments)
    faces = read_faces(options.faces)
    transformer = recognizers.RecognizerTransformer(options.recognizer)
    embeddings = transformer.transform(faces)
    save(
        options.output,
        LinearDecoder.fit(embeddings, faces, alpha=options.alpha),
        ModelCard(
            recognizer=options.recognizer,
            recognizer_sha256=recognizers.identify(transformer).sha256,
            embedding_size=embeddings.shape[1],
            embedding_norm=float(np.linalg.norm(embeddings, axis=1).mean()),
            training_data=f"{len(faces)} faces; {options.about}".rstrip("; "),
            preset=f"ridge, alpha {options.alpha:g}",
        ),
    )


if __name__ == "__main__":
    main()
