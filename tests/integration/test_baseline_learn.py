"""`ci-egress baseline learn` as its users run it: what goes where, and what is left when it fails."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from exporter.baseline.parse import load_baseline, parse_baseline
from tests.integration.terminals import in_a_terminal
from tests.launch import CI_EGRESS, DEADLINE_S, PLAIN_ENVIRONMENT, ci_egress
from tests.unit.baseline.spans import learnt, line, span

SPANS = [*(span(run=run) for run in range(1, 4)), span("evil.example", egress_verdict="deny")]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with spans of three runs."""
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "traces.jsonl").write_bytes(line(SPANS))
    return folder


def test_the_baseline_goes_to_stdout_and_what_to_know_of_it_to_stderr(runs: Path) -> None:
    done = ci_egress("baseline", "learn", "runs", cwd=runs.parent)
    assert (done.status, done.stderr) == (
        0,
        "ci-egress: not learnt: 1 attempt denied, so nothing went there\n",
    )
    assert parse_baseline(done.stdout, "stdout") == learnt(SPANS).baseline


def test_a_file_is_written_that_makes_a_policy(runs: Path) -> None:
    done = ci_egress("baseline", "learn", "runs", "--output", "baseline.yaml", cwd=runs.parent)
    assert (done.status, done.stdout) == (0, b"")
    assert load_baseline(runs.parent / "baseline.yaml") == learnt(SPANS).baseline
    for command in (
        ("baseline", "export", "baseline.yaml", "--output", "policy.yaml"),
        ("policy", "check", "policy.yaml"),
        ("policy", "explain", "policy.yaml", "registry.example", "--job", "release/build"),
    ):
        assert ci_egress(*command, cwd=runs.parent).status == 0


def test_what_was_written_is_told_and_what_of_it_is_new(runs: Path) -> None:
    folder = runs.parent
    done = ci_egress("baseline", "learn", "runs", "--output", "baseline.yaml", cwd=folder)
    assert done.stderr.splitlines()[1:] == ["ci-egress: baseline.yaml: 1 pipeline, 1 destination, 3 runs"]
    more = [span(run=4, chain=["make"]), span("beacon.example", run=5, egress_novel=True)]
    (folder / "more.jsonl").write_bytes(line(more))
    onto = ("more.jsonl", "--onto", "baseline.yaml", "--output", "baseline.yaml")
    done = ci_egress("baseline", "learn", *onto, cwd=folder)
    assert (done.status, done.stdout) == (0, b"")
    assert done.stderr.splitlines() == [
        "ci-egress: beacon.example:443 of release, build was novel when it was recorded (run 5): "
        "look at it before it is known",
        "ci-egress: baseline.yaml: 1 pipeline, 2 destinations (1 new, 1 with new chains), 5 runs (2 new)",
    ]
    written = load_baseline(folder / "baseline.yaml")
    assert [entry.lineages for entry in written.entries] == [
        frozenset({("bash", "npm")}),
        frozenset({("bash", "npm"), ("make",)}),
    ]


def test_one_of_several_repositories_is_learnt_by_itself(tmp_path: Path) -> None:
    for name in ("ledger", "cart"):
        resource = {"vcs.owner.name": "shop", "vcs.repository.name": name}
        text = line([span(f"{name}.example", pipeline="CI")], resource=resource)
        (tmp_path / f"traces-{name}.jsonl").write_bytes(text)
    together = ci_egress("baseline", "learn", ".", cwd=tmp_path)
    assert "pipeline CI is of 2 repositories (shop/cart, shop/ledger)" in together.stderr
    alone = ci_egress("baseline", "learn", ".", "--repository", "shop/cart", cwd=tmp_path)
    (entry,) = parse_baseline(alone.stdout, "stdout").entries
    assert (alone.status, str(entry.host)) == (0, "cart.example")
    none = ci_egress("baseline", "learn", ".", "--repository", "shop/zoo", cwd=tmp_path)
    assert (none.status, none.stdout) == (2, b"")
    assert none.stderr.startswith("ci-egress: error: 2 egress spans, none of a job of shop/zoo, in .; ")


@pytest.mark.parametrize("command", ["baseline learn", "baseline show baseline.yaml", "policy init"])
def test_a_folder_of_folders_of_runs_is_as_good_as_these(runs: Path, command: str) -> None:
    (runs.parent / "baseline.yaml").write_text("version: 1\nentries: []\n")
    itself = ci_egress(*command.split(), "runs", cwd=runs.parent)
    below = ci_egress(*command.split(), ".", cwd=runs.parent)
    assert (itself.status, below.status) == (0, 0)
    assert itself.stdout == below.stdout


