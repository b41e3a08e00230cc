"""How much longer a build takes that starts many processes.

What: `make -j2` of 300 C files with the real compiler: about 900 forks and as many execs, each with a long
command line; nothing of it connects anywhere. The two cores are busy, so the exporter's own work counts too.

How: the same build in the same folder, everything made anew each time, with and without, alternating. The
time is the build's alone, without the start of ci-egress.
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
    """The ratio."""
    files = _FILES_QUICKLY if shop.is_quick else _FILES
    folder = shop.folder / "build"
    write_sources(folder, files)
    make = ("spawn", "make", "--silent", "--always-make", "-j2", f"--directory={folder}")

    def plain() -> float:
        return _time(shop.load(*make))

    def traced() -> float:
        return _time(shop.traced(*make))

    plain()  # brings the compiler into the page cache
    rounds = alternate(shop.rounds(_ROUNDS), plain, traced)
    took_s = min(one.without for one in rounds) / 1e9
    note = f"{took_s:.1f} s without, at best"
    yield ratio(f"build of {files} C files", rounds, limit=LIMITS.build_ratio, note=note)


def write_sources(folder: Path, count: int) -> None:
    """Make `folder`, with `count` C files and a Makefile."""
    folder.mkdir()
    (folder / "Makefile").write_text(_MAKEFILE)
    for number in range(count):
        (folder / f"part{number}.c").write_text(_SOURCE.format(number=number))


def _time(load: Load) -> float:
    with load:
        return load.do(1)
