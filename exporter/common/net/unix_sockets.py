"""Names of Unix sockets: paths, and abstract names, which begin with a NUL; as text, and as digests."""

from __future__ import annotations

import os
from functools import lru_cache

NAME_MAX = 108
"""The most bytes of a name (sun_path)."""

_RUN, _VAR_RUN = "/run/", "/var/run/"
_WORD_BYTES = 8
_ROOM = 112
"""Bytes that a digest is made of: a name, and zeros behind it."""
_FACTORS = ((0x9E3779B97F4A7C15, 32), (0xC2B2AE3D27D4EB4F, 29))
_MASK = (1 << 64) - 1


def shown(name: bytes) -> str:
    """Return `name` as text that is no host's name: `/run/x.sock`, `./x.sock`, `@abstract`.

    An abstract name has `@` for each NUL, as ss(8) writes it.
    """
    if name.startswith(b"\0"):
        return name.replace(b"\0", b"@").decode(errors="replace")
    text = name.decode(errors="replace")
    return text if text.startswith("/") else f"./{text}"


def is_socket_name(text: str) -> bool:
    """Whether `text`, which may be anything, is the name of a Unix socket as `shown` returns it."""
    return text.startswith(("/", "@", "./"))


def name_of(text: str) -> bytes:
    """Return the name that `/run/x.sock` or `@abstract` means: `shown` reversed, but for NULs inside."""
    return b"\0" + os.fsencode(text[1:]) if text.startswith("@") else os.fsencode(text)


@lru_cache(maxsize=1024)
def digest(name: bytes) -> bytes:
    """Return 16 bytes that stand for `name`, of at most NAME_MAX bytes, among the kernel's addresses.

    bpf/unix.bpf.c has the same. The digest is no secret, and two names may be found that share one: but names
    that a policy is about are given by others than a job.
    """
    padded = name.ljust(_ROOM, b"\0")
    words = [int.from_bytes(padded[at : at + _WORD_BYTES], "little") for at in range(0, _ROOM, _WORD_BYTES)]
    halves = (len(name), len(name) ^ _MASK)
    return b"".join(
        _mixed(half, words, factor, shift).to_bytes(_WORD_BYTES, "little")
        for half, (factor, shift) in zip(halves, _FACTORS, strict=True)
    )


def plain_name(text: str) -> str:
    """Return the name by which a socket goes here: /run/x.sock for /var/run/x.sock."""
    return text.replace(_VAR_RUN, _RUN, 1) if text.startswith(_VAR_RUN) else text


def bound_names(name: str) -> set[str]:
    """Return the names to which the owner of the socket `name` may have bound it: /run is also /var/run."""
    for one, other in ((_RUN, _VAR_RUN), (_VAR_RUN, _RUN)):
        if name.startswith(one):
            return {name, name.replace(one, other, 1)}
    return {name}


def named_by(digested: bytes, name: str) -> str:
    """Return that name of the socket `name` whose digest is `digested`; `name` itself if none is."""
    return next((each for each in bound_names(name) if digest(name_of(each)) == digested), name)


def _mixed(half: int, words: list[int], factor: int, shift: int) -> int:
    for word in words:
        half = (half ^ word) * factor & _MASK
        half ^= half >> shift
    return half
