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
    CREATE = 3
    """Of a raw or ping socket: only told when it was denied, and there is no peer."""


class Outcome(enum.StrEnum):
    """What became of an act, as `egress.outcome` says it."""

    ESTABLISHED = "established"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    RESET = "reset"
    UNREACHABLE = "unreachable"
    ABORTED = "aborted"
    """The process gave up, or ended, before there was an answer."""
    OPEN = "open"
    SENT = "sent"
    """A datagram: whether it arrived isn't known."""
    DENIED = "denied"
    """By the policy: nothing was sent."""


class Verdict(enum.IntEnum):
    """What the policy says to an act."""

    NONE = 0
    """There is no policy."""
    ALLOW = 1
    DENY = 2
    """It was denied: the process got EPERM."""
    AUDIT = 3
    """It would have been denied, were the policy enforced."""


class Stage(enum.IntEnum):
    """How far a connection has come."""

    ESTABLISHED = 1
    ENDED = 2
    NEVER_SENT = 3
    """Closed, and no packet had left: there was no route."""
    FAILED = 4
    """connect(2) returned an error at once; what becomes of its socket comes by itself."""


RULE_OF_NAMES = (1 << 32) - 1
"""In place of a rule's number: the kernel knows that names decided, and not which."""
RULE_OF_ANSWERS = (1 << 32) - 2
"""In place of a rule's number: a listener of the job's own answered who asked it."""
RULE_OF_NOTHING_SENT = (1 << 32) - 3
"""In place of a rule's number: a datagram socket connected where TCP may, and what it sends is decided."""
RULE_OF_LOOKUPS = (1 << 32) - 4
"""In place of a rule's number: no rule allows the name that a resolver was to be asked for."""

HOST = 0
"""The scope of what belongs to no job."""


class Found(NamedTuple):
    """A process that was there before anything was traced."""

    at_ns: int
    process: ProcessKey
    parent_pid: int


class Environment(NamedTuple):
    """What a process of no job executed with. Never leaves this program: it is full of secrets."""

    at_ns: int
    process: ProcessKey
    exec_id: int
    block: bytes
    """`NAME=value`, each with its NUL."""
    is_cut: bool
    """Whether there was more."""
    standing: int = 0
    """wire.STANDING_*, of the process."""
    agent: int = 0
    """Which kind of agent it is below, by number; 0 for one that nobody knows."""
    parent: ProcessKey | None = None
    """The kernel's parent, at that moment; None where it isn't known."""
    is_from_proc: bool = False
    """Whether it was read from /proc, some time after that: the process may have written it itself."""


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
    cgroup: str
    """The last part of its cgroup's path (v2); empty in the root's, and where it couldn't be read."""


class Exited(NamedTuple):
    """The last thread of a process ended."""

    at_ns: int
    process: ProcessKey
    wait_status: int
    """As `wait(2)` gives it: exit code << 8 | signal."""


class Acted(NamedTuple):
    """A connect, a datagram sent without one, or a socket that was denied."""

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
    verdict: Verdict = Verdict.NONE
    rule: int = 0
    """Number of the policy's rule that decided, from 1; 0 for none, RULE_OF_NAMES where names did,
    RULE_OF_ANSWERS where a listener answered who asked it."""
    held: int = 0
    """Mask of the executables in the chain of processes, as the kernel numbers them."""
    policy: int = 0
    """The kernel's number of the policy; 0 for none."""
    is_metered: bool = False
    """Whether a `Metered` is to come."""


class Flowed(NamedTuple):
    """A connection whose connect was an `Acted` came to another stage."""

    at_ns: int
    cookie: int
    """The connect's."""
    stage: Stage
    outcome: Outcome
    error: int
    """errno; 0 without one, and when it isn't known."""
    bytes_sent: int
    """Payload that the peer acknowledged; 0 before the end."""
    bytes_received: int
    rtt_us: int
    """Smoothed round trip time, in microseconds; 0 when unknown."""
    local: bytes
    """16 bytes as `Acted.peer`."""
    local_port: int


class Metered(NamedTuple):
    """The payload of all datagrams of an act that was an `Acted`: its socket is closed, or acted again."""

    at_ns: int
    cookie: int
    """The act's, like the next one."""
    acted_ns: int
    bytes_sent: int
    """Handed to the network: whether it arrived isn't known."""
    bytes_received: int
    """What came from its peer meanwhile."""


class Aggregated(NamedTuple):
    """Acts of one program with one peer that the kernel only counted, within about a second."""

    at_ns: int
    """The first one's."""
    last_ns: int
    process: ProcessKey
    """(0, 0) where there were too many to count even by process."""
    exec_id: int
    act: Act
    outcome: Outcome | None
    """None when unknown."""
    parent_pid: int
    uid: int
    scope: int
    protocol: int
    """0 where there were too many to count even by process."""
    peer: bytes
    peer_port: int
    is_other: bool
    """Whether the peers were too many to tell apart: then `peer` and `peer_port` say nothing."""
    attempts: int
    """0 where these came in an earlier one, and only more of their bytes in this one."""
    bytes_sent: int
    bytes_received: int
    verdict: Verdict = Verdict.NONE
    rule: int = 0
    """As in `Acted`, of the first one, like the next two; says nothing for others."""
    held: int = 0
    policy: int = 0


class Tampering(enum.IntEnum):
    """What a process tried that gets around the tracing, or at it."""

    PACKET_SOCKET = 1
    """AF_PACKET: what it sends, nothing else here sees."""
    BPF = 2
    SIGNAL = 3
    """At the exporter, like the next two."""
    PTRACE = 4
    MEMORY = 5
    XDP_SOCKET = 6
    """AF_XDP: as a packet socket, past the kernel's network stack."""
    FRAMES = 7
    """Nothing that a process did: what packet sockets send where it is can't be stopped, or couldn't yet."""
    MARKS = 8
    """A step has variables that say something else than who started it."""


class Tampered(NamedTuple):
    """A process tampered: told for its first times within a second, then at each doubling."""

    at_ns: int
    process: ProcessKey
    exec_id: int
    parent_pid: int
    uid: int
    scope: int
    what: Tampering
    detail: int
    """By `what`: protocol of the frames, bpf(2) command, signal, ptrace(2) request, errno, 0."""
    times: int
    """How often this process did so within that second, this time included."""
    network: int = 0
    """Number of the network namespace that it was in; 0 when unknown."""


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
    counts: bool = False
    """Whether it may grant: the policy allowed its resolver, which nobody can stand in for."""
    is_doubtful: bool = False
    """Whether somebody can: a process of the job made the network, or somebody took the port later."""


class Switched(NamedTuple):
    """Somebody turned enforcement on or off for a job while it runs."""

    at_ns: int
    """When it was noticed."""
    scope: int
    is_enforcing: bool
    """Whether what its policy denies fails from now on."""


Event = (
    Found
    | Environment
    | Forked
    | Execed
    | Exited
    | Acted
    | Flowed
    | Metered
    | Aggregated
    | Tampered
    | Asked
    | Answered
    | Switched
)


def attempts_of(event: Event) -> int:
    """How many attempts `event` reports."""
    match event:
        case Acted():
            return 1
        case Aggregated():
            return event.attempts
        case _:
            return 0
