"""Programs that the distribution has: what isn't there is installed, and stays; none of it runs by itself."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.rivals.processes import printed
from benchmarks.workshop import BenchmarkError
from demo.stack.interrupts import uninterrupted

_SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")
_NO_SERVICE = "#!/bin/sh\nexit 101\n"
_INSTALL = ("apt-get", "install", "--yes", "--no-install-recommends")


class MissingError(BenchmarkError):
    """A tool can't be had here; the text says why."""


@dataclass
class Packages:
    """The packages of the distribution, which are Debian's or Ubuntu's."""

    installed: list[str] = field(default_factory=list)
    """Those that the machine didn't have, and now has."""
    service_policy: Path = _SERVICE_POLICY

    def need(self, package: str, program: str) -> None:
        """Install a package if its program isn't there. Raises MissingError."""
        if shutil.which(program) is not None:
            return
        try:
            printed("apt-get", "update", "--quiet")
            printed(*_INSTALL, "--download-only", package)
            # Half a package would be in the way of every other, so signals wait.
            with uninterrupted(), no_service_starts(self.service_policy):
                said = printed(*_INSTALL, "--no-download", package)
                self.installed += re.findall(r"^Setting up (\S+)", said, re.MULTILINE)
                _disable(_services(package))
        except BenchmarkError as error:
            raise MissingError(f"the package {package} can't be installed: {error}") from None


@contextmanager
def no_service_starts(policy: Path) -> Iterator[None]:
    """Let no package start its services in the block: who would start them asks `policy`, see invoke-rc.d(8).

    A policy of the machine's own is put aside meanwhile.
    """
    own = policy.with_name(f"{policy.name}.own")
    with ExitStack() as stack:
        if os.path.lexists(policy):
            policy.rename(own)
            stack.callback(own.rename, policy)
        else:
            stack.callback(policy.unlink)
        policy.write_text(_NO_SERVICE)
        policy.chmod(0o755)
        yield


def _services(package: str) -> Sequence[str]:
    files = printed("dpkg-query", "--listfiles", package).splitlines()
    return [Path(file).name for file in files if file.endswith(".service")]


def _disable(services: Sequence[str]) -> None:
    """Let services not start with the machine, either."""
    if services and shutil.which("systemctl") is not None:
        printed("systemctl", "disable", *services)
