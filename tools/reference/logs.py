"""`docs/reference/logs.md`: log records, which go out at once."""

from __future__ import annotations

from typing import NamedTuple

from exporter.otlp.records import Severity
from exporter.pipeline import event_log, tampering
from exporter.session.guards import steering
from tools.reference.pages import code, codes, page, plain, table

_SPAN = "those of the [egress span](spans.md), but `egress.attempts`"


class Record(NamedTuple):
    """One kind of record."""

    name: str
    meaning: str
    attributes: tuple[str, ...]
    """Its own attributes; empty where it has those of an egress span."""

    @property
    def severity(self) -> Severity:
        """The severity that the exporter sends it with."""
        return event_log.SEVERITIES[self.name]


RECORDS = (
    Record(
        event_log.NOVEL,
        "something that the baseline doesn't have, once for each destination and chain of a job",
        (),
    ),
    Record(
        event_log.WOULD_DENY,
        "what the policy would deny in mode `enforce`, the first time that a program meets the destination",
        (),
    ),
    Record(event_log.DENIED, "what it denied, likewise", ()),
    Record(
        event_log.TAMPER,
        "something aimed at the tracing, or that gets round it",
        ("egress.tamper.kind", "egress.tamper.detail", "egress.tamper.attempts", "egress.verdict"),
    ),
    Record(
        event_log.LOSS,
        "attempts got lost: one for each kind of loss and second",
        ("egress.stage", "error.type", "egress.attempts"),
    ),
    Record(
        event_log.ADOPTED,
        "`watch --adopt` went on where another watch was killed",
        ("egress.instance", "egress.jobs", "egress.attempts.waiting", "egress.attempts.lost"),
    ),
)
_INTRODUCTION = (
    "An alert shouldn't wait for a span to end: these are sent at once, in the trace of the job that they "
    "are about. The "
    "name is the record's `event_name`, the body says it in a sentence. The resource is that of "
    "[spans](spans.md#the-resource). Of what happens again and again, 4,096 of a job have a record; spans "
    "and metrics "
    "tell of all."
)
_KINDS = {
    "packet_socket": "a job made a packet socket, whose frames aren't seen; detail: the frames' protocol",
    "xdp_socket": "the same of an XDP socket",
    "vsock_socket": "a job made a socket to the host of a virtual machine; what it sends isn't seen",
    "marks": "what may be a step has a CI system's variable `blanked`, or has variables of several or of "
    "another one than its [agent's](../watch.md#agents) (`contradicting`): whose it is isn't known, and it "
    "stays held to the strictest policy; or it has the `ids` of a job that says something else of itself: "
    "then it is another job",
    "frames": "frames that should be stopped can't be, or weren't yet; detail: the errno, if there is one",
    "bpf": "a job called bpf(2); detail: the command",
    "signal": "a job sent a signal to ci-egress; detail: which",
    "ptrace": "a job called ptrace(2) on ci-egress; detail: the request",
    "memory": "a job reached for ci-egress's memory, or began to trace it",
    "other_memory": "a job reached for the memory or the descriptors of a process that it didn't start, or "
    "began to trace it; detail: its name and pid",
    "detached": "programs of ci-egress were detached; detail: which",
    "replaced": "programs of ci-egress were replaced; detail: which",
    "unpinned": "pins of ci-egress were removed; detail: which",
    "moved": "files of telemetry were moved out of `--otlp-dir`, or with it, by who needn't be root: what is "
    "there now may be somebody else's",
    "policy": "the mode that is in force was changed other than by `ci-egress enforce`; with --end-folder, "
    "by that as well",
    "stopped": "with --end-folder, `ci-egress stop` was called",
    "end": "with --end-folder, the end was asked for without the token, or the agent that had started the "
    "job is gone, and the watch ends by itself",
    "fault": "something went wrong in a watch, as where a job takes all that a limit leaves to both; "
    "it goes on, and what is denied stays denied",
    "held_up": "so many processes let whoever reads about them in /proc wait that nothing is read about "
    "others until these end: attributes are missing, and what is denied stays denied",
}


def text() -> str:
    """Return the page. Raises SystemExit where the code has kinds that nobody described."""
    _check()
    records = [
        [
            code(record.name),
            record.severity.name,
            plain(record.meaning),
            codes(record.attributes) or _SPAN,
        ]
        for record in RECORDS
    ]
    kinds = [[code(kind), plain(meaning)] for kind, meaning in _KINDS.items()]
    return page(
        "Log records",
        _INTRODUCTION,
        table(["event", "severity", "", "attributes"], records),
        "## Tampering",
        "Records of what a process did have the attributes of its [program](spans.md#who) besides, and "
        "`egress.verdict` `deny` if the kernel refused it under an enforced policy.",
        table(["`egress.tamper.kind`", ""], kinds),
        "What to do about each of these is in the [runbooks](../runbooks.md); what root can do, and which of "
        "it is told, "
        "in [the threat model](../threat-model.md#what-root-can-still-do).",
    )


def _check() -> None:
    in_code = {
        *tampering.KINDS.values(),
        *tampering.LOST,
        tampering.END,
        tampering.MOVED,
        tampering.FAULT,
        tampering.HELD_UP,
        steering.POLICY,
        steering.STOPPED,
    }
    if in_code != _KINDS.keys():
        raise SystemExit(f"tools/reference/logs.py and the code differ in {sorted(in_code ^ _KINDS.keys())}")
