"""Describe tampering, in sentences for people and as attributes of log records."""

from __future__ import annotations

import errno
import signal
from collections.abc import Mapping, Sequence

from exporter.common.text import printable
from exporter.events.facts import Tampered, Tampering

from .ruling import DENIED

_NEVER_HONEST = frozenset({Tampering.PTRACE, Tampering.MEMORY, Tampering.MARKS})
"""Kinds of tampering that not even the host's own services commit in their ordinary course."""
END = "end"
"""`egress.tamper.kind` when a watch's end is asked for without the token, or comes as the agent is gone."""
FAULT = "fault"
"""`egress.tamper.kind` of a fault in a watch, which a job may have brought about."""
MOVED = "moved"
"""`egress.tamper.kind` of telemetry files that were moved away: anything may be in their place."""
HELD_UP = "held_up"
"""`egress.tamper.kind` when processes make readers of /proc wait, so many that no other can be read."""
_ENDING = frozenset({Tampering.SIGNAL})
"""Kinds that the host's services may commit, as a service manager does, unless a token ends the watch."""

KINDS = {
    Tampering.PACKET_SOCKET: "packet_socket",
    Tampering.BPF: "bpf",
    Tampering.SIGNAL: "signal",
    Tampering.PTRACE: "ptrace",
    Tampering.MEMORY: "memory",
    Tampering.XDP_SOCKET: "xdp_socket",
    Tampering.FRAMES: "frames",
    Tampering.MARKS: "marks",
    Tampering.VSOCK_SOCKET: "vsock_socket",
    Tampering.OTHER_MEMORY: "other_memory",
}
MARKS = {1: "blanked", 2: "contradicting", 3: "ids"}
"""`egress.tamper.detail` of a step whose variables differ from those that its agent gave it, by number."""
BLANKED, CONTRADICTING, SHARING_IDS = MARKS
_SENTENCES = {
    Tampering.PACKET_SOCKET: "made a packet socket ({}): what it sends isn't seen here",
    Tampering.BPF: "called bpf({})",
    Tampering.SIGNAL: "sent {} to ci-egress",
    Tampering.PTRACE: "called ptrace({}) on ci-egress",
    Tampering.MEMORY: "reached for the memory of ci-egress",
    Tampering.XDP_SOCKET: "made an XDP socket: what it sends isn't seen here",
    Tampering.VSOCK_SOCKET: "made a vsock socket: what it sends to the host of this machine isn't seen here",
    Tampering.OTHER_MEMORY: "reached for the memory of {}",
    Tampering.FRAMES: "is in a network where what packet sockets send can't be stopped ({})",
    Tampering.MARKS: "was executed with {} variables of a CI system: it is held as if it were any job's",
}
_DENIED = {
    Tampering.PACKET_SOCKET: "was denied a packet socket ({})",
    Tampering.XDP_SOCKET: "was denied an XDP socket",
    Tampering.VSOCK_SOCKET: "was denied a vsock socket",
    Tampering.MEMORY: "was denied the memory of ci-egress",
    Tampering.OTHER_MEMORY: "was denied the memory of {}",
}
"""The sentences of acts that an enforced policy denies, where the kernel lets programs deny them."""
# include/uapi/linux/if_ether.h
_FRAMES = {
    0x0003: "ETH_P_ALL",
    0x0800: "ETH_P_IP",
    0x0806: "ETH_P_ARP",
    0x86DD: "ETH_P_IPV6",
}
# enum bpf_cmd, include/uapi/linux/bpf.h, in its order
_COMMANDS = (
    *("MAP_CREATE", "MAP_LOOKUP_ELEM", "MAP_UPDATE_ELEM", "MAP_DELETE_ELEM", "MAP_GET_NEXT_KEY"),
    *("PROG_LOAD", "OBJ_PIN", "OBJ_GET", "PROG_ATTACH", "PROG_DETACH", "PROG_TEST_RUN"),
    *("PROG_GET_NEXT_ID", "MAP_GET_NEXT_ID", "PROG_GET_FD_BY_ID", "MAP_GET_FD_BY_ID"),
    *("OBJ_GET_INFO_BY_FD", "PROG_QUERY", "RAW_TRACEPOINT_OPEN", "BTF_LOAD", "BTF_GET_FD_BY_ID"),
    *("TASK_FD_QUERY", "MAP_LOOKUP_AND_DELETE_ELEM", "MAP_FREEZE", "BTF_GET_NEXT_ID"),
    *("MAP_LOOKUP_BATCH", "MAP_LOOKUP_AND_DELETE_BATCH", "MAP_UPDATE_BATCH", "MAP_DELETE_BATCH"),
    *("LINK_CREATE", "LINK_UPDATE", "LINK_GET_FD_BY_ID", "LINK_GET_NEXT_ID", "ENABLE_STATS"),
    *("ITER_CREATE", "LINK_DETACH", "PROG_BIND_MAP", "TOKEN_CREATE"),
)
# include/uapi/linux/ptrace.h
_REQUESTS = {
    4: "PTRACE_POKETEXT",
    5: "PTRACE_POKEDATA",
    7: "PTRACE_CONT",
    8: "PTRACE_KILL",
    13: "PTRACE_SETREGS",
    16: "PTRACE_ATTACH",
    17: "PTRACE_DETACH",
    0x4205: "PTRACE_SETREGSET",
    0x4206: "PTRACE_SEIZE",
    0x4207: "PTRACE_INTERRUPT",
}
_NAMES: Mapping[Tampering, tuple[Mapping[int, str], str]] = {
    Tampering.PACKET_SOCKET: (_FRAMES, "{:#06x}"),
    Tampering.BPF: ({number: f"BPF_{name}" for number, name in enumerate(_COMMANDS)}, "{:#x}"),
    Tampering.PTRACE: (_REQUESTS, "{:#x}"),
    Tampering.FRAMES: (errno.errorcode, "{}"),
    Tampering.MARKS: (MARKS, "{}"),
}
"""The names that details have, and the form of a number without a name."""

