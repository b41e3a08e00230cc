"""What each tool recorded, read from what it wrote, in one form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Act(NamedTuple):
    """A connect or a send, or several like it."""

    verb: str
    """`connect` or `send`."""
    port: int
    times: int
    arguments: tuple[str, ...] = ()
    """The argv of its process; empty if the tool didn't record it."""
    parent: int | None = None
    """The pid of that process's parent; None if the tool didn't record it."""


class _Program(NamedTuple):
    arguments: tuple[str, ...]
    parent: int | None


def of_ci_egress(folder: Path) -> Iterator[Act]:
    """Read the spans."""
    for line in _lines(folder / "traces.jsonl"):
        for of_resource in json.loads(line)["resourceSpans"]:
            for of_scope in of_resource["scopeSpans"]:
                for span in of_scope["spans"]:
                    yield from _of_span(span)


def _of_span(span: Mapping[str, Any]) -> Iterator[Act]:
    verb = span["name"].partition(" ")[0]
    told = {one["key"]: _value(one["value"]) for one in span.get("attributes", ())}
    if verb in ("connect", "send") and "network.peer.port" in told:
        parent = told.get("process.parent_pid")
        yield Act(
            verb,
            int(told["network.peer.port"]),
            int(told.get("egress.attempts", 1)),
            tuple(told.get("process.command_args", ())),
            None if parent is None else int(parent),
        )


def _value(value: Mapping[str, Any]) -> Any:
    ((kind, told),) = value.items()
    return [_value(one) for one in told["values"]] if kind == "arrayValue" else told


_CONNECTIONS = ("connection_allowed", "connection_blocked")


def of_cargowall(folder: Path) -> Iterator[Act]:
    """Read the audit log, a JSON object in each line. It has neither arguments nor parents.

    Where a connect would be denied, the packets after its first are told again, as `mid_stream`.
    """
    for line in _lines(folder / "audit.json"):
        event = json.loads(line)
        if event["event_type"] in _CONNECTIONS and "dst_port" in event and not event.get("mid_stream"):
            verb = "connect" if event.get("protocol", "").upper() == "TCP" else "send"
            yield Act(verb, event["dst_port"], 1)


def of_bpftrace(folder: Path) -> Iterator[Act]:
    """Read what connects.bt prints: programs first, since lines of two processors are in no order."""
    programs: dict[int, _Program] = {}
    for line in _lines(folder / "acts"):
        match line.split():
            case ["exec", pid, parent, *arguments]:
                programs[int(pid)] = _Program(tuple(arguments), int(parent))
            case _:
                pass  # an act, a message of bpftrace's own, or the rest of an argv that has a newline
    for line in _lines(folder / "acts"):
        match line.split():
            case [("connect" | "send") as verb, pid, port]:
                yield _act(verb, int.from_bytes(int(port).to_bytes(2, "little")), programs.get(int(pid)))
            case _:
                pass


_AUDIT = re.compile(r"^type=(\w+) msg=audit\([\d.]+:(\d+)\): (.*)")
_FIELD = re.compile(r'(\w+)=("[^"]*"|\S+)')
_CALLS = {"42": "connect", "44": "send", "59": "exec"}
"""The calls of x86-64 that audit.rules has."""


def of_auditd(folder: Path) -> Iterator[Act]:
    """Read the log: each call makes several records, which have a number in common."""
    programs: dict[int, _Program] = {}
    calls: dict[str, Mapping[str, str]] = {}
    for line in _lines(folder / "audit.log"):
        if (found := _AUDIT.match(line)) is None:
            continue
        kind, number, text = found.groups()
        fields = {name: value.strip('"') for name, value in _FIELD.findall(text)}
        if kind == "SYSCALL":
            calls = {number: fields}  # its further records follow at once
        elif number in calls and kind == "EXECVE":
            arguments = tuple(fields[f"a{index}"] for index in range(int(fields["argc"])))
            programs[int(calls[number]["pid"])] = _Program(arguments, int(calls[number]["ppid"]))
        elif number in calls and kind == "SOCKADDR" and fields["saddr"].startswith("0200"):
            verb = _CALLS[calls[number]["syscall"]]
            yield _act(verb, int(fields["saddr"][4:8], 16), programs.get(int(calls[number]["pid"])))


_CALL = re.compile(r"^(\d+) +(\w+)\((.*)")
_MADE = re.compile(r"^(\d+) +(?:<\.\.\. )?(?:v?fork|clone3?)\b.*= (\d+)$")
_ARGV = re.compile(r'^"[^"]*", \[(.*?)\]')
_PORT = re.compile(r"sin_port=htons\((\d+)\)")


def of_strace(folder: Path) -> Iterator[Act]:
    """Read the calls. One that others interrupt is printed in two lines; the first has the arguments."""
    arguments: dict[int, tuple[str, ...]] = {}
    parents: dict[int, int] = {}
    acts: list[tuple[str, int, int]] = []
    for line in _lines(folder / "calls"):
        if made := _MADE.match(line):
            parents[int(made[2])] = int(made[1])
        elif found := _CALL.match(line):
            pid, call, text = int(found[1]), found[2], found[3]
            if argv := _ARGV.match(text):
                arguments[pid] = tuple(re.findall(r'"([^"]*)"', argv[1]))
            elif port := _PORT.search(text):
                acts.append((call, int(port[1]), pid))
    for call, number, pid in acts:  # a parent's line may come after those of its child
        program = _Program(arguments[pid], parents.get(pid)) if pid in arguments else None
        yield _act("connect" if call == "connect" else "send", number, program)


def _act(verb: str, port: int, program: _Program | None) -> Act:
    return Act(verb, port, 1, *(program or ()))


def _lines(path: Path) -> Iterable[str]:
    """Return the lines of a file; none if the tool didn't make it."""
    if not path.exists():
        return
    with path.open(errors="replace") as lines:
        yield from lines
