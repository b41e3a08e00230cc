"""Which programs are attached, while others attach theirs."""

from __future__ import annotations

import multiprocessing
import os
import struct
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.mounts import cgroup2_root
from exporter.kernel.programs.links import attached_links
from exporter.kernel.programs.objects import AttachType, Place, ProgramType, attach_to_cgroup, load_program
from tests.kernel.running_exporter import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.sharedctypes import Synchronized

pytestmark = pytest.mark.kernel

ALLOW = struct.pack("=BBhi", 0xB7, 0, 0, 1) + struct.pack("=BBhi", 0x95, 0, 0, 0)
LOOKS = 2000


def attach_and_detach(cgroup: Path, is_over: Synchronized[int]) -> None:
    program = load_program("allow", Place(ProgramType.CGROUP_SOCK_ADDR, AttachType.INET4_CONNECT), ALLOW, [])
    descriptor = os.open(cgroup, os.O_RDONLY)
    while not is_over.value:
        os.close(attach_to_cgroup(program, descriptor, AttachType.INET4_CONNECT))


@contextmanager
def others_attaching() -> Iterator[None]:
    """Others attach programs to a cgroup of theirs, and detach them, all the time."""
    cgroup = cgroup2_root() / f"ci-egress-links-{os.getpid()}"
    cgroup.mkdir()
    is_over = multiprocessing.get_context("spawn").Value("i", 0)
    others = [
        multiprocessing.get_context("spawn").Process(target=attach_and_detach, args=(cgroup, is_over))
        for _ in range(2)
    ]
    try:
        for other in others:
            other.start()
        yield
        assert all(other.is_alive() for other in others)
    finally:
        is_over.value = 1
        for other in others:
            with closing(other):
                other.join()
        cgroup.rmdir()


def test_links_that_are_being_made_hinder_nobody_who_looks() -> None:
    with others_attaching():
        wait_for(is_any_attached)
        met = sum(is_any_attached() for _ in range(LOOKS))
    assert met > 0


def is_any_attached() -> bool:
    return "allow" in {link.program for link in attached_links()}
