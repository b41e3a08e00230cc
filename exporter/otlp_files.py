"""Files of OTLP/JSON lines, as `--otlp-dir` and a collector's file exporter write them, line by line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from exporter.errors import UsageError
from exporter.otlp_json import LineError

LINE_MAX = 64 << 20
"""Bytes; a request has at most some megabytes."""
NODES_MAX = 4 << 20
"""Objects and arrays of a line. Each takes 64 bytes once read: a packed file of 64 kB could fill memory."""
_COMPRESSED = ".gz"
_TELL_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 18
"""A line of spans has tens of kilobytes."""

T = TypeVar("T")


class Kind(NamedTuple):
    """What a file's lines are."""

    what: str
    """`spans`, `metrics`."""
    beginning: bytes
    """Of each line."""
    hint: str
    """What to name instead of a file that is none of them."""


def read_file(
    path: Path,
    kind: Kind,
    read_line: Callable[[bytes], Iterable[T]],
    *,
    say: Callable[[str], object],
    on_read: Callable[[int], object] = lambda _: None,
) -> Iterator[T]:
    """What `read_line` makes of each line of `path`; it raises LineError for one that is no such line.

    A last line that isn't finished is left out, which `say` tells: its writer may still be at work.
    `on_read` is told now and then how many bytes of the file were read since. Raises UsageError, with the
    line of what is wrong.
    """
    try:
        for number, line in enumerate(_lines(path, on_read), 1):
            if _is_last(line) and _is_unfinished(line, kind.beginning):
                say(f"{path}: the last line isn't complete: left out")
            elif not line.isspace():
                yield from _items_of(line, kind, read_line, f"{path}:{number}:1")
    except (OSError, EOFError, zlib.error) as error:
        # What gzip raises has no strerror.
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read {path}: {reason}", hint=kind.hint) from None


def _is_last(line: bytes) -> bool:
    """Whether nothing follows it; behind one of which only the beginning was read, something does."""
    return not line.endswith(b"\n") and len(line) < LINE_MAX


def _is_unfinished(line: bytes, beginning: bytes) -> bool:
    """Whether it is the beginning of such a line: its writer is at work, or was ended."""
    if not beginning.startswith(line[: len(beginning)]):
        return False
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return True
    return False


def _items_of(line: bytes, kind: Kind, read_line: Callable[[bytes], Iterable[T]], place: str) -> Iterable[T]:
    with suppress(LineError):
        if line.count(b"{") + line.count(b"[") <= NODES_MAX:
            return read_line(line)
    raise UsageError(f"{place}: not a line of OTLP {kind.what}", hint=kind.hint)


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
