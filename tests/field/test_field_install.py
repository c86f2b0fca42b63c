"""Machines that lack what the packages expect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOST = "libGL.so.1: cannot open shared object file: No such file or directory"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    ["pipeline simple recon-demo -o out", "recon prepare . -r sface -o out"],
)
def test_a_server_without_libgl_is_told_what_to_install(tmp_path, command):
    (tmp_path / "cv2.py").write_text(f"raise ImportError({LOST!r})\n")
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("bob")), "bio", *command.split()],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("Error: system libraries must be installed, got libGL.so.1")
    assert "apt-get install libgl1" in last
    assert "Traceback" not in done.stderr
