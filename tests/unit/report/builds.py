"""A build like many: a checkout, packages, a test, and something that nobody expected."""

from __future__ import annotations

from dataclasses import replace

from exporter.report.model import JobReport, ReportedAct
from tests.unit.report.samples import BEGAN_NS, MS, TRACE, act, program, span_id

_GIT, _APP = "https://git.example/group/app.git", "https://telemetry.example/p?token=<redacted>"
_PROGRAMS = (  # number, whose child it is, name, command line; start and duration in milliseconds
    (1, None, "sh", "/bin/sh -e ci/build.sh", 0, 9400),
    (2, 1, "git", f"git clone --depth 1 {_GIT}", 40, 900),
    (3, 2, "git-remote-https", f"git-remote-https origin {_GIT}", 90, 800),
    (4, 1, "npm", "npm ci --no-audit", 1000, 5200),
    (5, 4, "node", "node install.js", 2600, 1200),
    (6, 5, "sh", f"sh -c 'curl -s {_APP}'", 2900, 700),
    (7, 6, "curl", f"curl -s {_APP}", 2920, 600),
    (8, 1, "python3", "python3 -m pip install --require-hashes -r requirements.txt", 6300, 1900),
    (9, 1, "pytest", "pytest -q tests", 8300, 1000),
    (10, 4, "tar", "tar xf deps.tar", 4100, 90),
)
_STEPS = {3: "checkout", 4: "dependencies", 5: "dependencies", 7: "dependencies", 8: "dependencies"}
_ACTS = (  # whose; start and duration in milliseconds; host, address; bytes sent and received
    (3, 110, 700, "git.example", "192.0.2.11", 1_800, 4_812_004),
    *(
        (4, 1100 + 90 * n, 85, "registry.npm.example", f"192.0.2.{20 + n % 3}", 1800, 312_137)
        for n in range(24)
    ),
    (4, 2300, 300, "cdn.npm.example", "198.51.100.7", 2_120, 12_400_800),
    (8, 6350, 120, "index.wheels.example", "2001:db8::14", 900, 64_201),
    *((8, 6500 + 160 * n, 150, "files.wheels.example", "2001:db8::15", 1_100, 4_500_310) for n in range(9)),
)  # fmt: skip
_UNEXPECTED = (
    (7, 2960, 210, "telemetry.example", "203.0.113.66", 48_210, 310),
    (7, 3200, 120, "telemetry.example", "203.0.113.66", 51_007, 310),
    (5, 3500, 200, "203.0.113.99", "203.0.113.99", 0, 0),
)


def build(mode: str | None = "audit") -> JobReport:
    """As with that `egress.mode`; without a mode, there was no baseline either."""
    programs = (
        program(number, name, line, parent=parent, at_ms=at_ms, took_ms=took_ms)
        for number, parent, name, line, at_ms, took_ms in _PROGRAMS
    )
    acts = [_act(*fields) for fields in _ACTS]
    acts += [_against(_act(*fields), mode) for fields in _UNEXPECTED] + _others()
    if mode is None:
        acts = [replace(each, novel=None) for each in acts]
    return JobReport(
        trace_id=TRACE,
        span_id=span_id(0xA0),
        title="build",
        pipeline="release",
        task="build",
        run_id="987",
        repository="group/app",
        mode=mode,
        started_ns=BEGAN_NS,
        ended_ns=BEGAN_NS + 9420 * MS,
        programs=tuple(programs),
        acts=tuple(sorted(acts, key=lambda each: each.started_ns)),
    )


def _others() -> list[ReportedAct]:
    """A lookup, a host that doesn't answer, many attempts in one, the loopback, and no port at all."""
    nameserver = _act(3, 95, 0, "192.0.2.53", "192.0.2.53", 29, 45)
    silent = _act(8, 7800, 40, "2001:db8::beef", "2001:db8::beef", 0, 0)
    ping = _act(1, 9300, 1, "192.0.2.1", "192.0.2.1", 64, 0)
    return [
        replace(nameserver, port=53, transport="udp", question="git.example", outcome="sent"),
        replace(silent, port=8443, outcome="timeout", error="ETIMEDOUT"),
        replace(_act(9, 8600, 30, "metrics.example", "192.0.2.80", 9_000, 700), attempts=180, address=None),
        replace(_act(9, 8500, 400, "127.0.0.1", "127.0.0.1", 620, 9_100), port=5432, is_loopback=True),
        replace(ping, port=None, transport="icmp", outcome="sent"),
    ]


def _act(by: int, at_ms: int, took_ms: int, host: str, address: str, sent: int, received: int) -> ReportedAct:
    chain = _chain(by)
    made = act(at_ms, host, by=by, chain=chain, at_ms=at_ms, took_ms=took_ms, address=address)
    lines = {number: line for number, _, _, line, *_ in _PROGRAMS}
    return replace(
        made,
        bytes_sent=sent or None,
        bytes_received=received or None,
        step=_STEPS.get(by, "test"),
        command_line=lines[by],
    )


def _against(made: ReportedAct, mode: str | None) -> ReportedAct:
    if made.host == "203.0.113.99":
        made = replace(made, port=4444, outcome="refused", error="ECONNREFUSED")
    if mode == "enforce":
        denied = replace(made, verdict="deny", rule="default", outcome="denied", error="EPERM")
        return replace(denied, novel=True, bytes_sent=None, bytes_received=None)
    return replace(made, verdict="audit" if mode else "allow", rule="default" if mode else None, novel=True)


def _chain(by: int | None) -> tuple[str, ...]:
    above = {number: (parent, name) for number, parent, name, *_ in _PROGRAMS}
    names: list[str] = []
    while by is not None:
        by, name = above[by]
        names.insert(0, name)
    return tuple(names)
