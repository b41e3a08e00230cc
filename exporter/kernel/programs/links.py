"""Find out which programs are attached now: the kernel is asked, since anybody may detach a link."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from exporter.common.descriptors import closing_fd
from exporter.kernel.bpf import U32, bpf, info, link_info, open_pinned, succeeds

# enum bpf_cmd
_PROG_BY_ID, _LINK_BY_ID, _LINK_NEXT_ID = 13, 30, 31

_PROGRAM_INFO = struct.Struct("=II8xIIQQQIIQ16s")
_MAPS_MAX = 64


class Link(NamedTuple):
    """An attached program, and its link."""

    descriptor: int
    """The link's descriptor, valid until the next link is asked for."""
    program: str
    """The program's name, cut to 15 bytes, as the kernel keeps it."""
    maps: frozenset[int]
    """Ids of the maps that it uses."""


def attached_pins(directory: Path) -> frozenset[str]:
    """Return the names of the programs whose links are pinned in `directory` and attached."""
    names = []
    for pin in directory.glob("link_*"):
        with suppress(OSError), closing_fd(open_pinned(pin)) as descriptor:
            if link_info(descriptor).is_attached:
                names.append(pin.name.removeprefix("link_"))
    return frozenset(names)


def pinned_links(directory: Path) -> Iterator[tuple[str, Link]]:
    """Iterate over the links of `attached_pins`, each with its name. Raises OSError if one can't be read."""
    for name in sorted(attached_pins(directory)):
        with closing_fd(open_pinned(directory / f"link_{name}")) as descriptor:
            yield name, Link(descriptor, *_program(link_info(descriptor).program_id))


def attached_links() -> Iterator[Link]:
    """Iterate over the links at cgroups and interfaces that are attached, whoever holds them, pinned or not.

    Raises OSError without the right to know (CAP_SYS_ADMIN).
    """
    known: dict[int, tuple[str, frozenset[int]]] = {}
    for descriptor in _links():
        with closing_fd(descriptor):
            link = link_info(descriptor)
            if not (link.is_detachable and link.is_attached):
                continue
            if link.program_id not in known:
                known[link.program_id] = _program(link.program_id)
            yield Link(descriptor, *known[link.program_id])


def _links() -> Iterator[int]:
    number = 0
    while True:
        request = ctypes.create_string_buffer(struct.pack("=III", number, 0, 0), 12)
        if not succeeds(_LINK_NEXT_ID, request, unless=errno.ENOENT):
            return
        number = U32.unpack_from(request, 4)[0]
        descriptor = _by_number(_LINK_BY_ID, number)
        if descriptor is not None:
            yield descriptor


def _program(number: int) -> tuple[str, frozenset[int]]:
    descriptor = _by_number(_PROG_BY_ID, number)
    if descriptor is None:
        return "", frozenset()
    room = (ctypes.c_uint32 * _MAPS_MAX)()
    asked = _PROGRAM_INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _MAPS_MAX, ctypes.addressof(room), b"")
    with closing_fd(descriptor):
        *_, maps, _, name = info(descriptor, _PROGRAM_INFO, asked)
    return name.split(b"\0", 1)[0].decode(errors="replace"), frozenset(room[: min(maps, _MAPS_MAX)])


def _by_number(command: int, number: int) -> int | None:
    """Open a program or a link by its id; None when it is gone, or a link that isn't attached yet."""
    try:
        return bpf(command, struct.pack("=III", number, 0, 0))
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EAGAIN}:
            return None
        raise
