"""Who forges answers names nothing, and hostile names do nothing to whoever reads the trace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import dns.message
import dns.name
import dns.rrset

from tests.kernel.forged_answers import (
    ASK_AND_CONNECT,
    FORGE_AND_CONNECT,
    HOSTILE_LABELS,
    TRUSTED,
    Meddling,
    kind_of,
    leading_to,
    query,
    silent,
)
from tests.kernel.lab import NETWORKS, PORT, V4, Lab, Network
from tests.kernel.resolver import Resolver
from tests.kernel.tracing import Span, Trace, trace
from tests.launch import SYSTEM_PYTHON

if TYPE_CHECKING:
    from pathlib import Path


def only_connection(seen: Trace) -> Span:
    (span,) = (span for span in seen.egress if span["network.transport"] == "tcp")
    assert span["egress.outcome"] == "established"
    return span


@NETWORKS
def test_answers_of_strangers_and_to_what_was_not_asked_name_nothing(
    lab: Lab, tmp_path: Path, network: Network
) -> None:
    command = [SYSTEM_PYTHON, "-c", ASK_AND_CONNECT, network.evil, "3", network.peer, str(PORT)]
    with Meddling(lab, network):
        seen = trace(lab, [*command, query(TRUSTED, network).hex()], tmp_path)
    assert seen.stdout.split() == sorted([network.peer, network.evil, network.evil])
    assert only_connection(seen)["server.address"] == network.peer
    assert [span.attributes.get("dns.question.name") for span in seen.egress] == [TRUSTED, None]


def test_an_answer_that_the_job_forges_names_nothing(lab: Lab, tmp_path: Path) -> None:
    for interface in ("all", "lo"):
        lab.build.configure(
            {f"net/ipv4/conf/{interface}/rp_filter": 0, f"net/ipv4/conf/{interface}/accept_local": 1}
        )
    question = query(TRUSTED, V4)
    command = [SYSTEM_PYTHON, "-c", FORGE_AND_CONNECT, V4.peer, V4.build, V4.peer, str(PORT)]
    with silent(lab, V4):
        seen = trace(lab, [*command, question.hex(), leading_to(V4.peer, question).hex()], tmp_path)
    assert (seen.status, seen.stdout) == (0, "True\n")
    assert only_connection(seen)["server.address"] == V4.peer
    assert {span["server.address"] for span in seen.egress} == {V4.peer, V4.build}


@NETWORKS
def test_hostile_names_are_shown_harmlessly_and_name_nothing(
    lab: Lab, tmp_path: Path, network: Network
) -> None:
    names = [dns.name.Name((label, b"example", b"")).to_text() for label in HOSTILE_LABELS]
    records = [f"{name} {kind_of(network)} {network.peer}" for name in names]
    questions = [query(name, network).hex() for name in names]
    command = [SYSTEM_PYTHON, "-c", ASK_AND_CONNECT, network.evil, "1", network.peer, str(PORT), *questions]
    with Resolver(lab, network.evil, records):
        seen = trace(lab, command, tmp_path)
    assert seen.stdout.split() == [network.evil] * len(names)
    asked = [span["dns.question.name"] for span in seen.egress if span["server.port"] == 53]
    assert asked == [name.removesuffix(".") for name in names]
    assert all(str(name).isascii() and str(name).isprintable() for name in asked)
    assert only_connection(seen)["server.address"] == network.peer
    assert re.findall(r"[^\n -~→]", seen.stderr) == []
