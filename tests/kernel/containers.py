"""Containers by a real runtime, runc, in namespaces of their own; their programs are this machine's."""

from __future__ import annotations

import json
import secrets
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_IN_USR = ("bin", "lib", "lib64", "sbin")
_NAMESPACES = ("pid", "mount", "ipc", "uts")
_LIMIT_S = 60.0


@dataclass(frozen=True)
class Container:
    """One that a runtime can run, once."""

    id: str
    """64 hexadecimal digits, as engines choose it."""
    directory: Path
    """The bundle, with the runtime's own state."""

    @property
    def pid(self) -> int:
        """Of its first process, on this machine; known when it has started."""
        return int((self.directory / "pid").read_text())

    def runc(self, *arguments: str) -> list[str]:
        """A command of the runtime's."""
        return ["runc", "--root", str(self.directory / "state"), *arguments]

    @property
    def command(self) -> list[str]:
        """Runs the container's command to its end, in the foreground."""
        pid_file = str(self.directory / "pid")
        return self.runc("run", "--bundle", str(self.directory), "--pid-file", pid_file, self.id)


@contextmanager
def container(
    command: Sequence[str],
    directory: Path,
    *,
    network: str,
    shown: Sequence[Path] = (),
    cgroup: str = "",
) -> Iterator[Container]:
    """Prepare one that runs COMMAND, and remove it in the end whatever became of it.

    `network` is the path of a network namespace, `shown` are folders of this machine that it sees besides
    /usr, `cgroup` is where it is put; "" leaves that to the runtime, which makes one called like its id.
    """
    made = Container(secrets.token_hex(32), directory)
    root = directory / "rootfs"
    for name in ("proc", "usr", *(str(path).lstrip("/") for path in shown)):
        (root / name).mkdir(parents=True)
    for name in _IN_USR:
        if Path("/", name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())
    (directory / "config.json").write_text(
        json.dumps(_config(command, network, shown, cgroup.format(id=made.id)))
    )
    try:
        yield made
    finally:
        subprocess.run(
            made.runc("delete", "--force", made.id), check=True, capture_output=True, timeout=_LIMIT_S
        )


def _config(command: Sequence[str], network: str, shown: Sequence[Path], cgroup: str) -> dict[str, object]:
    """As the OCI's runtime specification has it."""
    folders = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    for path in (Path("/usr"), *shown):
        bound = {"destination": str(path), "type": "none", "source": str(path), "options": ["bind", "ro"]}
        folders.append(bound)  # type: ignore[arg-type]
    namespaces = [{"type": kind} for kind in _NAMESPACES]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(command),
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "container",
        "mounts": folders,
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [*namespaces, {"type": "network", "path": network}],
        },
    }
