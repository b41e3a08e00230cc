"""Reads spans from OTLP/JSON files, as `--otlp-dir` and a collector's file exporter write them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path

from exporter.otlp_files import Kind, read_file
from exporter.otlp_json import Attributes
from exporter.span_folders import SPANS_HINT, files_below
from exporter.span_lines import EgressSpan, read_line
from exporter.whole_spans import WholeSpan, read_whole_line

_SPANS = Kind("spans", b'{"resourceSpans"', SPANS_HINT)


def span_files(paths: Iterable[Path]) -> list[Path]:
    """List the files in `paths`, each once, and for each folder its files of spans.

    Raises UsageError for a folder without any.
    """
    files = (file for path in paths for file in (files_below(path) if path.is_dir() else [path]))
    return [*dict.fromkeys(files)]


def egress_spans(path: Path, say: Callable[[str], object]) -> Iterator[Attributes]:
    """Yield the attributes of each egress span in `path`, as `read_spans` does."""
    return (span.attributes for span in read_spans(path, say=say))


def read_spans(
    path: Path,
    names: Collection[str] | None = None,
    *,
    say: Callable[[str], object],
    on_read: Callable[[int], object] = lambda _: None,
) -> Iterator[EgressSpan]:
    """Yield each egress span in `path`, with the attributes in `names` or all. Raises like `read_file`."""
    return read_file(path, _SPANS, partial(read_line, names=names), say=say, on_read=on_read)


def read_whole_spans(
    path: Path,
    names: Collection[str],
    *,
    say: Callable[[str], object],
    on_read: Callable[[int], object] = lambda _: None,
) -> Iterator[WholeSpan]:
    """Yield each span of this program in `path`, with the attributes in `names`. Raises like `read_file`."""
    return read_file(path, _SPANS, partial(read_whole_line, names=names), say=say, on_read=on_read)
