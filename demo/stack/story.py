"""The demo's story: servers → runs 1 and 2 → baseline → run 3 → span in Jaeger → alert → policy → run 4."""

from __future__ import annotations

import signal
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from demo.job import COMMAND
from demo.names import JOB_TOKEN
from demo.paths import shown
from demo.sites import Beacon, UnreachableBeacon
from demo.stack.asking import NOVEL_DESTINATION, wait_for_alert, wait_for_span
from demo.stack.interrupts import scratch_folder, undisturbed_ending
from demo.stack.runs import Pipeline, destination
from demo.stack.servers import running_stack
from exporter.common.errors import CiEgressError
from exporter.common.text import printable
from exporter.pipeline.alerts import OTHER_CHAINS, UNLISTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from demo.sites import Request
    from demo.stack.runs import Novel
    from demo.stack.servers import Stack
    from demo.trace import Span

_INTERVAL_S = 1.0
"""Seconds between scrapes and evaluations."""
_NS_PER_S = 1e9
_TEXT_WIDTH = 102
_VALUE_MAX = 1000

STARTING = "A collector, Jaeger, Prometheus and Alertmanager start on free ports of this machine's loopback."
HONEST = "Runs 1 and 2: the packages that the pipeline always had"
LEARNT = "What they connected to is the baseline of the pipeline"
POISONED = (
    "Run 3: somebody took over pretty-prompt and published 2.0.1. The project asks for ^2.0.0, so the same"
    " commit installs it now"
)
EXPORTED = "The baseline is a policy, too"
ENFORCED = "Run 4: the same commit, with that policy enforced. The poisoned release is installed once more"
THEFT = "Of run 3 the beacon got {before} requests, one with the job's token; of run 4, which went on, {now}."
NEXT_STEPS = """
Next: the alert tells which pipeline and where to, the trace which step, install script and command.
  docs/runbooks.md           what to do about the alert
  docs/baseline.md           from a first run to a policy, with pipelines of your own
  docs/enforcement.md        when to let it deny, and the way back"""
PAGELESS = "The pages are placeholders: this Jaeger was built without its own."
KEPT = """
The servers keep running for a look around. deploy/compose.yaml starts a Jaeger that has its page.
Ctrl-C stops them."""
ELSEWHERE = """\
  make demo-stack KEEP=1     all of it from the beginning, and then the servers keep running, so that
                             the links lead somewhere (those above don't any more)"""


def tell(console: Console, folder: Path, *, is_kept: bool) -> None:
    """Run the story on real servers, which end with it. Raises CiEgressError when it goes otherwise."""
    console.print(STARTING)
    with (
        scratch_folder() as scratch,
        running_stack(scratch / "servers", interval_s=_INTERVAL_S) as stack,
        undisturbed_ending(),
    ):
        _list_servers(console, stack)
        pipeline = Pipeline(folder, scratch, stack.ports["otlp_http"])
        pipeline.clear()
        _learn(console, pipeline)
        _head(console, POISONED)
        stolen = _run(console, pipeline, 3, "--baseline", pipeline.baseline, beacon=Beacon())
        _show_novel(console, stack, pipeline.novel(3))
        _enforce(console, stack, pipeline, stolen)
        console.print(NEXT_STEPS, soft_wrap=True)
        if is_kept:
            _keep(console)
        else:
            console.print(ELSEWHERE)
    console.print("\nThe servers are stopped, and nothing of them is left.")


def _list_servers(console: Console, stack: Stack) -> None:
    urls = {
        "collector": stack.otlp_http_url,
        "Jaeger": stack.jaeger_url,
        "Prometheus": stack.prometheus_url,
        "Alertmanager": stack.alertmanager_url,
    }
    for name, url in urls.items():
        console.print(f"  {name:14}{url}")


def _learn(console: Console, pipeline: Pipeline) -> None:
    _head(console, HONEST)
    for number in (1, 2):
        _run(console, pipeline, number)
    _head(console, LEARNT)
    runs = (pipeline.otlp_dir(1), pipeline.otlp_dir(2))
    _have_baseline(console, pipeline, "learn", *runs, "--output", pipeline.baseline)
    console.print(pipeline.baseline.read_text().rstrip())


