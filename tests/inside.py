"""A task that is quick to import in a worker."""

from __future__ import annotations

import os


def seen() -> dict[str, object]:
    """What a worker sees."""
    import torch

    return {
        "threads": torch.get_num_threads(),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "folder": os.getcwd(),
        "module": __file__,
    }
