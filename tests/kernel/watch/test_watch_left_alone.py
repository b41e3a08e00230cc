"""A job's own watch, below an agent that is gone: nobody has the token any more, and the next agent comes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.pins import live_processes
from tests.integration.command_process import is_gone
from tests.kernel.host_watches import (
    ALL_BUT_THAT,
    CI_EGRESS,
    DENIED,
    FILE,
    HOST,
    WORKER,
    called,
    ended,
    fails_with,
    is_ready,
    leaves,
    step,
    watch_command,
    watch_environment,
    watching_a_job,
)
from tests.kernel.lab import PORT
from tests.kernel.policy_runs import policy
from tests.kernel.running_exporter import instance_of, nothing_left, wait_for
from tests.kernel.tamper_records import told
from tests.kernel.tracing import logs, spans
from tests.kernel.watching import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

pytestmark = pytest.mark.kernel

LISTENER = "Runner.Listener"
"""What makes an agent for each job of GitHub's."""
WAITS = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]) + 64)"
ENDS_BY_TOKEN = ("--end-digest", "ab" * 32, "--end-folder")


def is_being_loaded(folder: Path) -> bool:
    """Whether it has looked around, and nothing more."""
    with suppress(OSError, ValueError):  # its pid isn't written yet, or something is closed meanwhile
        opened = Path(f"/proc/{int((folder / 'pid').read_text())}/fd")
        return any(link.readlink() == folder / "end" for link in opened.iterdir())
    return False


@pytest.mark.parametrize("when", [is_being_loaded, is_ready])
def test_it_says_so_and_ends_as_ever(
    runner: Runner, act: Sequence[str], tmp_path: Path, when: Callable[[Path], bool]
) -> None:
    watch = watch_command(tmp_path, *ENDS_BY_TOKEN, f"{tmp_path}/end")
    with Runner(python=called(WORKER, tmp_path)) as worker, ended(tmp_path):
        worker.start((watch_environment(tmp_path), watch))
        wait_for(lambda: when(tmp_path))
        if is_ready(tmp_path):
            runner.run((step("__run"), list(act)))
        os.kill(worker.pid, signal.SIGKILL)
        assert is_gone(int((tmp_path / "pid").read_text())), (tmp_path / "log").read_text()
    (words,) = told(tmp_path / "otlp-dir")
    assert words.startswith(f"the job's agent (process {worker.pid}) is gone, ")
    (record,) = (record for record in logs(tmp_path / "otlp-dir") if record["body"] == {"stringValue": words})
    assert {"key": "egress.tamper.kind", "value": {"stringValue": "end"}} in record["attributes"]
    assert words in (tmp_path / "log").read_text()
    assert "⛔" in (tmp_path / "summary").read_text()
    assert (tmp_path / "report").exists()
    if when is is_ready:
        steps = [span.attributes.get("egress.job.step") for span in spans(tmp_path / "otlp-dir/traces.jsonl")]
        assert "__run" in steps


@pytest.mark.alone  # strangers' jobs are this one's here
def test_where_its_policy_is_enforced_nothing_of_the_job_goes_on(runner: Runner, tmp_path: Path) -> None:
    held = policy(tmp_path, ALL_BUT_THAT)
    watch = watch_command(tmp_path, "--policy", held, *ENDS_BY_TOKEN, f"{tmp_path}/end")
    with Runner(python=called(WORKER, tmp_path)) as worker, ended(tmp_path):
        worker.start((watch_environment(tmp_path), watch))
        wait_for(lambda: is_ready(tmp_path))
        runner.run((step("__run"), ["sh", "-c", leaves(tmp_path)]))
        (going_on,) = runner.start((step("__run_2"), ["sleep", "600"]))
        os.kill(worker.pid, signal.SIGKILL)
        assert is_gone(int((tmp_path / "pid").read_text())), (tmp_path / "log").read_text()
    left_behind = int((tmp_path / "left").read_text())
    assert is_gone(left_behind)
    assert is_gone(going_on)
    (told,) = (line for line in (tmp_path / "log").read_text().splitlines() if " left behind, since " in line)
    assert f"sleep ({left_behind})" in told
    assert f"sleep ({going_on})" in told


