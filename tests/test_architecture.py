"""Who may import whom, and what may load when."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bob_recon_plugin"

#: Rooms from the street down; a room imports only what stands below it.
ROOMS = (
    ("cli",),
    ("transfer",),
    ("chain",),
    ("leaks", "pipeline"),
    ("report", "schedule", "training"),
    ("parts",),
    ("quality", "verdict"),
    ("originals", "results", "view2"),
    ("injection", "run_record", "score_files", "threat", "refinement"),
    ("checkpoints", "comparison", "reconstructor", "database", "system", "protection", "adapters"),
    ("losses", "recognizers", "decoders", "clients"),
    ("statistics",),
    ("metrics",),
    ("scores",),
    ("_files", "_json", "_weights_files"),
    ("data", "_ahead", "_geometry", "_memory", "_validation"),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}


def _room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(module: Path) -> set[str]:
    """Rooms of this package that a module imports, at any place in its code."""
    parts = module.relative_to(PACKAGE.parent).with_suffix("").parts
    package = parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
        found |= {name[1] for name in names if name[0] == "bob_recon_plugin" and len(name) > 1}
    return found & set(LEVEL)


MODULES = sorted(m for m in PACKAGE.rglob("*.py") if m != PACKAGE / "__init__.py")


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_arrows_run_downward(module):
    room = _room(module)
    assert room in LEVEL, f"give {room} its place among the rooms"
    upward = {other for other in _imports(module) - {room} if LEVEL[other] <= LEVEL[room]}
    assert not upward, f"{module.name} imports {upward}, which stand above or beside {room}"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("bob_recon_plugin", ["torch", "bob.bio", "matplotlib", "numpy"]),
        ("bob_recon_plugin.scores", ["torch", "bob"]),
        ("bob_recon_plugin.metrics", ["torch", "bob"]),
        ("bob_recon_plugin.statistics", ["torch", "bob", "matplotlib"]),
        ("bob_recon_plugin.cli", ["torch", "bob.bio", "matplotlib", "numpy"]),
        ("bob_recon_plugin.decoders", ["bob", "torchvision"]),
        ("bob_recon_plugin.losses", ["bob", "torchvision"]),
        ("bob_recon_plugin.clients", ["torch", "distributed", "bob"]),
    ],
)
def test_what_a_room_must_not_load(module, forbidden):
    code = (
        f"import sys, {module}\n"
        f"print([m for m in {forbidden!r} if any(n == m or n.startswith(m + '.') "
        "for n in sys.modules)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
