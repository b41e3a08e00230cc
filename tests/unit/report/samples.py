"""Programs, acts and reports of them, as large as one likes."""

from __future__ import annotations

from dataclasses import replace

from exporter.pipeline.account import Account
from exporter.report.model import JobReport, Report, ReportedAct, ReportedProgram

BEGAN_NS = 1_795_000_000 * 10**9
MS = 10**6
TRACE = "7af8cd1de3fa344b938ded2af6d4282f"


def program(
    number: int, name: str, line: str = "", *, parent: int | None = None, at_ms: int = 0, took_ms: int = 100
) -> ReportedProgram:
    """The one whose span id is `number`."""
    began_ns = BEGAN_NS + at_ms * MS
    above = None if parent is None else span_id(parent)
    return ReportedProgram(
        span_id(number), above, name, line or name, 4000 + number, began_ns, began_ns + took_ms * MS
    )


def act(
    number: int,
    host: str,
    *,
    by: int,
    chain: tuple[str, ...],
    at_ms: int = 0,
    took_ms: int = 20,
    **changes: object,
) -> ReportedAct:
    """One connect to port 443 that succeeded, unless `changes` say otherwise."""
    began_ns = BEGAN_NS + at_ms * MS
    made = ReportedAct(
        span_id=span_id(1_000_000 + number),
        parent_id=span_id(by),
        started_ns=began_ns,
        ended_ns=began_ns + took_ms * MS,
        host=host,
        port=443,
        transport="tcp",
        address="192.0.2.10",
        is_loopback=False,
        question=None,
        attempts=1,
        outcome="established",
        error=None,
        bytes_sent=1800,
        bytes_received=64_000,
        verdict="allow",
        rule=None,
        novel=False,
        step="build",
        pid=4000 + by,
        chain=chain,
        command_line=" ".join(chain[-1:]),
        ancestors=chain[:-1],
    )
    return replace(made, **changes)  # type: ignore[arg-type] # what a test changes is a field


def span_id(number: int) -> str:
    """Of a program, or an act."""
    return f"{number:016x}"


def sample(*jobs: JobReport, notes: tuple[str, ...] = (), left_out: int = 0) -> Report:
    """Of these jobs, all accounted for."""
    acts = [each for job in jobs for each in job.acts]
    alone = sum(each.attempts == 1 for each in acts)
    attempts = sum(each.attempts for each in acts) + left_out
    return Report(jobs, Account(attempts, alone, attempts - alone), left_out, notes)


def large(spans: int) -> Report:
    """So many spans, nine in ten of them acts, by programs three deep."""
    programs, acts = [program(1, "make", "make all", took_ms=600_000)], []
    for number in range(2, spans // 10 + 1):
        parent = 1 if number % 9 == 2 else number - 1 - number % 3
        programs.append(
            program(
                number,
                f"worker-{number % 40}",
                f"worker-{number % 40} --part {number}",
                parent=max(1, parent),
                at_ms=number * 7,
            )
        )
    for number in range(spans - len(programs)):
        by = 1 + number % len(programs)
        host = f"host-{number % max(1, spans // 4)}.zone-{number % 7}.example"
        acts.append(
            act(
                number,
                host,
                by=by,
                chain=("make", f"worker-{by % 40}"),
                at_ms=(number * 13) % 600_000,
                novel=number % 50 == 0,
            )
        )
    acts.sort(key=lambda each: each.started_ns)
    times_ns = (BEGAN_NS, BEGAN_NS + 600_000 * MS)
    return sample(
        JobReport(
            TRACE,
            "ab" * 8,
            "large",
            "nightly",
            "large",
            "1",
            None,
            None,
            *times_ns,
            tuple(programs),
            tuple(acts),
        )
    )
