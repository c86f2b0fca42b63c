"""Describe what decides a result: by value, and files by content, never by name or `repr`.

Run records, checkpoints, cells of a transfer matrix and a resumed training compare descriptions.
An object with a method ``describe()`` lists by itself what decides its results. Every other object
is described by its class, its parameters and its learnt attributes. What a description leaves out
(device, batch size, Dask layers) must not change a score.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any, Protocol, runtime_checkable

import cloudpickle
import numpy as np
from sklearn.base import BaseEstimator

from .files import sha256

_PACKAGE = Path(__file__).parents[1]


@runtime_checkable
class Describes(Protocol):
    """An object that lists what decides its results."""

    def describe(self) -> Any:
        """Return values that :func:`describe` takes."""


def describe(thing: Any) -> Any:
    """Describe what decides the results of an object.

    Parameters
    ----------
    thing : object
        A transformer, pipeline, algorithm, function, array, path, or a container of such.

    Returns
    -------
    JSON-ready value
        Equal for objects that give equal results, in any process and any folder. Files are
        described by their SHA-256, arrays by shape, type and content, functions and classes
        outside of installed packages by their source.
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
    if isinstance(thing, _wrappers()):  # how Bob runs a step, not what the step does
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
    if isinstance(thing, Describes):
        return about | _described(thing.describe(), inside)
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
    """Describe a string: by the content of the file if it is the path of a file."""
    if (os.sep in text or "." in text) and len(text) < 4096 and os.path.isfile(text):
        return {"file": sha256(text)}
    return text


def _wrappers() -> tuple[type, ...]:
    """Bob's wrappers around a step."""
    if "bob.pipelines" not in sys.modules:  # then no object is one of them
        return ()
    from bob.pipelines import CheckpointWrapper, DaskWrapper

    return CheckpointWrapper, DaskWrapper


def _name(code: Any) -> str:
    return f"{getattr(code, '__module__', None)}.{getattr(code, '__qualname__', repr(code))}"


def _code(code: Any) -> dict[str, Any]:
    """Name of a function or class; with its source, unless an installed package holds it."""
    about = {"class" if isinstance(code, type) else "function": _name(code)}
    try:
        file = Path(inspect.getfile(code)).resolve()
        if (
            "site-packages" in file.parts
            or _PACKAGE in file.parents
            or file.is_relative_to(Path(os.__file__).resolve().parent)
        ):
            return about  # records hold the versions of packages
        source = inspect.getsource(code)
    except (TypeError, OSError):  # built in, or a class of a file that Bob's command has executed
        source = _compiled(code)
    return about | ({"source": hashlib.sha256(source.encode()).hexdigest()} if source else {})


def _compiled(code: Any) -> str:
    """What a function or the methods of a class compile to; empty for what is built in."""
    if isinstance(code, type):
        own = {k: v for k, v in vars(code).items() if not isinstance(v, type)}
        parts = {name: _compiled(getattr(v, "__func__", v)) for name, v in own.items()}
        return "".join(f"{name}: {part}\n" for name, part in sorted(parts.items()) if part)
    if isinstance(code, property):
        return _compiled(code.fget)
    if callable(code):
        code = inspect.unwrap(code)  # scikit-learn wraps transform
    code = getattr(code, "__code__", code)
    if not isinstance(code, CodeType):
        return ""
    constants = [
        _compiled(c) if isinstance(c, CodeType)
        else repr(sorted(c, key=repr)) if isinstance(c, frozenset)
        else repr(c)
        for c in code.co_consts
    ]  # fmt: skip
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def digest(described: Any) -> str:
    """SHA-256 in hexadecimal of a JSON-ready description."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
