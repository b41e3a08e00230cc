"""Read one entry of a baseline: a destination of a task, and the chains of processes that reached it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from sys import intern
from typing import TypeVar

from exporter.common.documents.fields import Fields, is_empty, read_fields, read_text, wrong_kind
from exporter.common.documents.problems import InvalidTextError, Problems, shown
from exporter.common.documents.tree import Listing, Node, Scalar
from exporter.common.net.addresses import is_transport, transport_has_ports
from exporter.events.programs import Lineage
from exporter.policy.endpoints import PORT_MAX
from exporter.policy.hosts import parse_single_host

from .model import Entry, Task

KEYS = (
    *("pipeline", "task", "destination", "port", "transport"),
    *("lineage", "first_seen", "last_seen", "runs"),
)
ANY = "any"
"""The word that a file has in place of a list of chains where any chain is known."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_COUNT = re.compile(r"0|[1-9][0-9]{0,11}")
_LINEAGE_FIX = "write the chains that were seen, as in [[bash, npm]], or `any`"
_MISSING = {
    "destination": "name a host, as in `destination: registry.example`",
    "transport": "write `transport: tcp`, or another protocol",
    "lineage": _LINEAGE_FIX,
}
_T = TypeVar("_T")


def read_entry(node: Node, problems: Problems) -> Entry | None:
    """Read the entry at `node`. Returns None, with a problem reported, where something is wrong."""
    fields = read_fields(node, KEYS, "an entry", problems)
    if fields is None:
        return None
    before = len(problems)
    for key, fix in _MISSING.items():
        if key not in fields:
            problems.add(node, f"an entry without `{key}`", fix)
    task = read_task(fields, problems)
    host = _value(fields, "destination", parse_single_host, problems)
    transport = _value(fields, "transport", _transport, problems)
    port = _port(node, fields, transport, problems)
    lineages = _lineages(fields["lineage"], problems) if "lineage" in fields else None
    first_seen = read_date(fields, "first_seen", problems)
    last_seen = read_date(fields, "last_seen", problems)
    if first_seen and last_seen and first_seen > last_seen:
        problems.add(fields["first_seen"], "`first_seen` is after `last_seen`", "swap them")
    runs = read_count(fields, "runs", 1, problems)
    if len(problems) > before or host is None or transport is None:
        return None
    return Entry(task, host, port, transport, lineages, first_seen, last_seen, runs, line=node.line)


def read_task(fields: Fields, problems: Problems) -> Task:
    """Read the names of a pipeline and a task; a name that the job doesn't have is None."""
    return Task(_value(fields, "pipeline", _name, problems), _value(fields, "task", _name, problems))


def read_date(fields: Fields, key: str, problems: Problems) -> date | None:
    """Read the date at `key`. Returns None where it is missing or wrong."""
    return _value(fields, key, _date, problems)


def read_count(fields: Fields, key: str, least: int, problems: Problems) -> int | None:
    """Read the number at `key`, at least `least`. Returns None where it is missing or wrong."""

    def parse(text: str) -> int:
        if not _COUNT.fullmatch(text) or int(text) < least:
            raise InvalidTextError(f"`{key}` can't be {shown(text)}", f"it is a number from {least} on")
        return int(text)

    return _value(fields, key, parse, problems)


def _value(fields: Fields, key: str, parse: Callable[[str], _T], problems: Problems) -> _T | None:
    """Read a text by `parse`, which may raise InvalidTextError. Returns None where it is missing or wrong."""
    node = fields.get(key)
    if node is None:
        return None
    if not isinstance(node, Scalar):
        wrong_kind(node, f"`{key}`", "a single text", problems)
    elif not node.text and node.is_plain:
        problems.add(node, f"`{key}` is empty", "write something behind it, or remove it")
    else:
        return read_text(node, parse, problems)
    return None


def _name(text: str) -> str:
    if not text:
        raise InvalidTextError("an empty name", "remove the key for a job that has none")
    return intern(text)


def _transport(text: str) -> str:
    if not is_transport(text):
        fix = "name it as `network.transport` does, in lower case: tcp, udp, icmp, ipv6-icmp, sctp, udplite"
        raise InvalidTextError(f"unknown transport {shown(text)}", fix)
    return intern(text)


def _port(node: Node, fields: Fields, transport: str | None, problems: Problems) -> int | None:
    port = _value(fields, "port", _port_number, problems)
    if transport is None:
        return None
    if not transport_has_ports(transport):
        if "port" in fields:
            problems.add(fields["port"], f"a port for {transport}", f"{transport} has no ports: remove it")
    elif "port" not in fields:
        problems.add(node, "an entry without `port`", f"{transport} has ports: write one, as in `port: 443`")
    return port


def _port_number(text: str) -> int:
    """Read a port. 0 is valid here: programs connect UDP sockets to it to find out the route."""
    if not (text.isdecimal() and text.isascii()):
        raise InvalidTextError(f"port {shown(text)} is not a port", f"ports are 0 to {PORT_MAX}")
    if len(text) > len(str(PORT_MAX)) or int(text) > PORT_MAX:
        raise InvalidTextError(f"port {shown(text)} is out of range", f"ports are 0 to {PORT_MAX}")
    return int(text)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text if _DATE.fullmatch(text) else "")
    except ValueError:
        raise InvalidTextError(f"{shown(text)} is no date", "write year, month and day: 2026-11-24") from None


def _lineages(node: Node, problems: Problems) -> frozenset[Lineage] | None:
    """Read the chains. Returns None for `any`, and where something is wrong."""
    if isinstance(node, Scalar) and node.text == ANY:
        return None
    if not isinstance(node, Listing) or not node.items:
        what = f"can't be {shown(node.text)}" if isinstance(node, Scalar) else "holds no chain"
        problems.add(node, f"`lineage` {'is empty' if is_empty(node) else what}", _LINEAGE_FIX)
        return None
    chains: dict[Lineage, Node] = {}
    for item in node.items:
        chain = _chain(item, problems)
        if chain is None:
            continue
        if chain in chains:
            what = f"a chain that stands in line {chains[chain].line} already"
            problems.add(item, what, "remove one of them")
        chains[chain] = item
    return frozenset(chains)


def _chain(node: Node, problems: Problems) -> Lineage | None:
    """Read one chain. Returns None where it is no list, or an empty one."""
    if not isinstance(node, Listing) or not node.items:
        what = shown(node.text) if isinstance(node, Scalar) else "what has no executables in it"
        problems.add(node, f"{what} is no chain", "a chain is a list of executables: [[bash, npm]]")
        return None
    names = []
    for item in node.items:
        if not isinstance(item, Scalar) or not item.text:
            problems.add(item, "no executable's name", "name executables, as in [[bash, npm]]")
        else:
            names.append(intern(item.text))
    return tuple(names)
