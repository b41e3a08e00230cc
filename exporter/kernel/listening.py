"""Which local ports of a process's network take connections: an accepted connection has one of them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

_LISTEN = "0A"
"""TCP_LISTEN, as /proc/net/tcp shows it."""
_LOCAL, _STATE = 1, 3


def listening_ports(pid: int) -> frozenset[int]:
    """Return the TCP ports that listen in the network namespace of `pid`; none when the process is gone."""
    return frozenset(port for name in ("tcp", "tcp6") for port in _ports(Path(f"/proc/{pid}/net/{name}")))


def _ports(table: Path) -> list[int]:
    """Return the listening ports of a table; it is read line by line, since every socket has one."""
    try:
        with table.open(encoding="ascii", errors="replace") as lines:
            rows = (line.split() for line in islice(lines, 1, None))
            return [int(row[_LOCAL].rpartition(":")[2], 16) for row in rows if row[_STATE] == _LISTEN]
    except OSError:
        return []
