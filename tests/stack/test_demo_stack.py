"""`make demo-stack` tells its story on the real servers, and leaves nothing of it, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest
import urllib3

from demo import names
from demo.trace import Span, read_spans
from exporter.baseline.parse import load_baseline
from tests.checkout import ROOT
from tests.launch import PYTHON_NAME, ci_egress
from tests.stack.apis import Alertmanager, get
from tests.stack.conftest import wait_until
from tools.pictures.chromium import chromium, is_picture, picture
from tools.pictures.jaeger import waterfall
from tools.pictures.terminal import terminal_svg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(900)]  # the first one may wait for the servers' build

COMMAND = (sys.executable, "-m", "demo.stack")
WITHIN_S = 800.0
"""The servers may have to be built, and a whole story to be told."""
INTERRUPTED_STATUS = 130
PINS = Path("/sys/fs/bpf/ci-egress")
KEPT = "Ctrl-C stops them."

SHELL = Path("/bin/sh").resolve().name
POSTINSTALL = (SHELL, PYTHON_NAME, SHELL, SHELL)

BASELINE = {
    (names.RESOLVER, 53, "udp"): {(SHELL, "curl"), (SHELL, PYTHON_NAME)},
    ("git.example", 80, "tcp"): {(SHELL, "curl")},
    ("metrics.example", 8125, "udp"): {(SHELL, PYTHON_NAME, PYTHON_NAME)},
    ("mirror.example", 80, "tcp"): {(SHELL, "curl")},
    ("registry.example", 80, "tcp"): {(SHELL, PYTHON_NAME)},
}
"""What the pipeline connects to when nobody has poisoned its packages, and by which chains."""
NOVEL = Counter(
    {
        (names.RESOLVER, 53, "udp", (*POSTINSTALL, "curl")): 1,
        ("beacon.example", 80, "tcp", (*POSTINSTALL, "curl")): 1,
        ("beacon.example", 80, "tcp", (*POSTINSTALL, SHELL, "curl")): 1,
    }
)
"""What the poisoned package does: one new destination, and a lookup of its name by a new chain."""
DENIED = Counter({act: count for act, count in NOVEL.items() if act[0] == "beacon.example"})
"""Of the same when it is enforced: the resolver is allowed, whichever chain asks it."""


@dataclass
class Demo:
    """A demo as one starts it at a terminal, and what it printed."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        """On stdout, so far."""
        return (self.folder / "stdout").read_text()

    @property
    def errors(self) -> str:
        """On stderr, so far."""
        return (self.folder / "stderr").read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed this."""

        def is_printed() -> bool:
            assert text in self.output or self.process.poll() is None, self.output + self.errors
            return text in self.output

        wait_until(is_printed, within_s=WITHIN_S)

    def press_ctrl_c(self) -> int:
        """Interrupt it as a terminal would, all of its group; returns its exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            return self.process.wait(WITHIN_S)
        finally:
            self.process.kill()

    def spans(self, run: int) -> Iterator[Span]:
        """The egress spans of a run."""
        spans = read_spans(self.folder / "out" / f"run-{run}" / "traces.jsonl")
        return (span for span in spans if span.is_egress)

    def left_processes(self) -> dict[int, str]:
        """Those that run because of it: each has its folder in its environment, arguments or as its own."""
        found = {}
        for process in psutil.process_iter(["name", "environ", "cmdline", "cwd"]):
            told = process.info
            texts = [*(told["environ"] or {}).values(), *(told["cmdline"] or ()), told["cwd"] or ""]
            if any(str(self.folder) in text for text in texts):
                found[process.pid] = told["name"]
        return found

    def instances(self) -> set[Path]:
        """Where its ci-egress has pinned its programs; each holds its folder's lock."""
        held = set()
        for process in self.left_processes():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                for descriptor in Path(f"/proc/{process}/fd").iterdir():
                    with suppress(FileNotFoundError):  # closed meanwhile
                        held.add(descriptor.readlink())
        return {path for path in held if path.parent == PINS}

    def assert_nothing_is_left(self) -> None:
        """No process, and with them no namespace; no file but what it is for.

        What it has ended may take a moment to be gone, of a job that was interrupted with it, too.
        """
        wait_until(lambda: self.left_processes() == {})
        assert list((self.folder / "tmp").iterdir()) == []


