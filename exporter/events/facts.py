"""The facts that the kernel reports, one type for each. Hot path: `NamedTuple`s, made by `decode`."""

from __future__ import annotations

import enum
from typing import NamedTuple

from . import wire
from .arguments import Arguments


class ProcessKey(NamedTuple):
    """The identity of a process: pids are reused, but a pid with its start time isn't."""

    pid: int
    """The host's number (tgid), also for a process in a pid namespace."""
    started_ns: int
    """Time in nanoseconds since boot at which the kernel hook saw the process created."""


class Act(enum.IntEnum):
    """A kind of act on a socket."""

    CONNECT = 1
    SEND = 2
    CREATE = 3
    """Making a raw or ping socket: reported only when it was denied. There is no peer."""


class Outcome(enum.StrEnum):
    """The outcome of an act, as in `egress.outcome`."""

    ESTABLISHED = "established"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    RESET = "reset"
    UNREACHABLE = "unreachable"
    ABORTED = "aborted"
    """The process gave up, or ended, before there was an answer."""
    OPEN = "open"
    SENT = "sent"
    """A datagram was sent; whether it arrived isn't known."""
    DENIED = "denied"
    """The policy denied the act, and nothing was sent."""


class Verdict(enum.IntEnum):
    """The policy's verdict on an act."""

    NONE = 0
    """No policy decided on the act."""
    ALLOW = 1
    DENY = 2
    """The act was denied: the process got EPERM."""
    AUDIT = 3
    """The act would have been denied if the policy had been enforced."""


class Stage(enum.IntEnum):
    """A stage that a connection has reached."""

    ESTABLISHED = 1
    ENDED = 2
    NEVER_SENT = 3
    """The socket was closed before any packet left: there was no route."""
    FAILED = 4
    """connect(2) returned an error at once; the end of its socket is reported separately."""


RULE_OF_NAMES = wire.RULE_OF_NAMES
"""In place of a rule's number: rules for names decided, but the kernel doesn't know which one."""
RULE_OF_ANSWERS = wire.RULE_OF_ANSWERS
"""In place of a rule's number: a listener of the job answered a peer that had asked it."""
RULE_OF_NOTHING_SENT = wire.RULE_OF_NOTHING_SENT
"""In place of a rule's number: a datagram socket connected to a peer that only TCP may reach. The connect
sends nothing, and the socket's packets are decided later."""
RULE_OF_LOOKUPS = wire.RULE_OF_LOOKUPS
"""In place of a rule's number: no rule allows the name that a resolver was to be asked for."""

HOST = 0
"""The scope of processes that belong to no job."""


class Found(NamedTuple):
    """A process that ran before anything was traced."""

    at_ns: int
    process: ProcessKey
    parent_pid: int


class Environment(NamedTuple):
    """The environment that a process of no job executed with. Full of secrets; never leaves this program."""

    at_ns: int
    process: ProcessKey
    exec_id: int
    block: bytes
    """The variables, as `NAME=value`, each with its NUL."""
    is_cut: bool
    """Whether the environment was longer than `block`."""
    standing: int = 0
    """The standing of the process, one of wire.STANDING_*."""
    agent: int = 0
    """Number of the kind of agent that the process is below; 0 for a kind that isn't known."""
    parent: ProcessKey | None = None
    """The kernel's parent of the process at its exec; None when it isn't known."""
    is_from_proc: bool = False
    """Whether `block` was read from /proc some time later: the process may have written it itself."""


class Forked(NamedTuple):
    """A process of a job created another one."""

    at_ns: int
    process: ProcessKey
    creator: ProcessKey
    creator_exec_id: int
    """Number of the program that the creator ran: 0 before its first exec inside the job."""
    parent_pid: int
    """The kernel's parent; after CLONE_PARENT, that isn't the creator."""
    scope: int


class Execed(NamedTuple):
    """A process became another program."""

    at_ns: int
    process: ProcessKey
    exec_id: int
    parent_pid: int
    scope: int
    path: str
    """Path of the executable (for a script, of its interpreter), resolved by the kernel; `…/` where cut."""
    arguments: Arguments
    """argv as executed."""
    arguments_cut: bool
    """Whether argv was longer than `arguments`, which hold 32 KiB, or less when the ring was full."""
    cgroup: str
    """Last part of the path of the process's cgroup (v2); empty in the root cgroup, and when unreadable."""


class Exited(NamedTuple):
    """The last thread of a process ended."""

    at_ns: int
    process: ProcessKey
    wait_status: int
    """The status as `wait(2)` gives it: exit code << 8 | signal."""


class Acted(NamedTuple):
    """A connect, a datagram sent without a connect, or a socket that was denied."""

    at_ns: int
    process: ProcessKey
    exec_id: int
    act: Act
    thread_id: int
    parent_pid: int
    """The kernel's parent at the act."""
    uid: int
    scope: int
    cookie: int
    """The kernel's id of the socket, unique until reboot; 0 when unknown."""
    protocol: int
    """IANA number: 6 tcp, 17 udp, …; UNIX (exporter/common/net/addresses.py) for Unix sockets."""
    peer: bytes
    """16 bytes, network order; IPv4 as ::ffff:a.b.c.d. Of a Unix socket's name, a digest."""
    peer_port: int
    local: bytes
    """16 bytes as `peer`; all zero when the socket isn't bound yet."""
    local_port: int
    """0 when not bound yet."""
    verdict: Verdict = Verdict.NONE
    rule: int = 0
    """Number, from 1, of the policy's rule that decided; 0 for none, or one of the RULE_OF_* above."""
    held: int = 0
    """Bits of those executables that policies name and that are in the chain of processes."""
    policy: int = 0
    """The kernel's number of the policy; 0 for none."""
    is_metered: bool = False
    """Whether a `Metered` will follow."""
    socket: str = ""
    """Name of the Unix socket that is the peer; empty for others."""


