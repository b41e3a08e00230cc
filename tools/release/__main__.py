"""`make release`: builds all of a release into dist/, and publishes nothing unless --publish is given.

With --package, as `make package` has it, only what is installed, of a checkout in whatever state.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.release import bill, debian, distributions
from tools.release.checkout import Checkout, ReleaseError
from tools.release.closure import runtime_requirements
from tools.release.notes import notes, section
from tools.release.versions import require_consistent

_CHECKOUT = Checkout(Path.cwd())


def main() -> int:
    """Release; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("dist"), help="the folder, which is made anew")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--publish", action="store_true", help="tag the commit, and push the tag to origin")
    which.add_argument(
        "--package", action="store_true", help="no release: build what is installed, that's all"
    )
    given = parser.parse_args()
    try:
        if given.package:
            package(_CHECKOUT, given.output)
            return 0
        release(_CHECKOUT, given.output)
        if given.publish:
            publish(_CHECKOUT, given.output / "RELEASE_NOTES.md")
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip() if error.stderr else ""
        print(f"release: `{error.cmd[0]}` ended with {error.returncode} {said}", file=sys.stderr)
        return 1
    if not given.publish:
        print("release: a dry run, nothing was published; PUBLISH=1 tags the commit and pushes the tag")
    return 0


def release(checkout: Checkout, output: Path) -> None:
    """Make `output` anew, with every file of the release. Raises ReleaseError."""
    checkout.require_clean()
    version, changelog = checkout.version(), (checkout.root / "CHANGELOG.md").read_text(encoding="utf-8")
    section(changelog, version)  # before anything is built
    require_consistent(checkout.root, version)
    if not _has_dpkg():
        raise ReleaseError("dpkg-deb is not on PATH; make releases on Debian or Ubuntu")
    build(checkout, output)
    files = [path.name for path in output.iterdir()]
    (output / "RELEASE_NOTES.md").write_text(notes(changelog, version, files), encoding="utf-8")
    _finish(output, "release")


def package(checkout: Checkout, output: Path) -> None:
    """Make `output` anew, with the packages to install, from the checkout as it is. Raises ReleaseError."""
    if changed := checkout.changes():
        print(f"package: with changes that are in no commit: {changed}", file=sys.stderr)
    if not _has_dpkg():
        print("package: dpkg-deb is not on PATH, so no Debian package is built", file=sys.stderr)
    build(checkout, output)
    _finish(output, "package")


def build(checkout: Checkout, output: Path) -> None:
    """Build the packages to install, and their bill of materials, in `output`, which is made anew.

    Where there is no dpkg-deb, build only the distributions for PyPI. Raises ReleaseError.
    """
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="ci-egress-release.") as work:
        _build(checkout, output, Path(work))


def _build(checkout: Checkout, output: Path, work: Path) -> None:
    made_s, version = checkout.committed_s(), checkout.version()
    built = distributions.build(checkout.root, output, made_s)
    if not _has_dpkg():
        return
    requirements = runtime_requirements(checkout.root / "constraints.txt")
    contents = debian.Contents(checkout.root, built.wheel, requirements, version, made_s)
    debian.build(contents, output, work)
    python = debian.installed_python(work / "root")
    project = bill.static_project(checkout.root / "pyproject.toml", version, work / "pyproject.toml")
    objects = checkout.root / "bpf/objects"
    bill.write(python, project, objects, output / f"ci-egress-{version}.cdx.json")


def publish(checkout: Checkout, notes_file: Path) -> None:
    """Tag the commit with the notes and push the tag: whatever watches the tags uploads the files."""
    tag = f"v{checkout.version()}"
    checkout.git("tag", "--annotate", tag, "--file", str(notes_file.resolve()))
    checkout.git("push", "origin", f"refs/tags/{tag}")


def _has_dpkg() -> bool:
    return shutil.which("dpkg-deb") is not None


def _finish(output: Path, target: str) -> None:
    """Add the checksums, and print the paths of all files."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(output.iterdir())
    ]
    (output / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    for path in sorted(output.iterdir()):
        print(f"{target}: {path}")


if __name__ == "__main__":
    sys.exit(main())
