"""Processes that say of their arguments and variables that these go on and on."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from exporter.events.facts import ProcessKey
from exporter.pipeline.procfs import started_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNKNOWN = "EINVAL"
_SCRIPT = """
import ctypes, errno, mmap, pathlib, struct, sys
PR_SET_MM, PR_SET_MM_MAP, NORESERVE = 35, 14, 0x4000
size = int(sys.argv[1])
room = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
start = ctypes.addressof(ctypes.c_char.from_buffer(room))
stat = [0, 0, *pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()]
code, data, heap, stack = map(int, stat[25:27]), map(int, stat[44:46]), int(stat[46]), int(stat[27])
libc = ctypes.CDLL(None, use_errno=True)
libc.sbrk.restype = ctypes.c_void_p
both = (start, start + size)
layout = struct.pack("=12QIi", *code, *data, heap, libc.sbrk(0), stack, *both, *both, 0, 0, -1)
failed = libc.prctl(PR_SET_MM, PR_SET_MM_MAP, layout, len(layout), 0)
print(errno.errorcode[ctypes.get_errno()] if failed else "ready", flush=True)
sys.stdin.readline()
"""


@contextmanager
def boundless(size: int) -> Iterator[ProcessKey]:
    """During the block there is one, of `size` bytes of each; skips where the kernel has no such call."""
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            said = child.stdout.readline().strip()
            if said == _UNKNOWN:
                pytest.skip("the kernel was built without CONFIG_CHECKPOINT_RESTORE")
            assert said == "ready"
            started = started_ns(child.pid)
            assert started is not None
            yield ProcessKey(child.pid, started)
        finally:
            child.stdin.close()
