"""Network namespaces without names: only descriptors, sockets and processes keep them."""

from __future__ import annotations

import ctypes
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_IP_TIMEOUT_S = 30.0


class Namespace:
    """A network namespace. It ends with this object and the last process inside, whatever happens."""

    def __init__(self) -> None:
        """Make the namespace. Raises OSError (EPERM without CAP_SYS_ADMIN)."""
        self._thread = ThreadPoolExecutor(1, "namespace")
        self.call = self._thread.submit
        """Function that runs another one in a thread inside, as are its children; it returns a future."""
        self._thread.submit(_unshare, _CLONE_NEWNET).result()
        self._descriptor = self._thread.submit(
            os.open, "/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC
        ).result()
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        """The namespace's path for other processes, as long as this process holds it."""

    def __enter__(self) -> Self:
        """Return the object: its namespace exists already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the namespace: the kernel removes it when the last process inside has ended."""
        self._thread.shutdown()
        os.close(self._descriptor)

    def command(self, command: Sequence[str | bytes]) -> list[str | bytes]:
        """Return a command line that runs `command` inside.

        Unlike `ip netns exec`, it leaves the mounts of cgroups and bpffs visible.
        """
        return ["nsenter", f"--net={self.path}", "--", *command]

    def configure(self, settings: Mapping[str, object]) -> None:
        """Write sysctls, given by their path below /proc/sys."""
        for name, value in settings.items():
            self.call(Path("/proc/sys", name).write_text, str(value)).result()

    def configure_links(self, *commands: str) -> None:
        """Run ip(8) commands, in one process."""
        text = "\n".join(commands).encode()
        subprocess.run(self.command(["ip", "-batch", "-"]), input=text, check=True, timeout=_IP_TIMEOUT_S)

    def replace_files(self, files: Mapping[Path, Path]) -> None:
        """Show the values of `files` in place of its keys, but only to what `call` runs. Raises OSError."""
        self.call(_replace_files, files).result()


def _replace_files(files: Mapping[Path, Path]) -> None:
    _unshare(_CLONE_NEWNS)
    _mount("none", "/", _MS_REC | _MS_PRIVATE)
    for shown, source in files.items():
        _mount(str(source), str(shown), _MS_BIND)


def _unshare(flags: int) -> None:
    _check(ctypes.CDLL(None, use_errno=True).unshare(flags), "can't make a namespace")


def _mount(source: str, target: str, flags: int) -> None:
    mount = ctypes.CDLL(None, use_errno=True).mount
    _check(
        mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None), f"can't mount {target}"
    )


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
