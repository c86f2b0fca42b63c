"""What decides a result, described once: by value, and files by content, never by name or `repr`.

`describe` is what records, checkpoints, cells of a matrix and the resume of a training compare.
An object says by itself what decides its results in a method ``describe()``; any other one is
described by its class, its parameters and what it has learnt. What a description leaves out
(device, batch size, Dask layers) may not change a score.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import cloudpickle
import numpy as np
from sklearn.base import BaseEstimator

from .files import sha256

_ENDS = 4096  # bytes at both ends that are read of any file
_OWN = Path(__file__).parents[1]


def describe(thing: Any) -> Any:
    """Describe what decides the results of an object.

    Parameters
    ----------
    thing : object
        A transformer, pipeline, algorithm, function, array, path, or a container of such.

    Returns
    -------
    JSON-ready value
        Equal for objects that give equal results, in any process and any folder. Files count by
        their SHA-256, arrays by shape, type and content, functions and classes outside of
        installed packages by their source.
    """
    return _described(thing, ())


def _described(thing: Any, inside: tuple[int, ...]) -> Any:
    if thing is None or isinstance(thing, bool | int | float):
        return thing
    if isinstance(thing, np.generic):
        return thing.item()
    if isinstance(thing, str | os.PathLike):
        return _path(os.fspath(thing))
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        content = hashlib.sha256(np.ascontiguousarray(thing).tobytes()).hexdigest()
        return {"array": list(thing.shape), "type": thing.dtype.str, "sha256": content}
    if isinstance(thing, BuiltinFunctionType | type):
        return _code(thing)
    if id(thing) in inside:
        return {"class": _name(type(thing)), "again": True}
    inside = (*inside, id(thing))
    if isinstance(thing, Mapping):
        return {str(key): _described(value, inside) for key, value in thing.items()}
    if isinstance(thing, Collection) and not isinstance(thing, BaseEstimator | bytes):
        values = [_described(value, inside) for value in thing]
        return sorted(values, key=repr) if isinstance(thing, set | frozenset) else values
    return _object(thing, inside)


def _object(thing: Any, inside: tuple[int, ...]) -> Any:
    if isinstance(thing, _layers()):  # how Bob runs a step, not what the step does
        return _described(thing.estimator, inside)  # type: ignore[attr-defined]
    if isinstance(thing, FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        return _code(thing) | ({"closure": _described(cells, inside)} if cells else {})
    if isinstance(thing, MethodType):
        return _code(thing.__func__) | {"of": _described(thing.__self__, inside)}
    if isinstance(thing, functools.partial):
        parts = {"function": thing.func, "args": list(thing.args), "keywords": thing.keywords}
        return _described(parts, inside)
    about: dict[str, Any] = {**_code(type(thing))}
    own = getattr(thing, "describe", None)
    if callable(own):
        return about | _described(own(), inside)
    if dataclasses.is_dataclass(thing):
        values = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
    elif isinstance(thing, BaseEstimator):
        learnt = {k: v for k, v in vars(thing).items() if k.endswith("_") and k[0] != "_"}
        values = {**thing.get_params(deep=False), **learnt}
    elif hasattr(thing, "__dict__"):
        values = vars(thing)
    else:
        return about | {"pickle": hashlib.sha256(cloudpickle.dumps(thing)).hexdigest()}
    return about | {"parameters": _described(values, inside)}


def _path(text: str) -> Any:
    """Describe a string: the content of a file, where it is the path of one."""
    if (os.sep in text or "." in text) and len(text) < 4096 and os.path.isfile(text):
        return {"file": sha256(text)}
    return text


@functools.cache
def _layers() -> tuple[type, ...]:
    """Wrappers of Bob's around a step, which can be there only once Bob is."""
    if "bob.pipelines" not in sys.modules:
        return ()
    from bob.pipelines import CheckpointWrapper, DaskWrapper

    return CheckpointWrapper, DaskWrapper


def _name(code: Any) -> str:
    return f"{getattr(code, '__module__', None)}.{getattr(code, '__qualname__', repr(code))}"


def _code(code: Any) -> dict[str, Any]:
    """Name of a function or class, with its source where no installed package holds it."""
    about = {"class" if isinstance(code, type) else "function": _name(code)}
    try:
        file = Path(inspect.getfile(code)).resolve()
        if (
            "site-packages" in file.parts
            or _OWN in file.parents
            or file.is_relative_to(Path(os.__file__).resolve().parent)
        ):
            return about  # versions tell
        source = inspect.getsource(code)
    except (TypeError, OSError):  # built in, or typed at a prompt
        return about
    return about | {"source": hashlib.sha256(source.encode()).hexdigest()}


def digest(described: Any) -> str:
    """SHA-256 in hexadecimal of a JSON-ready description."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


# -- images --------------------------------------------------------------------


def describe_database(database: Any) -> dict[str, Any]:
    """Describe a Bob database: class, plain parameters, and everything that its samples say.

    Parameters
    ----------
    database : Bob database

    Returns
    -------
    dict
        ``class``, public attributes of plain types, ``fixed_positions``, and ``content``: a digest
        of every group's references and probes (keys, people, annotations, which are compared,
        and of each image file the size, the time and both ends).
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
        "content": digest_of_sets(content),
    }


def digest_of_sets(content: Mapping[str, Iterable[Iterable[Any]]]) -> str:
    """SHA-256 of sample sets by group, cheap: image files by size, time and both ends."""
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
    """Name of what a system makes of an image: its key, its content, its annotations.

    Parameters
    ----------
    sample : Sample
        Lazy, then its loader and the files that this names count by content; or with its array.

    Returns
    -------
    str
        The key, then 32 hexadecimal digits.
    """
    content = sample._load if hasattr(sample, "_load") else sample.data
    return f"{sample.key} {digest([_annotations(sample), describe(content)])[:32]}"


def _annotations(sample: Any) -> Any:
    found = getattr(sample, "annotations", None)
    return describe(dict(found)) if isinstance(found, Mapping) else describe(found)


def _files(sample: Any) -> Iterator[str]:
    """Existing files among the arguments of a lazy sample's loader."""
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
    if not hasattr(sample, "_load"):
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
