"""What an installation holds: the editable one of the tests would hide a missing file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
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
