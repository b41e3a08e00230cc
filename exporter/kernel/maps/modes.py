"""The map `modes`: which policy the kernel holds a scope to, and whether that is enforced."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.events import wire
from exporter.kernel.bpf import U32, Map

from .registry import JobMode


def all_modes(modes: Map) -> Iterator[tuple[int, wire.ModeValue]]:
    """Iterate over the scopes that are held to a policy, each with its entry."""
    return ((U32.unpack(key)[0], wire.ModeValue.unpack(value)) for key, value in modes.items())


def mode_entry(modes: Map, scope: int) -> wire.ModeValue | None:
    """Return the entry of `scope`; None when no policy holds it."""
    value = modes.lookup(U32.pack(scope))
    return None if value is None else wire.ModeValue.unpack(value)


def put_mode(modes: Map, scope: int, entry: wire.ModeValue) -> None:
    """Set the entry of `scope`. Raises OSError (E2BIG when the map is full)."""
    modes.update(U32.pack(scope), wire.MODE_VALUE.pack(*entry))


def enforced(modes: Map) -> set[int]:
    """Return the scopes whose policies are enforced."""
    return {scope for scope, entry in all_modes(modes) if entry.is_enforcing}


def mode_of(modes: Map, scope: int) -> JobMode:
    """Return the mode that the kernel applies to `scope` now."""
    entry = mode_entry(modes, scope)
    if entry is None:
        return JobMode.NONE
    return JobMode.ENFORCE if entry.is_enforcing else JobMode.AUDIT