@contextmanager
def started_demo(folder: Path, *arguments: str, **environ: str) -> Iterator[Demo]:
    """One that is interrupted in the end, if it still runs."""
    (folder / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), **environ}
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*COMMAND, "--folder", str(folder / "out"), *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            process_group=0,
        )
    demo = Demo(folder, process)
    try:
        yield demo
    finally:
        if process.poll() is None:
            demo.press_ctrl_c()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One that has told its story, with its servers still running."""
    with started_demo(tmp_path_factory.mktemp("demo-stack"), "--keep") as running:
        running.wait_for(KEPT)
        yield running


def links(demo: Demo) -> dict[str, str]:
    """The links of the first novelty, by what stands before them."""
    return dict(re.findall(r"^    (as JSON|page) +(\S+)$", demo.output, re.MULTILINE)[:2])


def acts(told: Iterable[Mapping[str, Any]]) -> Counter[tuple[Any, ...]]:
    """Where to, and by which chain of processes."""
    return Counter(
        (
            each["server.address"],
            each["server.port"],
            each["network.transport"],
            tuple(each["egress.lineage"]),
        )
        for each in told
    )


def server_url(demo: Demo, name: str) -> str:
    (url,) = re.findall(rf"^  {name} +(\S+)$", demo.output, re.MULTILINE)
    return str(url)


def test_the_baseline_is_exactly_what_the_honest_runs_did(demo: Demo) -> None:
    entries = load_baseline(demo.folder / "out" / "baseline.yaml").entries
    assert {(str(each.host), each.port, each.transport): each.lineages for each in entries} == BASELINE
    assert {(each.task.pipeline, each.task.task, each.runs) for each in entries} == {("release", "build", 2)}


def test_the_baseline_is_shown(demo: Demo) -> None:
    assert (demo.folder / "out" / "baseline.yaml").read_text().rstrip() in demo.output


def test_the_third_run_has_one_new_destination_and_all_else_is_known(demo: Demo) -> None:
    told = [span.attributes for span in demo.spans(3)]
    assert acts(each for each in told if each["egress.novel"]) == NOVEL
    assert len(told) == 11
    shown = re.findall(r"^  (\S+ \(\w+\): .*)$", demo.output, re.MULTILINE)
    assert shown[:2] == [
        "beacon.example:80 (tcp): not in the baseline",
        f"{names.RESOLVER}:53 (udp): known, but not from this chain",
    ]


def test_the_same_run_enforced_is_denied_the_beacon_alone_and_goes_on(demo: Demo) -> None:
    told = [span.attributes for span in demo.spans(4)]
    assert Counter(each["egress.verdict"] for each in told) == {"allow": 9, "deny": 2}
    assert acts(each for each in told if each["egress.verdict"] == "deny") == DENIED
    allowed = {each["server.address"] for each in told if each["egress.verdict"] == "allow"}
    assert allowed == {host for host, _, _ in BASELINE}
    (upload,) = [each for each in told if each["server.address"] == "mirror.example"]
    assert upload["egress.bytes_sent"] > 10_000  # the whole of checkout.tar


def test_the_denial_is_shown_with_its_spans_and_that_the_beacon_got_nothing(demo: Demo) -> None:
    blocked = re.findall(r"blocked: curl \(.+\) → (.*)$", demo.errors, re.MULTILINE)
    assert blocked == ["beacon.example:80, rule default"] * 2
    shown = demo.output.partition("What was denied, and its span in Jaeger\n")[2].splitlines()
    policy = demo.folder / "out" / "policy.yaml"
    assert [line for line in shown if line.startswith("  beacon")] == [
        f"  beacon.example:80 (tcp): denied, rule default of {policy}"
    ] * 2
    assert (
        "  Of run 3 the beacon got 2 requests, one with the job's token; of run 4, which went on, 0." in shown
    )
    (url,) = {line.split()[-1] for line in shown if line.startswith("    as JSON")}
    (data,) = get(url)["data"]
    tags = [{tag["key"]: tag["value"] for tag in span["tags"]} for span in data["spans"]]
    assert sum(each.get("egress.verdict") == "deny" for each in tags) == 2


def test_without_a_baseline_nothing_is_novel_or_known(demo: Demo) -> None:
    told = [span.attributes for run in (1, 2) for span in demo.spans(run)]
    assert len(told) == 16
    assert [each for each in told if "egress.novel" in each] == []


def test_each_run_is_a_trace_of_its_own(demo: Demo) -> None:
    traces = [{span.trace_id for span in demo.spans(run)} for run in (1, 2, 3, 4)]
    assert [len(each) for each in traces] == [1, 1, 1, 1]
    assert len(set.union(*traces)) == 4


def test_what_ci_egress_sends_to_the_collector_is_not_the_jobs(demo: Demo) -> None:
    peers = {span.attributes["network.peer.address"] for run in (1, 2, 3, 4) for span in demo.spans(run)}
    assert names.COLLECTOR not in peers
    assert names.RESOLVER in peers


def test_both_links_lead_to_the_span(demo: Demo) -> None:
    page, trace = links(demo)["page"], links(demo)["as JSON"]
    assert urllib3.request("GET", page, retries=False).status == 200
    (data,) = get(trace)["data"]
    span_id = page.rpartition("uiFind=")[2]
    (span,) = [each for each in data["spans"] if each["spanID"] == span_id]
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    assert span["operationName"] == "connect beacon.example:80"
    assert (tags["egress.novel"], tags["process.executable.name"]) == (True, "curl")


def test_the_trace_that_jaeger_has_is_pictured_for_the_manual(demo: Demo) -> None:
    url = links(demo)["as JSON"]
    (trace,) = get(url)["data"]
    path = urlsplit(url).path
    drawn = terminal_svg(waterfall(trace, path), title="The answer of Jaeger's query interface", columns=110)
    shown = "".join(re.findall(r"<text [^>]*>([^<]*)</text>", drawn)).replace("&#160;", " ")
    assert f"GET {path}" in shown
    assert shown.count("connect beacon.example:80") == 2
    assert "new" in shown
    with chromium() as browser:
        assert is_picture(picture(browser, drawn, "jaeger"), width_px=1500)


def test_the_new_destination_is_the_one_alert_and_its_lookup_is_inhibited(demo: Demo) -> None:
    fired = {each.state: each.labels for each in Alertmanager(server_url(demo, "Alertmanager")).alerts()}
    common = {
        "alertname": "CICDEgressNovelDestination",
        "cicd_pipeline_name": "release",
        "cicd_pipeline_task_name": "build",
        "egress_verdict": "allow",
        "severity": "critical",
    }
    lookup = {"server_address": names.RESOLVER, "server_port": "53", "network_transport": "udp"}
    lookup["reason"] = "chain"
    beacon = {"server_address": "beacon.example", "server_port": "80", "network_transport": "tcp"}
    beacon["reason"] = "destination"
    assert fired == {"active": common | beacon, "suppressed": common | lookup}


def test_the_alert_is_shown_with_its_labels_and_when_it_was_there(demo: Demo) -> None:
    shown = demo.output.partition("What fires in Alertmanager: CICDEgressNovelDestination\n")[2].splitlines()
    assert shown[0] == "  CI jobs connected to beacon.example:80, which their baseline doesn't have"
    assert re.fullmatch(r"    seen +\d+\.\d s after the connect", shown[1])
    assert {tuple(line.split()) for line in shown[2:11]} == {
        ("alertname", "CICDEgressNovelDestination"),
        ("cicd_pipeline_name", "release"),
        ("cicd_pipeline_task_name", "build"),
        ("egress_verdict", "allow"),
        ("network_transport", "tcp"),
        ("reason", "destination"),
        ("server_address", "beacon.example"),
        ("server_port", "80"),
        ("severity", "critical"),
    }
    assert [line.split()[0] for line in shown[11:13]] == ["jaeger_url", "runbook_url"]
    assert shown[11].endswith("%22egress.novel%22%3A%22true%22%7D")
    assert shown[12].endswith("docs/runbooks.md#cicdegressnoveldestination")
    assert shown[13] == f"  That of {names.RESOLVER}:53 (udp) is inhibited by it: one page, not two."


def test_no_secret_is_in_what_it_prints_keeps_or_stores(demo: Demo) -> None:
    kept = {path.name: path.read_text() for path in (demo.folder / "out").rglob("*.*l")}
    assert {"traces.jsonl", "metrics.jsonl", "logs.jsonl", "baseline.yaml", "policy.yaml"} == kept.keys()
    stored = str(get(links(demo)["as JSON"]))
    assert "Authorization: <redacted>" in stored
    texts = [demo.output, demo.errors, stored, *kept.values()]
    assert [text for text in texts if names.JOB_TOKEN in text] == []


def test_the_policy_that_it_exports_denies_the_beacon_and_nothing_else(demo: Demo) -> None:
    policy = demo.folder / "out" / "policy.yaml"
    asked = [span.attributes for span in demo.spans(3)]
    verdicts = {
        each["server.address"]: ci_egress(
            *("policy", "explain", str(policy), "--job", "release/build"),
            f"{each['network.transport']}://{each['server.address']}:{each['server.port']}",
            cwd=demo.folder,
        ).status
        for each in asked
    }
    assert verdicts == {host: 0 for host, _, _ in BASELINE} | {"beacon.example": 1}


def test_ctrl_c_stops_the_kept_servers_and_is_no_failure(demo: Demo) -> None:
    assert {"python", "prometheus"} <= set(demo.left_processes().values())
    assert demo.press_ctrl_c() == 0
    assert demo.errors.count("Traceback") == 0
    demo.assert_nothing_is_left()


@pytest.mark.parametrize("moment", ["start on free ports", "Alertmanager  http", "--enforce"])
def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path, moment: str) -> None:
    with started_demo(tmp_path) as demo:
        demo.wait_for(moment)
        assert demo.press_ctrl_c() == INTERRUPTED_STATUS
        assert demo.errors.splitlines()[-1] == "demo-stack: interrupted; nothing is left running"
        demo.assert_nothing_is_left()


def test_ctrl_c_while_the_build_is_traced_leaves_no_program_in_the_kernel(tmp_path: Path) -> None:
    with started_demo(tmp_path) as demo:
        seen: set[Path] = set()

        def is_traced() -> bool:
            seen.update(demo.instances())
            assert seen or demo.process.poll() is None, demo.output + demo.errors
            return bool(seen)

        wait_until(is_traced, within_s=WITHIN_S)
        assert demo.press_ctrl_c() == INTERRUPTED_STATUS
        demo.assert_nothing_is_left()
        assert [path for path in seen if path.exists()] == []


def test_sigterm_ends_it_in_order_too(tmp_path: Path) -> None:
    with started_demo(tmp_path) as demo:
        demo.wait_for("$ ci-egress run --otlp-dir")
        demo.process.terminate()
        assert demo.process.wait(WITHIN_S) == INTERRUPTED_STATUS
        demo.assert_nothing_is_left()


def test_a_server_that_fails_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    prometheus = programs / "prometheus"
    prometheus.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exec echo "prometheus, version 99.0.0"\n'
        'echo "opening storage failed: no space left on device" >&2\nexit 1\n'
    )
    prometheus.chmod(0o755)
    prometheus.with_name("promtool").symlink_to(prometheus)  # both are taken from PATH, or neither
    with started_demo(tmp_path, PATH=f"{programs}:{os.environ['PATH']}") as demo:
        assert demo.process.wait(WITHIN_S) == 91
        *_, told, log = demo.errors.splitlines()
        assert told.startswith("demo-stack: prometheus ended")
        assert log == "    opening storage failed: no space left on device"
        demo.assert_nothing_is_left()


@pytest.mark.parametrize(("value", "is_kept"), [("1", True), ("yes", True), ("", False), ("0", False)])
def test_make_keeps_the_servers_when_it_is_asked_to(value: str, is_kept: bool) -> None:
    told = subprocess.run(
        ["make", "--dry-run", "demo-stack", f"KEEP={value}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=True,
    )
    assert ("-m demo.stack --keep" in told.stdout) is is_kept


def test_without_root_it_says_so() -> None:
    nobody = ("setpriv", "--reuid=65534", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    result = subprocess.run(
        [*nobody, *COMMAND], cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert (result.returncode, result.stdout) == (91, "")
    assert (
        result.stderr
        == "demo-stack: the demo needs root, to load eBPF programs and make a network; sudo make demo-stack\n"
    )
