"""What an installation holds: the editable one of the tests would hide a missing file."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_data_file(tmp_path):
    source = tmp_path / "source"
    names = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build")
    shutil.copytree(ROOT, source, ignore=names)  # builds leave files beside the source
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path), str(source)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "bob_recon_plugin").rglob("*.py")}
    configs = {f"bob_recon_plugin/{p.relative_to(ROOT)}" for p in (ROOT / "config").rglob("*.py")}
    data = {f"bob_recon_plugin/data/{n}" for n in ("arcface-mbf.safetensors", "demo_faces.zip")}
    assert modules | configs | data <= held
    assert not {name for name in held if name.startswith(("tests", "config"))}
    assert any(name.endswith("licenses/NOTICE.md") or "NOTICE.md" in name for name in held)
    assert wheel.stat().st_size < 10_000_000


def imported(folder: Path) -> dict[str, Path]:
    """Top-level modules that the files of a folder import, each with the first of them."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
                if node.module in ("bob", "bob.bio"):
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                parts = name.split(".")
                wanted = 3 if parts[:2] == ["bob", "bio"] else 2 if parts[0] == "bob" else 1
                found.setdefault(".".join(parts[:wanted]), path)
    return found


def test_every_import_is_a_declared_dependency():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    declared = setup["options"]["install_requires"] + "".join(
        setup["options.extras_require"][extra] for extra in ("demo", "train")
    )
    lines = [line for line in declared.splitlines() if line and not line.startswith("#")]
    names = {re.split(r"[ <>=!~;\[]", line)[0].lower() for line in lines}
    distributions = packages_distributions()
    missing = {}
    for folder in ("bob_recon_plugin", "config"):
        for module, path in imported(ROOT / folder).items():
            if module in sys.stdlib_module_names or module == "bob_recon_plugin":
                continue
            carriers = [module] if module.startswith("bob") else distributions.get(module, [module])
            if not names & {carrier.lower() for carrier in carriers}:
                missing[module] = str(path.relative_to(ROOT))
    assert missing == {}
