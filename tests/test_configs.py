"""Every resource loads by its name and by its path."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from importlib.util import find_spec

import click
import pytest
from clapper.config import load

from bob_recon_plugin.recognizers import identify

GROUPS = ("bob.bio.config", "bob.bio.pipeline", "bob.bio.database")
OURS = {
    group: {e.name: e.value for e in entry_points(group=group) if "bob_recon_plugin" in e.value}
    for group in GROUPS
}
#: what a resource builds, and what stands before it in a chain
BUILDS = {
    "arcface-mbf": ("pipeline", ["recon-demo-database"]),
    "edgeface-s": ("pipeline", ["recon-demo-database"]),
    "sface": ("pipeline", ["recon-demo-database"]),
    "facexzoo-mbf": ("pipeline", ["recon-demo-database"]),
    "recon": ("pipeline", ["arcface-mbf"]),
    "recon-leaked": ("inverted", ["arcface-mbf"]),
    "recon-biohashing": ("pipeline", ["arcface-mbf"]),
    "recon-mlp-hash": ("pipeline", ["arcface-mbf"]),
    "recon-index-of-max": ("pipeline", ["arcface-mbf"]),
    "recon-random-projection": ("pipeline", ["arcface-mbf"]),
    "recon-quantised": ("pipeline", ["arcface-mbf"]),
    "recon-attack-1": ("pipeline", ["arcface-mbf"]),
    "recon-attack-2": ("pipeline", ["arcface-mbf", "recon-leaked", "edgeface-s"]),
    "recon-demo": ("pipeline", []),
}
PROTECTIONS = {
    "recon-biohashing",
    "recon-mlp-hash",
    "recon-index-of-max",
    "recon-random-projection",
    "recon-quantised",
}
#: what a resource says when its data or weights are not there
MISSING = {
    "recon-arcface": "iresnet100",
    "recon-elasticface": "iresnet100",
    "recon-folder": "bob_recon_plugin.folder.directory",
    "recon-lfw-view2": "bob.bio.face.lfw.directory",
    "recon-mobio-all": "bob.db.mobio.directory",
    "recon-mobio-female": "bob.db.mobio.directory",
    "recon-mobio-male": "bob.db.mobio.directory",
}
DEMO_DATABASE = "bob_recon_plugin.config.database.demo"


@pytest.fixture(autouse=True)
def _no_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def _path(name: str) -> str:
    spec = find_spec(OURS["bob.bio.config"][name])
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


def test_every_resource_is_tested_here():
    black_boxes = {f"recon-attack-{number}" for number in (3, 4, 5)}
    assert set(OURS["bob.bio.config"]) == set(BUILDS) | set(MISSING) | black_boxes


@pytest.mark.parametrize("by", ["name", "path"])
@pytest.mark.parametrize("name", BUILDS)
def test_resources_build(name, by):
    attribute, before = BUILDS[name]
    before = [DEMO_DATABASE if b == "recon-demo-database" else b for b in before]
    last = name if by == "name" else _path(name)
    module = load([*before, last], entry_point_group="bob.bio.config")
    built = getattr(module, attribute)
    attacks = attribute == "pipeline" and name.startswith("recon") and name not in PROTECTIONS
    assert type(built).__name__ == ("AttackPipeline" if attacks else "PipelineSimple")
    if name in PROTECTIONS:
        assert type(built.biometric_algorithm).__name__ == "ProtectedComparison"
        assert module.leak[0].scheme == built.biometric_algorithm.scheme
    if not name.startswith("recon"):
        assert identify(built.transformer).name == name
    if name == "recon-demo":
        assert type(module.database).__name__ == "DemoDatabase"


@pytest.mark.parametrize("number", [3, 4, 5])
def test_an_attack_that_the_decoder_is_not_made_for_says_which_it_is(number):
    chain = ["arcface-mbf", *(["recon-leaked", "edgeface-s"] if number > 3 else [])]
    with pytest.raises(
        click.ClickException, match=rf"recon-attack-{number} must be .* is attack [12]"
    ):
        load([*chain, f"recon-attack-{number}"], entry_point_group="bob.bio.config")


def test_leaked_without_a_system_before_or_behind_it():
    for chain in (["recon-leaked"], ["arcface-mbf", "recon-leaked", "recon"]):
        with pytest.raises(
            click.ClickException, match=r"DATABASE LEAKED recon-leaked ATTACKED recon"
        ):
            load(chain, entry_point_group="bob.bio.config")


@pytest.mark.parametrize("by", ["name", "path"])
@pytest.mark.parametrize("name", MISSING)
def test_resources_without_their_data_say_what_to_do(name, by):
    with pytest.raises(click.ClickException, match=re.escape(MISSING[name])):
        load([name if by == "name" else _path(name)], entry_point_group="bob.bio.config")


@pytest.mark.parametrize("group", ["bob.bio.pipeline", "bob.bio.database"])
def test_names_in_other_groups_point_to_the_same_files(group):
    for name, value in OURS[group].items():
        module, attribute = value.split(":")
        assert attribute == group.rsplit(".", 1)[1]
        assert find_spec(module) is not None
        if name in OURS["bob.bio.config"] and name != "recon-demo":
            assert OURS["bob.bio.config"][name] == module
