"""Services that resolve names for the machine: they may take port 53 again after a restart."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from exporter.events import wire

if TYPE_CHECKING:
    from exporter.kernel.bpf import Map

UNITS = (
    "systemd-resolved.service",
    "NetworkManager.service",  # runs a dnsmasq of its own
    *("dnsmasq.service", "unbound.service", "named.service", "bind9.service"),
    *("pdns-recursor.service", "dnscrypt-proxy.service", "stubby.service"),
    *("pihole-FTL.service", "AdGuardHome.service", "coredns.service"),
)
"""Systemd units right below system.slice. A process that is in none of them and takes port 53 while the
programs run isn't believed over loopback: it may do so for a job, as Docker does for a container that
publishes a port."""

_TRUSTED = struct.pack("=I", 1)


def trust_units(units: Map) -> None:
    """Enter the units into `units`, the map `resolver_units`, for the kernel's programs."""
    for name in UNITS:
        units.update(wire.UNIT_KEY.pack(name.encode()), _TRUSTED)
