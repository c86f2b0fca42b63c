"""What README and the guide say is run as it stands, and what they name exists."""

from __future__ import annotations

import ast
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bob_recon_plugin.cli import recon

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "bob_recon_plugin" / "guide"
README = ROOT / "README.md"
PAGES = [README, *sorted(GUIDE.glob("*.md"))]
NEEDS = {
    "needs-lfw",
    "needs-mobio",
    "needs-packages",
    "needs-clone",
    "needs-hours",
    "needs-cluster",
    "needs-network",
}
RESOURCES = {e.name for e in entry_points(group="bob.bio.config")}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    line: int
    language: str
    needs: tuple[str, ...]
    text: str

    @property
    def file(self) -> str | None:
        """Name under which it is saved, where it is a file."""
        found = re.match(r"# ([\w-]+\.py)\b", self.text)
        return found[1] if found and self.language == "python" else None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(line, found[1], tuple(found[2].split()), found[3])


def name(page: Path) -> str:
    return page.stem


RUNNABLE = [p for p in PAGES if any(not block.needs and not block.file for block in blocks(p))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_the_blocks_of_a_page_run_in_an_empty_folder(page, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    here = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": here + os.pathsep + os.environ["PATH"],
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    for block in blocks(page):
        if block.needs:
            continue
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
            continue
        script = tmp_path / f"line-{block.line}"
        script.write_text(block.text, encoding="utf-8")
        if block.language == "python":
            # as in an interpreter that was started in the folder
            (folder / "typed.py").write_text(block.text, encoding="utf-8")
            command = [sys.executable, "typed.py"]
        else:
            command = ["bash", "-euo", "pipefail", str(script)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}:{block.line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_are_marked_with_known_needs(page):
    for block in blocks(page):
        assert block.language in ("sh", "python"), f"{page.name}:{block.line}"
        assert set(block.needs) <= NEEDS, f"{page.name}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_imports_of_python_blocks_exist(page):
    made = {block.file.removesuffix(".py") for block in blocks(page) if block.file}
    for block in blocks(page):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and node.module in made:
                continue
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(ast.unparse(node), {})


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Give every command of blocks and of code spans: where it stands, its words."""
    text = page.read_text(encoding="utf-8")
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [(page.name, span) for span in re.findall(r"`([^`]+)`", outside)]
    spans += [(page.name, line) for line in re.findall(r"^    (bob .*)$", outside, re.MULTILINE)]
    for block in blocks(page):
        if block.language == "sh":
            spans.append((f"{page.name}:{block.line}", block.text))
    for where, script in spans:
        for line in script.replace("\\\n", " ").splitlines():
            for start in re.finditer(r"\b(?:bob (?:bio|vulnerability|config)|python -m) ", line):
                lexer = shlex.shlex(line[start.start() :], posix=True, punctuation_chars=True)
                lexer.whitespace_split = True
                lexer.commenters = "#"
                words: list[str] = []
                for word in lexer:
                    if set(word) <= set(";&|()<>"):
                        break
                    words.append(word)
                yield where, words


ALL_COMMANDS = [(page, *found) for page in PAGES for found in commands(page)]


def _command(words: list[str]) -> tuple[click.Command | None, list[str]]:
    """Return a command of ours, or Bob's pipeline, and the words behind it."""
    if words[:3] == ["bob", "bio", "recon"] and len(words) > 3 and not words[3].startswith("-"):
        found = recon.get_command(click.Context(recon), words[3])
        assert found is not None, words
        return found, words[4:]
    if words[:4] == ["bob", "bio", "pipeline", "simple"]:
        from bob.bio.base.script.pipeline_simple import pipeline_simple

        return pipeline_simple, words[4:]
    return None, []


def _positional(command: click.Command, words: list[str], where: str) -> list[str]:
    """Return the arguments of a command; every option must be one of it."""
    options = {o: p for p in command.params for o in (*p.opts, *p.secondary_opts)}
    options |= dict.fromkeys(("-h", "--help"), click.Option(["--help"], is_flag=True))
    left, rest = iter(words), []
    for word in left:
        if not word.startswith("-"):
            rest.append(word)
            continue
        assert word in options, f"{where}: {command.name} has no option {word}"
        option = options[word]
        if not getattr(option, "is_flag", False) and not getattr(option, "count", False):
            next(left, None)
    return rest


def test_there_are_commands_to_look_at():
    assert len(ALL_COMMANDS) > 80


def test_options_of_commands_exist():
    for _, where, words in ALL_COMMANDS:
        command, rest = _command(words)
        if command is not None:
            _positional(command, rest, where)


def test_chains_name_resources_or_files_of_the_page():
    for page, where, words in ALL_COMMANDS:
        command, rest = _command(words)
        if command is None or command.name != "simple":
            continue
        made = {block.file for block in blocks(page)}
        if page == README:  # the pages that it names make them
            made |= {block.file for other in PAGES for block in blocks(other)}
        for word in _positional(command, rest, where):
            placeholder = word.isupper() or word in ("...", "[...]") or "$" in word
            assert placeholder or word in RESOURCES | made, f"{where}: {word}"


def test_names_of_resources_exist():
    known = RESOURCES | {e.name for e in entry_points(group="dask.client")}
    known |= {f"recon-{command}" for command in recon.list_commands(click.Context(recon))}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"`(recon-[a-z0-9-]+|[a-z]+-mbf|edgeface-s|sface)`", text))
        assert named <= known, page.name
    ours = {e.name for e in entry_points(group="bob.bio.config") if "bob_recon" in e.value}
    assert all(
        any(f"`{resource}`" in page.read_text(encoding="utf-8") for page in PAGES)
        for resource in ours
    )


def test_programs_of_the_repository_exist():
    named = {
        words[2]
        for _, _, words in ALL_COMMANDS
        if words[:2] == ["python", "-m"] and words[2].startswith("tests.")
    }
    assert named
    missing = [module for module in named if find_spec(module) is None]
    assert missing == []


ROOMS = "|".join(p.name for p in (ROOT / "bob_recon_plugin").iterdir() if p.is_dir())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_of_modules_and_functions_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"[`~](?:bob_recon_plugin\.)?((?:{ROOMS})\.[\w.]+\w)[`(:]", text)
    for dotted in named:
        if not dotted.endswith((".md", ".py")):
            assert pkgutil.resolve_name(f"bob_recon_plugin.{dotted}") is not None


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path) if path else page
        assert other.is_file(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(other), f"{page.name}: {target}"


def test_readme_is_one_page():
    assert README.stat().st_size <= 8_000


def test_the_test_command_is_the_one_that_ci_runs():
    text = README.read_text(encoding="utf-8")
    assert len(re.findall(r"^pip install -e .*pytest.*$", text, re.MULTILINE)) == 1
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert r"s/^\(pip install -e .*pytest.*\)$/\1/p" in script


def test_help_names_the_guide():
    done = CliRunner().invoke(recon, ["--help"])
    named = re.search(r"Guide: (\S+)", done.output)
    assert named is not None
    assert Path(named[1]) == GUIDE / "index.md"
    assert "iresnet" not in done.output


def test_every_page_is_in_the_index():
    text = (GUIDE / "index.md").read_text(encoding="utf-8")
    listed = re.search(r"```\{toctree\}(.*?)```", text, re.DOTALL)
    assert listed is not None
    pages = [word for word in listed[1].split() if not word.startswith(":") and not word.isdigit()]
    assert sorted(pages) == sorted(page.stem for page in GUIDE.glob("*.md") if page.stem != "index")
