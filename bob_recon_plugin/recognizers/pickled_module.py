"""Read the tensors of a pickled network without executing any code in the pickle."""

from __future__ import annotations

import collections
import pickle
import types
import warnings
from pathlib import Path
from typing import Any

import torch

from ..common.weights_files import opened

_MOST_MODULES = 100_000  # a shared module is counted each time


class _Rebuild:
    """A function that rebuilds tensors. A pickle can call it, but not change it."""

    __slots__ = ("_function",)

    def __init__(self, function: Any):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it would change the code that reads the file")


#: All other classes and functions in a file are replaced by inert objects.
_REBUILDS = {
    ("collections", "OrderedDict"): _Rebuild(collections.OrderedDict),
    ("torch._utils", "_rebuild_parameter"): _Rebuild(torch._utils._rebuild_parameter),
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(torch._utils._rebuild_tensor_v2),
}


class _Inert:
    """Replaces objects of all other classes: it stores its state and does nothing."""

    dump_patches = False  # torch reads it of modules

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a function that rebuilds tensors, or the inert class."""
        return _REBUILDS.get((module, name), _Inert)


def _load(stream: Any, **_: Any) -> Any:
    return _Unpickler(stream).load()


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return parameters and buffers by name, as ``state_dict`` of the pickled module would.

    Parameters
    ----------
    path : Path
        A file of ``torch.save(module)``.

    Returns
    -------
    dict of str to Tensor
        Empty if the file does not hold a module. The prefix of ``DataParallel`` is removed.

    Raises
    ------
    ValueError
        For a file that `common.weights_files.opened` refuses, such as a TorchScript archive.
    pickle.UnpicklingError, RuntimeError, EOFError, ...
        For any other file that is not a pickled module.
    """
    inert = types.ModuleType("inert")  # torch needs these two names
    inert.Unpickler, inert.load = _Unpickler, _load  # type: ignore[attr-defined]
    with opened(path, "weights", "save its state_dict().") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch cannot compare the sources of the classes
        content = torch.load(stream, map_location="cpu", pickle_module=inert, weights_only=False)
    tensors = _tensors(content)
    prefix = "module."
    if tensors and all(name.startswith(prefix) for name in tensors):
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _tensors(module: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    left = [("", module)]
    for _ in range(_MOST_MODULES):
        if not left:
            return found
        prefix, module = left.pop()
        state = getattr(module, "state", None)
        if not isinstance(state, dict):
            continue
        for kind in ("_parameters", "_buffers"):
            for name, tensor in (state.get(kind) or {}).items():
                if isinstance(tensor, torch.Tensor):
                    found[prefix + name] = tensor.detach()
        left += [
            (f"{prefix}{name}.", child) for name, child in (state.get("_modules") or {}).items()
        ]
    raise pickle.UnpicklingError("its modules contain each other")
