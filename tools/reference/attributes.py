"""What attributes of spans and log records mean: the code has their names, this table the words for them.

`spans.text` refuses to write a page when the code has a name that isn't here, or the other way round.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_EXPORTER = Path(__file__).parents[2] / "exporter"
_NAMESPACES = "cicd|container|dns|egress|error|host|network|process|security_rule|server|service|vcs"
_NAME = re.compile(rf"\"((?:{_NAMESPACES})\.[a-z][a-z_.]*[a-z])\"")
_MAKERS = ("pipeline/spans.py", "otlp/attributes.py", "jobs/attributes.py", "otlp/telemetry.py")
"""Modules in which every name in quotes that _NAME matches is an attribute of a span or of its resource."""

STRING, INT, BOOL, STRINGS = "string", "int", "bool", "string[]"


class Attribute(NamedTuple):
    """An attribute of spans."""

    name: str
    type: str
    meaning: str
    example: str


JOB = (
    Attribute("cicd.pipeline.name", STRING, "the pipeline, as the CI system calls it", "release"),
    Attribute("cicd.pipeline.run.id", STRING, "its run, without the attempt", "1207"),
    Attribute("cicd.pipeline.task.name", STRING, "the job within the pipeline", "build"),
    Attribute("cicd.pipeline.task.run.id", STRING, "the job's own id", "4811"),
    Attribute(
        "egress.job.attempt", STRING, "which attempt at the run it is, where the CI system counts them", "2"
    ),
)
"""Attributes of every span of a job, as far as the CI system names them."""

PROGRAM = (
    Attribute(
        "egress.attribution",
        STRING,
        "how the job is known: `lineage` (it descends from the job's root), "
        "`environment` (the root of a job that `watch` found), `container` or `host` (it belongs to no job, "
        "or "
        "to the one that has the whole machine)",
        "lineage",
    ),
    Attribute(
        "egress.job.step",
        STRING,
        "the step as GitHub, Gitea and Forgejo call it, by what its root was executed with",
        "__run_2",
    ),
    Attribute("process.pid", INT, "the host's number, also of a process in a pid namespace", "3127"),
    Attribute(
        "process.parent_pid", INT, "the kernel's parent at that moment, which reparenting changes", "3120"
    ),
    Attribute(
        "process.executable.name",
        STRING,
        "the file's name, whatever was typed: `dash` for a shell script",
        "curl",
    ),
    Attribute("process.executable.path", STRING, "its path in its own mount namespace", "/usr/bin/curl"),
    Attribute(
        "process.command_line",
        STRING,
        "the command as one could type it; what looks like a secret is `<redacted>`",
        "curl -fsS http://git.example/app.tar",
    ),
    Attribute(
        "process.command_args",
        STRINGS,
        "the same as executed, 32 KiB at most: a script's begins with its interpreter",
        "curl, -fsS, …",
    ),
    Attribute(
        "process.working_directory",
        STRING,
        "of processes that still live some milliseconds later",
        "/builds/app",
    ),
    Attribute("container.id", STRING, "of what runs in a container", "4f1c9a…"),
    Attribute(
        "egress.lineage",
        STRINGS,
        "executables from the job's root to this process, by who created whom; 64 at most",
        "dash, python3.11, curl",
    ),
    Attribute(
        "egress.ancestors",
        STRINGS,
        "command lines of the same, root first, without this process",
        "/bin/sh ./ci.sh, …",
    ),
    Attribute(
        "egress.truncated",
        STRINGS,
        "names of attributes that aren't whole: text is cut at 8 KiB",
        "process.command_line",
    ),
)
"""Attributes of the spans of programs and of what they did."""

PROGRAM_ALONE = (
    Attribute("process.exit.code", INT, "as a shell counts it: 128+n when signal n ended it", "0"),
)

EGRESS = (
    Attribute(
        "server.address",
        STRING,
        "the name that this job had resolved to the address, else the address; of a Unix socket, its name",
        "git.example",
    ),
    Attribute("server.port", INT, "missing for protocols without ports", "443"),
    Attribute(
        "network.peer.address",
        STRING,
        "where it really goes; IPv4-mapped IPv6 as IPv4; a Unix socket's name, `@name` if it is abstract",
        "198.51.100.10",
    ),
    Attribute("network.peer.port", INT, "the port there", "443"),
    Attribute("network.local.address", STRING, "this end's, where it is known", "192.0.2.7"),
    Attribute("network.local.port", INT, "the same", "40112"),
    Attribute(
        "network.transport",
        STRING,
        "the IANA keyword in lower case: `tcp`, `udp`, `udplite`, `icmp`, `ipv6-icmp`, `sctp`, …; or `unix`",
        "tcp",
    ),
    Attribute("network.type", STRING, "`ipv4` or `ipv6`", "ipv4"),
    Attribute("dns.question.name", STRING, "what a lookup asks for, on the lookup's own span", "git.example"),
    Attribute(
        "egress.dns.questions",
        INT,
        "how many questions the lookup's connection or socket asked of that resolver, also those that were"
        " refused, which have spans of their own; missing of one",
        "2",
    ),
    Attribute(
        "egress.dns.names",
        STRINGS,
        "the names that they ask for, each once, the first 32, and of 1,024 characters in all; missing of one"
        " name",
        "git.example, registry.example",
    ),
    Attribute("process.owner", STRING, "the user, by name where the host has one", "runner"),
    Attribute(
        "egress.attempts",
        INT,
        "how many acts it stands for; more than 1 where repeats were only counted, 0 where only more bytes of"
        " theirs came",
        "1",
    ),
    Attribute(
        "egress.outcome",
        STRING,
        "what became of it (below); missing where that isn't known, as of a connected UDP socket",
        "established",
    ),
    Attribute(
        "error.type",
        STRING,
        "the errno's name: `EPERM` of what was denied, else why it failed",
        "ECONNREFUSED",
    ),
    Attribute(
        "egress.bytes_sent",
        INT,
        "payload: of TCP, when the connection is over; of UDP, what left until its socket acted again, or was"
        " closed. Missing of other protocols, and where it isn't known",
        "259",
    ),
    Attribute(
        "egress.bytes_received",
        INT,
        "the same, the other way; to UDP, what came from `network.peer.address` and its port",
        "1400",
    ),
    Attribute("egress.rtt_us", INT, "the smoothed round-trip time, in microseconds", "180"),
    Attribute(
        "egress.verdict",
        STRING,
        "`allow`, `audit` (it would be denied) or `deny`; `allow` without a policy",
        "allow",
    ),
    Attribute("egress.mode", STRING, "the job's: `audit` or `enforce`; missing without a policy", "audit"),
    Attribute(
        "egress.rule",
        STRING,
        "the rule as the file has it; `default` where none matched, `answer` for a "
        "server's reply to who asked it, `nothing sent` for a datagram socket that connects where TCP may, "
        "`dns: deny` for a question that was refused",
        "git.example:443",
    ),
    Attribute("security_rule.name", STRING, "the same, for tools that know this name", "git.example:443"),
    Attribute(
        "security_rule.ruleset.name", STRING, "where the rule stands: the file, or the option", "policy.yaml"
    ),
    Attribute(
        "egress.novel", BOOL, "with a baseline: whether the job's task isn't known to do that", "false"
    ),
)
"""Attributes of the spans of what programs did."""

RESOURCE = (
    Attribute("service.name", STRING, "`ci-egress`, or OTEL_SERVICE_NAME", "ci-egress"),
    Attribute("service.version", STRING, "of ci-egress", "0.1.0"),
    Attribute("service.instance.id", STRING, "of each start of ci-egress another one", "8f14e45f-…"),
    Attribute("host.name", STRING, "the machine", "runner-7"),
    Attribute("cicd.worker.name", STRING, "the runner", "runner-7.example"),
    Attribute(
        "cicd.pipeline.run.url.full",
        STRING,
        "the run's page",
        "https://gitlab.example/shop/checkout/-/pipelines/1207",
    ),
    Attribute("vcs.owner.name", STRING, "whose repository it is", "shop"),
    Attribute("vcs.repository.name", STRING, "the repository", "checkout"),
    Attribute(
        "vcs.repository.url.full",
        STRING,
        "its page, without credentials",
        "https://gitlab.example/shop/checkout",
    ),
    Attribute("vcs.ref.head.name", STRING, "the branch or tag", "main"),
    Attribute("vcs.ref.head.type", STRING, "`branch` or `tag`", "branch"),
    Attribute("vcs.ref.head.revision", STRING, "the commit", "5f0c3bd8…"),
)
"""Attributes of the resource, beside those of `JOB` and of OTEL_RESOURCE_ATTRIBUTES."""

ALL = (*JOB, *PROGRAM, *PROGRAM_ALONE, *EGRESS, *RESOURCE)


def in_code() -> frozenset[str]:
    """Return the names that the exporter gives to attributes of spans and resources."""
    texts = ((_EXPORTER / maker).read_text(encoding="utf-8") for maker in _MAKERS)
    return frozenset(name for text in texts for name in _NAME.findall(text))


def check() -> None:
    """Raise SystemExit where the table and the code don't have the same names."""
    described = {attribute.name for attribute in ALL}
    if len(described) != len(ALL):
        raise SystemExit("tools/reference/attributes.py describes a name twice")
    for name in sorted(in_code() - described):
        raise SystemExit(f"tools/reference/attributes.py doesn't say what {name} is")
    for name in sorted(described - in_code()):
        raise SystemExit(f"tools/reference/attributes.py describes {name}, which no span has")
