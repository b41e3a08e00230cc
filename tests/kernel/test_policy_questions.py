"""`dns: deny`: resolvers are asked for names that rules allow, and nothing else gets to them."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import dns.flags
import dns.message
import dns.opcode
import pytest

from exporter.events import RULE_OF_LOOKUPS, Act, Acted, Metered, Verdict

from .asking import NAME, Asking, policy
from .attached import nothing_left
from .governed import DENIED, SENT, Governed, connect, governed, question, record
from .lab import PORT, V4, V6, Lab, Network

pytestmark = pytest.mark.kernel

EVIL = "c2VjcmV0.evil.example"
ZONE = f"*.{NAME}"
UDP, TCP, MPTCP = socket.IPPROTO_UDP, socket.IPPROTO_TCP, 262
SO_RCVBUFFORCE, SO_ZEROCOPY, MSG_ZEROCOPY, UDP_SEGMENT = 33, 60, 0x4000000, 103
EACH = 2000
WINDOW_S = 1.1


@pytest.fixture(scope="module")
def job() -> Iterator[Governed]:
    with nothing_left(), governed() as job:
        yield job


@pytest.fixture(params=[V4, V6], ids=["v4", "v6"])
def network(request: pytest.FixtureRequest) -> Network:
    chosen: Network = request.param
    return chosen


@pytest.fixture
def asking(lab: Lab, network: Network) -> Iterator[Asking]:
    with ExitStack() as stack:
        yield Asking.at(stack, lab, network)


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


def acts(job: Governed) -> list[tuple[Act, Verdict]]:
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
    job: Governed, network: Network, asking: Asking, rule: str, name: str, kind: str, *, is_sent: bool
) -> None:
    job.hold_to_text(refusing(network, rule))
    assert sent(asking, question(name, kind)) is is_sent


def test_a_name_of_any_length_is_asked_for_whole(job: Governed, network: Network, asking: Asking) -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 51, "example"])
    short = ".".join("abcdefghijklmnopqrstuvwxyz" * 4)
    job.hold_to_text(refusing(network, longest, short))
    assert sent(asking, question(longest))
    assert sent(asking, question(short))
    assert not sent(asking, question(f"x{longest[1:]}"))
    assert not sent(asking, question(f"e.{longest}"))
    assert not sent(asking, question(f"{short[:-1]}y"))


def test_without_it_all_is_asked_for_and_in_audit_mode_it_is_only_told(
    job: Governed, network: Network, asking: Asking
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


def test_a_name_that_is_denied_is_not_asked_for(job: Governed, network: Network, asking: Asking) -> None:
    ours = refusing(network, ZONE).replace("deny: []", f'deny: ["bad.{NAME}", "port.{NAME}:80"]')
    job.hold_to_text(ours)
    assert sent(asking, question(f"good.{NAME}"))
    assert sent(asking, question(f"port.{NAME}"))
    assert not sent(asking, question(f"bad.{NAME}"))


def test_domains_that_are_searched_stand_behind_what_is_allowed(
    job: Governed, network: Network, asking: Asking
) -> None:
    job.hold_to_text(refusing(network, NAME, f"*.{ZONE[2:]}", more="search_domains: [corp.internal, lan]\n"))
    for domain in ("corp.internal", "lan", "LAN."):
        assert sent(asking, question(f"{NAME}.{domain}"))
        assert sent(asking, question(f"www.{NAME}.{domain}"))
    for name in ("corp.internal", f"{EVIL}.corp.internal", f"{NAME}.internal", f"{NAME}.lan.corp.internal"):
        assert not sent(asking, question(name))


def test_what_is_searched_grants_what_the_wildcard_around_it_grants_and_nothing_by_itself(
    job: Governed, lab: Lab, network: Network, asking: Asking
) -> None:
    job.hold_to_text(refusing(network, NAME, more="search_domains: [corp.internal]\n"))
    asking.ask(f"{NAME}.corp.internal", record(network.peer))
    assert connect(lab.build, network.peer, PORT) == DENIED
    job.hold_to_text(refusing(network, NAME, "*.corp.internal", more="search_domains: [corp.internal]\n"))
    asking.ask(f"{NAME}.corp.internal", record(network.peer))
    assert connect(lab.build, network.peer, PORT) == SENT


def test_where_an_allowed_name_leads_to_is_asked_for_too(
    job: Governed, network: Network, asking: Asking
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
    ],
    ids=["a-byte", "text", "cut", "two", "none", "pointer", "long-label", "notify", "answer"],
)
def test_what_is_no_question_does_not_get_to_a_resolver(
    job: Governed, network: Network, asking: Asking, message: bytes
) -> None:
    job.hold_to_text(refusing(network, NAME))
    assert not sent(asking, message)
    assert sent(asking, question(NAME))


def test_what_was_refused_is_not_counted_as_sent(
    job: Governed, lab: Lab, network: Network, asking: Asking
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
def stream(lab: Lab, network: Network, protocol: int = TCP) -> Iterator[tuple[socket.socket, socket.socket]]:
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
        client.connect((network.evil, 53))
        server, _ = listener.accept()
        with server:
            server.settimeout(60)
            yield client, server


def framed(*messages: bytes) -> bytes:
    return b"".join(struct.pack("!H", len(message)) + message for message in messages)


def taken(server: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (piece := server.recv(size - len(found))):
        found += piece
    return found


def nothing_comes(server: socket.socket) -> bool:
    """Not even by a retransmission: the first one comes 0.2 s later, the next one 0.4 s after that."""
    server.settimeout(1)
    try:
        return not server.recv(1)
    except TimeoutError:
        return True


def padded(size: int = 128) -> bytes:
    """A question with something behind it."""
    return dns.message.make_query(NAME, "A", use_edns=0, pad=size).to_wire()


def test_over_tcp_what_is_allowed_arrives_in_whatever_pieces(
    job: Governed, lab: Lab, network: Network
) -> None:
    job.hold_to_text(refusing(network, NAME))
    with stream(lab, network) as (client, server):
        one, four = framed(question(NAME)), framed(*(question(NAME, txid=number) for number in range(4)))
        for piece in (one, four, one[:2], one[2:], framed(padded())[:-40], framed(padded())[-40:], one):
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
        ([], framed(*[question(NAME)] * 5)),
        ([], framed(b"secret" * 20)),
        ([], b"secret" * 20),
        ([framed(padded())[:-40]], framed(padded())[-40:] + framed(question(EVIL))),
    ],
    ids=[
        *("alone", "second", "later", "behind-its-length", "cut", "allowed-and-cut", "length-cut"),
        *("crowd", "framed-text", "text", "behind-the-rest"),
    ],
)
def test_over_tcp_nothing_arrives_from_where_something_else_begins(
    job: Governed, lab: Lab, network: Network, before: list[bytes], refused: bytes
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


def test_in_audit_mode_a_stream_goes_on(job: Governed, lab: Lab, network: Network) -> None:
    job.hold_to_text(refusing(network, NAME, mode="audit"))
    acts(job)
    with stream(lab, network) as (client, server):
        for name in (EVIL, NAME, EVIL):
            piece = framed(question(name))
            client.sendall(piece)
            assert taken(server, len(piece)) == piece
    assert acts(job) == [(Act.SEND, Verdict.AUDIT)] * 2


def test_what_could_be_changed_after_it_was_read_is_refused(
    job: Governed, lab: Lab, network: Network, asking: Asking
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


def test_a_datagram_that_becomes_several_is_refused(job: Governed, network: Network, asking: Asking) -> None:
    job.hold_to_text(refusing(network, NAME))
    asking.client.setsockopt(UDP, UDP_SEGMENT, len(padded()))
    assert not sent(asking, padded() + question(EVIL))
    asking.client.setsockopt(UDP, UDP_SEGMENT, 0)
    assert sent(asking, padded())


def test_a_packet_that_its_sender_wrote_gets_to_no_resolver(
    job: Governed, lab: Lab, network: Network, asking: Asking
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
def test_over_mptcp_it_is_as_over_tcp(job: Governed, lab: Lab, network: Network, name: str) -> None:
    job.hold_to_text(refusing(network, NAME))
    acts(job)
    with stream(lab, network, MPTCP) as (client, server):
        client.sendall(framed(question(name)))
        assert nothing_comes(server) is (name == EVIL)
    assert acts(job) == ([] if name == NAME else [(Act.SEND, Verdict.DENY)])


def test_a_socket_that_is_full_of_something_else_asks_nobody(
    job: Governed, lab: Lab, network: Network, asking: Asking
) -> None:
    """Then there is no memory to note with it what it asks."""
    job.hold_to_text(refusing(network, NAME))
    limit = Path("/proc/sys/net/core/optmem_max")
    before = lab.build.call(limit.read_text).result()
    lab.build.call(limit.write_text, "0").result()
    try:
        assert not sent(asking, question(NAME))
        assert not sent(asking, question(EVIL))
    finally:
        lab.build.call(limit.write_text, before).result()
    assert sent(asking, question(NAME))


def test_a_socket_that_was_connected_before_asks_nobody(
    job: Governed, lab: Lab, network: Network, asking: Asking
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
    job: Governed, network: Network, asking: Asking
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
