"""The BTF of a kernel that doesn't run, from what is booted of it."""

from __future__ import annotations

import io
import lzma
import struct
import subprocess
import zlib
from collections.abc import Callable

from elftools.elf.elffile import ELFFile

# Documentation/arch/arm64/booting.rst, drivers/firmware/efi/libstub/zboot-header.S
_FLAT_AT, _FLAT = 56, b"ARM\x64"
_PACKED_AT, _PACKED, _PACKED_PAYLOAD_AT = 4, b"zimg", 8
# include/uapi/linux/btf.h: magic, version, flags, the header's length; then four offsets and lengths.
_BTF_BEGINS = b"\x9f\xeb\x01\0\x18\0\0\0"
_BTF_PARTS = struct.Struct("<IIII")

# Documentation/arch/x86/boot.rst: the header's fields, and where they stand.
_SETUP_SECTORS, _MAGIC_AT, _PAYLOAD_AT = 0x1F1, 0x202, 0x248
_MAGIC = b"HdrS"
_SECTOR_BYTES = 512
_SIZE_BYTES = 4
"""Behind what is compressed: how much it becomes."""


class NoBtfError(Exception):
    """What is booted has none that could be read, and why."""


def _zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qdc"], input=data, stdout=subprocess.PIPE, check=True).stdout


_UNPACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": lambda data: zlib.decompress(data, wbits=31),
    b"\xfd7zXZ\0": lzma.decompress,
    b"\x28\xb5\x2f\xfd": _zstd,
}
"""By how what is compressed begins."""


def btf_of(image: bytes) -> bytes:
    """The BTF in what is booted on x86-64 or arm64. Raises NoBtfError."""
    if image[_PACKED_AT : _PACKED_AT + 4] == _PACKED:
        offset, length = struct.unpack_from("<II", image, _PACKED_PAYLOAD_AT)
        return _btf_in_flat(_unpacked(image[offset : offset + length]))
    if image[_FLAT_AT : _FLAT_AT + 4] == _FLAT:
        return _btf_in_flat(image)
    section = ELFFile(io.BytesIO(vmlinux(image))).get_section_by_name(".BTF")
    if section is None:
        raise NoBtfError("the kernel was built without CONFIG_DEBUG_INFO_BTF")
    data: bytes = section.data()
    return data


def vmlinux(image: bytes) -> bytes:
    """The ELF file that a bzImage unpacks when it boots. Raises NoBtfError."""
    if image[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        raise NoBtfError("this is no bzImage")
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_AT)
    start = (image[_SETUP_SECTORS] + 1) * _SECTOR_BYTES + offset
    payload = image[start : start + length - _SIZE_BYTES]
    return _unpacked(payload)


def _unpacked(payload: bytes) -> bytes:
    for beginning, unpack in _UNPACK.items():
        if payload.startswith(beginning):
            return unpack(payload)
    raise NoBtfError(f"it is compressed in a way that isn't known here: {payload[:6].hex()}")


def _btf_in_flat(image: bytes) -> bytes:
    """The largest BTF in an image without sections: the kernel's own, which has strings behind its types."""
    found = b""
    at = image.find(_BTF_BEGINS)
    while at >= 0:
        _, types_size, strings_at, strings_size = _BTF_PARTS.unpack_from(image, at + len(_BTF_BEGINS))
        size = len(_BTF_BEGINS) + _BTF_PARTS.size + strings_at + strings_size
        if types_size <= strings_at and len(found) < size <= len(image) - at:
            found = image[at : at + size]
        at = image.find(_BTF_BEGINS, at + 1)
    if not found:
        raise NoBtfError("the kernel was built without CONFIG_DEBUG_INFO_BTF")
    return found
