"""MOBIO, all subjects or those of one gender, without network access."""

from __future__ import annotations

import os
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

from bob.bio.base.database import CSVDatabase
from bob.bio.face.database import MobioDatabase as BobDatabase
from bob.pipelines import DelayedSample, Sample
from bob.pipelines.dataset import list_protocol_names
from sklearn.base import BaseEstimator, TransformerMixin

from ..common.settings import bob_data_directory, directory, setting
from ..common.validation import InputError, MissingFileError, one_of
from ..images.geometry import Positions, eye_positions, fixed_eye_positions
from ..images.reading import load_image

_KEY = "bob.db.mobio.directory"
_EXTENSION_KEY = "bob.db.mobio.extension"
_PROTOCOLS_KEY = "bob_recon_plugin.mobio.protocols"
_EYES = ("reye_y", "reye_x", "leye_y", "leye_x")
_COLUMNS = {"path", "subject_id", "template_id", "gender"}
_LISTS = ("for_enrolling", "for_probing")


class _RowToSample(TransformerMixin, BaseEstimator):
    """Convert rows of a protocol file to delayed samples of images, with eye positions.

    Parameters
    ----------
    directory, extension : str
        The image of a row is ``<directory>/<path><extension>``.
    fixed_positions : dict or None
        Used instead of the positions in the rows.
    """

    def __init__(self, directory: str, extension: str, fixed_positions: Positions | None):
        self.directory = directory
        self.extension = extension
        self.fixed_positions = fixed_positions

    def _more_tags(self) -> dict[str, bool]:
        return {"requires_fit": False}

    def _annotations(self, row: dict[str, Any]) -> Positions:
        if self.fixed_positions is not None:
            return dict(self.fixed_positions)
        eyes = {eye: (row[f"{eye}_y"], row[f"{eye}_x"]) for eye in ("reye", "leye")}
        return eye_positions(f"eyes of {row['path']}", eyes)

    def transform(self, samples: list[Sample]) -> list[DelayedSample]:
        """Return one sample for each row, without reading the images."""
        made = []
        needed = _COLUMNS if self.fixed_positions is not None else _COLUMNS | set(_EYES)
        for sample in samples:
            row = {key: value for key, value in vars(sample).items() if key != "data"}
            missing = sorted(needed - row.keys())
            if missing:
                raise InputError(
                    "`dataset_protocols_path` must hold CSV files with the columns "
                    f"{', '.join(sorted(needed))}, got one without {', '.join(missing)}."
                )
            load = partial(load_image, os.path.join(self.directory, row["path"] + self.extension))
            annotations = self._annotations(row)
            kept = {key: value for key, value in row.items() if key not in _EYES}
            made.append(DelayedSample(load, **kept, annotations=annotations))
        return made


def _protocols_path(given: str | Path) -> Path:
    """Return the path of a folder or an archive of protocol files."""
    path = Path(os.path.abspath(Path(given).expanduser()))
    if path.is_dir() or (path.is_file() and tarfile.is_tarfile(path)):
        return path
    kind = InputError if path.is_file() else MissingFileError
    raise kind(
        f"`dataset_protocols_path` must be a folder or a .tar.gz of protocols, got {path}; "
        f"unpack {BobDatabase.dataset_protocols_urls[0]} and pass its folder, or type "
        f"`bob config set {_PROTOCOLS_KEY} PATH`."
    )


