"""The kernel's own tries find what the model of them finds, for addresses and names of a policy's entries."""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.examples  # noqa: F401
from exporter.kernel.bpf import Map
from exporter.kernel.compilation.bytecode import MapSpec
from exporter.kernel.mounts import ensure_bpffs
from exporter.kernel.programs.objects import create_map, pin
from exporter.policy.compile import compile_policy
from exporter.policy.endpoints import NAME_MAX
from exporter.policy.entries import AddressKey, Choice, EntryVerdict, NameKey
from exporter.policy.model import JobPolicy, PortClass
from tests.unit.policy.files import rules
from tests.unit.policy.kernel_model import longest_address, longest_name, packed
from tests.unit.policy.strategies import ADDRESSES, NAMES, policies

LPM_TRIE, NO_PREALLOC = 11, 1
ADDRESS = struct.Struct("=IIHBx16s")
"""Bits of the prefix, the job's scope, port, protocol, address."""
NAME = struct.Struct("=II252s")
ADDRESS_HEAD_BITS, SCOPE_BITS = 64, 32
NUMBER = struct.Struct("=I")
NOTHING = Choice(0, EntryVerdict.NONE, 0, 0, 0)
SCOPE, OTHER = 7, 8
CLASSES = [PortClass(protocol, port) for protocol in (0, 1, 6, 17) for port in (0, 53, 443)]
LONGEST = ".".join(["a" * 63] * 3) + "." + "b" * (NAME_MAX - 192)


def trie(name: str, key_bytes: int) -> Map:
    spec = MapSpec(name, LPM_TRIE, key_bytes, NUMBER.size, 4096, NO_PREALLOC)
    descriptor = create_map(spec)
    path = ensure_bpffs() / f"ci-egress-test-{secrets.token_hex(8)}"
    try:
        pin(descriptor, path)
        try:
            return Map(path)
        finally:
            path.unlink()
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def addresses() -> Iterator[Map]:
    made = trie("policy", ADDRESS.size)
    yield made
    made.close()


@pytest.fixture(scope="module")
def names() -> Iterator[Map]:
    made = trie("names", NAME.size)
    yield made
    made.close()


def address_key(key: AddressKey, scope: int = SCOPE) -> bytes:
    return ADDRESS.pack(ADDRESS_HEAD_BITS + key.prefix_bits, scope, key.port, key.protocol, key.address)


def name_key(key: NameKey, scope: int = SCOPE) -> bytes:
    return NAME.pack(SCOPE_BITS + key.prefix_bits, scope, key.reversed_name)


def asked(name: str) -> bytes:
    return name_key(NameKey(8 * 252, name.encode()[::-1] + b"\0"))


@settings(max_examples=150, deadline=None)
@given(policies())
def test_an_address_is_found_by_its_longest_prefix(addresses: Map, policy: JobPolicy) -> None:
    compiled = compile_policy(policy)
    numbered = dict(enumerate(compiled.addresses.items()))
    for number, (key, _) in numbered.items():
        addresses.update(address_key(key), NUMBER.pack(number))
        addresses.update(address_key(key, OTHER), NUMBER.pack(1 << 31))
    try:
        for wanted in CLASSES:
            for address in map(packed, ADDRESSES):
                found = addresses.lookup(address_key(AddressKey(128, *wanted, address)))
                choice = numbered[NUMBER.unpack(found)[0]][1] if found else NOTHING
                assert choice == longest_address(compiled.addresses, wanted, address)
    finally:
        for key, _ in numbered.values():
            addresses.delete(address_key(key))
            addresses.delete(address_key(key, OTHER))


@settings(max_examples=150, deadline=None)
@given(policies(), st.sampled_from((*NAMES, "example", "evila.example", "a.example.evil.example", LONGEST)))
def test_a_name_is_found_by_its_longest_match(names: Map, policy: JobPolicy, name: str) -> None:
    compiled = compile_policy(policy)
    for key, number in compiled.names.items():
        names.update(name_key(key), NUMBER.pack(number))
        names.update(name_key(key, OTHER), NUMBER.pack(1 << 31))
    try:
        found = names.lookup(asked(name))
        assert (NUMBER.unpack(found)[0] if found else None) == longest_name(compiled.names, name)
    finally:
        for key in compiled.names:
            names.delete(name_key(key))
            names.delete(name_key(key, OTHER))


def test_the_longest_name_is_found_exactly(names: Map) -> None:
    compiled = compile_policy(rules(allow=f"{LONGEST}\n'*.{LONGEST[2:]}:80'"))
    for key, number in compiled.names.items():
        names.update(name_key(key), NUMBER.pack(number))
    exact, below = names.lookup(asked(LONGEST)), names.lookup(asked(f"c.{LONGEST[2:]}"))
    assert exact == NUMBER.pack(0)
    assert below == NUMBER.pack(1)
