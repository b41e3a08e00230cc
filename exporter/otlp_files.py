"""Reads files of OTLP/JSON lines, as `--otlp-dir` and a collector's file exporter write them."""

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
"""The most bytes of a line; a request has some megabytes at most."""
NODES_MAX = 4 << 20
"""The most objects and arrays in a line. Each takes 64 bytes: a packed file of 64 kB could fill memory."""
_COMPRESSED = ".gz"
_TELL_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 18
"""Bytes read at once; a line of spans has tens of kilobytes."""

T = TypeVar("T")


class Kind(NamedTuple):
    """The kind of the lines in a file."""

    what: str
    """What the lines hold, for messages: `spans`, `metrics`."""
    beginning: bytes
    """The bytes that each line begins with."""
    hint: str
    """Advice for a user who named a file of another kind."""


def read_file(
    path: Path,
    kind: Kind,
    read_line: Callable[[bytes], Iterable[T]],
    *,
    say: Callable[[str], object],
    on_read: Callable[[int], object] = lambda _: None,
) -> Iterator[T]:
    """Yield what `read_line` makes of each line of `path`; it raises LineError for a line of another kind.

    An unfinished last line is left out, and reported to `say`: its writer may still be at work. `on_read` is
    called now and then with the bytes of the file read since its last call. Raises UsageError, which names
    the line that is wrong.
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
    """Whether `line` ends the file: it has no newline, and isn't merely the beginning of a longer line."""
    return not line.endswith(b"\n") and len(line) < LINE_MAX


def _is_unfinished(line: bytes, beginning: bytes) -> bool:
    """Whether `line` is only the beginning of a line of this kind: its writer is at work, or was ended."""
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
    """Yield the lines of a file. A line longer than LINE_MAX comes in pieces, which will fail to parse."""
    told = unchecked = 0
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb", buffering=_BUFFER_BYTES))
        plain: BinaryIO | gzip.GzipFile = file
        if path.suffix == _COMPRESSED:
            plain = stack.enter_context(gzip.GzipFile(fileobj=file))
        position = file.tell if file.seekable() else lambda: 0  # a pipe's length isn't known
        while line := plain.readline(LINE_MAX):
            yield line
            unchecked += len(line)
            if unchecked >= _TELL_BYTES:
                unchecked = 0
                on_read(position() - told)
                told = position()
        on_read(position() - told)
