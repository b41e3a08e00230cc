"""Connects to Unix sockets of processes outside of the job: told, and denied where the kernel asks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.common.net.addresses import UNIX
from exporter.common.net.unix_sockets import digest
from exporter.events.facts import Act, Acted, Aggregated, Verdict
from tests.kernel.agents import acts, agent
from tests.kernel.kernel_side import INTERNET, KernelSide, kernel_side
from tests.kernel.running_exporter import wait_for
from tests.kernel.security_hooks import HOOKS, WAYS, answering
from tests.kernel.unix_servers import connect, policy, server, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.everywhere(feature="sockets")]

LEAVES_ITS_SOCKET = """
import os, socket, sys

with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(sys.argv[1])
    listening.listen()
    if os.fork():
        os._exit(0)
    print("listening", flush=True)
    sys.stdin.read()
"""
STREAMS = {"stream": socket.SOCK_STREAM, "packets": socket.SOCK_SEQPACKET}


@pytest.fixture(scope="module", params=WAYS.values(), ids=list(WAYS))
def kernel(request: pytest.FixtureRequest) -> Iterator[KernelSide]:
    with answering(*HOOKS, as_module=request.param), kernel_side(without=INTERNET) as side:
        yield side


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the server of a test listens; only root can change what is there."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder / "engine.sock"


@pytest.mark.parametrize("kind", STREAMS.values(), ids=list(STREAMS))
def test_a_connect_to_a_server_outside_of_the_job_is_told(
    lab: Lab, kernel: KernelSide, path: Path, kind: int
) -> None:
    with server(str(path), kind), agent(kernel, lab, None) as job:
        kernel.drain()
        assert job.do(*connect(str(path), kind)) == "ok"
        (act,) = acts(kernel.drain(), job.process)
    assert isinstance(act, Acted)
    assert (act.socket, act.act, act.verdict) == (str(path), Act.CONNECT, Verdict.NONE)
    assert (act.protocol, act.peer, act.peer_port) == (UNIX, digest(os.fsencode(path)), 0)


@pytest.mark.parametrize("kind", STREAMS.values(), ids=list(STREAMS))
def test_one_that_a_rule_denies_is_refused_whatever_path_leads_there(
    lab: Lab, kernel: KernelSide, path: Path, kind: int
) -> None:
    link, hard, below = path.with_name("link"), path.with_name("hard"), path.parent.with_name("below")
    ways = [str(path), str(link), str(hard), f"{path.parent}/../run/{path.name}", f"{below}/{path.name}"]
    with server(str(path), kind):
        link.symlink_to(path)
        hard.hardlink_to(path)
        below.symlink_to(path.parent)
        with agent(kernel, lab, policy(f"unix://{path}")) as job:
            kernel.drain()
            for way in ways:
                assert job.do(*connect(way, kind)) == "EPERM", way
            assert job.do(f"os.chdir({str(path.parent)!r})", *connect(path.name, kind)) == "EPERM"
            descriptor = f"d = os.open({str(path.parent)!r}, os.O_RDONLY)"
            assert (
                job.do(
                    descriptor,
                    f"s = socket.socket(1, {kind:d})",
                    f"s.connect(f'/proc/self/fd/{{d}}/{path.name}')",
                )
                == "EPERM"
            )
            assert told(kernel) == [(str(path), Act.CONNECT, Verdict.DENY)] * (len(ways) + 2)


def test_in_audit_mode_it_is_told_that_it_would_be(lab: Lab, kernel: KernelSide, path: Path) -> None:
    with server(str(path)), agent(kernel, lab, policy(f"unix://{path}", mode="audit")) as job:
        kernel.drain()
        assert job.do(*connect(str(path))) == "ok"
        assert told(kernel) == [(str(path), Act.CONNECT, Verdict.AUDIT)]


def test_a_file_bound_by_another_name_is_known_by_its_inode(lab: Lab, kernel: KernelSide, path: Path) -> None:
    """A server that binds a relative path, or renames what it has bound."""
    first = path.with_name("first.sock")
    with server(str(first)):
        first.rename(path)
        with agent(kernel, lab, policy(f"unix://{path}")) as job:
            kernel.drain()
            assert job.do(*connect(str(path))) == "EPERM"
            assert told(kernel) == [(str(first), Act.CONNECT, Verdict.DENY)]


def test_a_server_that_starts_anew_is_known_at_once_by_its_name_and_then_by_its_file(
    lab: Lab, kernel: KernelSide, path: Path
) -> None:
    with agent(kernel, lab, policy(f"unix://{path}")) as job:
        with server(str(path)):
            assert job.do(*connect(str(path))) == "EPERM"
        path.unlink()
        first = path.with_name("first.sock")
        with server(str(first)):
            first.rename(path)
            kernel.tracer.scopes.look_for_sockets()
            assert job.do(*connect(str(path))) == "EPERM"


@pytest.mark.parametrize("change", ["os.rename({path!r}, {path!r} + '.x')", "os.chmod({folder!r}, 0o777)"])
def test_a_job_that_is_root_does_not_make_it_unknown(
    lab: Lab, kernel: KernelSide, path: Path, change: str
) -> None:
    first = path.with_name("first.sock")
    with server(str(first)):
        first.rename(path)
        with agent(kernel, lab, policy(f"unix://{path}")) as job:
            assert job.do(change.format(path=str(path), folder=str(path.parent))) == "ok"
            kernel.tracer.scopes.look_for_sockets()
            there = next(each for each in (path, Path(f"{path}.x")) if each.exists())
            assert job.do(*connect(str(there))) == "EPERM"


@pytest.mark.parametrize("way", ["link", "symlink"])
def test_nor_does_it_make_it_an_allowed_one(lab: Lab, kernel: KernelSide, path: Path, way: str) -> None:
    allowed = path.with_name("allowed.sock")
    job_policy = policy('"unix://*"', allowed=(f"unix://{allowed}",))
    with server(str(path)), agent(kernel, lab, job_policy) as job:
        assert job.do(f"os.{way}({str(path)!r}, {str(allowed)!r})") == "ok"
        kernel.tracer.scopes.look_for_sockets()
        assert [job.do(*connect(str(each))) for each in (path, allowed)] == ["EPERM"] * 2


def test_of_a_file_with_two_names_the_denied_one_counts(lab: Lab, kernel: KernelSide, path: Path) -> None:
    other = path.with_name("a.sock")
    with server(str(other)):
        path.hardlink_to(other)
        with agent(kernel, lab, policy(f"unix://{path}", allowed=(f"unix://{other}",))) as job:
            assert job.do(*connect(str(other))) == "EPERM"


def test_another_policy_s_name_for_the_same_file_changes_nothing(
    lab: Lab, kernel: KernelSide, path: Path
) -> None:
    link, scopes = path.with_name("a-link"), kernel.tracer.scopes
    link.symlink_to(path)
    with server(str(path)):
        path.chmod(0o660)
        with agent(kernel, lab, policy(f"unix://{path}")) as job:
            other = scopes.write(policy(f"unix://{link}"))
            scopes.look_for_sockets()
            assert [job.do(*connect(str(each))) for each in (path, link)] == ["EPERM"] * 2
            scopes.remove(other.number)


RUN = ("/run", "/var/run") if Path("/var/run").resolve() == Path("/run") else ("/run",)
"""A root for another architecture that was only unpacked lacks the link."""


@pytest.mark.parametrize("rule", ["/run", "/var/run"])
@pytest.mark.parametrize("bound", RUN)
def test_run_is_also_called_var_run(lab: Lab, kernel: KernelSide, rule: str, bound: str) -> None:
    name = f"ci-egress-test-{os.getpid()}.sock"
    with agent(kernel, lab, policy(f"unix://{rule}/{name}")) as job, server(f"{bound}/{name}"):
        try:
            for way in RUN:
                assert job.do(*connect(f"{way}/{name}")) == "EPERM"
            kernel.tracer.scopes.look_for_sockets()
            assert job.do(*connect(f"/run/{name}")) == "EPERM"
        finally:
            Path("/run", name).unlink()


def test_an_abstract_name_is_one_too(lab: Lab, kernel: KernelSide) -> None:
    name = f"@ci-egress-test-{os.getpid()}"
    code = f"import socket; s = socket.socket(1, 1); s.bind('\\0{name[1:]}'); s.listen(); print(); input()"
    command = lab.command([sys.executable, "-c", code])  # abstract names are those of a network
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with agent(kernel, lab, policy(f"unix://{name}")) as job:
            kernel.drain()
            assert job.do(*connect(name)) == "EPERM"
            assert told(kernel) == [(name, Act.CONNECT, Verdict.DENY)]
        child.communicate("\n")


def test_all_may_be_denied_but_some(lab: Lab, kernel: KernelSide, path: Path) -> None:
    other = path.with_name("other.sock")
    with (
        server(str(path)),
        server(str(other)),
        agent(kernel, lab, policy('"unix://*"', allowed=(f"unix://{other}",))) as job,
    ):
        kernel.drain()
        assert job.do(*connect(str(path))) == "EPERM"
        assert job.do(*connect(str(other))) == "ok"
        assert told(kernel) == [
            (str(path), Act.CONNECT, Verdict.DENY),
            (str(other), Act.CONNECT, Verdict.ALLOW),
        ]


def test_a_job_s_own_servers_are_its_own(lab: Lab, kernel: KernelSide, path: Path) -> None:
    client = f"import socket; s = socket.socket(1); s.connect({str(path)!r})"
    own = (
        f"l = socket.socket(1); l.bind({str(path)!r}); l.listen()",
        "a, b = socket.socketpair()",
        "import subprocess",
        f"r = subprocess.call([sys.executable, '-c', {client!r}])",
        *connect(str(path)),
    )
    with agent(kernel, lab, policy('"unix://*"')) as job:
        kernel.drain()
        assert job.do(*own) == "ok"
        assert job.value("r") == "0"
        assert told(kernel) == []


def test_so_is_one_that_goes_on_in_the_background(lab: Lab, kernel: KernelSide, path: Path) -> None:
    """As ssh-agent does: the process that listens makes another one, and ends."""
    with agent(kernel, lab, policy('"unix://*"')) as job:
        kernel.drain()
        start = f"d = subprocess.Popen([sys.executable, '-c', c, {str(path)!r}], stdin=-1, stdout=-3)"
        assert job.do("import subprocess", f"c = {LEAVES_ITS_SOCKET!r}", start) == "ok"
        status = Path(f"/proc/{job.value('d.pid')}/stat")
        wait_for(lambda: ") Z " in status.read_text())
        assert job.do(*connect(str(path))) == "ok"  # of a zombie
        assert job.do("d.wait()", *connect(str(path))) == "ok"
        assert told(kernel) == []
        job.do("d.stdin.close()")


def test_a_server_that_ended_and_left_its_socket_is_nobody_s(
    lab: Lab, kernel: KernelSide, path: Path
) -> None:
    """A process of the job that gets its number makes it none of the job's."""
    name = str(path)
    with subprocess.Popen([sys.executable, "-c", LEAVES_ITS_SOCKET, name], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.wait()
        assert child.stdout.readline() == b"listening\n"
        with agent(kernel, lab, policy('"unix://*"')) as job:
            kernel.drain()
            numbers = "open('/proc/sys/kernel/ns_last_pid', 'w')"
            after = f"with {numbers} as n: n.write('{child.pid - 1}')"
            same = f"import subprocess\n{after}\np = subprocess.Popen(['sleep', '1000'])"
            assert job.do(f"exec({same!r})") == "ok"
            assert job.value("p.pid") == str(child.pid)
            assert job.do(*connect(name)) == "EPERM"
            assert (name, Act.CONNECT, Verdict.DENY) in told(kernel)
            job.do("p.kill()", "p.wait()")
        child.communicate()


def test_datagrams_are_told_and_refused_where_a_policy_names_their_socket(
    lab: Lab, kernel: KernelSide, path: Path
) -> None:
    other = path.with_name("other.sock")
    with (
        server(str(path), socket.SOCK_DGRAM),
        server(str(other), socket.SOCK_DGRAM),
        agent(kernel, lab, policy(f"unix://{path}")) as job,
    ):
        kernel.drain()
        assert job.do("s = socket.socket(1, 2)", f"s.sendto(b'x', {str(path)!r})") == "EPERM"
        assert job.do(f"s.connect({str(path)!r})") == "EPERM"
        assert job.do(f"s.sendto(b'x', {str(other)!r})") == "ok"
        assert told(kernel) == [(str(path), Act.SEND, Verdict.DENY)] * 2


def test_many_connects_are_counted(lab: Lab, path: Path) -> None:
    with answering(*HOOKS), kernel_side(without=INTERNET) as kernel, server(str(path)):
        with agent(kernel, lab, None) as job:
            many = f"for _ in range(500):\n s = socket.socket(1); s.connect({str(path)!r}); s.close()"
            assert job.do(f"exec({many!r})") == "ok"
        seen = acts(kernel.finish(), job.process)
    counted = [act for act in seen if isinstance(act, Aggregated)]
    assert sum(act.attempts for act in counted) + len(seen) - len(counted) == 500
    assert len(seen) < 200
    assert {act.peer for act in seen} == {digest(os.fsencode(path))}
