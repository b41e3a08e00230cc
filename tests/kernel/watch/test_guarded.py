"""Networks that are looked after, and what becomes of those for which there was no room."""

from __future__ import annotations

import os
import resource
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.namespaces import Namespace
from exporter.events.facts import HOST, ProcessKey, Tampered, Tampering
from exporter.kernel.frames import interface_egress
from exporter.kernel.frames.clsact import put_filter
from exporter.kernel.frames.guarded_namespaces import GuardedNamespaces
from exporter.kernel.frames.interface_egress import AT_ONCE, AttachMethod, InterfaceRound, way_here
from exporter.kernel.frames.late_links import LateLinks
from exporter.kernel.frames.spare_descriptors import KEPT_FREE
from exporter.kernel.programs.objects import programs_at_interface
from tests.kernel.kernel_side import kernel_side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.kernel

WHO = Tampered(0, ProcessKey(os.getpid(), 0), 0, 0, 0, HOST, Tampering.FRAMES, 0, 1)


class Exits:
    """Programs at interfaces, of which this is no test."""

    def cover(self, _through: InterfaceRound, _until_s: float, _besides: int) -> bool:
        return True

    def held_for(self, _scope: int) -> int:
        return 0

    def withdraw(self) -> None:
        """None is there."""


@contextmanager
def without_gaps() -> Iterator[int]:
    """During the block, each descriptor below the highest one is open; their number."""
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    with ExitStack() as fillers:
        while (newest := os.dup(0)) < highest:
            fillers.callback(os.close, newest)
        os.close(newest)
        yield newest


@contextmanager
def few_descriptors(number: int = 16) -> Iterator[int]:
    """During the block, that many more can be opened, by 16 none is to spare; the limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with without_gaps() as used:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + number, before[1]))
        try:
            yield used + number
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_network_without_room_is_told_once_and_looked_after_once_there_is() -> None:
    told: list[int] = []
    guarded = GuardedNamespaces(Exits(), lambda _, reason: told.append(reason))
    with Namespace() as namespace:
        path = Path(namespace.path)
        number = path.stat().st_ino
        with few_descriptors():
            for _ in range(3):
                guarded.take_in(path, WHO, time.monotonic())
        assert number not in guarded
        guarded.take_in(path, WHO, time.monotonic())
        assert number in guarded
        guarded.keep_only(())
    assert [os.strerror(reason) for reason in told] == ["Too many open files"]


@contextmanager
def guarding(tell: Callable[[Tampered, int], object]) -> Iterator[GuardedNamespaces]:
    """With programs at interfaces, as the kernel has them."""
    with kernel_side() as kernel, closing(LateLinks(kernel.tracer.directory, outlives=True)) as links:
        guarded = GuardedNamespaces(interface_egress.exits(way_here(), kernel.tracer.directory, links), tell)
        yield guarded
        guarded.keep_only(())


def add_interfaces(namespace: Namespace, number: int) -> None:
    """In pairs; there is `lo`, too."""
    pairs = range(number // 2)
    namespace.configure_links(*(f"link add a{pair} type veth peer name b{pair}" for pair in pairs))


@pytest.mark.skipif(way_here() is not AttachMethod.TCX, reason="filters take no descriptors")
def test_one_jobs_networks_leave_descriptors_for_anothers() -> None:
    told: list[tuple[int, int]] = []
    with (
        guarding(lambda who, reason: told.append((who.scope, reason))) as guarded,
        Namespace() as first,
        Namespace() as second,
        Namespace() as others,
        without_gaps() as used,
        few_descriptors(used + 3 * KEPT_FREE) as most,
    ):
        for namespace in (first, second):
            add_interfaces(namespace, most * 2 // 5)
            guarded.take_in(Path(namespace.path), WHO._replace(scope=1), time.monotonic() + 60)
        guarded.take_in(Path(others.path), WHO._replace(scope=2), time.monotonic() + 60)
        is_in = [Path(namespace.path).stat().st_ino in guarded for namespace in (first, second, others)]
    assert [(scope, os.strerror(reason)) for scope, reason in told] == [(1, "Too many open files")]
    assert is_in == [True, False, True]


def test_an_interface_that_comes_and_goes_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have the program already are looked at some at a time, and each of them in its turn."""
    looks = counted(monkeypatch)
    with guarding(lambda *_: None) as guarded, Namespace() as namespace:
        add_interfaces(namespace, 2 * AT_ONCE)
        guarded.take_in(Path(namespace.path), WHO, time.monotonic() + 60)
        met = set[int]()
        for _ in range(8):
            namespace.configure_links("link add near type veth peer name far", "link del near")
            assert guarded.look_again()
            looks.clear()
            assert guarded.cover(time.monotonic())
            assert 0 < len(looks) <= AT_ONCE
            met.update(looks)
        assert len(met) > 2 * AT_ONCE
        while guarded.is_covering:
            guarded.cover(time.monotonic())


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indexes of the interfaces that are looked at from now on."""
    looks: list[int] = []

    def looking(index: int) -> list[int]:
        looks.append(index)
        return programs_at_interface(index)

    def putting(program: int, index: int, name: str) -> bool:
        looks.append(index)
        return put_filter(program, index, name)

    monkeypatch.setattr(interface_egress, "programs_at_interface", looking)
    monkeypatch.setattr(interface_egress, "put_filter", putting)
    return looks
