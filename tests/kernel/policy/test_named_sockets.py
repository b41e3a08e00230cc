"""Unix sockets on a kernel that asks no program about them: judged by the name that the client gives."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from exporter.common.errors import KernelError
from exporter.common.net.unix_sockets import digest, name_of
from exporter.events import wire
from exporter.events.facts import Act, Verdict
from exporter.kernel.maps import named_sockets
from exporter.kernel.maps.named_sockets import SOCKETS_MAX, USUAL
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import ContextHook
from tests.kernel.agents import agent
from tests.kernel.kernel_side import INTERNET, KernelSide, kernel_side
from tests.kernel.security_hooks import answering
from tests.kernel.unix_servers import connect, policy, server, told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.lab import Lab

pytestmark = pytest.mark.kernel

STREAMS = {"stream": socket.SOCK_STREAM, "packets": socket.SOCK_SEQPACKET}


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelSide]:
    with answering(), kernel_side(without=INTERNET) as side:
        assert {each.name for each in PROGRAMS if isinstance(each, ContextHook)} <= side.tracer.attached
        yield side


@pytest.mark.parametrize("kind", STREAMS.values(), ids=list(STREAMS))
def test_one_that_a_rule_denies_is_refused_by_its_name(
    lab: Lab, kernel: KernelSide, tmp_path: Path, kind: int
) -> None:
    path, other = tmp_path / "engine.sock", tmp_path / "other.sock"
    with (
        server(str(path), kind),
        server(str(other), kind),
        agent(kernel, lab, policy(f"unix://{path}")) as job,
    ):
        kernel.drain()
        assert job.do(*connect(str(path), kind)) == "EPERM"
        assert job.do(*connect(str(other), kind)) == "ok"
        assert told(kernel) == [(str(path), Act.CONNECT, Verdict.DENY)]


def test_run_is_also_called_var_run(lab: Lab, kernel: KernelSide) -> None:
    with agent(kernel, lab, policy("unix:///var/run/docker.sock", "unix:///run/ci-egress-x.sock")) as job:
        for name in ("docker.sock", "ci-egress-x.sock"):
            assert [job.do(*connect(f"{way}/{name}")) for way in ("/run", "/var/run")] == ["EPERM"] * 2


def test_a_name_without_its_nul_is_the_same(lab: Lab, kernel: KernelSide, tmp_path: Path) -> None:
    """As long as an address may be, or with anything behind a NUL."""
    path = tmp_path / "engine.sock"
    libc = "c = ctypes.CDLL(None, use_errno=True); s = socket.socket(1)"
    fail = "if r < 0: raise OSError(ctypes.get_errno(), '')"
    with server(str(path)), agent(kernel, lab, policy(f"unix://{path}")) as job:
        kernel.drain()
        for behind in ("", "\\0", "\\0/x", "\\0" * 30):
            address = f"a = struct.pack('=H', 1) + b'{path}{behind}'"
            call = "r = c.connect(s.fileno(), a, len(a))"
            assert job.do(libc, address, call, fail) == "EPERM", behind
        assert told(kernel) == [(str(path), Act.CONNECT, Verdict.DENY)] * 4


def test_an_abstract_name_is_one_too(lab: Lab, kernel: KernelSide) -> None:
    name = f"@ci-egress-test-{os.getpid()}"
    with agent(kernel, lab, policy(f"unix://{name}")) as job:
        kernel.drain()
        assert job.do(*connect(name)) == "EPERM"
        assert job.do(*connect(f"{name}0")) == "ECONNREFUSED"
        assert told(kernel) == [(name, Act.CONNECT, Verdict.DENY)]


def test_in_audit_mode_it_is_told_that_it_would_be(lab: Lab, kernel: KernelSide, tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    with server(str(path)), agent(kernel, lab, policy(f"unix://{path}", mode="audit")) as job:
        kernel.drain()
        assert job.do(*connect(str(path))) == "ok"
        assert told(kernel) == [(str(path), Act.CONNECT, Verdict.AUDIT)]


def test_datagrams_are_refused_by_their_sockets_name(lab: Lab, kernel: KernelSide, tmp_path: Path) -> None:
    path = tmp_path / "log.sock"
    with server(str(path), socket.SOCK_DGRAM), agent(kernel, lab, policy(f"unix://{path}")) as job:
        kernel.drain()
        assert job.do("s = socket.socket(1, 2)", f"s.sendto(b'x', {str(path)!r})") == "EPERM"
        assert job.do(f"s.connect({str(path)!r})") == "EPERM"
        assert told(kernel) == [
            (str(path), Act.SEND, Verdict.DENY),
            (str(path), Act.CONNECT, Verdict.DENY),
        ]


def test_the_usual_sockets_are_told_without_a_policy(lab: Lab, kernel: KernelSide) -> None:
    """Also by their names below /var/run, and whether there is one or not."""
    with agent(kernel, lab, None) as job:
        kernel.drain()
        for name in (*USUAL, "/var/run/docker.sock"):
            job.do("s = socket.socket(1); s.settimeout(5)")
            assert job.do(f"s.connect({name!r})") in {"ok", "ENOENT", "ECONNREFUSED"}
        assert told(kernel) == [
            (name, Act.CONNECT, Verdict.NONE) for name in (*USUAL, "/var/run/docker.sock")
        ]


def test_a_link_gets_around_that(lab: Lab, kernel: KernelSide, tmp_path: Path) -> None:
    """The limit that the manual tells."""
    path, link = tmp_path / "engine.sock", tmp_path / "link"
    with server(str(path)), agent(kernel, lab, policy(f"unix://{path}")) as job:
        link.symlink_to(path)
        kernel.drain()
        assert job.do(*connect(str(link))) == "ok"
        assert told(kernel) == []


def names(kernel: KernelSide) -> set[bytes]:
    """The digests that stand in the kernel for sockets of policies."""
    usual = {digest(name_of(name)) for name in USUAL}
    return {value for _, value in kernel.tracer.maps["named_sockets"].items()} - usual


def kinds(kernel: KernelSide, path: Path) -> set[int]:
    """Whether it is known by its file (1), by its names (0), or both."""
    own, entries = digest(os.fsencode(path)), kernel.tracer.maps["named_sockets"].items()
    return {wire.SOCKET_KEY.unpack(key)[2] for key, value in entries if value == own}


def test_sockets_are_known_as_long_as_a_policy_names_them(kernel: KernelSide, tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    scopes, own = kernel.tracer.scopes, digest(os.fsencode(path))
    before = names(kernel)
    with server(str(path)):
        written = scopes.write(policy(f"unix://{path}", '"unix://*"'))
        again = scopes.write(policy(f"unix://{path}"))
    assert names(kernel) == before | {own}
    scopes.remove(written.number)
    scopes.look_for_sockets()
    assert names(kernel) == before | {own}
    scopes.remove(again.number)
    scopes.look_for_sockets()
    assert names(kernel) == before


def test_more_than_the_kernel_has_room_for_are_refused(kernel: KernelSide) -> None:
    scopes, before = kernel.tracer.scopes, names(kernel)
    with pytest.raises(KernelError, match="more than 128 Unix sockets, over all policies"):
        scopes.write(policy(*(f"unix://@{number}" for number in range(SOCKETS_MAX + 1))))
    assert names(kernel) == before
    written = scopes.write(policy(*(f"unix://@{number}" for number in range(SOCKETS_MAX - 20))))
    scopes.remove(written.number)
    scopes.look_for_sockets()


def test_what_cannot_be_looked_at_now_stays_known_and_keeps_nobody_else_unknown(
    kernel: KernelSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engine.sock"
    scopes, table = kernel.tracer.scopes, kernel.tracer.maps["named_sockets"]
    with server(str(path)):
        written = scopes.write(policy(f"unix://{path}"))
        before = dict(table.items())
        path.chmod(0o700)  # else it is known to be the same file
        with monkeypatch.context() as patched:
            patched.setattr(named_sockets, "inode_at", lambda _: None)
            scopes.look_for_sockets()
        assert dict(table.items()) == before
        loop = tmp_path / "loop"
        loop.symlink_to(loop.name)
        other = tmp_path / "other.sock"
        more = scopes.write(policy(f"unix://{loop}", f"unix://{other}"))
        with server(str(other)):
            scopes.look_for_sockets()
            assert sum(value == digest(os.fsencode(other)) for _, value in table.items()) == 2
    for each in (written, more):
        scopes.remove(each.number)
    scopes.look_for_sockets()


def test_a_file_that_others_may_replace_is_known_by_its_name(kernel: KernelSide, tmp_path: Path) -> None:
    folder = tmp_path / "anybodys"
    folder.mkdir()
    folder.chmod(0o777)
    path, scopes = folder / "engine.sock", kernel.tracer.scopes
    fine = tmp_path / "fine.sock"
    with server(str(path)), server(str(fine)):
        fine.chmod(0o666)
        os.chown(fine, 65534, 65534)  # the socket itself may be anybody's
        written = scopes.write(policy(f"unix://{path}", f"unix://{fine}"))
    assert kinds(kernel, path) == {0}
    assert kinds(kernel, fine) == {0, 1}
    scopes.remove(written.number)
    scopes.look_for_sockets()


def test_no_file_makes_a_socket_an_allowed_one(kernel: KernelSide, tmp_path: Path) -> None:
    """Else root in a job could put a denied one in its place."""
    path, scopes = tmp_path / "engine.sock", kernel.tracer.scopes
    with server(str(path)):
        written = scopes.write(policy('"unix://*"', allowed=(f"unix://{path}",)))
    assert kinds(kernel, path) == {0}
    scopes.remove(written.number)
    scopes.look_for_sockets()
