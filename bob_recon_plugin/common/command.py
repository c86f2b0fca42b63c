"""Check the arguments of `bob bio pipeline simple` before Bob executes the files they name."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from clapper.click import ConfigCommand

from .validation import InputError

_REMEDIES = {
    ".onnx": "describe the model in a Python file and name that file: `from "
    "bob_recon_plugin.recognizers import bob_pipeline, from_onnx; pipeline = "
    "bob_pipeline(from_onnx({name!r}))`",
    ".safetensors": "name a decoder in a Python file before `recon`: `decoder = {name!r}`",
}
_REMEDY = "name a resource, or a Python file that uses {name}"
_CLIENTS = "dask.client"


def check_command() -> None:
    """Refuse a Bob command that names a binary file or an unknown Dask client.

    Bob would execute the file as Python and show a traceback for the client. The resources of this
    package call this function: the first one of a chain checks the whole command.

    Raises
    ------
    InputError
        With the file or the client, and what to write instead.
    """
    context = click.get_current_context(silent=True)
    if context is None or not isinstance(context.command, ConfigCommand):
        return
    name = context.info_name
    if name not in sys.argv:  # called from Python
        return
    arguments = sys.argv[sys.argv.index(name) + 1 :]
    given: dict[str, Any] = context.command.make_parser(context).parse_args(arguments)[0]
    resources = given.get("config")
    for resource in resources if isinstance(resources, tuple | list) else ():
        _check_python(resource)
    if isinstance(client := given.get("dask_client"), str):
        check_client(client)


def _check_python(name: str) -> None:
    path = Path(name)
    if not path.is_file():
        return
    with path.open("rb") as stream:
        if b"\0" not in stream.read(1 << 16):
            return
    remedy = _REMEDIES.get(path.suffix.lower(), _REMEDY).format(name=name)
    raise InputError(
        f"resources of a command must be names or Python files, got the binary file {name}; "
        f"{remedy}."
    )


def check_client(name: str) -> None:
    """Raise InputError unless ``-l`` names a scheduler, a client, a file or a module."""
    from bob.pipelines.distributed import VALID_DASK_CLIENT_STRINGS

    known = sorted(entry.name for entry in entry_points(group=_CLIENTS))
    if name in (*VALID_DASK_CLIENT_STRINGS, *known) or Path(name.rsplit(":", 1)[0]).is_file():
        return
    try:
        found = find_spec(name.rsplit(":", 1)[0]) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise InputError(
            f"`--dask-client` (-l) must name a client, got {name!r}; the clients are "
            f"{', '.join([*VALID_DASK_CLIENT_STRINGS, *known])}."
        )
