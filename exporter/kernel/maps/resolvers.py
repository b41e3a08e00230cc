"""Services that resolve names for the machine: they may take port 53 again after a restart."""

from __future__ import annotations

from exporter.events import wire
from exporter.kernel.bpf import U32, Map

UNITS = (
    "systemd-resolved.service",
    "NetworkManager.service",  # runs a dnsmasq of its own
    *("dnsmasq.service", "unbound.service", "named.service", "bind9.service"),
    *("pdns-recursor.service", "dnscrypt-proxy.service", "stubby.service"),
    *("pihole-FTL.service", "AdGuardHome.service", "coredns.service"),
)
"""Systemd units right below system.slice. If a process outside of them takes port 53 while the programs run,
its answers over loopback aren't believed: it may act for a job, as Docker does for a container that publishes
a port."""


def trust_units(units: Map) -> None:
    """Enter the units into `units`, the map `resolver_units`, for the kernel's programs."""
    for name in UNITS:
        units.update(wire.UNIT_KEY.pack(name.encode()), U32.pack(1))
