"""Destinations and rulings to be shown."""

from __future__ import annotations

from ipaddress import ip_address

from exporter.common.net.addresses import address
from exporter.events.destinations import Destination
from exporter.pipeline.ruling import ALLOWED, DENIED, WOULD_DENY, Ruling

ALLOW = Ruling(ALLOWED)
NEW = Ruling(ALLOWED, is_novel=True)
DENY = Ruling(DENIED, "enforce", "evil.example:443", "policy.yaml")
WOULD = Ruling(WOULD_DENY, "audit", "default", "policy.yaml")


def to(host: str, port: int = 443, transport: str = "tcp", peer: str = "198.51.100.7") -> Destination:
    return Destination(host, port, transport, address(_packed(peer)))


def _packed(text: str) -> bytes:
    packed = ip_address(text).packed
    return b"\0" * 10 + b"\xff\xff" + packed if len(packed) == 4 else packed
