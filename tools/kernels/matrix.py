"""The kernels that are tried: their names in the archives, and the root that each boots with."""

from __future__ import annotations

from dataclasses import dataclass

from tools.kernels.architectures import ARM64, X86_64, Architecture
from tools.kernels.archive import DEBIAN, UBUNTU, Archive


@dataclass(frozen=True)
class Stock:
    """A kernel that a distribution ships: the newest of its series, whatever that is today."""

    name: str
    """The distribution's name, as people say it; also the name of the folder with the results."""
    series: str
    """The beginning of its release; empty where it is whatever is newest."""
    archive: Archive
    suites: tuple[str, ...]
    package: str
    """The package that depends on the newest kernel."""
    root: str
    """The suite of the Debian root that it boots with."""
    architecture: Architecture = X86_64
    is_too_old: bool = False
    """Whether it is to be refused, and nothing else is tried."""
    is_required: bool = True
    """Whether it is a failure that its archive can't be reached."""
    is_extra: bool = False
    """Whether it is tried only where it is asked for."""


KERNELS = (
    Stock("debian-11", "5.10", DEBIAN, ("bullseye",), "linux-image-amd64", "bookworm", is_too_old=True),
    Stock(
        "ubuntu-22.04",
        "5.15",
        UBUNTU,
        ("jammy", "jammy-updates"),
        "linux-image-generic",
        "bookworm",
        is_required=False,
    ),
    Stock("debian-12", "6.1", DEBIAN, ("bookworm",), "linux-image-amd64", "bookworm"),
    Stock(
        "ubuntu-24.04",
        "6.8",
        UBUNTU,
        ("noble", "noble-updates"),
        "linux-image-generic",
        "bookworm",
        is_required=False,
    ),
    Stock(
        "ubuntu-24.04-hwe",
        "6.17",
        UBUNTU,
        ("noble", "noble-updates"),
        "linux-image-generic-6.17",  # what -hwe-24.04 needed before 7.0
        "bookworm",
        is_required=False,
        is_extra=True,
    ),
    Stock("debian-13", "6.12", DEBIAN, ("trixie",), "linux-image-amd64", "trixie"),
    Stock("debian-13-backports", "", DEBIAN, ("trixie-backports",), "linux-image-amd64", "trixie"),
    Stock(
        "debian-13-arm64",
        "6.12",
        DEBIAN,
        ("trixie",),
        "linux-image-arm64",
        "trixie",
        ARM64,
        is_required=False,
        is_extra=True,
    ),
    Stock(
        "debian-13-arm64-16k",
        "6.12",
        DEBIAN,
        ("trixie",),
        "linux-image-arm64-16k",
        "trixie",
        ARM64,
        is_required=False,
        is_extra=True,
    ),
)
