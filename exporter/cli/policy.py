"""`ci-egress policy`: check a policy, ask it what it allows, or draft one from recorded traffic."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.session.messages import Messages

from .groups import Commands
from .options import DOCUMENT, NAME, OTLP_PATH

if TYPE_CHECKING:
    from exporter.policy.decide import Decision
    from exporter.policy.explain import ExplainedAct
    from exporter.policy.model import JobPolicy

_DENIED_STATUS = 1
_WHY_MAX = 400


@click.group("policy", cls=Commands)
def command() -> None:
    """Check a policy, ask it, or draft one.

    \b
    ci-egress policy init ci-egress > policy.yaml       # a draft from what was traced into ./ci-egress
    ci-egress policy check policy.yaml
    ci-egress policy explain policy.yaml github.com:443 --process "bash > git"
    """  # noqa: D301 - click wants a real backspace


@command.command(
    "check",
    short_help="Say what is wrong with FILE, each error with its place.",
    epilog="Exit status: 0 when it is valid, 2 when it isn't.",
)
@click.argument("file", type=DOCUMENT)
def check(file: Path) -> int:
    """Say what is wrong with FILE: every error, as `file:line:column: what; how to fix`.

    In the same way it remarks on sections of `jobs` whose `allow` counts for nobody, since they go by names
    that a job's author chooses, and on so many rules and sections that jobs may fill the kernel's tables.
    Such a file is valid.

    \b
    ci-egress policy check policy.yaml
    """  # noqa: D301 - click wants a real backspace
    from exporter.policy.compile import check_for_kernel, crowding
    from exporter.policy.parse import load_policy
    from exporter.policy.sections import remarks

    policy = load_policy(file)
    check_for_kernel(policy)
    rules = len(policy.rules) + sum(len(section.rules) for section in policy.sections)
    for remark in (*remarks(policy), *crowding(policy)):
        Messages.current().tell_place(str(remark))
    Messages.current().say(
        f"{file} is valid: {_number(rules, 'rule')}, {_number(len(policy.sections), 'section')} for jobs, "
        f"mode {policy.mode.value}"
    )
    return 0


@command.command(
    "explain",
    short_help="Say what FILE does with a connect to DEST, and by which rule.",
    epilog="Exit status: 0 when it is allowed, 1 when it is denied, 2 when FILE or DEST is wrong.",
)
@click.argument("file", type=DOCUMENT)
@click.argument("destination", metavar="DEST")
@click.option(
    "--process",
    "chain",
    metavar="CHAIN",
    help='Executables from the job\'s root on, with > or commas between: "bash > npm > git".',
)
@click.option(
    "--job",
    metavar="[PROVIDER:PROJECT:]PIPELINE[/TASK]",
    type=NAME,
    help="Whose sections of `jobs` count, too; without a project, those for which names are enough.",
)
@click.option("--json", "as_json", is_flag=True, help='{"verdict", "rule", "line", "others"}.')
def explain(file: Path, destination: str, chain: str | None, job: str | None, *, as_json: bool) -> int:
    """Say what FILE does with a connect to DEST, which rule decides, and why others don't.

    DEST is `name`, `name:port`, `address:port`, `[v6]:port`, or one of these behind `udp://`, `tcp://` or
    `icmp://`. Without a port it is 443, without a protocol tcp.

    A name is asked about as such: an address that it leads to may be denied by itself. `localhost`, and what
    is below it, leads to 127.0.0.1. Addresses are asked about as if no name had led there.

    `resolvers: system` stands for those of this machine.

    \b
    ci-egress policy explain policy.yaml registry.example
    ci-egress policy explain policy.yaml github.com:443 --process "bash > git" --job release/build
    ci-egress policy explain policy.yaml upload.example --job github:github.com/octo/app:release/publish
    """  # noqa: D301 - click wants a real backspace
    from exporter.policy.explain import explained, fields, parse_act, parse_chain, parse_who
    from exporter.policy.model import Effect
    from exporter.policy.parse import load_policy

    whole, who, question = load_policy(file), parse_who(job), parse_act(destination)
    policy, decision = explained(whole, who, question, parse_chain(chain))
    if as_json:
        print(json.dumps(fields(decision)))  # noqa: T201 - it is what was asked for
    else:
        show(question, policy, decision)
    return 0 if decision.effect is Effect.ALLOW else _DENIED_STATUS


@command.command(
    "init",
    short_help="Draft a policy from what was traced.",
    epilog="Exit status: 0; 2 when a PATH can't be read or isn't of `run --otlp-dir`, or none has egress.",
)
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=OTLP_PATH)
def init(paths: tuple[Path, ...]) -> int:
    """Draft a policy from OTLP files or folders, as `run --otlp-dir` writes them; it goes to stdout.

    A folder is searched with all below it.

    It allows each destination that was met, with how often and by which chains of processes beside it.

    \b
    ci-egress policy init ci-egress > policy.yaml
    ci-egress policy init runs/1207 runs/1208 > policy.yaml
    """  # noqa: D301 - click wants a real backspace
    from exporter.baseline.policy_draft import draft
    from exporter.common.console import print_lines
    from exporter.common.errors import UsageError
    from exporter.otlp.reading.files import egress_spans_in, span_files

    files, say = span_files(paths), Messages.current().say
    made = draft(span.attributes for file in files for span in egress_spans_in(file, say=say))
    if made.is_empty:  # as a policy it would deny everything
        raise UsageError(
            f"no egress span, as traces.jsonl has them, in {', '.join(map(str, paths))}",
            hint="name files or folders that `ci-egress run --otlp-dir` wrote of a job that connects",
        )
    print_lines(*made.lines())
    return 0


def show(question: ExplainedAct, policy: JobPolicy, decision: Decision) -> None:
    """Print the verdict and its rule, then the other rules for the destination."""
    from rich.table import Table
    from rich.text import Text

    from exporter.common.console import printing
    from exporter.common.text import printable
    from exporter.policy.decide import may_ask
    from exporter.policy.explain import verdict_line
    from exporter.policy.model import Effect

    table = Table.grid(padding=(0, 2, 0, 0))
    for other in decision.others:
        place = f"line {other.rule.line}" if other.rule.line else ""
        why_not = Text(printable(other.why_not, limit=_WHY_MAX))
        table.add_row("not", Text(printable(other.rule.text)), place, why_not)
    with printing(sys.stdout) as console:
        console.print(Text(verdict_line(question, policy.mode, decision)), soft_wrap=True)
        if decision.others:
            console.print(table)
        is_open = decision.effect is Effect.ALLOW and bool(question.names)
        if is_open and any(rule.is_final for rule in policy.rules):
            console.print("An address that it leads to may be denied by itself: ask about that, too.")
        if question.names and policy.lookups.are_refused:
            may = all(may_ask(policy, name) for name in question.names)
            console.print(f"Resolvers {'may be' if may else 'are not'} asked for it: `dns: deny`.")


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
