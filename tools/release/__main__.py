"""`make release`: builds all of a release into dist/, and publishes nothing unless --publish is given.

With --package or --standalone, as `make package` and `make standalone` have it, only what is installed, of a
checkout in whatever state.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.release import debian, distributions, standalone
from tools.release.checkout import Checkout, ReleaseError
from tools.release.closure import runtime_requirements
from tools.release.contents import Contents
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
    which.add_argument("--standalone", action="store_true", help="no release: build the single files alone")
    given = parser.parse_args()
    try:
        if given.package:
            package(_CHECKOUT, given.output)
            return 0
        if given.standalone:
            single_files(_CHECKOUT, given.output)
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
    with _made_anew(output) as work:
        contents = _build(checkout, output, work)
        standalone.build(contents, output, work / "standalone")
    files = [path.name for path in output.iterdir()]
    (output / "RELEASE_NOTES.md").write_text(notes(changelog, version, files), encoding="utf-8")
    _finish(output, "release")


def package(checkout: Checkout, output: Path) -> None:
    """Make `output` anew, with the packages to install, from the checkout as it is. Raises ReleaseError."""
    _tell_of_changes(checkout, "package")
    if not _has_dpkg():
        print("package: dpkg-deb is not on PATH, so no Debian package is built", file=sys.stderr)
    with _made_anew(output) as work:
        _build(checkout, output, work)
    _finish(output, "package")


def single_files(checkout: Checkout, output: Path) -> None:
    """Make `output` anew, with the single files, from the checkout as it is. Raises ReleaseError."""
    _tell_of_changes(checkout, "standalone")
    with _made_anew(output) as work:
        standalone.build(_distributions(checkout, work), output, work / "standalone")
    _finish(output, "standalone")


def _tell_of_changes(checkout: Checkout, target: str) -> None:
    if changed := checkout.changes():
        print(f"{target}: with changes that are in no commit: {changed}", file=sys.stderr)


@contextmanager
def _made_anew(output: Path) -> Iterator[Path]:
    """Yield a folder to work in, which is removed."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="ci-egress-release.") as work:
        yield Path(work)


def _distributions(checkout: Checkout, output: Path) -> Contents:
    """Build what PyPI would have in `output`; return what everything else is built from."""
    made_s, version = checkout.committed_s(), checkout.version()
    built = distributions.build(checkout.root, output, made_s)
    requirements = runtime_requirements(checkout.root / "constraints.txt")
    return Contents(checkout.root, built.wheel, requirements, version, made_s)


def _build(checkout: Checkout, output: Path, work: Path) -> Contents:
    """Build the packages to install, and their bill of materials, in `output`.

    Where there is no dpkg-deb, build only the distributions for PyPI. Raises ReleaseError.
    """
    contents = _distributions(checkout, output)
    if _has_dpkg():
        debian.build(contents, output, work)
    return contents


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
