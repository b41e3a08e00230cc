"""`make release`: a dry run with the same bytes twice, and refused where a release would be wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from exporter.kernel.requirements import MACHINES
from tests.checkout import ROOT, git
from tools.release import bill, distributions
from tools.release.__main__ import publish
from tools.release.checkout import Checkout, ReleaseError
from tools.release.closure import DISTRIBUTION, runtime_requirements
from tools.release.contents import Contents
from tools.release.debian import ARCHITECTURES
from tools.release.notes import section
from tools.release.standalone import UNSAID
from tools.release.versions import mentions

from .releases import LIMIT_S, VERSION, Built, release

pytestmark = pytest.mark.timeout(LIMIT_S)

UNLICENSED = {"protobuf"}
"""Whose own metadata name no licence."""
SINGLE_FILES = {f"ci-egress-{VERSION}-{name}" for name in (*MACHINES, "standalone.cdx.json")}
LINKED = {"cpython", "expat", "libmpdec", "ncurses", "openssl", "sqlite", "zlib", "zstd", *UNSAID}
"""What the single file's Python contains."""
CHANGELOG = """\
# Changelog

## [Unreleased]

## [1.1.0] - 2026-12-01

### Added

- One thing.

## [1.0.0]

- Another.

## [0.9.0] - 2026-11-01
"""


@pytest.fixture
def checkout(committed: Path, tmp_path: Path) -> Path:
    """A clone, to be changed."""
    made = tmp_path / "checkout"
    git(committed, "clone", "--quiet", str(committed), str(made))
    return made


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.index
def test_a_dry_run_builds_all_of_it_and_publishes_nothing(built: Built) -> None:
    assert built.said.splitlines()[-1].startswith("release: a dry run, nothing was published")
    assert git(built.checkout, "tag") == ""
    assert sums(built.dist).keys() == {
        "RELEASE_NOTES.md",
        "SHA256SUMS",
        f"ci-egress-{VERSION}.cdx.json",
        *SINGLE_FILES,
        *(f"ci-egress_{VERSION}_{architecture}.deb" for architecture in ARCHITECTURES.values()),
        f"ci_egress_exporter-{VERSION}-py3-none-any.whl",
        f"ci_egress_exporter-{VERSION}.tar.gz",
    }
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=built.dist, check=True)
    assert_is_billed(json.loads((built.dist / f"ci-egress-{VERSION}.cdx.json").read_text()))
    billed = json.loads((built.dist / f"ci-egress-{VERSION}-standalone.cdx.json").read_text())
    linked = [each for each in billed["components"] if each.get("purl", "").startswith("pkg:generic/")]
    assert {each["name"] for each in linked} == LINKED
    assert {each["name"] for each in linked if not each.get("version")} == {"libedit", "libffi", "libuuid"}
    billed["components"] = [each for each in billed["components"] if each not in linked]
    assert_is_billed(billed)


@pytest.mark.index
def test_packages_of_any_checkout_are_built_and_elsewhere_the_same_bytes(
    built: Built, checkout: Path, tmp_path: Path
) -> None:
    """With a changelog that no release would be made of; which is in the source distribution alone."""
    again = distributions.build(checkout, tmp_path / "again", Checkout(checkout).committed_s())
    (checkout / "CHANGELOG.md").write_text("Nothing yet\n")
    done = release(checkout, "--package")
    assert done.returncode == 0, done
    assert done.stderr.startswith("package: with changes that are in no commit: CHANGELOG.md\n")
    released, packaged = sums(built.dist), sums(checkout / "dist")
    assert released.keys() - packaged.keys() == {"RELEASE_NOTES.md", *SINGLE_FILES}
    differing = {name for name, digest in packaged.items() if released[name] != digest}
    assert differing == {built.sdist.name, "SHA256SUMS"}
    assert sums(again.sdist.parent) == {each.name: released[each.name] for each in (built.sdist, built.wheel)}


