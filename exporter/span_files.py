"""Egress spans in OTLP/JSON files, as `--otlp-dir` and a collector's file exporter write them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from exporter.errors import UsageError
from exporter.span_folders import SPANS_HINT, files_below
from exporter.span_lines import Attributes, EgressSpan, LineError, is_unfinished, read_line

LINE_MAX = 64 << 20
"""Bytes; a request has at most some megabytes."""
_COMPRESSED = ".gz"
_TELL_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 18
"""A line of spans has tens of kilobytes."""


def span_files(paths: Iterable[Path]) -> list[Path]:
    """`paths`, each once, folders as their files of spans. Raises UsageError where they have none."""
    files = (file for path in paths for file in (files_below(path) if path.is_dir() else [path]))
    return [*dict.fromkeys(files)]


def egress_spans(path: Path, say: Callable[[str], object]) -> Iterator[Attributes]:
    """Attributes of each egress span in `path`, as `read_spans` has them."""
    return (span.attributes for span in read_spans(path, say=say))


def read_spans(
    path: Path,
    names: Collection[str] | None = None,
    *,
    say: Callable[[str], object],
    on_read: Callable[[int], object] = lambda _: None,
) -> Iterator[EgressSpan]:
    """Each egress span in `path`, with the attributes in `names` or with all.

    A last line that isn't finished is left out, which `say` tells: its writer may still be at work.
    `on_read` is told now and then how many bytes of the file were read since. Raises UsageError, with the
    line of what is wrong.
    """
    try:
        for number, line in enumerate(_lines(path, on_read), 1):
            if _is_last(line) and is_unfinished(line):
                say(f"{path}: the last line isn't complete: left out")
            elif not line.isspace():
                yield from _spans_of(line, names, f"{path}:{number}:1")
    except (OSError, EOFError, zlib.error) as error:
        # What gzip raises has no strerror.
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read {path}: {reason}", hint=SPANS_HINT) from None


def _is_last(line: bytes) -> bool:
    """Whether nothing follows it; behind one of which only the beginning was read, something does."""
    return not line.endswith(b"\n") and len(line) < LINE_MAX


def _spans_of(line: bytes, names: Collection[str] | None, place: str) -> list[EgressSpan]:
    try:
        return read_line(line, names)
    except LineError:
        raise UsageError(f"{place}: not a line of OTLP spans", hint=SPANS_HINT) from None


def _lines(path: Path, on_read: Callable[[int], object]) -> Iterator[bytes]:
    """One at a time, and of one that is longer than LINE_MAX its beginning: it fails to parse."""
    told = unchecked = 0
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb", buffering=_BUFFER_BYTES))
        plain: BinaryIO | gzip.GzipFile = file
        if path.suffix == _COMPRESSED:
            plain = stack.enter_context(gzip.GzipFile(fileobj=file))
        position = file.tell if file.seekable() else lambda: 0  # of a pipe nobody knows how much is to come
        while line := plain.readline(LINE_MAX):
            yield line
            unchecked += len(line)
            if unchecked >= _TELL_BYTES:
                unchecked = 0
                on_read(position() - told)
                told = position()
        on_read(position() - told)