@pytest.mark.parametrize("command", ["baseline learn", "baseline show baseline.yaml", "policy init"])
def test_a_file_that_is_still_written_is_read_up_to_its_last_whole_line(runs: Path, command: str) -> None:
    (runs.parent / "baseline.yaml").write_text("version: 1\nentries: []\n")
    whole = ci_egress(*command.split(), "runs", cwd=runs.parent)
    with (runs / "traces.jsonl").open("ab") as file:
        file.write(line(SPANS)[:-40])
    done = ci_egress(*command.split(), "runs", cwd=runs.parent)
    assert (done.status, done.stdout) == (0, whole.stdout)
    told = "ci-egress: runs/traces.jsonl: the last line isn't complete: left out\n"
    assert done.stderr == told + whole.stderr


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (b"", "no egress span in runs; name "),
        (b"broken\n", "runs/traces.jsonl:1:1: not a line of OTLP spans; name "),
        (None, "runs has no traces*.jsonl or traces*.jsonl.gz, nor has a folder below it; name "),
    ],
)
def test_an_error_leaves_the_older_baseline_alone(runs: Path, written: bytes | None, what: str) -> None:
    before = runs.parent / "baseline.yaml"
    before.write_text("as it was")
    (runs / "traces.jsonl").unlink()
    if written is not None:
        (runs / "traces.jsonl").write_bytes(written)
    done = ci_egress("baseline", "learn", "runs", "--output", "baseline.yaml", cwd=runs.parent)
    assert (done.status, done.stdout) == (2, b"")
    assert done.stderr.startswith(f"ci-egress: error: {what}")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in runs.parent.iterdir() if path.is_file()] == ["baseline.yaml"]
    assert before.read_text() == "as it was"


def test_a_baseline_that_no_run_could_read_is_not_made(runs: Path) -> None:
    """A job can make up chains without end; one character of theirs takes six in the file."""
    hosts = [f"{number}.example" for number in range(100)]
    chains = [(f"{number:02}" + "\x7f" * 1000,) for number in range(60)]
    spans = [span(host, chain=chain) for host in hosts for chain in chains]
    (runs / "traces.jsonl").write_bytes(line(spans))
    done = ci_egress("baseline", "learn", "runs", "--output", "baseline.yaml", cwd=runs.parent)
    assert done.status == 2
    what = "the baseline of this can't be held: larger than 32 MiB; learn from the runs of fewer pipelines"
    assert done.stderr == f"ci-egress: error: {what}\n"
    assert [*runs.parent.iterdir()] == [runs]


def test_a_pipe_in_a_folder_is_not_waited_for(runs: Path) -> None:
    os.mkfifo(runs / "traces.1.jsonl")
    done = ci_egress("baseline", "learn", "runs", cwd=runs.parent)
    assert (done.status, done.stdout) == (2, b"")
    assert done.stderr.startswith("ci-egress: error: runs/traces.1.jsonl is no file; name ")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "nothing to learn from"),
        (
            ["--from-prometheus", "http://127.0.0.1:9"],
            "cannot read http://127.0.0.1:9: Connection refused; correct the URL, or start Prometheus\n",
        ),
        (["--from-prometheus", "http://no-host.invalid"], "cannot read http://no-host.invalid: "),
        (
            ["--from-prometheus", "http://127.0.0.1:9", "--repository", "shop/cart"],
            "Prometheus doesn't know of which repository a pipeline is; learn from its files, or leave ",
        ),
        (["http://me:s3cret@127.0.0.1:9090"], "a URL stands in the place of a PATH; ask a Prometheus with "),
        (["--from-prometheus", "me:s3cret@x"], "the URL of Prometheus is no http:// or https:// with a host"),
        (["--from-prometheus", "http://127.0.0.1:9", "--days", "0"], "Invalid value for '--days'"),
    ],
)
def test_what_cannot_be_learnt_from_is_a_usage_error(tmp_path: Path, arguments: list[str], what: str) -> None:
    done = ci_egress("baseline", "learn", *arguments, cwd=tmp_path)
    assert (done.status, done.stdout) == (2, b"")
    assert what in done.stderr
    assert "s3cret" not in done.stderr
    assert "Errno" not in done.stderr


def test_a_folder_that_cannot_be_looked_into_is_told_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir(mode=0)
    as_owner_alone = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    done = ci_egress("baseline", "learn", str(folder), cwd=tmp_path, under=as_owner_alone)
    assert done.status == 2
    what = f"cannot read the folder {folder}: Permission denied; name folders that this user can read"
    assert done.stderr == f"ci-egress: error: {what}\n"


def test_a_terminal_gets_a_progress_bar_that_leaves_nothing_behind(runs: Path) -> None:
    shown = in_a_terminal("baseline", "learn", "runs", "--output", "baseline.yaml", cwd=runs.parent)
    bar, end, rest = shown.rpartition("\x1b[2K")
    assert "reading files" in bar
    assert end
    assert "reading files" not in rest
    assert "not learnt: 1 attempt denied" in rest


def test_processes_that_read_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes((b" " * (1 << 20) + b"\n") * 40)  # enough for two to share
    os.mkfifo(tmp_path / "b.jsonl")  # nobody ever writes there
    command = [*CI_EGRESS, "baseline", "learn", "a.jsonl", "b.jsonl"]
    with subprocess.Popen(command, cwd=tmp_path, env=PLAIN_ENVIRONMENT) as started:
        try:
            readers = children(started.pid, at_least=2)
        finally:
            started.kill()
    gone, alive = psutil.wait_procs(readers, timeout=DEADLINE_S)
    assert alive == []
    assert len(gone) >= 2


def children(pid: int, *, at_least: int) -> list[psutil.Process]:
    """Those that read; not the one that minds what they share."""
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        found = [
            child for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        if len(found) >= at_least:
            return found
        assert time.monotonic() < deadline_s, "they didn't start"
        time.sleep(0.02)
