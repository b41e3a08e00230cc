"""The resolvers of this machine, from resolv.conf."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from exporter.policy.resolvers import system_resolvers

TEXT = """\
# made by hand
search example
nameserver 192.0.2.53
nameserver\t2001:db8::53   # the second
nameserver fe80::1%eth0
nameserver ::ffff:192.0.2.53
nameserver resolver.example
nameserver
options edns0
nameservers 192.0.2.54
"""


def test_they_are_the_addresses_of_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(TEXT)
    assert system_resolvers(path) == tuple(map(ip_address, ("192.0.2.53", "2001:db8::53", "fe80::1")))


def test_there_are_none_where_it_cannot_be_read(tmp_path: Path) -> None:
    assert system_resolvers(tmp_path / "none") == ()
