"""Tell by content whether a database or an image has changed since a result was stored."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MethodType
from typing import Any

from bob.pipelines import DelayedSample

from ..common.description import describe, digest

_ENDS = 4096  # bytes read at the beginning and at the end of an image file


def describe_database(database: Any) -> dict[str, Any]:
    """Describe a Bob database: its class, its plain parameters and its samples.

    Parameters
    ----------
    database : Bob database

    Returns
    -------
    dict
        ``class``, public attributes of plain types, ``fixed_positions``, and ``content``: a digest
        of every group's references and probes: keys, subjects, annotations, comparisons, and the
        size, the time of modification and both ends of each image file.
    """
    plain = {
        name: value
        for name, value in vars(database).items()
        if not name.startswith("_") and isinstance(value, str | int | float | bool)
    }
    fixed = getattr(database, "fixed_positions", None)
    content = {
        group: [list(database.references(group=group)), list(database.probes(group=group))]
        for group in database.groups()
    }
    return {
        "class": type(database).__name__,
        "fixed_positions": fixed,
        **plain,
        "content": _digest_of_sets(content),
    }


def _digest_of_sets(content: Mapping[str, Iterable[Iterable[Any]]]) -> str:
    """SHA-256 of sample sets by group, without reading whole image files."""
    found = hashlib.sha256()
    for group, kinds in sorted(content.items()):
        for kind, sets in enumerate(kinds):
            for one in sets:
                about = [group, kind, one.key, one.template_id, one.subject_id]
                about += [getattr(one, "references", None), getattr(one, "gender", None)]
                about += [[str(s.key), _annotations(s), _stamps(s)] for s in one.samples]
                found.update(json.dumps(about, sort_keys=True, default=str).encode())
    return found.hexdigest()


def fingerprint(sample: Any) -> str:
    """Identify an image by its key, its content and its annotations.

    Parameters
    ----------
    sample : Sample or DelayedSample
        Of a delayed sample, the loader and the files that it names are read instead of the data.

    Returns
    -------
    str
        The key, then 32 hexadecimal digits.
    """
    content = sample._load if isinstance(sample, DelayedSample) else sample.data
    return f"{sample.key} {digest([_annotations(sample), describe(content)])[:32]}"


def _annotations(sample: Any) -> Any:
    found = getattr(sample, "annotations", None)
    return describe(dict(found)) if isinstance(found, Mapping) else describe(found)


def _files(sample: Any) -> Iterator[str]:
    """Existing files among the arguments of a delayed sample's loader."""
    waiting = [sample._load]
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, functools.partial):
            waiting += [*thing.args, *thing.keywords.values(), thing.func]
        elif isinstance(thing, MethodType):
            waiting.append(thing.__self__)
        elif isinstance(thing, str | Path) and os.path.isfile(thing):
            yield os.fspath(thing)


def _stamps(sample: Any) -> Any:
    if not isinstance(sample, DelayedSample):
        return describe(sample.data)
    return [_stamp(file) for file in _files(sample)]


def _stamp(file: str) -> list[Any]:
    state = os.stat(file)
    with open(file, "rb") as stream:
        ends = stream.read(_ENDS)
        if state.st_size > 2 * _ENDS:
            stream.seek(-_ENDS, os.SEEK_END)
        ends += stream.read(_ENDS)
    return [state.st_size, state.st_mtime_ns, hashlib.sha256(ends).hexdigest()]
