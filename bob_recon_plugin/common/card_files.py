"""Files of tensors with a card: safetensors, the card as JSON in the header, no pickle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from .files import whole_or_nothing
from .validation import InputError, existing_file

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # torch.save since and before 1.6
_Card = TypeVar("_Card")


@dataclass(frozen=True)
class CardFormat(Generic[_Card]):
    """One kind of such files.

    Parameters
    ----------
    argument : str
        Name of the file in messages.
    key : str
        Its entries in the header are ``{key}.format``, the version, and ``{key}.card``.
    parse : callable
        Makes the card of its JSON text; may raise TypeError or ValueError.
    remedy : str
        What to do where a file is of another kind.
    unpickled : str
        What to do with a pickle.
    version : str
        Rises when older code could no longer read the files.
    """

    argument: str
    key: str
    parse: Callable[[str], _Card]
    remedy: str
    unpickled: str
    version: str = "1"

    def write(
        self, path: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor], card: str
    ) -> Path:
        """Write a file, which appears under its name when it is complete.

        Parameters
        ----------
        path : path
            An existing file is replaced; parent folders are made.
        tensors : mapping of str to Tensor
            Contiguous, on the CPU.
        card : str
            JSON.
        """
        path = Path(path).expanduser()
        header = {f"{self.key}.format": self.version, f"{self.key}.card": card}
        with whole_or_nothing(path) as part:
            # through bytes: safetensors' own files are readable by their owner alone
            part.write_bytes(serialize(dict(tensors), header))
        return path

    @contextmanager
    def opened(self, path: str | os.PathLike[str]) -> Iterator[tuple[_Card, Any]]:
        """Open a file: its card, and safetensors' handle for the tensors.

        Raises
        ------
        FileNotFoundError
            When there is no such file.
        ValueError
            When it is damaged, of another kind or version, or its card cannot be read.
        """
        file = existing_file(self.argument, Path(path), self.remedy)
        self._check_kind(file)
        try:
            with safe_open(file, framework="pt") as handle:
                yield self._card(handle.metadata() or {}, file), handle
        except SafetensorError as error:
            raise InputError(
                f"`{self.argument}` must be a whole safetensors file, got {path}, which is "
                f"truncated or damaged ({error}); copy or download it again."
            ) from error

    def read_card(self, path: str | os.PathLike[str]) -> _Card:
        """Read the card alone; errors as of :meth:`opened`."""
        with self.opened(path) as (card, _):
            return card

    def _check_kind(self, file: Path) -> None:
        """Tell a file of another kind from a damaged one, by its first bytes."""
        with file.open("rb") as stream:
            head = stream.read(9)
        if head[8:9] == b"{":  # 8 bytes of header length, then JSON
            return
        if head.startswith(_PICKLE_STARTS):
            raise InputError(
                f"`{self.argument}` must be a safetensors file, got the pickle {file}; pickles "
                f"can run code and are not opened here: {self.unpickled}"
            )
        raise InputError(
            f"`{self.argument}` must be a safetensors file, got {file}, which is "
            f"{'none' if head else 'empty'}; {self.remedy}"
        )

    def _card(self, header: Mapping[str, str], path: Path) -> _Card:
        text = header.get(f"{self.key}.card")
        if text is None:
            raise InputError(
                f"`{self.argument}` must carry a card of its kind, got {path}, which has none; "
                f"{self.remedy}"
            )
        version = header.get(f"{self.key}.format")
        if version != self.version:
            raise InputError(
                f"`{self.argument}` must have format version {self.version}, got {version} in "
                f"{path}; use the release that wrote it."
            )
        try:
            return self.parse(text)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"`{self.argument}` must carry a readable card, got {path}: {error}"
            ) from error