class MobioDatabase(CSVDatabase):
    """MOBIO's images, protocols ``mobile0-male-female``, ``mobile0-male``, ``mobile0-female``.

    Each subject is enrolled with five images. Every probe is compared to all subjects of its group,
    ``dev`` or ``eval``. Unlike Bob's class of this name, this class reads the settings when it is
    constructed, also accepts a plain folder of protocol files, checks that all images of both
    groups exist, and downloads nothing.

    Parameters
    ----------
    protocol : str
        A protocol in the protocol files.
    original_directory : str or Path, optional
        Folder of the images. Default: the key ``bob.db.mobio.directory`` of ``bob config``.
    dataset_protocols_path : str or Path, optional
        Folder or ``.tar.gz`` with ``<protocol>/{dev,eval}/for_enrolling.csv`` and
        ``for_probing.csv``, columns path, subject_id, template_id, gender, reye_y,
        reye_x, leye_y, leye_x. Default: the key ``bob_recon_plugin.mobio.protocols``
        of ``bob config``, then ``protocols/face/mobio.tar.gz`` in Bob's data folder.
    fixed_positions : dict, optional
        ``{"reye": (y, x), "leye": (y, x)}`` in pixels, if all images are aligned alike. The
        positions in the protocol files are then ignored.
    annotation_type : str
        Type of the annotations, for Bob's pipelines.
    extension : str, optional
        Extension of the images. Default: the key ``bob.db.mobio.extension`` of ``bob config``,
        then ".png".

    Raises
    ------
    FileNotFoundError
        When the folder, the protocol files or an image is missing.
    ValueError
        When there is no such protocol, or its files are malformed.

    References
    ----------
    C. McCool et al., "Session variability modelling for face authentication",
    IET Biometrics 2(3), 2013, DOI 10.1049/iet-bmt.2012.0059.
    """

    name = BobDatabase.name
    category = BobDatabase.category

    def __init__(
        self,
        protocol: str = "mobile0-male-female",
        original_directory: str | Path | None = None,
        dataset_protocols_path: str | Path | None = None,
        fixed_positions: Positions | None = None,
        annotation_type: str = "eyes-center",
        extension: str | None = None,
    ) -> None:
        fixed_positions = fixed_eye_positions(fixed_positions)
        root = directory("original_directory", original_directory, _KEY)
        if dataset_protocols_path is None:
            lists = self.retrieve_dataset_protocols()
        else:
            lists = _protocols_path(dataset_protocols_path)
        known = list_protocol_names(self.name, lists.parent, ".", lists.name)
        one_of("protocol", protocol, sorted(known))
        ending = extension or setting(_EXTENSION_KEY) or ".png"
        super().__init__(
            name=self.name,
            protocol=protocol,
            dataset_protocols_path=str(lists),
            transformer=_RowToSample(root, ending, fixed_positions),
            templates_metadata=["gender"],
            annotation_type=annotation_type,
            fixed_positions=fixed_positions,
        )
        self.original_directory = root
        self.extension = ending
        self._check_images()

    @classmethod
    def retrieve_dataset_protocols(cls) -> Path:
        """Return the path of the protocol files; Bob's class would download them.

        Raises FileNotFoundError when they are neither at the path in the user's settings nor in
        Bob's data folder.
        """
        configured = setting(_PROTOCOLS_KEY)
        if configured:
            return _protocols_path(configured)
        name = BobDatabase.dataset_protocols_name
        path = bob_data_directory() / "protocols" / BobDatabase.category / name
        if path.is_file():
            return _protocols_path(path)
        raise MissingFileError(
            f"`dataset_protocols_path` must be the protocol files of MOBIO, got none; download "
            f"{BobDatabase.dataset_protocols_urls[0]} to {path}, or unpack it anywhere and type "
            f"`bob config set {_PROTOCOLS_KEY} PATH`."
        )

    def groups(self) -> list[str]:
        """Return the groups with comparisons, without Bob's group of training images."""
        found = super().groups()
        return [group for group in ("dev", "eval") if group in found]

    def _check_images(self) -> None:
        """Raise FileNotFoundError unless every image of every group exists."""
        paths: dict[str, None] = {}
        for group in self.groups():
            sets = [self.references(group), self.probes(group)]
            for listed, name in zip(sets, _LISTS, strict=True):
                if not listed:
                    raise InputError(
                        f"`dataset_protocols_path` must hold {self.protocol}/{group}/{name}.csv "
                        f"with at least one row, got none in {self.dataset_protocols_path}."
                    )
                paths.update((sample.path, None) for each in listed for sample in each)
        full = [os.path.join(self.original_directory, path + self.extension) for path in paths]
        missing = [path for path in full if not os.path.isfile(path)]
        if missing:
            raise MissingFileError(
                "`original_directory` must hold every image of the protocol, got "
                f"{len(missing)} of {len(full)} missing (first: {missing[0]}); restore them."
            )
