"""What the kernel reports, one type per fact. Hot path: `NamedTuple`s, made by `decode`."""

from __future__ import annotations

import enum
from typing import NamedTuple

from exporter.arguments import Arguments


class ProcessKey(NamedTuple):
    """A process for good: pids are reused, a pid with its start time is not."""

    pid: int
    """The host's number (tgid), also for a process in a pid namespace."""
    started_ns: int
    """Nanoseconds since boot at which the kernel hook saw it created."""


class Act(enum.IntEnum):
    """What a process did on a socket."""

    CONNECT = 1
    SEND = 2


class Forked(NamedTuple):
    """A process of a job made another one."""

    at_ns: int
    process: ProcessKey
    creator: ProcessKey
    creator_exec_id: int
    """Which of the creator's programs it was: 0 before its first exec inside the job."""
    parent_pid: int
    """The kernel's parent: another than the creator after CLONE_PARENT."""
    scope: int


class Execed(NamedTuple):
    """A process became another program."""

    at_ns: int
    process: ProcessKey
    exec_id: int
    parent_pid: int
    scope: int
    path: str
    """Of the executable itself (of the interpreter, for a script), resolved by the kernel; `…/` where cut."""
    arguments: Arguments
    """argv as executed."""
    arguments_cut: bool
    """Whether argv was longer than what came: 32 KiB, or less when the ring was full."""


class Exited(NamedTuple):
    """The last thread of a process ended."""

    at_ns: int
    process: ProcessKey
    wait_status: int
    """As `wait(2)` gives it: exit code << 8 | signal."""


class Acted(NamedTuple):
    """A connect, or a datagram sent without one."""

    at_ns: int
    process: ProcessKey
    exec_id: int
    act: Act
    thread_id: int
    parent_pid: int
    """The kernel's parent at that moment."""
    uid: int
    scope: int
    cookie: int
    """The kernel's id of the socket, unique until reboot; 0 when unknown."""
    protocol: int
    """IANA number: 6 tcp, 17 udp, …"""
    peer: bytes
    """16 bytes, network order; IPv4 as ::ffff:a.b.c.d."""
    peer_port: int
    local: bytes
    """16 bytes as `peer`; all zero when the socket isn't bound yet."""
    local_port: int
    """0 when not bound yet."""


class Asked(NamedTuple):
    """A process put a DNS question to a resolver."""

    at_ns: int
    process: ProcessKey
    exec_id: int
    scope: int
    cookie: int
    """Of the socket, as in `Acted`."""
    protocol: int
    """IANA number: 6 tcp, 17 udp."""
    resolver: bytes
    """16 bytes, as a peer."""
    resolver_port: int
    message: bytes
    """As on the wire, without TCP's length."""
    is_cut: bool
    """Whether the message was longer than that."""


class Answered(NamedTuple):
    """The answer to a question that was asked: on its socket, from its resolver. Fields as in `Asked`."""

    at_ns: int
    process: ProcessKey
    """Who asked."""
    exec_id: int
    scope: int
    cookie: int
    protocol: int
    resolver: bytes
    resolver_port: int
    message: bytes
    is_cut: bool


Event = Forked | Execed | Exited | Acted | Asked | Answered
