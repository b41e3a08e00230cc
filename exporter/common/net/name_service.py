"""How this machine resolves names: a name that is resolved without a DNS packet isn't seen, nor granted.

The C library asks the services in nsswitch.conf(5), in their order; nscd(8) answers before all of these.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ACTIONS = re.compile(r"\[[^\]]*\]")
_SENDS_OR_KNOWS = re.compile(r"dns|files|myhostname|mdns[46]?_minimal")
"""Services that ask by DNS, that know this machine's own names, or that multicast for `.local` alone."""
_CACHES_HOSTS = re.compile(r"^\s*enable-cache\s+hosts\s+yes\b", re.MULTILINE)


class NameService(NamedTuple):
    """The files that say how names are resolved, and the sockets of the daemons that resolve them."""

    nsswitch: Path = Path("/etc/nsswitch.conf")
    resolved: Path = Path("/run/systemd/resolve/io.systemd.Resolve")
    """Socket of systemd-resolved, for nss-resolve."""
    nscd: Path = Path("/run/nscd/socket")
    nscd_configuration: Path = Path("/etc/nscd.conf")


class Obstacle(NamedTuple):
    """A way in which names are resolved without a DNS packet of the process that asks."""

    lost: str
    """Consequence for policies and traces, with the reason."""
    fix: str

    def __str__(self) -> str:
        """Return consequence and fix on one line."""
        return f"{self.lost}; {self.fix}"


def dns_obstacles(of: NameService = NameService()) -> list[Obstacle]:  # noqa: B008 - immutable
    """Find obstacles to rules for names on this machine; empty when names come by DNS packets."""
    return [*_nscd(of), *_services(of)]


def others_that_ask(of: NameService = NameService()) -> Iterator[Obstacle]:  # noqa: B008 - immutable
    """Yield daemons that look up names for others: `dns: deny` is only about packets that the job sends."""
    for daemon, path, ways in (("systemd-resolved", of.resolved, " and by D-Bus"), ("nscd", of.nscd, "")):
        if _listens(path):
            yield Obstacle(
                f"no `dns: deny` for what {daemon} is asked at {path}{ways}: it asks in its own name",
                f"stop {daemon}, or keep the job from it",
            )


def _nscd(of: NameService) -> Iterator[Obstacle]:
    configuration = _read(of.nscd_configuration)
    if (configuration is None or _CACHES_HOSTS.search(configuration)) and _listens(of.nscd):
        fix = f"set `enable-cache hosts no` in {of.nscd_configuration}, and restart nscd"
        yield _of_all(f"nscd looks them up and answers at {of.nscd}", fix)


def _services(of: NameService) -> Iterator[Obstacle]:
    services = _hosts_services(_read(of.nsswitch) or "")
    before = services[: services.index("dns")] if "dns" in services else services
    for service in before:
        if service == "resolve":
            if _listens(of.resolved):
                why = f"`resolve` in {of.nsswitch} has systemd-resolved look them up, at {of.resolved}"
                yield _of_all(why, _without(service, services))
        elif not _SENDS_OR_KNOWS.fullmatch(service):
            lost = "no rules for the names in policies, and none of them in traces, that "
            yield Obstacle(f"{lost}`{service}` in {of.nsswitch} resolves", _without(service, services))


def _hosts_services(text: str) -> list[str]:
    """Return the services of the line `hosts`; as in the C library, the last of several lines counts."""
    lines = [line.partition("#")[0].partition(":") for line in text.splitlines()]
    named = [services for name, _, services in lines if name.strip() == "hosts"]
    return _ACTIONS.sub(" ", named[-1]).split() if named else []


def _of_all(why: str, fix: str) -> Obstacle:
    return Obstacle(f"no rules for names in policies, and no names in traces: {why}", fix)


def _without(service: str, services: list[str]) -> str:
    if "dns" in services:
        how = f"remove `{service}` from the line `hosts`, with the brackets behind it, or put `dns` in front"
    else:
        how = f"in the line `hosts`, write `dns` in place of `{service}` and the brackets behind it"
    return f"{how}: names are then asked for by DNS, of the nameservers in /etc/resolv.conf"


def _read(path: Path) -> str | None:
    """Return the file's text; None when it can't be read, as if it didn't exist."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _listens(path: Path) -> bool:
    """Whether a process accepts connections at `path`; the socket of a killed daemon doesn't count."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(str(path))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return False
        except OSError:  # somebody is there, and has no time, or it isn't for this user
            return True
    return True
