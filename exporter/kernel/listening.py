"""Which local ports of a process's network take connections: what was accepted there has one of these."""

from __future__ import annotations

from pathlib import Path

_LISTEN = "0A"
"""TCP_LISTEN, as /proc/net/tcp shows it."""
_LOCAL, _STATE = 1, 3


def listening_ports(pid: int) -> frozenset[int]:
    """TCP ports in the network namespace of `pid`; none when it is gone."""
    return frozenset(port for name in ("tcp", "tcp6") for port in _ports(Path(f"/proc/{pid}/net/{name}")))


def _ports(table: Path) -> list[int]:
    try:
        lines = table.read_text(encoding="ascii", errors="replace").splitlines()[1:]
    except OSError:
        return []
    rows = (line.split() for line in lines)
    return [int(row[_LOCAL].rpartition(":")[2], 16) for row in rows if row[_STATE] == _LISTEN]