def test_where_a_signal_ends_it_it_waits_for_one(tmp_path: Path) -> None:
    with Runner(python=called(WORKER, tmp_path)) as worker, ended(tmp_path):
        worker.start((watch_environment(tmp_path), watch_command(tmp_path)))
        wait_for(lambda: is_ready(tmp_path))
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(3)
        assert is_ready(tmp_path)
    assert told(tmp_path / "otlp-dir") == []


@pytest.mark.alone  # strangers' jobs are this one's here, and held to its policy
def test_the_agent_of_the_next_job_is_held_to_nothing_and_its_steps_are(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    """While a watch goes on; here it is one that waits for a signal."""
    held = policy(tmp_path, ALL_BUT_THAT)
    worker = called(WORKER, tmp_path)
    act = programs.act("connect", DENIED, PORT)
    (tmp_path / "next").mkdir()
    itself = shutil.copy(act[0], tmp_path / "next" / WORKER)
    as_agent, as_step = ([str(itself), *act[1:]], [worker, "-S", "-E", "-c", WAITS, *act])
    with Runner(python=called(LISTENER, tmp_path)) as listener, ended(tmp_path):
        watch = [worker, "-S", "-E", "-c", WAITS, *watch_command(tmp_path, "--policy", held)]
        (first,) = listener.start((watch_environment(tmp_path), watch))
        wait_for(lambda: is_ready(tmp_path))
        os.kill(first, signal.SIGKILL)
        for code, command in ((errno.ENETUNREACH, as_agent), (errno.EPERM + 64, as_step)):
            done = fails_with(code, [str(part) for part in lab.command(command)])
            assert listener.statuses((HOST, done)) == [0]


@contextmanager
def frozen(folder: Path) -> Iterator[Path]:
    """A directory of a file system whose writers wait meanwhile, and can't be killed."""
    image, mounted = folder / "image", folder / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    try:
        subprocess.run(["fsfreeze", "--freeze", str(mounted)], check=True)
        try:
            yield mounted
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(mounted)], check=True)
    finally:
        wait_for(lambda: subprocess.run(["umount", str(mounted)], check=False).returncode == 0)


@pytest.mark.alone  # as above
def test_what_cannot_be_ended_stays_held_and_nobody_else(
    runner: Runner, lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    """The runner's next job isn't held to the policy of a job that is gone."""
    file = tmp_path / "policy.yaml"
    file.write_text(FILE)
    worker = called(WORKER, tmp_path)
    blocked = [str(part) for part in lab.command(programs.act("connect", DENIED, PORT))]
    leave = f"touch {tmp_path}/mounted/file & echo $! >{tmp_path}/left"

    def job_gets(code: int) -> None:
        with Runner(python=worker) as agent:
            agent.run((HOST, fails_with(code, blocked)), (step("__run"), fails_with(code, blocked)))

    with nothing_left(), frozen(tmp_path):
        with watching_a_job(tmp_path, "--policy", str(file)) as mine:
            pins = instance_of(mine.watch.process.pid)
            runner.run((step("__run"), ["sh", "-c", leave]))
            left = int((tmp_path / "left").read_text())
            wait_for(lambda: "(touch) D" in Path(f"/proc/{left}/stat").read_text())
            job_gets(errno.EPERM)
            runner.start((step("__post_egress"), mine.ask()))
            mine.ended()
        try:
            told = f"1 process left behind by the job can't be ended and stays denied: touch ({left})"
            assert mine.watch.has_said(f"{told}; once it is gone: `ci-egress stop {pins.name}`")
            assert live_processes(pins) == [left]
            job_gets(errno.ENETUNREACH)
        finally:
            subprocess.run([CI_EGRESS, "stop", pins.name], check=True)
