"""One seed for every test, and the way to real data."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# no stored examples and no time limit: a test gives the same answer on every machine
settings.register_profile("recon", derandomize=True, database=None, deadline=None)
settings.load_profile("recon")


@pytest.fixture(autouse=True)
def _seed() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for code that draws from the global state
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def cluster(tmp_path) -> Iterator[tuple]:
    """A scheduler and two workers, each a process that can be killed, and their file."""
    from tests import clusters

    with clusters.killable(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real faces and scores beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real faces and scores in {folder}, which are not part of the project")
    return folder
