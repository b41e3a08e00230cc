"""Read a rule in either form: `registry.example:443`, or `{host: github.com, lineage: [git]}`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

from exporter.common.documents.fields import Fields, read_text
from exporter.common.documents.problems import InvalidTextError, Problems, shown
from exporter.common.documents.tree import Listing, Mapping, Node, Scalar

from .endpoints import parse_endpoint, parse_host, parse_port, parse_protocol, reach
from .model import Effect, NetworkHost, Protocol, Rule

KEYS = ("host", "ports", "protocol", "lineage")
"""The keys of the long form."""

_NAME = re.compile(r"[^\s/\x00-\x1f\x7f]{1,255}")
_PATH = re.compile(r"(?:/[^/\x00-\x1f\x7f]{1,255})+")
_PATH_MAX = 4095
_LINEAGE_FIX = "name executables as git, or by absolute path as /usr/bin/git"
_PORTS_FIX = 'write [443], [80, 443], or "*" for all'

_T = TypeVar("_T")


def read_scalar_rule(node: Scalar, effect: Effect, source: str, problems: Problems) -> Rule | None:
    """Read the short form. Returns None, with a problem reported, where something is wrong with it."""
    try:
        endpoint = parse_endpoint(node.text)
        protocol, ports = reach(effect, endpoint.protocol, endpoint.ports)
    except InvalidTextError as error:
        problems.add(node, error.what, error.fix)
        return None
    return Rule(
        node.text, effect, endpoint.host, protocol, ports, source=source, line=node.line, column=node.column
    )


def read_mapping_rule(
    node: Mapping, fields: Fields, effect: Effect, source: str, problems: Problems
) -> Rule | None:
    """Read the long form, whose values are `fields`. Returns None, with problems reported, if it is wrong."""
    before = len(problems)
    host = protocol = ports = None
    if "host" in fields and _is_socket(fields["host"]):
        return _socket_rule(node, fields, effect, source, problems)
    if "host" not in fields:
        problems.add(node, "a rule without `host`", "add one, as in {host: github.com, lineage: [git]}")
    else:
        host = _value(fields["host"], "host", _host_alone, problems)
    if "protocol" in fields:
        protocol = _value(fields["protocol"], "protocol", _protocol_of_addresses, problems)
    if "ports" in fields:
        ports = _ports(fields["ports"], problems)
    lineage = _lineage(fields, problems)
    try:
        protocol, ports = reach(effect, protocol, ports)
    except InvalidTextError as error:
        problems.add(fields["ports"], error.what, error.fix)
    if len(problems) > before or host is None or protocol is None:
        return None
    text = _on_one_line(node)
    return Rule(text, effect, host, protocol, ports, lineage, source, node.line, node.column)


def _is_socket(host: Node) -> bool:
    return isinstance(host, Scalar) and host.text.lower().startswith("unix://")


def _socket_rule(
    node: Mapping, fields: Fields, effect: Effect, source: str, problems: Problems
) -> Rule | None:
    """Read a rule for a Unix socket, of which a lineage alone can say more."""
    before = len(problems)
    for key in ("protocol", "ports"):
        if key in fields:
            problems.add(fields[key], f"`{key}` of a Unix socket", "leave it out")
    endpoint = _value(fields["host"], "host", parse_endpoint, problems)
    lineage = _lineage(fields, problems)
    if len(problems) > before or endpoint is None:
        return None
    text = _on_one_line(node)
    return Rule(text, effect, endpoint.host, Protocol.UNIX, None, lineage, source, node.line, node.column)


def _lineage(fields: Fields, problems: Problems) -> tuple[str, ...]:
    if "lineage" not in fields:
        return ()
    return tuple(dict.fromkeys(_list(fields["lineage"], "lineage", _executable, problems)))


def _value(node: Node, key: str, parse: Callable[[str], _T], problems: Problems) -> _T | None:
    if not isinstance(node, Scalar):
        problems.add(node, f"`{key}` can't be a list or a mapping", "it is a single text")
        return None
    return read_text(node, parse, problems)


def _host_alone(text: str) -> NetworkHost:
    if "://" in text:
        raise InvalidTextError(
            f"{shown(text)} is more than a host", "the protocol has a key of its own: protocol"
        )
    host, colon, port = text.rpartition(":")
    if colon and (":" not in host or host.endswith("]")) and (port.isdecimal() or port == "*"):
        raise InvalidTextError(f"{shown(text)} is more than a host", "ports have a key of their own: ports")
    return parse_host(text[1:-1] if text.startswith("[") and text.endswith("]") else text)


def _protocol_of_addresses(text: str) -> Protocol:
    protocol = parse_protocol(text, text)
    if protocol is Protocol.UNIX:
        raise InvalidTextError("`unix` without a socket", "write {host: unix:///run/docker.sock}")
    return protocol


def _ports(node: Node, problems: Problems) -> tuple[int, ...] | None:
    """Read ports, empty for all of them. Returns None where they are wrong."""
    if isinstance(node, Scalar):
        if node.text == "*":
            return ()
        problems.add(node, f"`ports` can't be {shown(node.text)}", _PORTS_FIX)
        return None
    found = _list(node, "ports", _one_port, problems)
    return tuple(dict.fromkeys(found)) or None


def _one_port(text: str) -> int:
    ports = parse_port(text)
    if not ports:
        raise InvalidTextError("`*` within a list", 'every port is `ports: "*"`')
    return ports[0]


def _list(node: Node, key: str, parse: Callable[[str], _T], problems: Problems) -> list[_T]:
    """Read the values of a list, which must have at least one."""
    if not isinstance(node, Listing) or not node.items:
        fix = _PORTS_FIX if key == "ports" else "write a list, as in [git]"
        problems.add(node, f"`{key}` is no list with something in it", fix)
        return []
    read = (_value(item, key, parse, problems) for item in node.items)
    return [value for value in read if value is not None]


def _executable(text: str) -> str:
    is_path = text.startswith("/")
    parts = text.split("/")
    fits = _PATH.fullmatch(text) if is_path else _NAME.fullmatch(text)
    if not fits or len(text.encode()) > _PATH_MAX or "." in parts or ".." in parts:
        raise InvalidTextError(f"{shown(text)} is no executable", _LINEAGE_FIX)
    return text


def _on_one_line(node: Node) -> str:
    """Write `node` as the file has it, but for blanks and line breaks."""
    match node:
        case Scalar(text=text, is_plain=is_plain):
            return text if is_plain else json.dumps(text, ensure_ascii=False)
        case Listing(items=items):
            return f"[{', '.join(map(_on_one_line, items))}]"
        case Mapping(pairs=pairs):
            inside = (f"{_on_one_line(key)}: {_on_one_line(value)}" for key, value in pairs)
            return f"{{{', '.join(inside)}}}"
