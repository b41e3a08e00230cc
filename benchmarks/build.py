"""How much longer a build takes that starts many processes, and how much more CPU time.

What: `make -j2` of 300 C files with the real compiler: about 900 forks and as many execs, each with a long
command line; nothing of it connects anywhere. The two cores are busy, so the exporter's own work counts too.

How: the same build in the same folder, everything made anew each time, with and without tracing in turns.
Time and CPU time are the build's alone, without the start of ci-egress. The build is also measured beside a
process that sends without end, both with and without tracing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import alternate, ratio
from benchmarks.figures import LIMITS, Figure
from benchmarks.workshop import Load, Workshop

_ROUNDS = 9
_FILES = 300
_FILES_QUICKLY = 20

_SOURCE = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_{number}(const void *left, const void *right)
{{
	return strcmp(*(const char *const *)left, *(const char *const *)right);
}}

void sort_and_print_{number}(const char **words, size_t count)
{{
	qsort(words, count, sizeof(*words), compare_{number});
	for (size_t i = 0; i < count; i++)
		printf("%zu %s\\n", i, words[i]);
}}
"""

_MAKEFILE = """\
OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))
all: $(OBJECTS)
%.o: %.c
	@$(CC) -O1 -g -Wall -Wextra -fPIC -DNDEBUG -D_GNU_SOURCE -I. -c -o $@ $<
"""


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield the ratios."""
    files = _FILES_QUICKLY if shop.is_quick else _FILES
    folder = shop.folder / "build"
    write_sources(folder, files)
    make = ("make", "--silent", "--always-make", "-j2", f"--directory={folder}")
    _time(shop.load("spawn", *make))  # brings the compiler into the page cache
    what = f"build of {files} C files"
    yield _compared(shop, what, ("spawn", *make), LIMITS.build_ratio)
    yield _compared(shop, f"{what}, CPU time", ("cpu", *make), LIMITS.build_ratio)
    yield _compared(shop, f"{what}, beside a flood", ("spawn", *make), LIMITS.beside_ratio, beside_flood=True)


def _compared(
    shop: Workshop, name: str, load: tuple[str, ...], limit: float, *, beside_flood: bool = False
) -> Figure:
    rounds = alternate(
        shop.rounds(_ROUNDS),
        lambda: _time(shop.load(*load, beside_flood=beside_flood)),
        lambda: _time(shop.traced(*load, beside_flood=beside_flood)),
    )
    took_s = min(one.without for one in rounds) / 1e9
    return ratio(name, rounds, limit=limit, note=f"{took_s:.1f} s without, at best")


def write_sources(folder: Path, count: int) -> None:
    """Make `folder`, with `count` C files and a Makefile."""
    folder.mkdir()
    (folder / "Makefile").write_text(_MAKEFILE)
    for number in range(count):
        (folder / f"part{number}.c").write_text(_SOURCE.format(number=number))


def _time(load: Load) -> float:
    with load:
        return load.do(1)
