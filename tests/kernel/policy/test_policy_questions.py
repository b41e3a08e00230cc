"""`dns: deny`: resolvers are asked for names that rules allow, and nothing else gets to them."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import pytest

from exporter.events import wire
from exporter.events.facts import RULE_OF_LOOKUPS, Act, Acted, Metered, Verdict
from tests.kernel.dns_exchange import (
    HELD_BACK_S,
    NAME,
    OF_HOST_NAMES,
    PACED,
    Asking,
    bracketed,
    framed,
    nothing_comes,
    padded,
    policy,
    questions_held_back,
    taken,
    udp,
)
from tests.kernel.held_job import DENIED, SENT, HeldJob, compiled, connect, question, record, reply
from tests.kernel.lab import PORT, V4, V6, Lab, Network
from tests.kernel.lookups import packed
from tests.kernel.resolver import answering_for, answering_for_itself
from tests.kernel.servers import family_of

pytestmark = pytest.mark.kernel

EVIL = "c2VjcmV0.evil.example"
ZONE = f"*.{NAME}"
UDP, TCP, MPTCP = socket.IPPROTO_UDP, socket.IPPROTO_TCP, 262
OTHER_PORT = 7009
IPV6_HDRINCL, SO_RCVBUFFORCE, SO_ZEROCOPY, MSG_ZEROCOPY, UDP_SEGMENT = 36, 33, 60, 0x4000000, 103
EACH = 2000
WINDOW_S = 1.1


def refusing(network: Network, *allow: str, more: str = "", mode: str = "enforce") -> str:
    return f"dns: deny\n{more}{policy(network, *(f'{each}:{PORT}' for each in allow), mode=mode)}"


def sent(asking: Asking, message: bytes) -> bool:
    """Whether the resolver gets it; else its sender is told."""
    try:
        asking.client.sendto(message, asking.resolver.getsockname())
    except PermissionError:
        assert nothing_came(asking)
        return False
    assert asking.resolver.recvfrom(65535)[0] == message
    return True


def nothing_came(asking: Asking) -> bool:
    asking.resolver.setblocking(False)
    try:
        asking.resolver.recv(1)
    except BlockingIOError:
        return True
    finally:
        asking.resolver.settimeout(60)
    return False


def acts(job: HeldJob) -> list[tuple[Act, Verdict]]:
    """Who was refused what, as the kernel tells."""
    told = [event for event in job.kernel.drain() if isinstance(event, Acted)]
    return [(each.act, each.verdict) for each in told if each.rule == RULE_OF_LOOKUPS]


@pytest.mark.parametrize(
    ("rule", "name", "is_sent"),
    [
        (NAME, NAME, True),
        (NAME, "REGISTRY.eXample", True),
        (NAME, f"www.{NAME}", False),
        (NAME, EVIL, False),
        (NAME, f"{NAME}.evil.example", False),
        (NAME, f"evil{NAME}", False),
        (NAME, "example", False),
        (NAME, ".", False),
        (ZONE, f"a.{NAME}", True),
        (ZONE, f"a.b-c.d_e.{NAME}", True),
        (ZONE, NAME, False),
        (ZONE, f"evil{NAME}", False),
        (ZONE, rf"a\.{NAME}", False),
        (ZONE, rf"\000.{NAME}", False),
        (ZONE, rf"a\032b.{NAME}", False),
        (NAME, rf"{NAME}\000ab12.evil.example", False),
    ],
)
@pytest.mark.parametrize("kind", ["A", "AAAA", "TXT"])
def test_what_no_rule_allows_is_not_asked_for(
    job: HeldJob, network: Network, asking: Asking, rule: str, name: str, kind: str, *, is_sent: bool
) -> None:
    job.hold_to_text(refusing(network, rule))
    assert sent(asking, question(name, kind)) is is_sent


def test_a_label_that_is_asked_for_has_bytes_of_host_names_alone(
    job: HeldJob, network: Network, asking: Asking
) -> None:
    job.hold_to_text(refusing(network, ZONE))
    asked = {
        byte
        for byte in range(256)
        for behind in range(4)
        if sent(asking, question(rf"{'a' * behind}\{byte:03d}z.{NAME}"))
    }
    assert bytes(sorted(asked)).decode() == OF_HOST_NAMES


def test_a_name_of_any_length_is_asked_for_whole(job: HeldJob, network: Network, asking: Asking) -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 51, "example"])
    short = ".".join("abcdefghijklmnopqrstuvwxyz" * 4)
    job.hold_to_text(refusing(network, longest, short))
    assert sent(asking, question(longest))
    assert sent(asking, question(short))
    assert not sent(asking, question(f"x{longest[1:]}"))
    assert not sent(asking, question(f"e.{longest}"))
    assert not sent(asking, question(f"{short[:-1]}y"))


def test_without_it_all_is_asked_for_and_in_audit_mode_it_is_only_told(
    job: HeldJob, network: Network, asking: Asking
) -> None:
    time.sleep(WINDOW_S)  # others have been refused within this one, and further ones are only counted
    job.hold_to_text(policy(network, f"{NAME}:{PORT}"))
    acts(job)
    assert sent(asking, question(EVIL))
    assert acts(job) == []
    job.hold_to_text(refusing(network, NAME))
    assert sent(asking, question(NAME))
    assert not sent(asking, question(EVIL))
    assert acts(job) == [(Act.SEND, Verdict.DENY)]
    job.hold_to_text(refusing(network, NAME, mode="audit"))
    assert sent(asking, question(EVIL))
    assert acts(job) == [(Act.SEND, Verdict.AUDIT)]


def test_a_name_that_is_denied_is_not_asked_for(job: HeldJob, network: Network, asking: Asking) -> None:
    ours = refusing(network, ZONE).replace("deny: []", f'deny: ["bad.{NAME}", "port.{NAME}:80"]')
    job.hold_to_text(ours)
    assert sent(asking, question(f"good.{NAME}"))
    assert sent(asking, question(f"port.{NAME}"))
    assert not sent(asking, question(f"bad.{NAME}"))


def test_domains_that_are_searched_stand_behind_what_is_allowed(
    job: HeldJob, network: Network, asking: Asking
) -> None:
    job.hold_to_text(refusing(network, NAME, f"*.{ZONE[2:]}", more="search_domains: [corp.internal, lan]\n"))
    for domain in ("corp.internal", "lan", "LAN."):
        assert sent(asking, question(f"{NAME}.{domain}"))
        assert sent(asking, question(f"www.{NAME}.{domain}"))
    for name in ("corp.internal", f"{EVIL}.corp.internal", f"{NAME}.internal", f"{NAME}.lan.corp.internal"):
        assert not sent(asking, question(name))


def test_what_is_searched_grants_what_the_wildcard_around_it_grants_and_nothing_by_itself(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(refusing(network, NAME, more="search_domains: [corp.internal]\n"))
    asking.ask(f"{NAME}.corp.internal", record(network.peer))
    assert connect(lab.build, network.peer, PORT) == DENIED
    job.hold_to_text(refusing(network, NAME, "*.corp.internal", more="search_domains: [corp.internal]\n"))
    asking.ask(f"{NAME}.corp.internal", record(network.peer))
    assert connect(lab.build, network.peer, PORT) == SENT


def test_where_an_allowed_name_leads_to_is_asked_for_too(
    job: HeldJob, network: Network, asking: Asking
) -> None:
    job.hold_to_text(refusing(network, NAME))
    target, next_one, other = "Edge.cdn.example", "e7.edge.cdn.example", "other.cdn.example"
    assert not sent(asking, question(target))
    unrelated = [f"{other}. CNAME {EVIL}.", f"{other}. A 192.0.2.99"]
    asking.ask(NAME, f"= CNAME {target}.", f"{target}. CNAME {next_one}.", *unrelated)
    for name in (target, target.lower(), next_one):
        assert sent(asking, question(name))
        assert sent(asking, question(name, "AAAA"))
    for name in (other, EVIL, f"x.{target}", "cdn.example"):
        assert not sent(asking, question(name))
    job.hold_to_text(refusing(network, NAME))
    assert not sent(asking, question(target)), "another policy's"


def update() -> bytes:
    made = dns.message.make_query(NAME, "A")
    made.set_opcode(dns.opcode.NOTIFY)
    return made.to_wire()


def answered() -> bytes:
    made = dns.message.make_query(NAME, "A")
    made.flags |= dns.flags.QR
    return made.to_wire()


def with_records(at: int) -> bytes:
    """A question behind which a record stands, which the count at `at` of the header tells of."""
    plain = question(NAME)
    record_of_evil = question(EVIL)[12:-4] + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(4)
    return plain[:at] + b"\0\1" + plain[at + 2 :] + record_of_evil


def with_option(code: int, data: bytes) -> bytes:
    """A question with that in its OPT record."""
    option = dns.edns.GenericOption(str(code), data)
    return dns.message.make_query(NAME, "A", use_edns=0, options=[option]).to_wire()


def test_what_a_client_tells_its_resolver_alone_goes_along(
    job: HeldJob, network: Network, asking: Asking
) -> None:
    job.hold_to_text(refusing(network, NAME))
    plain = dns.message.make_query(NAME, "A", use_edns=0).to_wire()
    for message in (plain, with_option(10, bytes(24)), with_option(3, b""), with_option(11, b""), padded()):
        assert sent(asking, message)


@pytest.mark.parametrize(
    "message",
    [
        b"x",
        b"secret" * 30,
        question(NAME)[:-3],
        question(NAME)[:4] + b"\0\2" + question(NAME)[6:],
        question(NAME)[:4] + b"\0\0" + question(NAME)[6:],
        question(NAME)[:12] + b"\xc0\x0c\0\1\0\1",
        question(NAME)[:12] + b"\x3f" + b"a" * 63 + b"\x40" + b"b" * 64 + b"\0\0\1\0\1",
        update(),
        answered(),
        b"",
        question(NAME) + b"secret",
        question(NAME)[:-2] + b"\0\3",
        with_records(6),
        with_records(8),
        with_records(10),
        with_option(8, b"secret"),
        with_option(3, b"secret"),
        with_option(65001, b"secret"),
        with_option(10, bytes(8)) + b"secret",
    ],
    ids=[
        *("a-byte", "text", "cut", "two", "none", "pointer", "long-label", "notify", "answer", "nothing"),
        *(
            "text-behind",
            "class",
            "record",
            "authority",
            "additional",
            "subnet",
            "server-id",
            "unknown-option",
        ),
        "text-behind-options",
    ],
)
def test_what_is_no_question_does_not_get_to_a_resolver(
    job: HeldJob, network: Network, asking: Asking, message: bytes
) -> None:
    job.hold_to_text(refusing(network, NAME))
    assert not sent(asking, message)
    assert sent(asking, question(NAME))


def test_what_was_refused_is_not_counted_as_sent(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(refusing(network, NAME))
    job.kernel.drain()
    family = socket.AF_INET6 if network is V6 else socket.AF_INET
    with lab.build.call(socket.socket, family, socket.SOCK_DGRAM).result() as client:
        client.connect(asking.resolver.getsockname()[:2])
        client.send(question(NAME))
        for _ in range(3):
            with suppress(PermissionError):
                client.send(question(EVIL))
    (metered,) = [event for event in job.kernel.drain() if isinstance(event, Metered)]
    assert metered.bytes_sent == len(question(NAME))


@contextmanager
def stream(
    lab: Lab,
    network: Network,
    protocol: int = TCP,
    connects: Callable[[socket.socket, tuple[str, int]], object] = socket.socket.connect,
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection to the resolver, from both ends."""
    family = socket.AF_INET6 if network is V6 else socket.AF_INET
    with (
        lab.peer.call(socket.socket, family, socket.SOCK_STREAM, protocol).result() as listener,
        lab.build.call(socket.socket, family, socket.SOCK_STREAM, protocol).result() as client,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((network.evil, 53))
        listener.listen()
        client.settimeout(60)
        if protocol == TCP:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connects(client, (network.evil, 53))
        server, _ = listener.accept()
        with server:
            server.settimeout(60)
            yield client, server


def connected_by_a_child(client: socket.socket, to: tuple[str, int]) -> None:
    """It is over when this returns."""
    child = os.fork()
    if child == 0:
        os._exit(client.connect_ex(to))
    assert os.waitpid(child, 0)[1] == 0


@contextmanager
def udp_at(lab: Lab, address: str, port: int) -> Iterator[socket.socket]:
    with ExitStack() as stack:
        yield udp(stack, lab.peer, address, port)


def with_elsewhere(network: Network) -> str:
    """A policy that allows datagrams to another port of the peer, too."""
    elsewhere = f"udp://{bracketed(network.peer)}:{OTHER_PORT}"
    return refusing(network, NAME).replace("allow: [", f'allow: ["{elsewhere}", ', 1)


@pytest.fixture
def behind_nat(lab: Lab, network: Network, asking: Asking) -> Iterator[Asking]:
    """The resolver is at another port of another address, as Docker's is at another one of 127.0.0.11."""
    answering_for(lab, network.evil, network.peer, OTHER_PORT)
    with udp_at(lab, network.peer, OTHER_PORT) as resolver:
        yield replace(asking, resolver=resolver)
    answering_for_itself(lab)


def is_asked(asking: Asking, name: str) -> bool:
    """By a socket that is connected."""
    try:
        asking.client.send(question(name))
    except PermissionError:
        assert nothing_came(asking)
        return False
    assert asking.resolver.recvfrom(65535)[0] == question(name)
    return True


def test_what_was_denied_before_hides_no_question_from_who_reads_it(
    job: HeldJob, network: Network, behind_nat: Asking
) -> None:
    """Of so many that they are counted only: the latest act is one that was denied, to where NAT sends."""
    job.hold_to_text(refusing(network, NAME))
    behind_nat.client.connect((network.evil, 53))
    for _ in range(3 * 32):
        with pytest.raises(PermissionError):
            behind_nat.client.sendto(b"x", (network.peer, OTHER_PORT))
    assert not is_asked(behind_nat, EVIL)
    assert is_asked(behind_nat, NAME)


def test_nor_do_other_peers_of_the_socket(job: HeldJob, network: Network, behind_nat: Asking) -> None:
    """Then its packets are acts, by where NAT sends them."""
    job.hold_to_text(with_elsewhere(network))
    for to in ((network.build, PORT), (network.evil, 53)):
        behind_nat.client.connect(to)
    assert [is_asked(behind_nat, EVIL) for _ in range(3)] == [False] * 3
    assert [is_asked(behind_nat, NAME) for _ in range(3)] == [True] * 3


def test_who_connects_for_each_question_gets_its_answers_behind_nat(
    job: HeldJob, network: Network, behind_nat: Asking
) -> None:
    job.hold_to_text(with_elsewhere(network).replace("dns: deny\n", ""))
    client = behind_nat.client
    addresses = (network.peer, network.blackhole, network.unreachable)
    for number, address in enumerate(addresses):
        client.connect((network.evil, 53))
        asked = question(NAME, "AAAA" if network is V6 else "A", txid=number)
        client.send(asked)
        taken_there, asker = behind_nat.resolver.recvfrom(4096)
        assert taken_there == asked
        behind_nat.resolver.sendto(reply(asked, record(address)), asker)
        assert client.recv(4096)
        disconnect(client)
    granted = [wire.GrantedKey.unpack(key) for key in job.kernel.tracer.maps["granted"]]
    assert {key.address for key in granted if key.scope == job.scope} == set(map(packed, addresses))


def disconnect(client: socket.socket) -> None:
    address = struct.pack("=H14x", socket.AF_UNSPEC)
    assert ctypes.CDLL(None).connect(client.fileno(), address, len(address)) == 0


def test_over_tcp_what_is_allowed_arrives_in_whatever_pieces(
    job: HeldJob, lab: Lab, network: Network
) -> None:
    job.hold_to_text(refusing(network, NAME))
    with stream(lab, network) as (client, server):
        one, four = framed(question(NAME)), framed(*(question(NAME, txid=number) for number in range(4)))
        crowd = framed(*(question(NAME, txid=number) for number in range(20)))
        for piece in (one, four, one[:2], one[2:], framed(padded()), crowd, one):
            client.sendall(piece)
            assert taken(server, len(piece)) == piece


@pytest.mark.parametrize(
    ("before", "refused"),
    [
        ([], framed(question(EVIL))),
        ([], framed(question(NAME), question(EVIL))),
        ([framed(question(NAME))], framed(question(EVIL))),
        ([framed(question(EVIL))[:2]], framed(question(EVIL))[2:]),
        ([], framed(question(EVIL))[:20]),
        ([], framed(question(NAME))[:20]),
        ([], framed(question(EVIL))[:1]),
        ([], framed(*[question(NAME)] * 19, question(EVIL))),
        ([], framed(*[question(NAME)] * 40)),
        ([], framed(b"secret" * 20)),
        ([], b"secret" * 20),
        ([], framed(padded())[:-40]),
        ([], struct.pack("!H", 0xFFFF) + question(NAME)),
        ([], bytes(2)),
    ],
    ids=[
        *("alone", "second", "later", "behind-its-length", "cut", "allowed-and-cut", "length-cut"),
        *("behind-a-crowd", "too-many", "framed-text", "text", "rest-cut", "endless", "empty"),
    ],
)
def test_over_tcp_nothing_arrives_from_where_something_else_begins(
    job: HeldJob, lab: Lab, network: Network, before: list[bytes], refused: bytes
) -> None:
    """Nor is it sent again later; told it is once."""
    job.hold_to_text(refusing(network, NAME))
    acts(job)
    with stream(lab, network) as (client, server):
        for piece in before:
            client.sendall(piece)
            assert taken(server, len(piece)) == piece
        client.sendall(refused)
        client.sendall(framed(question(NAME)))
        assert nothing_comes(server)
    assert acts(job) == [(Act.SEND, Verdict.DENY)]


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_what_a_stream_has_as_urgent_is_refused(job: HeldJob, lab: Lab, network: Network, mode: str) -> None:
    """A resolver reads the stream without that byte: what it takes for a message is another one."""
    job.hold_to_text(refusing(network, NAME, mode=mode))
    acts(job)
    with stream(lab, network) as (client, server):
        client.send(framed(padded()), socket.MSG_OOB)
        client.sendall(framed(question(NAME)))
        assert nothing_comes(server) is (mode == "enforce")
    assert acts(job) == [(Act.SEND, Verdict.DENY if mode == "enforce" else Verdict.AUDIT)]


def test_in_audit_mode_a_stream_goes_on(job: HeldJob, lab: Lab, network: Network) -> None:
    job.hold_to_text(refusing(network, NAME, mode="audit"))
    acts(job)
    with stream(lab, network) as (client, server):
        for names in ([EVIL], [NAME], [EVIL, *[NAME] * 9], [NAME] * 50, [EVIL]):
            piece = framed(*map(question, names))
            client.sendall(piece)
            assert taken(server, len(piece)) == piece
    assert len(acts(job)) == 3, "two names, and what stands behind more than can be read"


def test_what_could_be_changed_after_it_was_read_is_refused(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    """Pages of the sender's own, and a file's, are sent as they are by the time that the device has them."""
    job.hold_to_text(refusing(network, NAME))
    asking.client.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    own, message = mmap.mmap(-1, mmap.PAGESIZE), padded(1024)  # what is small, some kernels copy
    own[: len(message)] = message
    pages = memoryview(own)[: len(message)]
    with pytest.raises(PermissionError):
        asking.client.sendmsg([pages], [], MSG_ZEROCOPY, asking.resolver.getsockname())
    assert nothing_came(asking)
    with stream(lab, network) as (client, server):
        client.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        client.send(framed(question(NAME)), MSG_ZEROCOPY)
        assert nothing_comes(server)
    with stream(lab, network) as (client, server), tempfile.TemporaryFile() as file:
        file.write(framed(question(NAME)))
        file.flush()
        assert os.sendfile(client.fileno(), file.fileno(), 0, 4096) == len(framed(question(NAME)))
        assert nothing_comes(server)


def test_a_datagram_that_becomes_several_is_refused(job: HeldJob, network: Network, asking: Asking) -> None:
    job.hold_to_text(refusing(network, NAME))
    asking.client.setsockopt(UDP, UDP_SEGMENT, len(padded()))
    assert not sent(asking, padded() + question(EVIL))
    asking.client.setsockopt(UDP, UDP_SEGMENT, 0)
    assert sent(asking, padded())


def test_a_datagram_goes_where_its_own_call_says_whatever_its_socket_is_connected_to(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(with_elsewhere(network))
    resolver, family = asking.resolver.getsockname(), family_of(network.evil)
    with (
        udp_at(lab, network.peer, OTHER_PORT) as other,
        lab.build.call(socket.socket, family, socket.SOCK_DGRAM).result() as client,
    ):
        for connected_to in ((network.peer, OTHER_PORT), resolver[:2]):
            client.connect(connected_to)
            for message in (question(EVIL), b"any text"):
                with pytest.raises(PermissionError):
                    client.sendto(message, resolver)
            client.sendto(question(NAME), resolver)
            assert asking.resolver.recv(4096) == question(NAME)
            with suppress(OSError):  # too large: it was to be sent, and nothing leaves
                client.sendto(bytes(65507), resolver)
            for _ in range(2):
                client.sendto(b"hello", (network.peer, OTHER_PORT))
                assert other.recv(4096) == b"hello"
        client.connect((network.peer, OTHER_PORT))
        client.sendto(question(NAME), resolver)
        client.send(b"hello")
        assert (asking.resolver.recv(4096), other.recv(4096)) == (question(NAME), b"hello")
    assert nothing_came(asking)


def test_nothing_gets_by_while_another_thread_connects_the_socket(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(with_elsewhere(network))
    is_over: list[bool] = []
    with (
        lab.build.call(socket.socket, family_of(network.evil), socket.SOCK_DGRAM).result() as client,
        ThreadPoolExecutor(1) as pool,
    ):

        def connect_again_and_again() -> None:
            while not is_over:
                client.connect((network.peer, OTHER_PORT))

        connecting = pool.submit(connect_again_and_again)
        refused = 0
        for _ in range(EACH):
            try:
                client.sendto(question(EVIL), asking.resolver.getsockname())
            except PermissionError:
                refused += 1
        is_over.append(True)
        connecting.result()
    assert refused == EACH
    assert nothing_came(asking)


def test_options_of_a_header_carry_nothing_to_a_resolver(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    """Nor do they count as sent."""
    job.hold_to_text(refusing(network, NAME))
    job.kernel.drain()
    with lab.build.call(socket.socket, family_of(network.evil), socket.SOCK_DGRAM).result() as client:
        client.connect(asking.resolver.getsockname()[:2])
        client.send(question(NAME))
        if network is V4:
            options = bytes([7, 15, 16]) + b"secret secre" + bytes(1)
            with job.away():
                client.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)
        else:
            options = bytes([0, 0, 30, 4]) + b"text"
            client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, options)
        for message in (question(NAME), b""):
            with pytest.raises(PermissionError):
                client.send(message)
    assert asking.resolver.recv(4096) == question(NAME)
    assert nothing_came(asking)
    (metered,) = [event for event in job.kernel.drain() if isinstance(event, Metered)]
    assert metered.bytes_sent == len(question(NAME))


@pytest.mark.parametrize("network", [V6], ids=["v6"])
@pytest.mark.parametrize("headers", [1, 8, 9, 12])
def test_a_resolver_is_found_behind_any_number_of_headers(
    job: HeldJob, lab: Lab, network: Network, headers: int
) -> None:
    job.hold_to_text(refusing(network, NAME).replace("allow: [", f'allow: ["any://[{V6.evil}]", ', 1))
    datagram = struct.pack("!HHHH", 5300, 53, 8 + len(question(EVIL)), 0) + question(EVIL)
    chain = b"".join(bytes([60 if left else UDP, 0, 1, 4, 0, 0, 0, 0]) for left in reversed(range(headers)))
    ends = b"".join(socket.inet_pton(socket.AF_INET6, each) for each in (V6.build, V6.evil))
    packet = struct.pack("!IHBB", 6 << 28, len(chain + datagram), 60, 64) + ends + chain + datagram
    with job.away():
        raw = lab.build.call(socket.socket, socket.AF_INET6, socket.SOCK_RAW, 255).result()
    with raw:
        with job.away():
            raw.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        with pytest.raises(PermissionError):
            raw.sendto(packet, (V6.evil, 0))


@pytest.mark.parametrize("is_orphan", [True, False], ids=["orphan", "strangers"])
def test_what_was_dropped_stays_so_when_its_job_is_over(
    job: HeldJob, lab: Lab, network: Network, *, is_orphan: bool
) -> None:
    """TCP sends it again, for whoever has the connection, or for nobody."""
    scope = job.hold_to_text(refusing(network, NAME))
    with stream(lab, network) as (client, server):
        client.sendall(framed(question(NAME)))
        assert taken(server, len(framed(question(NAME)))) == framed(question(NAME))
        client.sendall(framed(question(EVIL)))
        if is_orphan:
            client.close()
        with job.away():
            job.kernel.tracer.scopes.close([scope], lambda *_: None)
            if not is_orphan:
                client.sendall(framed(question(NAME)))
            assert nothing_comes(server)


@pytest.mark.parametrize("mode", ["enforce", "later", "audit"])
def test_what_tcp_had_not_sent_when_its_job_was_over_is_sent_in_audit_mode_alone(
    job: HeldJob, lab: Lab, network: Network, mode: str
) -> None:
    """Also where the policy refuses lookups only since the connect."""
    scope = job.hold_to_text(refusing(network, NAME, mode="enforce" if mode == "enforce" else "audit"))
    before, last = questions_held_back()
    with stream(lab, network) as (client, server):
        for piece in (*before, last):
            if piece is last:
                client.setsockopt(*PACED)
            client.sendall(piece)
            assert taken(server, len(piece)) == piece
        if mode == "later":
            job.kernel.hold(scope, compiled(refusing(network, NAME)))
        client.sendall(framed(question(EVIL)))
        client.close()
        with job.away():
            job.kernel.tracer.scopes.close([scope], lambda *_: None)
            assert nothing_comes(server, HELD_BACK_S / 2)
            assert nothing_comes(server, HELD_BACK_S) is (mode != "audit")


def test_who_writes_to_a_stream_is_told_although_who_connected_it_is_gone(
    job: HeldJob, lab: Lab, network: Network
) -> None:
    job.hold_to_text(refusing(network, NAME))
    acts(job)
    with stream(lab, network, connects=connected_by_a_child) as (client, server):
        client.sendall(framed(question(EVIL)))
        assert nothing_comes(server)
    assert acts(job) == [(Act.SEND, Verdict.DENY)]


def test_a_packet_that_its_sender_wrote_gets_to_no_resolver(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(refusing(network, NAME))
    family = socket.AF_INET6 if network is V6 else socket.AF_INET
    datagram = struct.pack("!HHHH", 5300, 53, 8 + len(question(NAME)), 0) + question(NAME)
    with (
        lab.build.call(socket.socket, family, socket.SOCK_RAW, UDP).result() as raw,
        pytest.raises(PermissionError),
    ):
        raw.sendto(datagram, (network.evil, 0))
    assert nothing_came(asking)


@pytest.mark.parametrize("name", [NAME, EVIL])
def test_over_mptcp_it_is_as_over_tcp(job: HeldJob, lab: Lab, network: Network, name: str) -> None:
    job.hold_to_text(refusing(network, NAME))
    acts(job)
    with stream(lab, network, MPTCP) as (client, server):
        client.sendall(framed(question(name)))
        assert nothing_comes(server) is (name == EVIL)
    assert acts(job) == ([] if name == NAME else [(Act.SEND, Verdict.DENY)])


def test_a_socket_that_is_full_of_something_else_asks_nobody(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    """Then there is no memory to note with it what it asks."""
    job.hold_to_text(refusing(network, NAME))
    with lab.without_option_memory():
        assert not sent(asking, question(NAME))
        assert not sent(asking, question(EVIL))
        assert connect(lab.build, network.evil, 53) == DENIED
    assert sent(asking, question(NAME))


def test_a_socket_that_was_connected_before_asks_nobody(
    job: HeldJob, lab: Lab, network: Network, asking: Asking
) -> None:
    family = socket.AF_INET6 if network is V6 else socket.AF_INET
    with job.away(), ExitStack() as stack:
        client = stack.enter_context(lab.build.call(socket.socket, family, socket.SOCK_DGRAM).result())
        client.connect((network.evil, 53))
        kept = stack.pop_all()
    with kept:
        job.hold_to_text(refusing(network, NAME))
        with pytest.raises(PermissionError):
            client.send(question(EVIL))
    assert nothing_came(asking)


def test_of_threads_that_ask_with_one_socket_at_once_each_is_read_for_itself(
    job: HeldJob, network: Network, asking: Asking
) -> None:
    job.hold_to_text(refusing(network, NAME))
    asking.resolver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    resolver = asking.resolver.getsockname()

    def refused(name: str) -> int:
        number = 0
        for _ in range(EACH):
            try:
                asking.client.sendto(question(name), resolver)
            except PermissionError:
                number += 1
        return number

    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(refused, (NAME, EVIL))] == [0, EACH]
    assert {asking.resolver.recv(4096) for _ in range(EACH)} == {question(NAME)}
    assert nothing_came(asking)
