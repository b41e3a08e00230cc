"""Names grant addresses before whoever asked sees the answer; a forged one grants nothing."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from exporter.common.clock import boot_ns
from exporter.events import wire
from exporter.kernel.pins import config_of
from tests.kernel.dns_exchange import NAME, OF_HOST_NAMES, Asking, bracketed, policy
from tests.kernel.held_job import DENIED, SENT, HeldJob, connect, question, record, reply
from tests.kernel.lab import PORT, V4, V6, Lab, Network

pytestmark = pytest.mark.kernel

OTHER_PORT = 7001
MINUTE_NS = 60_000_000_000
FRESH = {V4: 10_000, V6: 1_000}
GRANTS_MOST = 16_384
"""As bpf/grant.bpf.c has it."""

EACH = 90
"""Addresses in an answer."""

OWN_NETWORK = """
import socket, subprocess, sys
resolver, question, interface, answer = sys.argv[1:]
family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
subprocess.run(["ip", "link", "set", interface, "up"], check=True)
add = ["ip", "addr", "add", resolver, "dev", interface]
add += ["nodad"] if ":" in resolver else []  # until the kernel has looked for another one, it can't be bound
subprocess.run(add, check=True)
with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as client:
    server.bind((resolver, 53))
    for each in server, client:
        each.settimeout(2)
    for _ in range(10):
        try:
            client.sendto(bytes.fromhex(question), (resolver, 53))
            server.sendto(bytes.fromhex(answer), server.recvfrom(4096)[1])
            assert client.recv(4096) == bytes.fromhex(answer)
            break
        except TimeoutError:  # a network that was made a moment ago may lose a datagram
            continue
    else:
        sys.exit("no answer came")
