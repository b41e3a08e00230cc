"""The guides for CI systems: their blocks are what those systems take, their tables what there is."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.checkout import ROOT

from . import limits

pytestmark = pytest.mark.timeout(limits.TEST_S)

GUIDES = ROOT / "docs" / "how-to"
SYSTEMS = ("github", "gitlab", "jenkins", "buildkite")
BIN = Path(sys.executable).parent

PLACEHOLDERS = {
    "OWNER/": "acme/",
    "GROUP/": "acme/",
    "COMMIT-THAT-YOU-REVIEWED": "5e2f8c0d1b7a4936f0c8e1d2a3b4c5d6e7f80912",
}
"""What a reader has to fill in, and something as they would."""

_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_ROW = re.compile(r"^\| (`.*?) \|", re.MULTILINE)


class Block(NamedTuple):
    """Something fenced."""

    language: str
    text: str


def blocks(system: str, language: str = "") -> list[Block]:
    """Those of a guide, in order, filled in."""
    text = filled_in((GUIDES / f"{system}.md").read_text())
    found = [Block(match[2], textwrap.dedent(match[3])) for match in _BLOCK.finditer(text)]
    return [block for block in found if language in ("", block.language)]


def filled_in(text: str) -> str:
    """As a reader has it who has done so."""
    for placeholder, filled in PLACEHOLDERS.items():
        text = text.replace(placeholder, filled)
    return text


def listed(system: str) -> list[str]:
    """What the first column of its tables names, where that is code."""
    rows = _ROW.findall((GUIDES / f"{system}.md").read_text())
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def passes(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a linter, which must have nothing to say."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def written(folder: Path, system: str, suffix: str, language: str) -> list[Path]:
    """Its blocks as files; there are some."""
    paths = []
    for number, block in enumerate(blocks(system, language)):
        paths.append(folder / f"{system}-{number}.{suffix}")
        paths[-1].write_text(block.text)
    assert paths
    return paths


def conforms(schema: str, *paths: Path, transform: str = "") -> None:
    """They are what the schema of that name says."""
    more = ["--data-transform", transform] if transform else []
    passes(BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *more, *paths)


@cache
def actionlint() -> str:
    """The program, built once on this machine."""
    done = subprocess.run([ROOT / "tools" / "actionlint.sh"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.index
@pytest.mark.timeout(600)  # it may be the first that needs actionlint, which is built then
def test_workflows_of_the_guide_are_sound(tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    workflows = written(folder, "github", "yml", "yaml")
    passes(actionlint(), "-no-color", *workflows, cwd=tmp_path)
    conforms("github-workflows", *workflows)
    passes(BIN / "zizmor", "--offline", "--no-progress", *workflows, cwd=tmp_path)


def test_what_a_workflow_gives_the_action_is_an_input() -> None:
    known = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    steps = [
        step
        for block in blocks("github", "yaml")
        for job in yaml.safe_load(block.text)["jobs"].values()
        for step in job["steps"]
    ]
    ours = [step for step in steps if "/ci-egress-exporter@" in step.get("uses", "")]
    assert len(ours) >= 3
    assert {name for step in ours for name in step.get("with", {})} <= set(known)


def test_nothing_of_ours_is_pinned_to_a_commit_that_nobody_has() -> None:
    """A reader must see that it is theirs to choose, and must not get far without choosing."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    pins = re.compile(r"ci-egress-exporter(?:/stop)?@(\S+)|ci-egress\S*\.git#([^`\s]+)")
    named = {found[1] or found[2] for page in pages for found in pins.finditer(page.read_text())}
    assert named == {"COMMIT-THAT-YOU-REVIEWED"}


def test_pipelines_of_the_guides_are_sound(tmp_path: Path) -> None:
    conforms("gitlab-ci", *written(tmp_path, "gitlab", "yml", "yaml"), transform="gitlab-ci")
    conforms("buildkite", *written(tmp_path, "buildkite", "yml", "yaml"))


def test_groovy_of_the_guide_compiles(tmp_path: Path) -> None:
    files = written(tmp_path, "jenkins", "groovy", "groovy")
    for file in files:  # the library's name is Jenkins' to resolve
        file.write_text(file.read_text().replace("@Library('ci-egress') _", ""))
    passes("groovy", "-e", "args.each { new GroovyShell().parse(new File(it)) }", *files)


@pytest.mark.parametrize("system", SYSTEMS)
def test_doctor_comes_first(system: str) -> None:
    said = "\n".join(block.text for block in blocks(system, "sh"))
    first = re.search(r"^(?:sudo )?ci-egress (\w+)", said, re.MULTILINE)
    assert first is not None
    assert first[1] == "doctor"


def test_the_tables_list_what_there_is() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert sorted(listed("github")) == sorted([*action["inputs"], *action["outputs"]])
    template = yaml.safe_load((ROOT / "deploy" / "gitlab" / "ci-egress.gitlab-ci.yml").read_text())
    assert sorted(listed("gitlab")) == sorted(template[".ci-egress"]["variables"])
    plugin = yaml.safe_load((ROOT / "deploy" / "buildkite" / "plugin.yml").read_text())
    assert sorted(listed("buildkite")) == sorted(plugin["configuration"]["properties"])
    step = (ROOT / "deploy" / "jenkins" / "vars" / "ciEgress.groovy").read_text()
    known = re.search(r"def known = \[(.*?)\]", step, re.DOTALL)
    assert known is not None
    assert sorted(listed("jenkins")) == sorted(re.findall(r"'(\w+)'", known[1]))


@pytest.mark.parametrize("system", [system for system in SYSTEMS if system != "github"])
def test_a_guide_says_which_containers_descend_from_a_command(system: str) -> None:
    """As tests/kernel/lineage/test_traced_containers.py shows it, of a runtime with and without a daemon."""
    unseen = (GUIDES / f"{system}.md").read_text().partition("## What it can't see")[2]
    items = [item for item in unseen.split("\n- ") if item.startswith("*Containers ")]
    (told,) = [" ".join(item.split()) for item in items if "descend" in item]
    assert told.startswith("*Containers that a daemon starts* for ")
    assert "Those of podman and buildah, which have no daemon, descend from " in told
