"""What makes an act look like one that the baseline knows, or like one that it doesn't."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.baselines import baseline, entries_of, entry, said
from tests.kernel.lab import PORT, RESOLVER, V4
from tests.kernel.resolver import lab_with_resolver
from tests.kernel.tracing import trace

if TYPE_CHECKING:
    from tests.kernel.conftest import Programs
    from tests.kernel.lab import Lab

pytestmark = pytest.mark.kernel

_FORKS_ON = """
import os, sys
reading, writing = os.pipe()
if os.fork():
    os.close(writing)
    os.read(reading, 1)  # until the last one is gone
    sys.exit()
for _ in range(int(sys.argv[1]) - 1):
    if os.fork():
        os._exit(0)
os.set_inheritable(writing, True)
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_a_chain_that_is_too_long_to_be_remembered_is_not_a_short_one_that_is_known(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    """Beyond 1,024 generations the job's root stands in as creator, so the chain reads like an honest one."""
    file = baseline(tmp_path / "baseline.yaml", entry(V4.peer, PORT, ("dash", "act")))
    act = programs.act("connect", V4.peer, PORT)
    command = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", _FORKS_ON, "1024", *act]
    seen = trace(lab, command, tmp_path / "otlp", "--baseline", file, "--fail-on", "novel")
    (span,) = seen.egress
    assert span["egress.lineage"] == ["dash", "act"]
    assert span["egress.novel"] is True
    assert "egress.lineage" in span["egress.truncated"]  # type: ignore[operator]
    what = "known, but there is more to this chain than is remembered"
    assert said(seen.stderr) == [f"act (dash → act) → {V4.peer}:{PORT}, {what}"]
    assert seen.status == 90


def test_a_name_that_gains_an_address_is_as_known_as_it_was(tmp_path: Path) -> None:
    """The C library connects a UDP socket to each of several, to put them in order."""
    where = f"'registry.example', {PORT}"
    code = (
        f"import socket; socket.create_connection(({where})); socket.getaddrinfo({where.split(',')[0]}, None)"
    )
    command = ["sh", "-c", '"$@"; true', "sh", "/usr/bin/python3", "-c", code]
    records = [f"registry.example A {address}" for address in (V4.peer, V4.evil)]
    with lab_with_resolver(RESOLVER, records[:1], tmp_path) as lab:
        honest = lab.build.call(trace, None, command, tmp_path / "honest").result()
    assert {span["network.transport"] for span in honest.egress if span["server.port"] != 53} == {"tcp"}
    file = baseline(tmp_path / "baseline.yaml", *entries_of(honest.egress))
    with lab_with_resolver(RESOLVER, records, tmp_path) as lab:
        seen = lab.build.call(trace, None, command, tmp_path / "otlp", "--baseline", file).result()
    unsent = [span["server.port"] for span in seen.egress if span["network.transport"] == "udp"]
    assert {PORT, 0} <= {*unsent}
    assert [span.name for span in seen.egress if span["egress.novel"]] == []
    assert said(seen.stderr) == []


_ANSWER_ONESELF = f"""
import os, select, socket, subprocess, sys
answer = b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0", b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4"
question = b"\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\x08registry\\x07example\\0\\0\\1\\0\\1"
if sys.argv[1:] == ["answer"]:
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 53))
        client.connect(server.getsockname())
        # A network that was made a moment ago may lose a datagram.
        any(client.send(question) and select.select([server], [], [], 2)[0] for _ in range(15))
        asked, who = server.recvfrom(512)
        address = socket.inet_aton("{V4.evil}")
        server.sendto(asked[:2] + answer[0] + asked[12:] + answer[1] + address, who)
        client.recv(512)
else:
    subprocess.run([*sys.argv[1:], sys.executable, __file__, "answer"], check=True)
    socket.create_connection(("{V4.evil}", {PORT}))
"""


@pytest.mark.parametrize(
    "under",
    [
        pytest.param(["unshare", "-Urn", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"], id="its-own"),
        pytest.param([], id="the-job's"),
    ],
)
def test_a_name_that_a_job_gave_itself_is_not_believed(lab: Lab, tmp_path: Path, under: list[str]) -> None:
    """Any user can make a network and answer there, under any address and at port 53; root can anywhere."""
    script = tmp_path / "answer.py"
    script.write_text(_ANSWER_ONESELF)
    file = baseline(tmp_path / "baseline.yaml", entry("registry.example", PORT))
    command = ["/usr/bin/python3", str(script), *under]
    seen = trace(lab, command, tmp_path / "otlp", "--baseline", file, "--fail-on", "novel")
    (span,) = (span for span in seen.egress if span["network.peer.address"] == V4.evil)
    assert (span["server.address"], span["egress.novel"]) == ("registry.example", True)
    what = "by a name that nobody but the job may have given it"
    python = Path(command[0]).resolve().name
    assert said(seen.stderr) == [f"{python} ({python}) → registry.example:{PORT}, {what}"]
    assert seen.status == 90