"""
"""Is the resolver itself, by its address, in a network of its own."""


@pytest.mark.parametrize(
    ("rule", "name", "result"),
    [
        (NAME, NAME, SENT),
        (NAME, "REGISTRY.Example", SENT),
        (NAME, f"www.{NAME}", DENIED),
        (NAME, f"evil{NAME}", DENIED),
        (NAME, f"{NAME}.evil.example", DENIED),
        (f"*.{NAME}", f"a.{NAME}", SENT),
        (f"*.{NAME}", f"a.b-c.d_e.{NAME}", SENT),
        (f"*.{NAME}", NAME, DENIED),
        (f"*.{NAME}", f"evil{NAME}", DENIED),
        (f"*.{NAME}", f"a.{NAME}.evil.example", DENIED),
        (f"*.{NAME}", rf"evil\.registry.{NAME.partition('.')[2]}", DENIED),
        (f"*.{NAME}", rf"\000.{NAME}", DENIED),
        (f"*.{NAME}", rf"a\032b.{NAME}", DENIED),
    ],
)
def test_an_address_is_granted_by_the_name_that_was_asked_for(
    job: HeldJob, lab: Lab, network: Network, asking: Asking, rule: str, name: str, result: str
) -> None:
    job.hold_to_text(policy(network, f"{rule}:{PORT}"))
    assert connect(lab.build, network.peer, PORT) == DENIED
    asking.ask(name, record(network.peer))
    assert connect(lab.build, network.peer, PORT) == result


def test_a_label_that_is_granted_has_bytes_of_host_names_alone(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(policy(network, f"*.{NAME}:{PORT}"))
    for behind in range(4):
        for byte in set(range(256)) - set(OF_HOST_NAMES.encode()):
            asking.ask(rf"{'a' * behind}\{byte:03d}z.{NAME}", record(network.peer))
    assert connect(lab.build, network.peer, PORT) == DENIED
    asking.ask(f"{OF_HOST_NAMES[:32]}.{OF_HOST_NAMES[32:]}.{NAME}", record(network.peer))
    assert connect(lab.build, network.peer, PORT) == SENT


def test_the_longest_name_that_a_rule_can_have_is_granted(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 51, "example"])
    assert len(longest) == 251
    job.hold_to_text(policy(network, f"{longest}:{PORT}"))
    asking.ask(f"x{longest[1:]}", record(network.peer))
    asking.ask(f"e.{longest[1:]}", record(network.peer))
    assert connect(lab.build, network.peer, PORT) == DENIED
    asking.ask(longest, record(network.peer))
    assert connect(lab.build, network.peer, PORT) == SENT


def test_every_address_behind_any_aliases_is_granted(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(policy(network, f"{NAME}:{PORT}"))
    aliases = ["= CNAME edge.cdn.example.", "edge.cdn.example. CNAME e7.cdn.example."]
    addresses = [f"e7.cdn.example. {record(address)[2:]}" for address in (network.blackhole, network.peer)]
    asking.ask(NAME, *aliases, *addresses, kind="AAAA" if ":" in network.peer else "A")
    assert connect(lab.build, network.peer, PORT) == SENT
    assert connect(lab.build, network.blackhole, PORT) != DENIED


def test_a_rule_for_what_a_name_leads_to_grants_nothing(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(policy(network, f"edge.cdn.example:{PORT}"))
    asking.ask(NAME, "= CNAME edge.cdn.example.", f"edge.cdn.example. {record(network.peer)[2:]}")
    assert connect(lab.build, network.peer, PORT) == DENIED


def test_a_grant_is_for_the_ports_of_its_rule(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(policy(network, f"{NAME}:{PORT}", f"udp://other.example:{OTHER_PORT}"))
    asking.ask(NAME, record(network.peer))
    asking.ask("other.example", record(network.peer))
    assert connect(lab.build, network.peer, PORT) == SENT
    assert connect(lab.build, network.peer, OTHER_PORT) == DENIED
    assert connect(lab.build, network.peer, OTHER_PORT, socket.SOCK_DGRAM) == SENT
    assert connect(lab.build, network.peer, PORT, socket.SOCK_DGRAM) == DENIED


def test_on_an_address_that_two_names_share_deny_wins(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(policy(network, f"{NAME}:{PORT}", deny=["evil.example"]))
    asking.ask(NAME, record(network.peer))
    assert connect(lab.build, network.peer, PORT) == SENT
    asking.ask("evil.example", record(network.peer))
    assert connect(lab.build, network.peer, PORT) == DENIED


def test_a_denied_address_stays_denied_whatever_name_leads_there(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(policy(network, f"{NAME}:{PORT}", deny=[bracketed(network.peer)]))
    asking.ask(NAME, record(network.peer))
    assert connect(lab.build, network.peer, PORT) == DENIED


def test_an_answer_counts_only_from_the_resolver_that_was_asked_and_only_once(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(policy(network, f"{NAME}:{PORT}", "other.example:7"))
    asking.client.sendto(question("other.example"), asking.resolver.getsockname())
    asked, client = asking.resolver.recvfrom(4096)
    asking.stranger.sendto(reply(question(NAME), record(network.peer)), client)
    asking.resolver.sendto(reply(question(NAME), record(network.peer)), client)
    asking.resolver.sendto(reply(asked, record(network.peer)), client)
    for _ in range(3):
        asking.client.recv(4096)
    assert connect(lab.build, network.peer, PORT) == DENIED


def test_what_a_resolver_answers_that_no_rule_allows_grants_nothing_in_any_mode(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    scope = job.hold_to_text(policy(network, f"{NAME}:{PORT}", mode="audit"))
    stranger = Asking(asking.client, asking.stranger, asking.resolver)
    stranger.ask(NAME, record(network.peer))
    job.enforce(scope)
    assert connect(lab.build, network.peer, PORT) == DENIED
    asking.ask(NAME, record(network.peer))
    assert connect(lab.build, network.peer, PORT) == SENT


def test_answers_of_one_segment_grant_all_of_them(job: HeldJob, lab: Lab, network: Network) -> None:
    """As glibc asks over TCP: for A and AAAA at once."""
    job.hold_to_text(policy(network, f"{NAME}:{PORT}", f"other.example:{PORT}"))
    family = socket.AF_INET6 if ":" in network.evil else socket.AF_INET
    with (
        lab.peer.call(socket.create_server, (network.evil, 53), family=family).result() as listener,
        lab.build.call(socket.create_connection, (network.evil, 53)).result() as client,
    ):
        server, _ = listener.accept()
        with server:
            asked = [question(NAME, txid=1), question("other.example", txid=2)]
            client.sendall(b"".join(map(framed, asked)))
            assert len(server.recv(4096)) == sum(map(len, asked)) + 4
            answers = [reply(asked[0], record(network.blackhole)), reply(asked[1], record(network.peer))]
            server.sendall(b"".join(map(framed, answers)))
            client.recv(4096)
    assert connect(lab.build, network.blackhole, PORT) != DENIED
    assert connect(lab.build, network.peer, PORT) == SENT


def framed(message: bytes) -> bytes:
    return struct.pack("!H", len(message)) + message


def test_a_grant_outlives_its_time_to_live_and_lasts_while_it_is_used(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(policy(network, f"{NAME}:{PORT}"))
    grants, now_ns = job.grants(), boot_ns()
    asking.ask(NAME, record(network.peer), ttl_s=1)
    asking.ask(NAME, record(network.blackhole), ttl_s=3600)
    assert grants.expire(now_ns + 9 * MINUTE_NS, window=1) == 0
    assert connect(lab.build, network.peer, PORT) == SENT
    window = config_of(job.kernel.tracer.directory).window
    assert grants.expire(now_ns + 11 * MINUTE_NS, window) == 0
    assert grants.expire(now_ns + 22 * MINUTE_NS, window + 600) == 0
    assert connect(lab.build, network.peer, PORT) == SENT
    assert grants.expire(now_ns + 33 * MINUTE_NS, window + 1200) == 1
    assert connect(lab.build, network.peer, PORT) == DENIED
    assert connect(lab.build, network.blackhole, PORT) != DENIED
    assert grants.expire(now_ns + 59 * MINUTE_NS, window + 2400) == 0
    assert grants.expire(now_ns + 61 * MINUTE_NS, window + 2500) == 1
    assert connect(lab.build, network.blackhole, PORT) == DENIED


def test_fresh_names_are_never_denied(job: HeldJob, lab: Lab, network: Network, asking: Asking) -> None:
    job.hold_to_text(policy(network, "udp://*.fresh.example:9"))
    for address in far_addresses(lab, network, FRESH[network]):
        asking.ask(f"a{address.replace('.', '-').replace(':', '-')}.fresh.example", record(address))
        assert connect(lab.build, address, 9, socket.SOCK_DGRAM) == SENT
    assert connect(lab.build, network.peer, 9, socket.SOCK_DGRAM) == DENIED


def far_addresses(lab: Lab, network: Network, number: int) -> Iterator[str]:
    """Addresses behind the peer, each another one."""
    prefix = "2001:db8:fa::" if ":" in network.peer else "10."
    for net in ("2001:db8:fa::/48",) if ":" in network.peer else ("10.0.0.0/8",):
        lab.build.configure_links(f"route replace {net} via {network.peer}")
    for each in range(1, number + 1):
        yield f"{prefix}{each:x}" if ":" in prefix else f"{prefix}{each >> 16}.{each >> 8 & 255}.{each & 255}"


def test_a_flood_of_lookups_costs_no_other_job_a_grant(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    text = policy(network, "udp://*.fresh.example:9")
    job.hold_to_text(text)
    before, told = job.ungranted, 0
    many = [f"= A 10.{each >> 16}.{each >> 8 & 255}.{each & 255}" for each in range(20_000)]
    for at in range(0, len(many), EACH):
        asking.ask(f"a{at}.fresh.example", *many[at : at + EACH])
        told += len(many[at : at + EACH])
    assert job.ungranted - before == told - GRANTS_MOST
    job.hold_to_text(text)
    asking.ask("b.fresh.example", record(network.peer))
    assert connect(lab.build, network.peer, 9, socket.SOCK_DGRAM) == SENT


def test_what_finds_no_room_under_a_changed_policy_is_lost_and_keeps_nobody_under_the_old_one(
    job: HeldJob, network: Network, asking: Asking
) -> None:
    scope, stranger = job.hold_to_text(policy(network, f"{NAME}:{PORT}")), (1 << 32) - 2
    asking.ask(NAME, record(network.peer))
    granted, grants = job.kernel.tracer.maps["granted"], job.grants()
    known = (wire.GrantedKey.unpack(key) for key in granted)
    ((_, before, address),) = (key for key in known if key.scope == scope)
    others = ((each.to_bytes(16), 1) for each in range(granted.max_entries))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.E2BIG)):
            grants.seed(stranger, before, others)
        assert grants.carry_over(scope, before, before + 1, {address: (1, boot_ns())}) == 1
    finally:
        grants.forget(stranger)
    assert grants.carry_over(scope, before, before + 1, {address: (1, boot_ns())}) == 0
    grants.forget(scope)


def test_an_answer_in_a_network_that_the_job_made_grants_nothing(
    job: HeldJob, lab: Lab, network: Network
) -> None:
    job.hold_to_text(policy(network, f"{NAME}:{PORT}", f"any://{bracketed(network.evil)}"))
    asks = [sys.executable, "-c", OWN_NETWORK, network.evil, question(NAME).hex(), "lo"]
    asks.append(reply(question(NAME), record(network.peer)).hex())
    done = subprocess.run(["unshare", "--map-root-user", "--net", *asks], timeout=60, check=False)
    assert done.returncode == 0
    assert connect(lab.build, network.peer, PORT) == DENIED
