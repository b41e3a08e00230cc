"""Ways to reach what no rule allows, over both IP versions: told, and denied without a packet."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.kernel.lab import CLOSED_PORT, MPTCP_PORT, NETWORKS, PORT, V4, V6, Lab, Network, Watch
from tests.kernel.lineage_shapes import LINEAGES, announcements, assert_whole
from tests.kernel.policy_runs import MODES, Ruled, bracketed, script, under
from tests.kernel.tracing import announced

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Programs

pytestmark = pytest.mark.kernel


class Act(NamedTuple):
    """A verb of `act`, and what its spans are in audit."""

    verb: str
    name: str = "connect"
    """How they are called."""
    transport: str = "tcp"
    outcome: str | None = "established"
    peers: tuple[str, ...] = ("evil",)
    """Addresses of `Network`, a span for each; the first is denied, and nothing comes after it."""
    port: int = PORT
    error: str = "ok"
    """What the program says."""


ACTS = [
    Act("connect"),
    Act("connect", port=CLOSED_PORT, outcome="refused", error="ECONNREFUSED"),
    Act("connect", peers=("blackhole",), outcome="timeout", error="ETIMEDOUT"),
    Act("connect", peers=("unreachable",), outcome="unreachable", error="EHOSTUNREACH"),
    Act("connect", peers=("no_route",), outcome="unreachable", error="ENETUNREACH"),
    Act("connect-nonblock"),
    Act("connect-nonblock", port=CLOSED_PORT, outcome="refused", error="ECONNREFUSED"),
    Act("thread-connect"),
    Act("mptcp-connect", port=MPTCP_PORT),
    Act("tfo-sendto"),
    Act("tfo-connect"),
    Act("mapped-tcp"),
    Act("udp-connect-send", "connect", "udp", None),
    Act("mapped-udp-connected", "connect", "udp", None),
    Act("udp-sendto", "send", "udp", "sent"),
    Act("udp-sendmsg", "send", "udp", "sent"),
    Act("udp-sendmmsg", "send", "udp", "sent", ("evil", "blackhole")),
    Act("mapped-udp-sendto", "send", "udp", "sent"),
    Act("v6sock-v4addr", "send", "udp", "sent"),
    Act("udplite-sendto", "send", "udplite", "sent"),
    Act("uring-connect"),
    Act("uring-connect-sqpoll"),
    Act("uring-sendmsg", "send", "udp", "sent"),
    Act("raw-echo", "send", "icmp", "sent"),
    Act("ping", "send", "icmp", "sent"),
]


def every(peer: str) -> str:
    """A rule for all that is done there: sockets for packets may be made, each packet is decided."""
    return f"any://{bracketed(peer)}"


@MODES
@NETWORKS
def test_each_way_to_act_is_one_span_an_attempt_and_fails_at_once_if_denied(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, mode: str
) -> None:
    commands = [argv(programs, act, network) for act in ACTS]
    step = script(tmp_path, *(announced(command) for command in commands))
    with lab.watch() as watch:
        ruled = under(lab, mode, [every(network.peer)], step, tmp_path)
    spans, told = iter(ruled.seen.egress), []
    said = zip(*[iter(ruled.seen.stdout.splitlines())] * 2, strict=True)
    for act, command, (ids, result) in zip(ACTS, commands, said, strict=True):
        assert result == result_of(act, network, ruled), act
        pid, parent = map(int, ids.split())
        who = {
            "process.pid": pid,
            "process.parent_pid": parent,
            "process.command_args": command,
            "egress.lineage": ["dash", "act"],
            "egress.ancestors": [shlex.join(step)],
            "egress.attribution": "lineage",
            "egress.attempts": 1,
        }
        for peer in act.peers[: 1 if ruled.is_enforced else None]:
            span, address = next(spans), getattr(network, peer)
            shown = address if act.transport == "icmp" else f"{bracketed(address)}:{act.port}"
            assert span.name == f"{act.name} {shown}"
            assert who.items() <= span.attributes.items()
            assert span["server.address"] == span["network.peer.address"] == address
            assert span["network.transport"].removeprefix("ipv6-") == act.transport  # type: ignore[union-attr]
            if not ruled.is_enforced:
                assert span.attributes.get("egress.outcome") == act.outcome, act
            told.append((span, f"act (dash → act) → {shown}, rule default"))
    assert list(spans) == []
    ruled.assert_against(ruled.seen.egress)
    ruled.assert_told(told)
    ruled.assert_account(len(told))
    assert_stopped(watch, network, ruled)


def assert_stopped(watch: Watch, network: Network, ruled: Ruled) -> None:
    """Nothing at all came to the far side, or in audit it did."""
    if ruled.is_enforced:
        assert watch.arrivals.packets == {}
    else:
        assert watch.arrivals.packets_to(network.evil) > 0


def argv(programs: Programs, act: Act, network: Network) -> list[str]:
    """The act's command line."""
    return programs.act(
        act.verb, *(part for peer in act.peers for part in (getattr(network, peer), act.port))
    )


def result_of(act: Act, network: Network, ruled: Ruled) -> str:
    """What the program says."""
    if (act.verb, network) == ("ping", V6):
        return "ok"  # says the kernel: the packet is dropped all the same
    in_audit = act.error if network is V4 else act.error.replace("EHOSTUN", "ENETUN")
    return ruled.errno(in_audit)


SHAPES = {**LINEAGES, "pid-reuse": ["lineage", "act"]}
TIMES = 3
"""How many acts share the pid."""


@MODES
@NETWORKS
def test_however_a_process_came_about_it_is_held_to_its_jobs_policy(
    lab: Lab, programs: Programs, tmp_path: Path, network: Network, mode: str
) -> None:
    act = announced(programs.act("connect", network.evil, PORT))
    shapes = [programs.lineage(name, *([str(TIMES)] if name == "pid-reuse" else []), *act) for name in SHAPES]
    step = script(tmp_path, *shapes)
    with lab.watch() as watch:
        ruled = under(lab, mode, [every(network.peer)], step, tmp_path)
    seen, expected = ruled.seen, [*SHAPES.values(), *[SHAPES["pid-reuse"]] * (TIMES - 1)]
    assert seen.stdout.split()[2::3] == [ruled.errno()] * len(expected)
    assert_whole(seen)
    assert [span["egress.lineage"] for span in seen.egress] == [["dash", *lineage] for lineage in expected]
    assert [(span["process.pid"], span["process.parent_pid"]) for span in seen.egress] == announcements(seen)
    assert len({span["process.pid"] for span in seen.egress[-TIMES:]}) == 1
    assert len({span.parent_id for span in seen.egress}) == len(expected)
    ruled.assert_against(seen.egress)
    shown = f"{bracketed(network.evil)}:{PORT}, rule default"
    ruled.assert_told(
        [
            (span, f"act ({' → '.join(['dash', *names])}) → {shown}")
            for span, names in zip(seen.egress, expected, strict=True)
        ]
    )
    ruled.assert_account(len(expected))
    assert_stopped(watch, network, ruled)