def test_without_dpkg_what_pipx_takes_is_built_and_no_release(checkout: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").symlink_to(str(shutil.which("git")))
    done = release(checkout, "--package", PATH=str(programs))
    assert done.returncode == 0, done
    assert done.stderr.startswith("package: dpkg-deb is not on PATH, so no Debian package is built\n")
    assert {path.suffix for path in (checkout / "dist").iterdir()} == {".whl", ".gz", ""}
    refused = release(checkout, PATH=str(programs))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("release: dpkg-deb is not on PATH; ")


def assert_is_billed(billed: dict[str, Any]) -> None:
    """Each package that is in the Debian package is there, with its licence, and nothing else."""
    packages = [each for each in billed["components"] if each["type"] != "file"]
    found = {each["purl"].removeprefix("pkg:pypi/").lower().replace("_", "-") for each in packages}
    expected = {each.replace("==", "@") for each in runtime_requirements(ROOT / "constraints.txt")}
    assert found == expected
    released = billed["metadata"]["component"]
    assert (released["name"], released["version"]) == (DISTRIBUTION, VERSION)
    assert {each["name"] for each in packages if not each.get("licenses")} <= UNLICENSED
    assert "serialNumber" not in billed
    assert "timestamp" not in billed["metadata"]


@pytest.mark.index
def test_the_compiled_programs_are_in_each_package_with_the_digests_of_the_bill(built: Built) -> None:
    billed = json.loads((built.dist / f"ci-egress-{VERSION}.cdx.json").read_text())
    files = {each["name"]: each["hashes"] for each in billed["components"] if each["type"] == "file"}
    with zipfile.ZipFile(built.wheel) as wheel:
        found = {
            name.removeprefix("exporter/_"): wheel.read(name)
            for name in wheel.namelist()
            if name.startswith("exporter/_bpf/objects/")
        }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    assert files == {name: [{"alg": "SHA-256", "content": digest}] for name, digest in digests.items()}
    assert files.keys() == {f"bpf/objects/{machine}.json" for machine in MACHINES}


def test_without_a_section_of_the_version_there_is_no_release(checkout: Path) -> None:
    changelog = checkout / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(f"## [{VERSION}]", "## [99.0.0]"))
    git(checkout, "commit", "--quiet", "--all", "--message", "Another version's")
    done = release(checkout)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"CHANGELOG.md has no section [{VERSION}]; put a heading" in done.stderr
    assert "`make package`" in done.stderr
    assert not (checkout / "dist").exists()


def test_the_bill_has_nothing_that_the_caller_has_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("path", "here", f"user/lib/python3.{sys.version_info.minor}/site-packages"):
        planted = tmp_path / folder / f"planted_{folder[:4]}-1.0.dist-info/METADATA"
        planted.parent.mkdir(parents=True)
        planted.write_text(f"Metadata-Version: 2.1\nName: planted-{folder[:4]}\nVersion: 1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path / "here")
    contents = Contents(ROOT, tmp_path, (), VERSION, 0)
    bill.write(contents, Path("/usr/bin/python3"), tmp_path / "bill", tmp_path)
    assert "planted" not in (tmp_path / "bill").read_text()


@pytest.mark.parametrize("name", ["new.txt", "README.md"])
def test_with_changes_there_is_no_release(checkout: Path, name: str) -> None:
    (checkout / name).write_text("changed\n")
    done = release(checkout)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"release: the checkout has changes: {name}; ")


def test_of_many_changes_the_first_is_named(checkout: Path) -> None:
    for name in ("LICENSE", "README.md", "new.txt"):
        (checkout / name).write_text("changed\n")
    assert Checkout(checkout).changes() == "LICENSE and 2 more"


def test_where_another_version_is_named_there_is_no_release(checkout: Path) -> None:
    manifest = checkout / "deploy/kubernetes/ci-egress.yaml"
    manifest.write_text(manifest.read_text().replace(f"ci-egress:{VERSION}", "ci-egress:99.0.0"))
    git(checkout, "commit", "--quiet", "--all", "--message", "Another image")
    done = release(checkout)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the version is {VERSION}, and deploy/kubernetes/ci-egress.yaml:" in done.stderr


@pytest.mark.parametrize(
    "version", ["1.0", "1.0.0rc1", "01.0.0", "1.0.0-1", "v1.0.0", "1.0.0; touch owned", "--all"]
)
def test_a_version_that_is_not_the_same_everywhere_is_refused(tmp_path: Path, version: str) -> None:
    (tmp_path / "exporter").mkdir()
    (tmp_path / "exporter/__init__.py").write_text(f'__version__ = "{version}"\n')
    with pytest.raises(ReleaseError, match="is no version to release; write "):
        Checkout(tmp_path).version()


def test_the_notes_are_the_versions_section_alone() -> None:
    assert section(CHANGELOG, "1.1.0") == "### Added\n\n- One thing."


@pytest.mark.parametrize(
    ("version", "told"),
    [("1.0.0", "has no date"), ("0.9.0", "nothing stands under"), ("2.0.0", "has no section")],
)
def test_a_section_that_is_not_finished_is_refused(version: str, told: str) -> None:
    with pytest.raises(ReleaseError, match=told):
        section(CHANGELOG, version)


def test_everything_names_the_same_version() -> None:
    found = mentions(ROOT)
    assert {place.partition(":")[0] for place in found} >= {"deploy/kubernetes/ci-egress.yaml"}
    assert set(found.values()) == {VERSION}


def test_publishing_tags_the_commit_with_the_notes_and_pushes_the_tag(checkout: Path, tmp_path: Path) -> None:
    origin, notes = tmp_path / "origin.git", tmp_path / "notes.md"
    git(tmp_path, "init", "--quiet", "--bare", str(origin))
    git(checkout, "remote", "set-url", "origin", str(origin))
    git(checkout, "config", "user.name", "Somebody")
    git(checkout, "config", "user.email", "somebody@ci-egress.example")
    notes.write_text("What changed\n")
    publish(Checkout(checkout), notes)
    tagged = git(
        origin, "for-each-ref", "--format=%(contents:subject) %(*objectname)", f"refs/tags/v{VERSION}"
    )
    assert tagged == f"What changed {git(checkout, 'rev-parse', 'HEAD')}"
