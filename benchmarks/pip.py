"""How much more CPU time a download by pip takes, which looks up names, talks TLS, and is mostly Python.

What: CPU time of `pip download` of one small package, without its dependencies and without pip's cache.

How: with and without tracing in turns, as the build. It needs the package index that pip is set up with.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.compare import alternate, ratio
from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import Load, Workshop
from exporter.kernel.compilation.compiling import SYSTEM_PYTHON

_ROUNDS = 15
_PACKAGE = "six==1.16.0"


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield the ratio."""
    pip = ("cpu", *command(shop))
    for load in (shop.load(*pip), shop.traced(*pip)):
        _cpu_ns(load)  # each keeps compiled Python in another place
    rounds = alternate(
        shop.rounds(_ROUNDS), lambda: _cpu_ns(shop.load(*pip)), lambda: _cpu_ns(shop.traced(*pip))
    )
    took_s = min(one.without for one in rounds) / 1e9
    note = f"{took_s:.2f} s of CPU time without, at best"
    yield ratio("pip download, CPU time", rounds, limit=LIMITS.build_ratio, note=note)


def command(shop: Workshop) -> list[str]:
    """Return the command that downloads."""
    options = ("--quiet", "--no-deps", "--no-cache-dir", "--disable-pip-version-check")
    folder = shop.folder / "downloaded"
    return [SYSTEM_PYTHON, "-m", "pip", "download", *options, f"--dest={folder}", _PACKAGE]


def _cpu_ns(load: Load) -> float:
    with load:
        return load.do(1)
