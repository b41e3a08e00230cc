"""What a baseline doesn't have: held against a look at every entry, one by one."""

from __future__ import annotations

import tracemalloc
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.baseline.model import Baseline, Entry, Task
from exporter.baseline.novelty import Novelty
from exporter.common.net.addresses import address
from exporter.events.destinations import OTHER, SOCKET, Destination
from exporter.events.programs import Lineage
from exporter.policy.model import Name

BUILD = Task("release", "build")
NPM: Lineage = ("bash", "npm")
CURL: Lineage = ("bash", "npm", "curl")

LABELS = st.sampled_from(["a", "b", "example"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
ADDRESSES = st.sampled_from(["192.0.2.7", "198.51.100.9", "2001:db8::7", "127.0.0.1", "::1"])
PORTS = st.sampled_from([443, 80, None])
TRANSPORTS = st.sampled_from(["tcp", "udp"])
LINEAGES = st.lists(st.sampled_from(["bash", "npm", "curl"]), min_size=1, max_size=3).map(tuple)
HOSTS = st.one_of(st.builds(Name, NAMES, st.booleans()), ADDRESSES.map(ip_address))
ENTRIES = st.builds(
    Entry,
    st.sampled_from([BUILD, Task("release", None), Task(None, None)]),
    HOSTS,
    PORTS,
    TRANSPORTS,
    st.one_of(st.none(), st.frozensets(LINEAGES, max_size=3)),
)
BASELINES = st.lists(ENTRIES, max_size=12, unique_by=lambda entry: entry.subject).map(
    lambda entries: Baseline(tuple(entries))
)


def packed(text: str) -> bytes:
    """As the kernel has addresses."""
    parsed = ip_address(text)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


@st.composite
def destinations(draw: st.DrawFn) -> Destination:
    peer = address(packed(draw(ADDRESSES)))
    host = draw(st.one_of(NAMES, st.just(peer.text)))
    return Destination(host, draw(PORTS), draw(TRANSPORTS), peer)


def covers(entry: Entry, destination: Destination) -> bool:
    """Whether an entry is for it, by whatever chain."""
    if (entry.port, entry.transport) != (destination.port, destination.transport):
        return False
    if isinstance(entry.host, Name):
        return entry.host.covers(destination.host)
    return str(entry.host) == destination.host


def is_novel(entries: list[Entry], destination: Destination, lineage: Lineage | None) -> bool:
    """As the documents have it: slow, and meant to be obviously right."""
    if destination.is_loopback:
        return False
    return not any(
        covers(entry, destination) and (entry.lineages is None or lineage in entry.lineages)
        for entry in entries
    )


@given(BASELINES, st.lists(st.tuples(destinations(), st.one_of(st.none(), LINEAGES)), max_size=8))
def test_it_says_what_a_look_at_every_entry_says(
    baseline: Baseline, acts: list[tuple[Destination, Lineage | None]]
) -> None:
    novelty = Novelty(baseline, BUILD)
    entries = [entry for entry in baseline.entries if entry.task == BUILD]
    for destination, lineage in [*acts, *acts]:  # and says it again
        assert novelty.is_novel(destination, lineage) == is_novel(entries, destination, lineage)
        is_there = any(covers(entry, destination) for entry in entries)
        assert novelty.has(destination) == (is_there or destination.is_loopback)


def known(host: Name | str, *lineages: Lineage, port: int | None = 443, transport: str = "tcp") -> Entry:
    """By those chains, or any."""
    named = host if isinstance(host, Name) else ip_address(host)
    return Entry(BUILD, named, port, transport, frozenset(lineages) or None)


def to(
    host: str, peer: str = "192.0.2.7", port: int | None = 443, transport: str | None = "tcp"
) -> Destination:
    return Destination(host, port, transport, address(packed(peer)))


REGISTRY = Name("registry.example")


def test_another_port_transport_or_chain_is_novel() -> None:
    novelty = Novelty(Baseline((known(REGISTRY, NPM),)), BUILD)
    assert not novelty.is_novel(to("registry.example"), NPM)
    assert novelty.is_novel(to("registry.example", port=80), NPM)
    assert novelty.is_novel(to("registry.example", transport="udp"), NPM)
    assert novelty.is_novel(to("registry.example"), CURL)
    assert novelty.has(to("registry.example"))
    assert not novelty.has(to("registry.example", port=80))


def test_a_connect_that_sends_nothing_is_known_where_tcp_is() -> None:
    """And to the ports at which who puts addresses in order doesn't mean any."""
    entries = (
        known(REGISTRY, NPM),
        known(REGISTRY, CURL, port=80),
        known("192.0.2.9", NPM, transport="sctp"),
    )
    novelty = Novelty(Baseline(entries), BUILD)

    def asks(where: Destination, lineage: Lineage | None = NPM) -> bool:
        return novelty.is_novel(where, lineage, is_connect=True)

    assert [
        asks(to("registry.example", port=port, transport="udp")) for port in (443, 0, 9, 65535, 80, 53)
    ] == [
        *(False, False, False, False),
        *(True, True),
    ]
    assert not asks(to("registry.example", port=0, transport="udp"), CURL)
    assert asks(to("registry.example", port=0, transport="udp"), None)
    assert asks(to("registry.example", port=443, transport="sctp"))
    assert asks(to("registry.example", port=0))
    assert asks(to("192.0.2.9", "192.0.2.9", port=443, transport="udp"))
    assert asks(to("evil.example", port=0, transport="udp"))
    assert novelty.is_novel(to("registry.example", transport="udp"), NPM)


def test_who_is_not_known_is_known_to_go_where_any_chain_goes_alone() -> None:
    novelty = Novelty(Baseline((known(REGISTRY, NPM), known("192.0.2.9"))), BUILD)
    assert novelty.is_novel(to("registry.example"), None)
    assert not novelty.is_novel(to("192.0.2.9", "192.0.2.9"), None)


def test_a_wildcard_has_names_below_it_and_never_its_apex() -> None:
    novelty = Novelty(Baseline((known(Name("cdn.example", is_wildcard=True)),)), BUILD)
    assert not novelty.is_novel(to("a.cdn.example"), NPM)
    assert not novelty.is_novel(to("b.a.cdn.example"), NPM)
    assert novelty.is_novel(to("cdn.example"), NPM)
    assert novelty.is_novel(to("acdn.example"), NPM)


def test_where_several_entries_cover_a_name_any_of_them_may_have_the_chain() -> None:
    entries = (known(Name("a.example"), NPM), known(Name("example", is_wildcard=True), CURL))
    novelty = Novelty(Baseline(entries), BUILD)
    assert [novelty.is_novel(to("a.example"), lineage) for lineage in (NPM, CURL, ("bash",))] == [
        False,
        False,
        True,
    ]


def test_a_name_is_judged_by_itself_and_not_by_the_address_behind_it() -> None:
    novelty = Novelty(Baseline((known("192.0.2.7"),)), BUILD)
    assert not novelty.is_novel(to("192.0.2.7"), NPM)
    assert novelty.is_novel(to("registry.example"), NPM)


def test_what_is_not_told_apart_is_always_novel_and_the_loopback_never() -> None:
    novelty = Novelty(Baseline((known(REGISTRY),)), BUILD)
    for nowhere in (
        Destination(OTHER, None, "tcp", None),
        Destination(SOCKET, None, "icmp", None),
        to("registry.example", transport=None),
    ):
        assert novelty.is_novel(nowhere, NPM)
        assert not novelty.has(nowhere)
    for itself in ("127.0.0.1", "::1", "0.0.0.0", "::"):  # noqa: S104 - as a peer
        assert not novelty.is_novel(to("localhost", itself, port=9), None)


@pytest.mark.parametrize("task", [Task("release", "deploy"), Task("release", None), Task(None, "build")])
def test_of_a_task_that_the_baseline_does_not_have_all_is_novel(task: Task) -> None:
    novelty = Novelty(Baseline((known(REGISTRY),)), task)
    assert novelty.is_novel(to("registry.example"), NPM)
    assert not novelty.is_novel(to("127.0.0.1", "127.0.0.1"), NPM)


def test_a_job_that_makes_up_destinations_takes_no_memory_without_end() -> None:
    novelty = Novelty(Baseline((known(Name("example", is_wildcard=True), NPM),)), BUILD)

    def make_up(numbers: range) -> int:
        for number in numbers:
            assert novelty.is_novel(to(f"n{number}.evil.example", port=80), NPM)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = make_up(range(8_000))
        assert make_up(range(8_000, 40_000)) < before + (1 << 20)
    finally:
        tracemalloc.stop()
