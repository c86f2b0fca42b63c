"""Prepare faces for training: crop and embed images, and write them shard by shard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from bob.pipelines import wrap
from tqdm import tqdm

from ..clients.window import Window
from ..common.command import check_client
from ..common.json_files import read
from ..common.record import versions
from ..common.validation import InputError, one_of
from ..recognizers import Recognizer, RecognizerTransformer, get, identify
from .dataset import BAD, CARD, DatasetCard, Shard, shards, write_card
from .output_folder import RECORD, claim_folder
from .shards import FaceCutter, ShardMaker
from .sources import ANNOTATIONS, Source, open_source

CROPS = ("aligned", "ffhq", "annotations")
#: file with generated faces that describes how they were made, see :mod:`.synthesize`
MANIFEST = "synthesis.json"
_TRIED = 50  # images that are cropped as a test before the work begins
_SEQUENTIAL = (None, "sync", "synchronous", "single-threaded")


def prepare(
    source: str | Path | Source,
    recognizer: str | Recognizer,
    output: str | Path,
    *,
    crop: str | None = None,
    annotations: str | Path | None = None,
    about: str | None = None,
    shard_size: int = 1000,
    batch_size: int = 64,
    device: str = "auto",
    dask_client: Any = None,
    force: bool = False,
) -> DatasetCard:
    """Crop and embed all images of a source, for training.

    Parameters
    ----------
    source : str, Path or Source
        See :func:`~bob_recon_plugin.faces.sources.open_source`.
    recognizer : str or Recognizer
        The recognition model whose embeddings a decoder will invert.
    output : str or Path
        Folder of the dataset.
    crop : {"aligned", "ffhq", "annotations"}, optional
        "aligned": images are already cropped for this model. "ffhq": eyes are at FFHQ's positions.
        "annotations": the source has eye positions. Default: ``"annotations"`` if there are any,
        else ``"aligned"``.
    annotations : str or Path, optional
        CSV file of eye positions for a folder or an archive.
    about : str, optional
        Description of the faces, for the model card.
    shard_size : int
        Images per shard, the most that is lost when a run is stopped.
    batch_size, device
        See :class:`~bob_recon_plugin.recognizers.RecognizerTransformer`.
    dask_client : Client or str, optional
        A Dask client, or the name of a Dask scheduler. Default: this process.
    force : bool
        Compute everything again.

    Returns
    -------
    DatasetCard

    Raises
    ------
    FileNotFoundError
        When weights or eye positions are missing.
    ValueError
        For a source without any face, a folder of other work, or wrong options.
    """
    for name, value in (("shard_size", shard_size), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"`{name}` must be at least 1, got {value}.")
    images = source if isinstance(source, Source) else open_source(source, annotations)
    model = get(recognizer)
    crop = _chosen_crop(crop, images, model)
    _check_workers(images, dask_client)
    transformer = RecognizerTransformer(recognizer, batch_size=batch_size, device=device)
    transformer.transform([])  # raises an error now if weights are missing
    cutter = FaceCutter(crop, model.image_size, model.cropped_positions)
    _try_sample(cutter, images)
    directory = Path(output).expanduser().absolute()
    card = {
        "recognizer": model.name,
        "recognizer_sha256": identify(transformer).sha256,
        "image_size": model.image_size,
        "positions": model.cropped_positions,
        "crop": crop,
    }
    claim_folder(directory, {**card, "shard_size": shard_size, **images.describe()}, force)
    if force:
        _clear(directory)
    maker = ShardMaker(
        directory=directory,
        cutter=cutter,
        embedder=wrap(["sample"], transformer),
        image_size=model.image_size,
        batch_size=batch_size,
        threads=_threads(images, dask_client),
    )
    about = _about(about, directory, images)
    _make_shards(maker, images, shard_size, dask_client)
    _check_faces(directory, images)
    return write_card(
        directory,
        **card,
        embedding_size=model.embedding_size,
        source=images.name,
        about=about,
        versions=versions(),
    )


def load_client(name: str | None) -> Any:
    """Return the Dask client of ``-l NAME``, as in Bob's commands, or the name of a scheduler.

    Raises
    ------
    ValueError
        For an unknown name, and when the client cannot start.
    """
    if name is None:
        return None
    check_client(name)
    from bob.pipelines.distributed import VALID_DASK_CLIENT_STRINGS
    from clapper.config import load

    if name in VALID_DASK_CLIENT_STRINGS:
        return name
    try:
        return load([name], entry_point_group="dask.client", attribute_name="dask_client")
    except (ImportError, RuntimeError, SyntaxError, ValueError) as error:
        raise InputError(f"`--dask-client` must name a client, got {name!r}: {error}") from error


def _check_workers(images: Source, dask_client: Any) -> None:
    if images.in_order and dask_client not in _SEQUENTIAL:
        raise InputError(
            f"`source` must not be compressed if several workers read it, got {images.name}; "
            "unpack it, or leave out --dask-client."
        )


def _try_sample(cutter: FaceCutter, images: Source) -> None:
    """Raise ValueError when no image of a small sample gives a face: the crop must be wrong."""
    if images.in_order:
        return  # a sample would need the whole archive
    tried = images.keys[:: max(1, len(images) // _TRIED)][:_TRIED]
    cuts = [cutter.attempt(images.sample(key)) for key in tried]
    if all(reason for _, _, reason in cuts):
        key, _, reason = cuts[0]
        _refuse_faceless(images, len(tried), key, reason)


def _refuse_faceless(images: Source, tried: int, key: str, reason: str) -> NoReturn:
    raise InputError(
        f"`source` must give faces, got none from {tried} of the {len(images)} images of "
        f"{images.name} (first: {key}: {reason}); choose another --crop, or correct the images."
    )


def _threads(images: Source, dask_client: Any) -> int | None:
    """Return the number of threads that read and crop; None: one per core."""
    if images.in_order:
        return 1  # reading a compressed archive is fast only in order
    return None if dask_client in _SEQUENTIAL else 2  # workers share the cores


def _chosen_crop(crop: str | None, images: Source, model: Recognizer) -> str:
    """Return the crop to use; raise ValueError if the source does not fit it."""
    crop = crop or ("annotations" if images.annotated else "aligned")
    one_of("crop", crop, CROPS)
    if crop == "annotations" and not images.annotated:
        raise InputError(
            f"`annotations` must be given for the crop 'annotations', got none for {images.name}; "
            f"pass a CSV file of eye positions, or name it {ANNOTATIONS} in that folder."
        )
    generated = _manifest(images).get("positions")
    wanted = json.loads(json.dumps(model.cropped_positions))
    if crop == "aligned" and generated not in (None, wanted):
        raise InputError(
            f"`source` must be faces with the eyes of {model.name} at {wanted}, got {images.name} "
            f"with {generated}; synthesize them with `--recognizer {model.name}`."
        )
    return crop


def _manifest(images: Source) -> dict[str, Any]:
    """Return how generated faces were made; empty for other sources."""
    path = Path(images.name) / MANIFEST
    if not path.is_file():
        return {}
    try:
        return read(path)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path} must be readable, got a damaged file ({error}); synthesize the faces again."
        ) from error


def _about(about: str | None, directory: Path, images: Source) -> str:
    """Return the description of the faces: given now, given earlier, or of generated faces."""
    if about is not None:
        return about
    try:
        return str(read(directory / CARD)["about"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(_manifest(images).get("about", ""))


def _clear(directory: Path) -> None:
    """Remove all files of a dataset."""
    for path in [directory / CARD, directory / BAD, *directory.glob("shard-*")]:
        path.unlink(missing_ok=True)


def _make_shards(maker: ShardMaker, images: Source, shard_size: int, dask_client: Any) -> None:
    """Make the shards that are missing."""
    starts = dict(enumerate(range(0, len(images), shard_size)))
    missing = [index for index in starts if not Shard(maker.directory, index).done]
    if missing:
        (maker.directory / CARD).unlink(missing_ok=True)  # or the dataset would count as complete
    parts = {i: (starts[i], min(starts[i] + shard_size, len(images))) for i in missing}
    todo = sum(stop - start for start, stop in parts.values())
    # disable=None hides the bar if stderr is not a terminal
    with tqdm(
        total=len(images), initial=len(images) - todo, unit="image", desc="prepare", disable=None
    ) as bar:
        bad = 0

        def report(count: int, wrong: int) -> None:
            nonlocal bad
            bad += wrong
            bar.set_postfix(bad=bad, refresh=False)
            bar.update(count)

        if dask_client in _SEQUENTIAL:
            for index, (start, stop) in parts.items():
                maker(index, images.samples(start, stop), report)
        else:
            _distributed(maker, images, parts, dask_client, report)


def _distributed(
    maker: ShardMaker,
    images: Source,
    parts: dict[int, tuple[int, int]],
    dask_client: Any,
    report: Callable[[int, int], None],
) -> None:
    """Make shards on Dask's workers; report the counts of each finished shard."""

    def finished(counts: tuple[int, int]) -> None:
        made, wrong = counts
        report(made + wrong, wrong)

    if isinstance(dask_client, str):
        import dask

        tasks = [dask.delayed(maker)(i, images.samples(*part)) for i, part in parts.items()]
        for counts in dask.compute(*tasks, scheduler=dask_client):
            finished(counts)
        return
    with Window(dask_client, lambda future: finished(future.result())) as window:
        for index, part in parts.items():
            window.call(maker)(index, images.samples(*part))
        window.drain()


def _check_faces(directory: Path, images: Source) -> None:
    """Raise ValueError when no image gave a face, and empty the folder."""
    bad: list[dict[str, str]] = []
    for shard in shards(directory):
        content = shard.read_keys()
        if content["keys"]:
            return
        bad += content["bad"]
    _clear(directory)
    (directory / RECORD).unlink(missing_ok=True)
    _refuse_faceless(images, len(images), bad[0]["key"], bad[0]["reason"])
