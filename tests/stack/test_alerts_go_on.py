"""What becomes of the alert on a novel destination when its daemon goes on, and when others end."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import yaml

from demo.stack.servers import Stack, running_stack
from exporter.kernel.pins import remove
from tests.kernel.lab import V4, V6, Lab
from tests.kernel.running_exporter import instance_of, running
from tests.kernel.watching import Runner, watching
from tests.stack.apis import Jaeger
from tests.stack.builds import KNOWN, baseline_of, connecting, telemetry, variables
from tests.stack.conftest import wait_until
from tests.stack.pager import taking_pages
from tests.stack.pipeline_signals import ALERT, Told, wait_until_scraping

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from tests.kernel.watching import Step
    from tests.stack.pager import Pages

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(900)]  # the first one may wait for the servers' build

PATH = {"PATH": os.environ.get("PATH", os.defpath)}
HURRIED = {"5m": "10s", "6h": "12m", "1h": "8s"}
"""Windows of the alert's rules, and how long it goes on firing, so that a test can wait for the end of it."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def runner() -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@contextmanager
def hurried_stack(folder: Path) -> Iterator[tuple[Stack, Pages]]:
    """Servers of their own, whose alert on novel destinations looks back for seconds instead of minutes."""
    others = ("jaeger", "collector", "alertmanager")
    with taking_pages() as pages, running_stack(folder, webhook_url=pages.url, servers=others) as stack:
        assert stack.prometheus.configure is not None
        rules = folder / "prometheus/alerts.yaml"
        stack.prometheus.configure = partial(hurry, stack.prometheus.configure, rules)
        stack.prometheus.start()
        yield stack, pages


def hurry(configure: Callable[[], None], rules: Path) -> None:
    """Write Prometheus's files as ever, and the windows of the one alert and of what it reads anew."""
    configure()
    config = yaml.safe_load(rules.read_text())
    (group,) = (group for group in config["groups"] if group["rules"][-1].get("alert") == ALERT)
    for rule in group["rules"]:
        rule["expr"] = re.sub(r"(?<=[ \[])(5m|6h)\b", lambda window: HURRIED[window[0]], rule["expr"])
        if "alert" in rule:
            rule["keep_firing_for"] = HURRIED[rule["keep_firing_for"]]
    rules.write_text(yaml.safe_dump(config))


def own(pipeline: str) -> str:
    """A pipeline that no other run of the tests has: a watch sees the jobs of the whole host."""
    return f"{pipeline}-{os.getpid()}"


def step(lab: Lab, pipeline: str, run: str, *addresses: str, then: str = "") -> Step:
    """A job that connects to what is known, and then to further addresses."""
    command = lab.command(connecting(*KNOWN, *addresses, then=then))
    return {**PATH, **variables(pipeline, f"{pipeline}-{run}")}, [str(part) for part in command]


def test_with_a_daemon_the_alert_fires_once_and_ends_while_its_counter_stays(
    lab: Lab, runner: Runner, tmp_path: Path
) -> None:
    poisoned, unchanged = own("mobile/poisoned"), own("mobile/unchanged")
    options = ("--baseline", str(baseline_of(lab, tmp_path, poisoned, unchanged)))
    with (
        hurried_stack(tmp_path / "stack") as (stack, pages),
        watching(tmp_path, *options, env=telemetry(stack)) as watch,
    ):
        told, other = Told(stack, pages, poisoned), Told(stack, pages, unchanged)
        runner.run(step(lab, poisoned, "first"), step(lab, unchanged, "first"))
        runner.run(step(lab, poisoned, "second", V4.evil), step(lab, unchanged, "second"))
        told.wait_until_paged("firing", "resolved")
        assert watch.process.poll() is None
        assert (told.counted(), told.alerts) == (1, [])

        runner.run(step(lab, poisoned, "third"), step(lab, unchanged, "third"))
        told.wait_until_counted(3 * len(KNOWN), is_novel=False)
        stack.collector.kill()
        stack.collector.start()
        told.wait_until_scraped(2)
        told.wait_for_evaluations()
        assert (told.counted(), told.paged) == (1, ["firing", "resolved"])
        assert other.counted(is_novel=False) == 3 * len(KNOWN)
        assert (other.raised, other.paged) == ([], [])
        assert watch.stop().status == 0


def test_a_collector_that_restarts_and_a_daemon_that_is_killed_page_nobody_again(
    lab: Lab, stack: Stack, pages: Pages, runner: Runner, tmp_path: Path
) -> None:
    told = Told(stack, pages, own("mobile/watched"))
    wait_until_scraping(stack)
    options = ("--baseline", str(baseline_of(lab, tmp_path, told.pipeline)))
    with watching(tmp_path, *options, env=telemetry(stack)) as watch:
        runner.start(step(lab, told.pipeline, "first", V6.evil, then="exec sleep 1000"))
        assert_is_told(told)
        stack.collector.kill()
        stack.collector.start()
        assert_is_told_as_it_was(told)
        kill(watch.process)
    assert_is_told_as_it_was(told)


def test_what_a_run_told_before_it_was_killed_is_there_and_paged_once(
    lab: Lab, stack: Stack, pages: Pages, tmp_path: Path
) -> None:
    told = Told(stack, pages, "mobile/killed")
    wait_until_scraping(stack)
    options = ("--baseline", str(baseline_of(lab, tmp_path, told.pipeline)))
    env = variables(told.pipeline, "killed") | telemetry(stack) | {"STATE_DIRECTORY": str(tmp_path / "state")}
    job = lab.command(connecting(*KNOWN, V6.evil, then="read"))
    with running(job, tmp_path / "otlp", *options, env=env) as run:
        assert_is_told(told)
        kill(run.process)
    assert_is_told_as_it_was(told)


def kill(exporter: subprocess.Popen[Any]) -> None:
    """Kill it, and remove what it left in the kernel."""
    instance = instance_of(exporter.pid)
    exporter.kill()
    exporter.wait()
    remove(instance)


def assert_is_told(told: Told) -> None:
    """While the job runs: at once in the log, which leads to the span; then counted, and paged."""
    wait_until(lambda: bool(told.log_records))
    (record,) = told.log_records
    jaeger = Jaeger(told.stack.jaeger_url)

    def has_span() -> bool:
        trace = jaeger.trace(record["traceId"])
        spans = {span.span_id: span for span in trace.spans} if trace else {}
        return record["spanId"] in spans and spans[record["spanId"]].tags["egress.novel"] is True

    wait_until(has_span)
    told.wait_until_paged("firing")
    assert told.counted() == 1


def assert_is_told_as_it_was(told: Told) -> None:
    """Nothing is gone, nothing came twice, and the alert is the same one."""
    told.wait_until_scraped()
    told.wait_for_evaluations()
    (alert,), (raised,) = told.alerts, told.raised
    assert alert.started_s == pytest.approx(raised.moments_s[0], abs=0.001)
    assert alert.state == "active"
    assert (told.counted(), told.paged, len(told.log_records)) == (1, ["firing"], 1)
