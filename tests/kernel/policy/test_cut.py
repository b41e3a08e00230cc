"""`enforce on --cut`: what is open against the policy ends, and nothing else."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.agents import GONE
from tests.kernel.job_steps import PATH, job, known, policy, run_id
from tests.kernel.lab import MPTCP_PORT, NETWORKS, PORT, V4, Lab, Network
from tests.kernel.running_exporter import instance_of, wait_for
from tests.kernel.steered_runs import Host, agent, asked, end_agent, kill
from tests.kernel.watching import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.kernel.running_exporter import Running
    from tests.kernel.watching import Runner

pytestmark = pytest.mark.kernel

AUDITED = ("--allowed-endpoints", f"{V4.peer}:{PORT} [2001:db8::2]:{PORT}")
OWN_PORT = 7100


def cut(host: Host, *selectors: str) -> list[str]:
    """What it says of the one job, without the instance."""
    said = host.ci_egress("enforce", "on", "--cut", *selectors).stdout.splitlines()
    return [line.rpartition("): ")[2] for line in said]


@NETWORKS
def test_what_the_policy_denies_ends_and_what_it_allows_goes_on(
    host: Host, lab: Lab, tmp_path: Path, network: Network
) -> None:
    with host.running(lab.command(agent()), tmp_path, *AUDITED) as run:
        assert run.next_line() == "ready"
        assert asked(run, "open", "evil", "tcp", network.evil, PORT) == "ok"
        assert asked(run, "open", "many", "mptcp", network.evil, MPTCP_PORT) == "ok"
        assert asked(run, "open", "datagrams", "udp", network.evil, PORT) == "ok"
        assert asked(run, "open", "peer", "tcp", network.peer, PORT) == "ok"
        assert [asked(run, "say", name) for name in ("evil", "many", "datagrams", "peer")] == ["ok"] * 4
        assert cut(host) == ["enforcing", "3 open connections ended"]
        with lab.watch() as watch:
            assert {asked(run, "say", name) for name in ("evil", "many", "datagrams")} <= GONE
            assert asked(run, "say", "peer") == "ok"
        assert watch.arrivals.packets_to(network.evil) == 0
        assert cut(host) == ["enforcing", "0 open connections ended"]
        seen = run.end()
    (peer,) = (span for span in seen.egress if span["server.address"] == network.peer)
    assert peer["egress.outcome"] == "established"
    assert len(seen.egress) == 4


def test_who_waits_for_an_answer_gets_an_error(host: Host, lab: Lab, tmp_path: Path) -> None:
    with host.running(lab.command(agent()), tmp_path, *AUDITED) as run:
        assert run.next_line() == "ready"
        assert asked(run, "open", "evil", "tcp", V4.evil, PORT) == "ok"
        assert asked(run, "hear", "evil") == "hears"
        assert "1 open connection ended" in cut(host)
        assert run.next_line() in GONE


@pytest.fixture
def patient(lab: Lab) -> Iterator[None]:
    """Connects on the build side that get no answer take a minute, not 3 s."""
    name = "net/ipv4/tcp_syn_retries"
    before = lab.build.call(Path("/proc/sys", name).read_text).result()
    lab.build.configure({name: 5})
    yield
    lab.build.configure({name: before})


@pytest.mark.usefixtures("patient")
def test_a_connect_under_way_ends(host: Host, lab: Lab, tmp_path: Path) -> None:
    with host.running(lab.command(agent()), tmp_path, *AUDITED) as run:
        assert run.next_line() == "ready"
        run.tell(f"open evil tcp {V4.blackhole} {PORT}")
        wait_for_connecting(lab)
        assert "1 open connection ended" in cut(host)
        assert run.next_line() in {*GONE, "ETIMEDOUT", "EPERM"}


def wait_for_connecting(lab: Lab) -> None:
    """Until a SYN is out."""

    def is_connecting() -> bool:
        done = lab.run(["ss", "-Htn", "state", "syn-sent", "dst", V4.blackhole])
        return bool(done.stdout)

    wait_for(is_connecting)


def test_what_others_opened_goes_on(host: Host, lab: Lab, tmp_path: Path) -> None:
    with host.running(lab.command(agent()), tmp_path, *AUDITED) as run:
        assert run.next_line() == "ready"
        assert asked(run, "listen", "door", V4.build, OWN_PORT) == "ok"
        client = lab.peer.call(from_evil).result()
        with closing(client):
            assert asked(run, "accept", "guest", "door") == "ok"
            assert cut(host) == ["enforcing", "0 open connections ended"]
            client.sendall(b"reply")
            assert asked(run, "say", "guest") == "ok"


def from_evil() -> socket.socket:
    """A client whose address no rule allows."""
    return socket.create_connection((V4.build, OWN_PORT), 20, source_address=(V4.evil, 0))


def test_it_needs_no_exporter(host: Host, lab: Lab, tmp_path: Path) -> None:
    with host.running(lab.command(agent()), tmp_path, *AUDITED) as run:
        assert run.next_line() == "ready"
        assert asked(run, "open", "evil", "tcp", V4.evil, PORT) == "ok"
        assert asked(run, "open", "peer", "tcp", V4.peer, PORT) == "ok"
        kill(run)
        assert cut(host) == ["enforcing", "1 open connection ended"]
        assert asked(run, "say", "evil") in GONE
        assert asked(run, "say", "peer") == "ok"
        end_agent(run)


def test_connections_of_another_job_are_let_be(host: Host, lab: Lab, tmp_path: Path) -> None:
    def evil(run: Running) -> str:
        assert run.next_line() == "ready"
        return asked(run, "open", "evil", "tcp", V4.evil, PORT)

    with (
        host.running(lab.command(agent()), tmp_path / "a", *AUDITED) as a,
        host.running(lab.command(agent()), tmp_path / "b", *AUDITED) as b,
        subprocess.Popen(lab.command(agent()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as c,
    ):
        assert [evil(a), evil(b)] == ["ok", "ok"]
        assert c.stdin is not None
        assert c.stdout is not None
        assert c.stdout.readline() == "ready\n"
        c.stdin.write(f"open evil tcp {V4.evil} {PORT}\n")
        c.stdin.flush()
        assert c.stdout.readline() == "ok\n"
        (row,) = (row for row in host.status() if row["instance"] == instance_of(a.pid).name)
        host.ci_egress("enforce", "on", "--cut", "--instance", row["instance"])
        assert asked(a, "say", "evil") in GONE
        assert asked(b, "say", "evil") == "ok"
        out, _ = c.communicate("say evil\n")
        assert out == "ok\n"


@contextmanager
def earlier(
    lab: Lab, runner: Runner, environ: Mapping[str, str], folder: Path
) -> Iterator[Callable[..., str]]:
    """An agent that a runner starts, before anybody watches; what has it act, and gives its answer."""
    asks, answers = folder / "asks", folder / "answers"
    os.mkfifo(asks)
    os.mkfifo(answers)
    command = shlex.join(map(os.fsdecode, lab.command(agent())))
    runner.start((dict(environ), ["sh", "-c", f"exec {command} < {asks} > {answers}"]))
    with asks.open("w") as asking, answers.open() as answering:

        def do(*words: object) -> str:
            print(*words, file=asking, flush=True)
            return answering.readline().rstrip("\n")

        assert answering.readline() == "ready\n"
        yield do


def test_what_ran_before_its_job_was_known_is_cut_too(
    host: Host, lab: Lab, runner: Runner, tmp_path: Path
) -> None:
    """It has done nothing since by which the kernel would have looked at it."""
    run = run_id("cut")
    with earlier(lab, runner, job(run, "cut"), tmp_path) as do:
        assert do("open", "evil", "tcp", V4.evil, PORT) == "ok"
        assert do("open", "peer", "tcp", V4.peer, PORT) == "ok"
        with watching(tmp_path, *AUDITED, under=host.under) as watch:
            known(watch, run)
            assert cut(host, "--job", "group/app/cut") == ["enforcing", "1 open connection ended"]
            assert do("say", "evil") in GONE
            assert do("say", "peer") == "ok"
            watch.stop()


@pytest.mark.alone  # what anybody's container has open ends
def test_what_services_have_open_goes_on(host: Host, lab: Lab, runner: Runner, tmp_path: Path) -> None:
    """A policy of the host is for its containers alone."""
    file = policy(tmp_path, f'allow: ["any://0.0.0.0/0", "any://[::/0]"]\ndeny: ["{V4.evil}"]\n')
    options = ("--policy", str(file), "--host-enforce")
    with earlier(lab, runner, PATH, tmp_path) as do:
        assert do("open", "evil", "tcp", V4.evil, PORT) == "ok"
        with watching(tmp_path, *options, under=host.under) as watch:
            (instance,) = host.instances()
            assert host.python(CUT, instance) == "0 []\n"
            assert do("say", "evil") == "ok"
            watch.stop()


CUT = """
import sys
from pathlib import Path
from exporter.events.facts import HOST
from exporter.kernel.instances.denied_connections import cut
print(*cut(Path("/sys/fs/bpf/ci-egress", sys.argv[1]), HOST))
"""
