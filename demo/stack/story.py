"""The demo's story: servers → runs 1 and 2 → baseline → run 3 → its span in Jaeger → the alert."""

from __future__ import annotations

import signal
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from demo.console import shown
from demo.job import CI_EGRESS, COMMAND
from demo.stack.asking import NOVEL_DESTINATION, wait_for_alert, wait_for_span
from demo.stack.interrupts import scratch_folder, undisturbed_ending
from demo.stack.runs import Pipeline
from demo.stack.servers import running_stack
from exporter.errors import CiEgressError
from exporter.novelties import OTHER_CHAINS, UNLISTED
from exporter.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from demo.stack.runs import Novel
    from demo.stack.servers import Stack

_INTERVAL_S = 1.0
"""Between scrapes and evaluations."""
_NS_PER_S = 1e9
_TEXT_WIDTH = 102

STARTING = "A collector, Jaeger, Prometheus and Alertmanager start on free ports of this machine's loopback."
HONEST = "Runs 1 and 2: the packages that the pipeline always had"
LEARNT = "What they connected to is the baseline of the pipeline"
POISONED = (
    "Run 3: somebody took over pretty-prompt and published 2.0.1. The project asks for ^2.0.0, so the same"
    " commit installs it now"
)
NEXT_STEPS = """
Next: the alert tells which pipeline and where to, the trace which step, install script and command.
  docs/runbooks.md                what to do about the alert
  {ci_egress} baseline export {baseline} --output policy.yaml
                                  a policy that denies the beacon: docs/policy.md"""
KEPT = """
The servers keep running for a look around. This Jaeger was built without its page: what is
under JSON is all that it would show, and deploy/compose.yaml starts one that has it. Ctrl-C stops them."""
ELSEWHERE = (
    "  make demo-stack KEEP=1          keeps the servers running, so that the links above lead somewhere"
)


def tell(console: Console, folder: Path, *, is_kept: bool) -> None:
    """Tell it on real servers, which end with it. Raises CiEgressError when something isn't as told."""
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
        _run(console, pipeline, 3, "--baseline", pipeline.baseline)
        _show_novel(console, stack, pipeline.novel(3))
        steps = NEXT_STEPS.format(ci_egress=shown(CI_EGRESS), baseline=shown(pipeline.baseline))
        console.print(steps, soft_wrap=True)
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
    arguments = (pipeline.otlp_dir(1), pipeline.otlp_dir(2), "--output", pipeline.baseline)
    _show_command(console, "baseline", "learn", *arguments)
    pipeline.learn(map(str, arguments))
    console.print(pipeline.baseline.read_text().rstrip())


def _run(console: Console, pipeline: Pipeline, number: int, *options: str | Path) -> None:
    options = (*options, "--otlp-dir", pipeline.otlp_dir(number))
    _show_command(console, "run", *options, "--", COMMAND)
    pipeline.run(number, map(str, options), is_poisoned=number == 3)


def _show_novel(console: Console, stack: Stack, novel: Sequence[Novel]) -> None:
    if not novel:
        raise CiEgressError("run 3 connected to nothing that the baseline doesn't have")
    _head(console, "What the baseline doesn't have, and its span in Jaeger")
    for each in novel:
        _show_span(console, stack, each)
    _head(console, f"What fires in Alertmanager: {NOVEL_DESTINATION}")
    for each in novel:
        _show_alert(console, stack, each)


def _show_span(console: Console, stack: Stack, novel: Novel) -> None:
    links = wait_for_span(stack.jaeger_url, novel.span)
    told = novel.span.attributes
    why = OTHER_CHAINS if novel.is_known_otherwise else UNLISTED
    facts = {
        "command": told["process.command_line"],
        "chain": " > ".join(told["egress.lineage"]),
        "Jaeger": links.page,
        "as JSON": links.trace,
    }
    _show(console, f"{novel.destination}: {why}", facts)


def _show_alert(console: Console, stack: Stack, novel: Novel) -> None:
    alert = wait_for_alert(stack.alertmanager_url, novel.destination, is_inhibited=novel.is_lookup)
    if novel.is_lookup:
        console.print(f"  That of {printable(str(novel.destination))} is inhibited by it: one page, not two.")
        return
    after_s = alert.seen_at_s - novel.span.started_ns / _NS_PER_S
    facts = {"seen": f"{after_s:.1f} s after the connect", **alert.labels}
    _show(console, alert.annotations["summary"], facts)


def _show(console: Console, what: str, facts: Mapping[str, str]) -> None:
    console.print(f"  {printable(what)}", style="bold red", soft_wrap=True)
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        console.print(f"    {name:{width}}{printable(value)}", soft_wrap=True)


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
    sys.stdout.flush()  # what it prints comes behind
