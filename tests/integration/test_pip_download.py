"""A real download, traced, beside what strace saw the same processes do."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections import Counter
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.launch import PLAIN_ENVIRONMENT, JsonObject, ci_egress, spans_in

pytestmark = [pytest.mark.kernel, pytest.mark.index, pytest.mark.timeout(300)]

PYTHON = sys.executable if importlib.util.find_spec("pip") else "/usr/bin/python3"
DOWNLOAD = [PYTHON, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--dest", "got", "six==1.16.0"]
CALLS = "connect,sendto,sendmsg,sendmmsg"
STRACE = ["strace", "-f", "-qqq", "-e", "signal=none", "-e", f"trace={CALLS}", "-o", "log", "--"]

_CALL = re.compile(r"(?P<pid>\d+) +(?P<name>connect|sendto|sendmsg|sendmmsg)\(")
_INTERNET_ADDRESS = re.compile(
    r"\{sa_family=AF_INET6?, sin6?_port=htons\((?P<port>\d+)\),"
    r'[^"}]*inet_(?:addr|pton)\((?:AF_INET6, )?"(?P<address>[^"]+)"'
)


class Seen(NamedTuple):
    """One connect, or one datagram sent to an address of its own."""

    pid: int
    act: str
    address: str
    port: int


def seen_by_strace(log: str) -> Counter[Seen]:
    """What the log tells. Its numbers are threads': pip does all this in the first one of its process.

    A send on a connected socket names no address, and is none of these.
    """
    acts: Counter[Seen] = Counter()
    for line in log.splitlines():
        if call := _CALL.match(line):
            act = "connect" if call["name"] == "connect" else "send"
            for peer in _INTERNET_ADDRESS.finditer(line, call.end()):
                acts[Seen(int(call["pid"]), act, unmapped(peer["address"]), int(peer["port"]))] += 1
    return acts


def unmapped(text: str) -> str:
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def told_by(span: JsonObject) -> Seen:
    """What an egress span tells."""
    about = span["attributes"]
    act = span["name"].split()[0]
    return Seen(about["process.pid"], act, about["network.peer.address"], about["network.peer.port"])


def test_strace_logs_are_read_as_acts() -> None:
    log = """\
7  connect(3, {sa_family=AF_UNIX, sun_path=""...}, 110) = -1 ENOENT (No such file or directory)
7  connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.53")}, 16) = 0
7  sendmmsg(3, [{msg_hdr={msg_name=NULL, msg_namelen=0}, msg_len=26}], 2, MSG_NOSIGNAL) = 2
7  connect(3, {sa_family=AF_UNSPEC, sa_data=""...}, 16) = 0
8  connect(4, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), \
inet_pton(AF_INET6, "::ffff:192.0.2.1", &sin6_addr), sin6_scope_id=0}, 28 <unfinished ...>
8  <... connect resumed>) = -1 EINPROGRESS (Operation now in progress)
8  sendto(5, ""..., 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20
8  sendto(5, ""..., 20, 0, {sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), \
inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 20
"""
    assert seen_by_strace(log) == Counter(
        [
            Seen(7, "connect", "192.0.2.53", 53),
            Seen(8, "connect", "192.0.2.1", 443),
            Seen(8, "send", "2001:db8::1", 53),
        ]
    )


def test_a_download_connects_where_strace_says_and_nowhere_else(tmp_path: Path) -> None:
    env = os.environ | PLAIN_ENVIRONMENT  # the index is the one that this machine is set up for
    options = ["--user", "root", "--otlp-dir", "out"]
    done = ci_egress("run", *options, "--", *STRACE, *DOWNLOAD, cwd=tmp_path, env=env)
    if done.status != 0:
        pytest.fail(f"pip could not download; is there a package index?\n{done.stderr}", pytrace=False)
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["six-1.16.0-py2.py3-none-any.whl"]

    egress = [span for span in spans_in(tmp_path / "out") if span["kind"] == 3]
    assert Counter(map(told_by, egress)) == seen_by_strace((tmp_path / "log").read_text())
    assert "tcp" in {span["attributes"]["network.transport"] for span in egress}
    assert {span["attributes"]["egress.lineage"][0] for span in egress} == {"strace"}
    assert done.stderr.splitlines()[-1].startswith(f"attempts {len(egress)} = exported {len(egress)} ")
