"""Single hosts, as spans, baselines and rules of a draft have them: a name, `*.name`, or one address."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

from exporter.common.documents.problems import InvalidTextError, shown

from .endpoints import NAME_MAX, parse_host
from .model import Address, Name

_KEPT_MAX = 16_384
_WITH_PORT = re.compile(r"([^:]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", re.ASCII)


@lru_cache(maxsize=_KEPT_MAX)
def parse_single_host(text: str) -> Name | Address:
    """Parse a span's `server.address`, or a baseline's `destination`. Raises InvalidTextError.

    A host that no policy can name can't be in a baseline either.
    """
    if "://" in text:
        raise InvalidTextError(f"{shown(text)} is a URL", f"write the host alone{_host_of(text)}")
    if with_port := _WITH_PORT.fullmatch(text):
        host, port = with_port[1].strip("[]"), with_port[2]
        raise InvalidTextError(
            f"{shown(text)} has a port", f"write {shown(host)}, and `port: {port}` below it"
        )
    if "/" in text:
        raise InvalidTextError(f"{shown(text)} is no single host", "name hosts and addresses one by one")
    host = parse_host(text)
    return host if isinstance(host, Name) else host.network_address


def recorded_host(text: str) -> str | None:
    """Return a span's name or address in one form. None: no rule or entry could name just that host."""
    if len(text) > NAME_MAX + 1:  # with the final dot
        return None
    try:
        host = parse_single_host(text)
    except InvalidTextError:
        return None
    return None if isinstance(host, Name) and host.is_wildcard else str(host)


def _host_of(url: str) -> str:
    """Return a URL's host as `: registry.example`; empty where the URL has none."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    return f": {shown(host)}" if host else ""
