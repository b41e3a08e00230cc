"""Find and read files of OTLP/JSON lines, as `--otlp-dir` and a collector's file exporter write them."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from exporter.common.errors import UsageError

from .json import LineError
from .spans import EgressSpan, WholeSpan, read_egress_spans, read_whole_spans

LINE_MAX = 64 << 20
"""The most bytes of a line; a request has some megabytes at most."""
NODES_MAX = 4 << 20
"""The most objects and arrays in a line. Each takes 64 bytes: 64 kB of gzip could fill memory."""
PATTERNS = ("traces*.jsonl", "traces*.jsonl.gz")
"""The names of files of spans, including rotated files."""
SPANS_HINT = "name files or folders that `ci-egress run --otlp-dir` wrote"
_COMPRESSED = ".gz"
_TELL_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 18
"""Bytes read at once; a line of spans has tens of kilobytes."""
_LOOKED_MAX = 1_000_000
"""The most files and folders looked at below a folder that the user names."""

T = TypeVar("T")


class LineKind(NamedTuple):
    """The kind of the lines in a file."""

    what: str
    """The contents of the lines, for messages: `spans`, `metrics`."""
    beginning: bytes
    """The bytes that each line begins with."""
    hint: str
    """Advice for a user who named a file of another kind."""


_SPANS = LineKind("spans", b'{"resourceSpans"', SPANS_HINT)


def span_files(paths: Iterable[Path]) -> list[Path]:
    """List the files in `paths`, each once, and for each folder its files of spans.

    Raises UsageError for a folder without any.
    """
    files = (file for path in paths for file in (_files_of_spans(path) if path.is_dir() else [path]))
    return [*dict.fromkeys(files)]


def egress_spans_in(
    path: Path,
    names: Collection[str] | None = None,
    *,
    say: Callable[[str], object],
    on_read: Callable[[int], object] = lambda _: None,
) -> Iterator[EgressSpan]:
    """Yield each egress span in `path`, with the attributes in `names` or all. Raises like `read_file`."""
    return read_file(path, _SPANS, partial(read_egress_spans, names=names), say=say, on_read=on_read)


def whole_spans_in(
    path: Path,
    names: Collection[str],
    *,
    say: Callable[[str], object],
    on_read: Callable[[int], object] = lambda _: None,
) -> Iterator[WholeSpan]:
    """Yield each span of this program in `path`, with the attributes in `names`. Raises like `read_file`."""
    return read_file(path, _SPANS, partial(read_whole_spans, names=names), say=say, on_read=on_read)


def read_file(
    path: Path,
    kind: LineKind,
    read_line: Callable[[bytes], Iterable[T]],
    *,
    say: Callable[[str], object],
    on_read: Callable[[int], object] = lambda _: None,
) -> Iterator[T]:
    """Yield the items that `read_line` finds in each line of `path`.

    `read_line` raises LineError for a line of another kind. An unfinished last line is left out, and reported
    to `say`: its writer may still be at work. `on_read` is called now and then with the number of bytes of
    the file read since its last call. Raises UsageError, which names the line that is wrong.
    """
    try:
        for number, line in enumerate(_lines(path, on_read), 1):
            if _is_last(line) and _is_unfinished(line, kind.beginning):
                say(f"{path}: the last line isn't complete: left out")
            elif not line.isspace():
                yield from _items_of(line, kind, read_line, f"{path}:{number}:1")
    except (OSError, EOFError, zlib.error) as error:
        # An error of gzip has no strerror.
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


def _items_of(
    line: bytes, kind: LineKind, read_line: Callable[[bytes], Iterable[T]], place: str
) -> Iterable[T]:
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


def _files_of_spans(folder: Path) -> list[Path]:
    """List the files of spans below `folder`, sorted. Links to folders aren't followed.

    Raises UsageError, also if there is no such file.
    """
    found = sorted(_named_below(folder))
    if not found:
        what = f"{folder} has no {' or '.join(PATTERNS)}, nor has a folder below it"
        raise UsageError(what, hint=SPANS_HINT)
    for path in found:
        if not path.is_file():  # as a FIFO, at which whoever can write to the folder could make us wait
            raise UsageError(f"{path} is no file", hint=SPANS_HINT)
    return found


def _named_below(folder: Path) -> list[Path]:
    found, waiting, looked = list[Path](), [folder], 0
    while waiting:
        for entry in entries_of(waiting.pop()):
            looked += 1
            if looked > _LOOKED_MAX:
                what = f"{folder} has more than {_LOOKED_MAX:,} files and folders below it"
                raise UsageError(what, hint="name those of runs")
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif is_named(entry, PATTERNS):
                found.append(Path(entry.path))
    return found


def is_named(entry: os.DirEntry[str], patterns: Iterable[str]) -> bool:
    """Whether the entry's name matches one of `patterns`."""
    return any(fnmatchcase(entry.name, pattern) for pattern in patterns)


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """List the entries of a folder. Raises UsageError."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        what = f"cannot read the folder {folder}: {error.strerror}"
        raise UsageError(what, hint="name folders that this user can read") from None
