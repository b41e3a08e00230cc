"""The resolvers that this machine is set up to ask: `resolvers: system` means these."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from .model import Address, plain_address

PATH = Path("/etc/resolv.conf")
_SIZE_MAX = 1 << 16


def system_resolvers(path: Path = PATH) -> tuple[Address, ...]:
    """Return the addresses of the `nameserver` lines of `path`, each once; none where it can't be read.

    resolv.conf(5): without such a line the resolver of this machine is asked, which the rules for loopback
    allow.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_SIZE_MAX).decode(errors="replace")
    except OSError:
        return ()
    found = (_address(line) for line in text.splitlines())
    return tuple(dict.fromkeys(address for address in found if address is not None))


def _address(line: str) -> Address | None:
    keyword, _, rest = line.replace("\t", " ").partition(" ")
    if keyword != "nameserver":
        return None
    try:
        address = ip_address(rest.strip().partition(" ")[0].partition("%")[0])
    except ValueError:
        return None
    return plain_address(address)
