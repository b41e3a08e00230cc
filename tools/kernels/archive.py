"""Packages of a distribution's archive, fetched by apt with a configuration of its own.

So whatever distribution this machine has, the archive's signature and each file's digest are checked as for a
package that is installed, and nothing is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tools.kernels.architectures import X86_64, Architecture
from tools.kernels.folders import CACHE, UnavailableError, locked, made_once

DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
UBUNTU_KEYRING = "usr/share/keyrings/ubuntu-archive-keyring.gpg"
"""The file's path below the root; the package ubuntu-keyring of Ubuntu and of Debian 13 has it."""
_KERNEL = re.compile(r"linux-(image|base|binary|modules)-\d")
"""Packages that belong to one kernel: its image, and its modules."""
_INSTALLED = re.compile(r"Inst (\S+) \((\S+) ")
"""A package that apt would install, and its version."""
_FIELD = re.compile(r"^(Package|Version): (.+)$", re.MULTILINE)


class Package(NamedTuple):
    """One version of a package."""

    name: str
    version: str

    @property
    def file(self) -> str:
        """A pattern for the name of the file that apt downloads, in which an epoch's colon is escaped."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_*.deb"


@dataclass(frozen=True)
class Archive:
    """The archive of a distribution's packages."""

    name: str
    url: Callable[[], str]
    keyring: Callable[[], Path]
    """Function that returns the file of its signers' keys. Raises UnavailableError."""


def debian_url() -> str:
    """Return the mirror that this machine's apt uses, if it is a Debian; `DEBIAN_MIRROR` names another."""
    format_ = "$(ORIGIN) $(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", format_, "Identifier: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    own = [url for origin, _, url in (line.partition(" ") for line in lines) if origin == "Debian"]
    own = [url for url in own if "security" not in url and url.startswith("http")]
    return os.environ.get("DEBIAN_MIRROR") or next(iter(own), "http://deb.debian.org/debian")


def ubuntu_url() -> str:
    """Return Ubuntu's own archive; `UBUNTU_MIRROR` names another."""
    return os.environ.get("UBUNTU_MIRROR") or "http://archive.ubuntu.com/ubuntu"


@lru_cache
def ubuntu_keyring() -> Path:
    """Return Ubuntu's keyring: on Ubuntu the installed one, else the one of Debian's signed package."""
    installed = Path("/", UBUNTU_KEYRING)
    if installed.exists():
        return installed
    trixie = Index(DEBIAN, ("trixie",))
    trixie.update()
    package = trixie.newest(["ubuntu-keyring"])[0]
    folder = CACHE / f"ubuntu-keyring-{package.version}"
    with made_once(folder) as unfinished:
        if unfinished:
            (deb,) = trixie.download([package], unfinished)
            subprocess.run(["dpkg-deb", "-x", deb, unfinished], check=True)
    return folder / UBUNTU_KEYRING


DEBIAN = Archive("Debian", debian_url, lambda: DEBIAN_KEYRING)
UBUNTU = Archive("Ubuntu", ubuntu_url, ubuntu_keyring)

_APT = """
Dir::State "{folder}";
Dir::State::Lists "{folder}/lists";
Dir::State::Status "{folder}/status";
Dir::Cache "{folder}";
Dir::Etc::SourceList "{folder}/archive.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
"""
_SOURCES = """\
Types: deb
URIs: {url}
Suites: {suites}
Components: main
Targets: Packages
Signed-By: {keyring}
"""


class Index:
    """The packages of suites of an archive, kept from one run to the next; apt can't run twice at once."""

    def __init__(self, archive: Archive, suites: Sequence[str], architecture: Architecture = X86_64) -> None:
        """Ask the archive nothing yet. Raises UnavailableError without the archive's keys."""
        self._url = archive.url()
        name = f"{archive.name.lower()}-{suites[0]}-{architecture.debian}"
        self._folder = folder = CACHE / "apt" / name
        sources = _SOURCES.format(url=self._url, suites=" ".join(suites), keyring=archive.keyring())
        with locked(folder):
            for name in ("lists/partial", "archives/partial"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / "status").touch()
            (folder / "apt.conf").write_text(_APT.format(folder=folder, architecture=architecture.debian))
            (folder / "archive.sources").write_text(sources)

    def update(self) -> None:
        """Ask the archive what is new. Raises UnavailableError."""
        try:
            self._run("apt-get", "--quiet", "update")
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UnavailableError(f"{self._url} can't be used: {last}") from None

    def newest_kernel(self, package: str) -> list[Package]:
        """Return the packages of the kernel that `package` needs. Raises UnavailableError without one."""
        lines = self._run("apt-cache", "depends", "--recurse", "--important", package).splitlines()
        names = sorted({line for line in lines if _KERNEL.match(line)})
        if not names:
            raise UnavailableError(f"{self._url} has no kernel for {package}")
        return self.newest(names)

    def needed(self, packages: Sequence[str]) -> list[Package]:
        """Return packages, all that they need, and those that each root by debootstrap has.

        Raises UnavailableError.
        """
        command = ["apt-get", "--simulate", "--no-install-recommends", "install"]
        command += ["?priority(required)", *packages]
        try:
            lines = self._run(*command).splitlines()
        except subprocess.CalledProcessError as error:
            raise UnavailableError(f"{self._url}: {error.stderr.strip()}") from None
        return [Package(*found.groups()) for line in lines if (found := _INSTALLED.match(line))]

    def newest(self, names: Sequence[str]) -> list[Package]:
        """Return the versions that would be installed."""
        shown = self._run("apt-cache", "--no-all-versions", "show", *names)
        found = [dict(_FIELD.findall(paragraph)) for paragraph in shown.split("\n\n")]
        return [Package(each["Package"], each["Version"]) for each in found if each]

    def download(self, packages: Sequence[Package], folder: Path) -> list[Path]:
        """Download packages to `folder`; return their files. Raises UnavailableError."""
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [f"{package.name}={package.version}" for package in packages]
        try:
            self._run("apt-get", "--quiet", "download", *wanted, cwd=folder)
        except subprocess.CalledProcessError as error:
            raise UnavailableError(f"{self._url}: {error.stderr.strip()}") from None
        return [path for package in packages for path in folder.glob(package.file)]

    def _run(self, *command: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
        with locked(self._folder):
            done = subprocess.run(
                command, env=environment, cwd=cwd, capture_output=True, text=True, check=True
            )
        return done.stdout
