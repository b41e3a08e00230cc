"""Hosts of a baseline: a name, `*.name`, or one address."""

from __future__ import annotations

from functools import lru_cache

from exporter.documents.problems import shown
from exporter.policy.endpoints import EndpointError
from exporter.policy.endpoints import parse_host as parse_policy_host
from exporter.policy.model import Address, Name

_KEPT_MAX = 16_384


@lru_cache(maxsize=_KEPT_MAX)
def parse_host(text: str) -> Name | Address:
    """What a span's `server.address`, or a baseline's `destination`, names. Raises EndpointError.

    What a policy couldn't name isn't known by a baseline either.
    """
    if "/" in text:
        raise EndpointError(f"{shown(text)} is no single host", "name hosts and addresses one by one")
    host = parse_policy_host(text)
    return host if isinstance(host, Name) else host.network_address
