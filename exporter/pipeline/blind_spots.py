"""Notes on activity of a job that can't be seen: behind proxies, and by daemons on its behalf."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from exporter.common.net.addresses import endpoint
from exporter.events.destinations import Destination
from exporter.events.programs import Program

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""The variables that name a proxy."""

# Programs whose work is done by another process, which needn't descend from the job.
_DAEMON_CLIENTS = {
    "docker": "the Docker daemon",
    "docker-compose": "the Docker daemon",
    "docker-buildx": "the BuildKit daemon",
    "buildctl": "the BuildKit daemon",
    "nerdctl": "containerd",
    "ctr": "containerd",
    "crictl": "the container runtime",
    "kubectl": "the cluster",
    "bazel": "a Bazel server started earlier",
    "bazelisk": "a Bazel server started earlier",
    "gradle": "a Gradle daemon started earlier",
    "gradlew": "a Gradle daemon started earlier",
    "snap": "snapd",
    "systemd-run": "systemd",
    "at": "atd",
}


# Interpreters: the program that runs is known by the script's name.
_INTERPRETER = re.compile(r"(?:ba|da|z|k)?sh|busybox|node|perl|ruby|python[0-9.]*")


NOTHING_SEEN = "none of its processes reached beyond this machine"
"""The summary's words for a job without egress. Acts of others on its behalf aren't always seen."""


class BlindSpots:
    """The signs of one job's unseen activity."""

    def __init__(self, environment: Mapping[str, str], *, sees_daemons: bool) -> None:
        """`environment` has the variables that name a proxy.

        With `sees_daemons`, the acts of daemons are traced, too.
        """
        self._sees_daemons = sees_daemons
        self._daemons: dict[str, str] = {}
        self._proxies = _proxies(environment)
        self._proxies_met: set[str] = set()

    def ran(self, program: Program) -> None:
        """Note a program that was executed: it may be a client of a daemon."""
        for name in _called(program):
            if name in _DAEMON_CLIENTS and not self._sees_daemons:
                self._daemons[name] = _DAEMON_CLIENTS[name]

    def connected(self, destination: Destination) -> None:
        """Note an attempt to connect or send: its destination may be a proxy."""
        if self._proxies:
            known = [self._proxies[name] for name in _known_as(destination) if name in self._proxies]
            self._proxies_met.update(known)

    def parties(self) -> Iterator[str]:
        """Yield unseen activity in a few words that no job can choose: "what the Docker daemon did"."""
        yield from (f"what {daemon} did" for daemon in sorted(set(self._daemons.values())))
        if self._proxies_met:
            yield "what lies behind its proxy"

    def notes(self) -> Iterator[str]:
        """Yield notes for people on unseen activity, one line each."""
        for proxy in sorted(self._proxies_met):
            yield f"note: {proxy} is a proxy: what lies behind it isn't seen here"
        for name, daemon in sorted(self._daemons.items()):
            yield f"note: {name} ran: what {daemon} did on its behalf isn't seen here"


def _known_as(destination: Destination) -> Iterator[str]:
    """Yield the forms in which a proxy variable may name `destination`."""
    if destination.peer is not None and destination.port is not None:
        yield destination.shown
        yield endpoint(destination.peer.text, destination.port)
        yield f"*:{destination.port}"


def _called(program: Program) -> Iterator[str]:
    """Yield the program's names: that of its executable, and that of the script that it runs."""
    if program.name:
        yield program.name
        if _INTERPRETER.fullmatch(program.name):
            yield (program.arguments.as_executed(1) or "").rsplit("/", 1)[-1]


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies that variables name, by `address:port`.

    A proxy that is given by name has the key `*:port`, since only its port can be recognized.
    """
    found = {}
    for variable in PROXY_VARIABLES:
        value = environment.get(variable, "")
        try:
            url = urlsplit(value if "://" in value else f"http://{value}")
            host, port = url.hostname, url.port or 80
        except ValueError:
            continue
        if host:
            is_address = re.fullmatch(r"[0-9.]+|[0-9a-f:]+", host)
            found[endpoint(host, port) if is_address else f"*:{port}"] = endpoint(host, port)
    return found
