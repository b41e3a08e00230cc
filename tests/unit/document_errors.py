"""What is said of invalid files that people write, for tests of their readers."""

from __future__ import annotations

from collections.abc import Callable

from exporter.common.documents.problems import DocumentError


def errors_of(parse: Callable[[bytes, str], object], text: str | bytes, name: str) -> list[str]:
    """Lines about the file `name`, without that; none where it is valid."""
    data = text.encode() if isinstance(text, str) else text
    try:
        parse(data, name)
    except DocumentError as error:
        lines = error.lines
    else:
        lines = ()
    assert all(line.startswith(f"{name}:") for line in lines)
    assert all(line.isprintable() for line in lines)
    return [line.removeprefix(f"{name}:") for line in lines]


def bomb(*, levels: int) -> str:
    """Lists that stand for 9 of the one above each: a billion values, where there are 10 or more."""
    above = ((n, ", ".join([f"*a{n - 1}"] * 9)) for n in range(1, levels))
    return "a0: &a0 [x, x, x]\n" + "".join(f"a{n}: &a{n} [{items}]\n" for n, items in above)