LOST = {
    "unpinned": "pins of ci-egress were removed from {home}, as by `ci-egress stop`; "
    "were it killed now, what they hold would go",
    "detached": "programs of ci-egress were detached; what they saw is neither told nor denied any more",
    "replaced": "programs of ci-egress were replaced; what they saw is neither told nor denied any more",
}
_LISTED_MAX = 8


def is_of_the_host(event: Tampered, *, ends_by_token: bool) -> bool:
    """Whether `event` is an ordinary act for the host's own processes, which belong to no job.

    A DHCP client has packet sockets, a service manager loads programs and sends signals.
    """
    return event.what not in _NEVER_HONEST and not (ends_by_token and event.what in _ENDING)


def attributes(event: Tampered) -> dict[str, str | int]:
    """Return the attributes of the log record of `event`, without the attributes of the process."""
    named: dict[str, str | int] = {
        "egress.tamper.kind": KINDS[event.what],
        "egress.tamper.attempts": event.times,
    }
    if event.is_denied:
        named["egress.verdict"] = DENIED
    detail = detail_of(event)
    return named if detail is None else {**named, "egress.tamper.detail": detail}


def detail_of(event: Tampered) -> str | None:
    """Return the protocol, command, signal, request, process or error that `event` is about; None for none.

    The text is the name in C, or the number when this module has no name for it.
    """
    match event.what:
        case Tampering.SIGNAL:
            return _signal_name(event.detail)
        case Tampering.OTHER_MEMORY:
            return f"{printable(event.target) or 'a process'} ({event.detail})"
        case Tampering.FRAMES | Tampering.MARKS if not event.detail:
            return None
        case Tampering.MEMORY | Tampering.XDP_SOCKET | Tampering.VSOCK_SOCKET:
            return None
        case what:
            names, otherwise = _NAMES[what]
            return names.get(event.detail, otherwise.format(event.detail))


def sentence(event: Tampered) -> str:
    """Describe for people what the process did; the sentence lacks the subject."""
    if event.what is Tampering.FRAMES and event.detail == 0:
        return "made a packet socket before what it sends was stopped in its network"
    if event.what is Tampering.FRAMES and event.detail == errno.EINPROGRESS:
        return (
            "is in a network of many interfaces: not at all of them is what packet sockets send stopped yet"
        )
    if event.what is Tampering.MARKS and event.detail == SHARING_IDS:
        return "has the ids of a job that says something else of itself: each is held to what it says"
    sentences = _SENTENCES | _DENIED if event.is_denied else _SENTENCES
    return sentences[event.what].format(detail_of(event))


def told(event: Tampered, name: str | None) -> str:
    """Describe for people what the process did; `name` is its program's name, None when it isn't known."""
    return printable(f"{name or 'a program'} ({event.process.pid}) {sentence(event)}", limit=500)


def lost_attributes(what: str, names: Sequence[str]) -> dict[str, str | int]:
    """Return the attributes of a log record about lost programs or pins; `what` is a key of LOST."""
    return {"egress.tamper.kind": what, "egress.tamper.detail": _listed(names)}


def lost_sentence(what: str, names: Sequence[str], home: str) -> str:
    """Describe for people what happened to programs of ci-egress, or to their pins in the folder `home`."""
    return f"{LOST[what].format(home=home)}: {_listed(names)}"


def moved_sentence(folder: str) -> str:
    """Describe for people that files of telemetry were moved away from `folder`."""
    told = "files of telemetry were moved away from {}: what is there now may be somebody else's"
    return printable(told.format(folder), limit=500)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED_MAX
    return ", ".join([*names[:_LISTED_MAX], *([f"and {more} more"] if more > 0 else [])])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
