"""What may load when; who may import whom is a contract of import-linter, in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("bob_recon_plugin", ["torch", "bob.bio", "matplotlib", "numpy"]),
        ("bob_recon_plugin.evaluation.scores", ["torch", "bob"]),
        ("bob_recon_plugin.evaluation.metrics", ["torch", "bob"]),
        ("bob_recon_plugin.evaluation.findings", ["torch", "bob", "matplotlib"]),
        ("bob_recon_plugin.evaluation.run_folder", ["torch", "bob"]),
        ("bob_recon_plugin.evaluation.source_images", ["torch", "bob"]),
        ("bob_recon_plugin.evaluation.statistics", ["torch", "bob", "matplotlib"]),
        ("bob_recon_plugin.report.build", ["torch", "bob"]),
        ("bob_recon_plugin.cli", ["torch", "bob.bio", "matplotlib", "numpy"]),
        ("bob_recon_plugin.decoders", ["bob", "torchvision"]),
        ("bob_recon_plugin.training.losses", ["bob", "torchvision"]),
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
