"""The hosts of the demo's network: names and addresses that are reserved for examples."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PIPELINE = Path(__file__).parent / "pipeline"

BUILD = "192.0.2.2"
BUILD_V6 = "2001:db8::2"
GATEWAY = "192.0.2.1"
GATEWAY_V6 = "2001:db8::1"

RESOLVER = "192.0.2.53"
COLLECTOR = "192.0.2.43"
GIT = "198.51.100.10"
REGISTRY = "198.51.100.20"
METRICS = "198.51.100.30"
BEACON = "203.0.113.66"
MIRROR = "2001:db8:a::40"

ADDRESSES = {
    "resolver.example": RESOLVER,
    "collector.example": COLLECTOR,
    "git.example": GIT,
    "registry.example": REGISTRY,
    "metrics.example": METRICS,
    "beacon.example": BEACON,
    "mirror.example": MIRROR,
}
"""One address for each name: of several, the C library connects to each to find out which one to prefer."""

DNS_PORT = 53
HTTP_PORT = 80
METRICS_PORT = 8125
OTLP_PORT = 4318

JOB_TOKEN = "glcbt-made-up-for-the-demo-4f9a"  # noqa: S105 - opens nothing
"""The secret that the poisoned dependency steals, and that no telemetry may show."""


class Package(NamedTuple):
    """A package of the registry."""

    name: str
    version: str


PACKAGES = (Package("left-trim", "1.3.0"), Package("pretty-prompt", "2.0.0"))
POISONED = Package("pretty-prompt", "2.0.1")
"""Published by an attacker who took over its maintainer's account; the project asks for ^2.0.0, and gets it.
"""
