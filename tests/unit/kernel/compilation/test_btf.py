"""Offsets out of a BTF blob put together by hand, after include/uapi/linux/btf.h."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from exporter.common.errors import KernelError
from exporter.kernel.compilation.btf import MEMBERS, Btf, kernel_offsets

INT, POINTER, ARRAY, STRUCT, UNION, ENUM, FORWARD, TYPEDEF, VOLATILE, CONST = range(1, 11)
FUNCTION, FUNCTION_PROTOTYPE, VARIABLE, SECTION, TYPE_TAG, ENUM64 = 12, 13, 14, 15, 18, 19


class Blob:
    """BTF under construction; types are numbered from 1 in the order in which they are added."""

    def __init__(self) -> None:
        self.strings = b"\0"
        self.types = b""
        self.count = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text.encode()) - 1

    def add(
        self, kind: int, name: str, referred: int, extra: bytes = b"", *, entries: int = 0, flag: int = 0
    ) -> int:
        info = flag << 31 | kind << 24 | entries
        self.types += struct.pack("=III", self.name(name), info, referred) + extra
        self.count += 1
        return self.count

    def record(
        self,
        name: str,
        members: Sequence[tuple[str, int, int]],
        *,
        kind: int = STRUCT,
        bitfields: bool = False,
    ) -> int:
        """A struct or union of (member, type, offset in bits, or in bitfield form as it stands)."""
        packed = b"".join(struct.pack("=III", self.name(member), *rest) for member, *rest in members)
        return self.add(kind, name, 64, packed, entries=len(members), flag=bitfields)

    def bytes(self) -> bytes:
        head = struct.pack(
            "=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings)
        )
        return head + self.types + self.strings


def test_a_member_stands_at_its_offset_in_bytes() -> None:
    blob = Blob()
    number = blob.add(INT, "int", 4, struct.pack("=I", 32))
    blob.record("task_struct", [("state", number, 0), ("pid", number, 32), ("tgid", number, 8 * 1234)])
    offsets = Btf(blob.bytes()).offsets({"PID": ("task_struct", "pid"), "TGID": ("task_struct", "tgid")})
    assert offsets == {"PID": 4, "TGID": 1234}


def test_anonymous_structs_and_unions_count_as_their_owners_members() -> None:
    blob = Blob()
    number = blob.add(INT, "long", 8, struct.pack("=I", 64))
    inner = blob.record("", [("a", number, 0), ("b", number, 64)])
    union = blob.record("", [("other", number, 0), ("", inner, 0)], kind=UNION)
    blob.record("file", [("head", number, 0), ("", union, 64), ("tail", number, 192)])
    offsets = Btf(blob.bytes()).offsets(
        {"B": ("file", "b"), "OTHER": ("file", "other"), "TAIL": ("file", "tail")}
    )
    assert offsets == {"B": 16, "OTHER": 8, "TAIL": 24}


def test_modifiers_on_the_way_to_an_inner_struct_are_looked_through() -> None:
    blob = Blob()
    number = blob.add(INT, "int", 4, struct.pack("=I", 32))
    path = blob.record("path", [("mnt", number, 0), ("dentry", number, 64)])
    through = path
    for kind, name in ((CONST, ""), (VOLATILE, ""), (TYPEDEF, "path_t"), (TYPE_TAG, "user")):
        through = blob.add(kind, name, through)
    blob.record("file", [("f_op", number, 0), ("f_path", through, 8 * 16)])
    assert Btf(blob.bytes()).offsets({"DENTRY": ("file", "f_path", "dentry")}) == {"DENTRY": 24}


def test_a_struct_with_bitfields_keeps_their_sizes_apart_from_offsets() -> None:
    blob = Blob()
    number = blob.add(INT, "int", 4, struct.pack("=I", 32))
    blob.record("signal_struct", [("flag", number, 1 << 24 | 19), ("live", number, 64)], bitfields=True)
    members: dict[str, tuple[str, ...]] = {
        "FLAG": ("signal_struct", "flag"),
        "LIVE": ("signal_struct", "live"),
    }
    assert Btf(blob.bytes()).offsets(members) == {"FLAG": 2, "LIVE": 8}


@pytest.mark.parametrize("name", ["i_ctime", "__i_ctime"])
def test_a_member_is_found_under_what_earlier_kernels_called_it(name: str) -> None:
    blob = Blob()
    number = blob.add(INT, "long", 8, struct.pack("=I", 64))
    time = blob.record("timespec64", [("tv_sec", number, 0), ("tv_nsec", number, 64)])
    blob.record("inode", [("i_ino", number, 0), (name, time, 8 * 88)])
    members = {key: MEMBERS[key] for key in ("INODE_CTIME_SEC", "INODE_CTIME_NSEC", "INODE_NUMBER")}
    found = {"INODE_CTIME_SEC": 88, "INODE_CTIME_NSEC": 96, "INODE_NUMBER": 0}
    assert Btf(blob.bytes()).offsets(members) == found


def test_types_of_every_kind_in_between_are_stepped_over() -> None:
    blob = Blob()
    number = blob.add(INT, "int", 4, struct.pack("=I", 32))
    blob.add(POINTER, "", number)
    blob.add(ARRAY, "", 0, struct.pack("=III", number, number, 8))
    blob.add(ENUM, "colour", 4, struct.pack("=II", blob.name("red"), 1) * 3, entries=3)
    blob.add(FORWARD, "cred", 0)
    blob.add(FUNCTION_PROTOTYPE, "", number, struct.pack("=II", 0, number) * 2, entries=2)
    blob.add(VARIABLE, "counter", number, struct.pack("=I", 0))
    blob.add(SECTION, ".data", 0, struct.pack("=III", number, 0, 4), entries=1)
    blob.add(17, "tag", number, struct.pack("=i", -1))
    blob.add(ENUM64, "big", 8, struct.pack("=III", blob.name("huge"), 1, 1), entries=1)
    blob.record("mm_struct", [("arg_start", number, 8 * 40)])
    assert Btf(blob.bytes()).offsets({"AT": ("mm_struct", "arg_start")}) == {"AT": 40}


def test_functions_are_found_by_their_names_and_nothing_else_is() -> None:
    blob = Blob()
    number = blob.add(INT, "int", 4, struct.pack("=I", 32))
    prototype = blob.add(FUNCTION_PROTOTYPE, "", number)
    asks = blob.add(FUNCTION, "asks", prototype)
    blob.add(FUNCTION, "asks_else", prototype)
    blob.add(TYPEDEF, "else", number)
    assert Btf(blob.bytes()).functions(["asks", "else", "missing"]) == {"asks": asks}


def test_a_union_or_a_name_alone_is_not_the_struct() -> None:
    blob = Blob()
    number = blob.add(INT, "int", 4, struct.pack("=I", 32))
    blob.record("mount", [("mnt", number, 800)], kind=UNION)
    real = blob.record("real", [("mnt", number, 80)])
    blob.add(TYPEDEF, "mount", real)
    with pytest.raises(KernelError, match=r"BTF has no mount\.mnt"):
        Btf(blob.bytes()).offsets({"M": ("mount", "mnt")})


@pytest.mark.parametrize(
    "path", [("task_struct", "gone"), ("no_struct", "pid"), ("task_struct", "pid", "inner"), ("task", "pid")]
)
def test_a_member_that_is_not_there_is_named(path: tuple[str, ...]) -> None:
    blob = Blob()
    number = blob.add(INT, "int", 4, struct.pack("=I", 32))
    blob.record("task_struct", [("pid", number, 0)])
    with pytest.raises(KernelError, match=rf"has no {'.'.join(path)}; .*report its version"):
        Btf(blob.bytes()).offsets({"X": path})


@pytest.mark.parametrize(("blob", "what"), [(b"", "empty"), (b"\x7fELF" + bytes(60), "begins with 0x457f")])
def test_what_is_no_btf_is_refused(blob: bytes, what: str) -> None:
    with pytest.raises(KernelError, match=f"{what}; boot a kernel with CONFIG_DEBUG_INFO_BTF=y"):
        Btf(blob)


def test_a_kernel_without_btf_is_told_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"cannot read the kernel's BTF .*CONFIG_DEBUG_INFO_BTF"):
        kernel_offsets(tmp_path / "vmlinux")