class Flowed(NamedTuple):
    """A connection reached another stage; its connect was an `Acted`."""

    at_ns: int
    cookie: int
    """The cookie of the connect."""
    stage: Stage
    outcome: Outcome
    error: int
    """The errno; 0 without an error, and when it isn't known."""
    bytes_sent: int
    """Payload that the peer acknowledged; 0 before the end."""
    bytes_received: int
    rtt_us: int
    """Smoothed round trip time, in microseconds; 0 when unknown."""
    local: bytes
    """16 bytes as `Acted.peer`."""
    local_port: int


class Metered(NamedTuple):
    """The payload of all datagrams of an `Acted`, whose socket has since closed or acted again."""

    at_ns: int
    cookie: int
    """The cookie of the `Acted`; `acted_ns` is its `at_ns`."""
    acted_ns: int
    bytes_sent: int
    """Payload handed to the network; whether it arrived isn't known."""
    bytes_received: int
    """Payload that came from the act's peer until the socket closed or acted again."""


class Aggregated(NamedTuple):
    """Acts of one program with one peer that the kernel only counted, within about a second."""

    at_ns: int
    """Time of the first act."""
    last_ns: int
    process: ProcessKey
    """The process that acted; (0, 0) where there were too many to count even by process."""
    exec_id: int
    act: Act
    outcome: Outcome | None
    """None when unknown."""
    parent_pid: int
    uid: int
    scope: int
    protocol: int
    """IANA number; 0 where there were too many to count even by process."""
    peer: bytes
    peer_port: int
    is_other: bool
    """Whether the peers were too many to tell apart: then `peer` and `peer_port` have no meaning."""
    attempts: int
    """Number of attempts; 0 where an earlier event counted them, and this one only adds bytes."""
    bytes_sent: int
    bytes_received: int
    verdict: Verdict = Verdict.NONE
    rule: int = 0
    """As in `Acted`, of the first act; so are `held` and `policy`."""
    held: int = 0
    policy: int = 0


class Tampering(enum.IntEnum):
    """A way to get around the tracing, or to attack it."""

    PACKET_SOCKET = 1
    """An AF_PACKET socket: no other hook here sees the frames that it sends."""
    BPF = 2
    SIGNAL = 3
    """A signal to the exporter; the next two are aimed at it as well."""
    PTRACE = 4
    MEMORY = 5
    XDP_SOCKET = 6
    """An AF_XDP socket: like a packet socket, it bypasses the kernel's network stack."""
    FRAMES = 7
    """Not done by the process: in its network, frames of packet sockets can't be stopped, or couldn't yet."""
    MARKS = 8
    """A step has variables that contradict the agent that started it."""
    VSOCK_SOCKET = 9
    """An AF_VSOCK socket: it reaches the host of a virtual machine without a network."""
    OTHER_MEMORY = 10
    """Access to the memory of another process, or the right to trace it. Not of one that it made itself."""


class Tampered(NamedTuple):
    """A process tampered. Reported for the first times within a second, then at each doubling."""

    at_ns: int
    process: ProcessKey
    exec_id: int
    parent_pid: int
    uid: int
    scope: int
    what: Tampering
    detail: int
    """Protocol of the frames, bpf(2) command, signal, ptrace(2) request, pid, errno, or 0, by `what`."""
    times: int
    """How often the process tampered like this within the second, this time included."""
    network: int = 0
    """Number of the network namespace that the process was in; 0 when unknown."""
    is_denied: bool = False
    """Whether the kernel refused it, since the policy of its job is enforced."""
    target: str = ""
    """Name of the process that `detail` is the pid of; empty when there is none, or it isn't known."""


class Asked(NamedTuple):
    """A process put a DNS question to a resolver."""

    at_ns: int
    process: ProcessKey
    exec_id: int
    scope: int
    cookie: int
    """The socket's cookie, as in `Acted`."""
    protocol: int
    """IANA number: 6 tcp, 17 udp."""
    resolver: bytes
    """The resolver's address: 16 bytes, as `Acted.peer`."""
    resolver_port: int
    message: bytes
    """The DNS message as on the wire, without TCP's length."""
    is_cut: bool
    """Whether the message was longer than `message`."""


class Answered(NamedTuple):
    """The answer to an `Asked`, on the same socket and from its resolver. Fields are as in `Asked`."""

    at_ns: int
    process: ProcessKey
    """The process that asked."""
    exec_id: int
    scope: int
    cookie: int
    protocol: int
    resolver: bytes
    resolver_port: int
    message: bytes
    is_cut: bool
    counts: bool = False
    """Whether the answer may grant addresses: the policy allowed its resolver, and nobody else can have made
    the answer."""
    is_doubtful: bool = False
    """Whether somebody other than the resolver may have made the answer. That is possible where a process of
    the job made the network, or somebody took the port later."""


class Switched(NamedTuple):
    """Somebody turned enforcement on or off for a job while it runs."""

    at_ns: int
    """When the change was noticed."""
    scope: int
    is_enforcing: bool
    """Whether acts that its policy denies fail from now on."""


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
    """Return the number of attempts that `event` reports."""
    match event:
        case Acted():
            return 1
        case Aggregated():
            return event.attempts
        case _:
            return 0
