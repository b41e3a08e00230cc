"""The machine that the figures were measured on: they say little without it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from exporter import __version__
from exporter.common.errors import KernelError
from exporter.kernel.compilation.compiling import system_compiler

QUIET_LOAD = 0.5


def facts() -> dict[str, str]:
    """Return what a reader needs to know of the machine, in the order in which it is shown."""
    return {
        "ci-egress": __version__,
        "kernel": f"{platform.release()} {platform.machine()}",
        "cpu": f"{os.cpu_count()} × {_cpu_model()}",
        "memory": f"{_memory_gb():.1f} GB",
        "python": platform.python_version(),
        "bcc": _bcc(),
        "load at the start": f"{os.getloadavg()[0]:.2f}",
    }


def is_quiet() -> bool:
    """Whether hardly anything else ran in the last minute."""
    return os.getloadavg()[0] < QUIET_LOAD


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown model")


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def _bcc() -> str:
    try:
        return system_compiler().version()
    except KernelError as error:
        return f"none: {error.what}"