def _enforce(console: Console, stack: Stack, pipeline: Pipeline, stolen: Sequence[Request]) -> None:
    _head(console, EXPORTED)
    _have_baseline(console, pipeline, "export", pipeline.baseline, "--output", pipeline.policy)
    _head(console, ENFORCED)
    beacon = UnreachableBeacon(pipeline.otlp_dir(4) / "logs.jsonl")
    got = _run(console, pipeline, 4, "--policy", pipeline.policy, "--enforce", beacon=beacon)
    denied = pipeline.denied(4)
    has_token = any(JOB_TOKEN in request.authorization for request in stolen)
    if got or not has_token or not denied:
        numbers = f"{len(stolen)} requests of run 3 and {len(got)} of run 4, which was denied {len(denied)}"
        raise CiEgressError(f"not as told: the beacon got {numbers}")
    _head(console, "What was denied, and its span in Jaeger")
    for span in denied:
        _show_denied(console, stack, span)
    console.print(f"  {THEFT.format(before=len(stolen), now=len(got))}")


def _have_baseline(console: Console, pipeline: Pipeline, command: str, *arguments: str | Path) -> None:
    _show_command(console, "baseline", command, *arguments)
    pipeline.have_baseline(command, *arguments)


def _run(
    console: Console, pipeline: Pipeline, number: int, *options: str | Path, beacon: Beacon | None = None
) -> Sequence[Request]:
    """Run the pipeline, and show its command. Returns the requests that the beacon got."""
    options = (*options, "--otlp-dir", pipeline.otlp_dir(number))
    _show_command(console, "run", *options, "--", COMMAND)
    return pipeline.run(number, *options, beacon=beacon)


def _show_novel(console: Console, stack: Stack, novel: Sequence[Novel]) -> None:
    if not novel:
        raise CiEgressError("run 3 connected to nothing that the baseline doesn't have")
    _head(console, "What the baseline doesn't have, and its span in Jaeger")
    for each in novel:
        _show_span(console, stack, each)
    console.print(f"  {PAGELESS}")
    _head(console, f"What fires in Alertmanager: {NOVEL_DESTINATION}")
    for each in novel:
        _show_alert(console, stack, each)


def _show_span(console: Console, stack: Stack, novel: Novel) -> None:
    why = OTHER_CHAINS if novel.is_known_otherwise else UNLISTED
    _show(console, f"{novel.destination}: {why}", _facts(stack, novel.span))


def _show_denied(console: Console, stack: Stack, span: Span) -> None:
    told = span.attributes
    why = f"denied, rule {told['egress.rule']} of {told['security_rule.ruleset.name']}"
    _show(console, f"{destination(told)}: {why}", _facts(stack, span))


def _facts(stack: Stack, span: Span) -> dict[str, str]:
    links = wait_for_span(stack.jaeger_url, span)
    told = span.attributes
    return {
        "command": told["process.command_line"],
        "chain": " > ".join(told["egress.lineage"]),
        "as JSON": links.trace,
        "page": links.page,
    }


def _show_alert(console: Console, stack: Stack, novel: Novel) -> None:
    alert = wait_for_alert(stack.alertmanager_url, novel.destination, is_inhibited=novel.is_lookup)
    if novel.is_lookup:
        console.print(f"  That of {printable(str(novel.destination))} is inhibited by it: one page, not two.")
        return
    after_s = alert.seen_at_s - novel.span.started_ns / _NS_PER_S
    links = {name: text for name, text in alert.annotations.items() if name.endswith("_url")}
    facts = {"seen": f"{after_s:.1f} s after the connect", **alert.labels, **links}
    _show(console, alert.annotations["summary"], facts)


def _show(console: Console, what: str, facts: Mapping[str, str]) -> None:
    console.print(f"  {printable(what)}", style="bold red", soft_wrap=True)
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        console.print(f"    {name:{width}}{printable(value, limit=_VALUE_MAX)}", soft_wrap=True)


def _keep(console: Console) -> None:
    console.print(KEPT)
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        signal.pause()


def _head(console: Console, text: str) -> None:
    console.print(Text("\n" + textwrap.fill(text, _TEXT_WIDTH), style="bold"))


def _show_command(console: Console, *arguments: str | Path) -> None:
    words = (shown(each) if isinstance(each, Path) else each for each in arguments)
    console.print(f"\n$ ci-egress {' '.join(words)}", style="bold", soft_wrap=True)
    sys.stdout.flush()  # the command's output comes after it
