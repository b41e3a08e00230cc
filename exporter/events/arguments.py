"""A program's argv, kept as the kernel sent it, and redacted when somebody looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload


class Arguments(Sequence[str]):
    """The arguments in a NUL-terminated block, with secrets redacted.

    Most programs of a build never connect, so nobody looks at their arguments. Redacting all would cost more
    than all other work on an exec, and tuples of strings take more memory than blocks.
    """

    __slots__ = ("_block", "_shown")

    def __init__(self, block: bytes) -> None:
        """`block` holds the arguments, each followed by a NUL; the last NUL may be missing."""
        self._block = block
        self._shown: tuple[str, ...] | None = None

    @property
    def size_bytes(self) -> int:
        """Size of the block."""
        return len(self._block)

    def as_executed(self, index: int) -> str | None:
        """Return one argument unredacted, to be compared and never shown; None past the end."""
        parts = self._block.split(b"\0", index + 1)
        return parts[index].decode(errors="replace") if index < len(parts) else None

    @property
    def shown(self) -> tuple[str, ...]:
        """All arguments, redacted."""
        if self._shown is None:
            from exporter.redact.command_lines import redact_arguments  # late: it takes long to import

            self._shown = tuple(redact_arguments(split(self._block)))
        return self._shown

    def __len__(self) -> int:
        return len(self.shown)

    def __bool__(self) -> bool:
        return bool(self._block)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self.shown[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.shown == tuple(other)

    def __hash__(self) -> int:
        return hash(self.shown)

    def __repr__(self) -> str:
        return repr(self.shown)


def arguments_of(arguments: Sequence[str]) -> Arguments:
    """Create Arguments from a list, as /proc or a recording gives it."""
    return Arguments(arguments_block(arguments))


def arguments_block(arguments: Sequence[str]) -> bytes:
    """Join arguments to a block in the kernel's form: each is followed by a NUL."""
    return "".join(f"{argument}\0" for argument in arguments).encode(errors="replace")


def split(block: bytes) -> list[str]:
    """Split a NUL-terminated block into the arguments, with U+FFFD for bytes that aren't UTF-8."""
    if not block:
        return []
    return [part.decode(errors="replace") for part in block.removesuffix(b"\0").split(b"\0")]
