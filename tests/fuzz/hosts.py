"""The file of hosts: any bytes give names of hosts for addresses, and sane lines those that they say."""

from __future__ import annotations

import ipaddress

from exporter.common.net.dns_messages import is_host_name
from exporter.common.net.hosts import parse_hosts
from tests.fuzz.draw import Draw

_MAPPED = bytes(10) + b"\xff\xff"
_ADDRESSES = (
    *(
        "192.0.2.7",
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "::1",
        "::",
        "2001:db8::7",
        "::ffff:192.0.2.8",
        "::ffff:127.0.0.1",
    ),
    *("fe80::1%eth0", "192.0.2.07", "192.0.2", "1.2.3.4.5", "0x7f.1", "::ffff:1", "2001:DB8::A", "%", "1%1"),
)
_NAMES = (
    *("registry.example", "REGISTRY.example", "a", "a_b", "-", "a.", ".a", "a..b", "é", "a\x1b[2J", "x" * 64),
    *("x" * 63, ".".join(["x" * 63] * 4), "localhost", "#", "a#b"),
)
_BLANKS = (" ", "\t", "  \t ", "\x0b", "\x0c", "\xa0", "\0", "")
_ENDS = ("\n", "\n", "\r\n", "\r", "\n\n", "\x85", "")
_DICTIONARY = [text.encode(errors="replace") for text in (*_ADDRESSES, *_NAMES, *_BLANKS, *_ENDS)]


def check(draw: Draw) -> None:
    """Half are files as people write them, half those changed, or anything."""
    if draw.chance(0.5):
        _a_sane_file_is_read(draw)
        return
    lines = draw.some(lambda: _line(draw), 12)
    text = "".join(lines).encode(errors="surrogatepass")
    is_sound(draw.mutated(text, _DICTIONARY) if draw.chance(0.7) else draw.blob(400))


def _line(draw: Draw) -> str:
    names = draw.some(lambda: draw.choice(_BLANKS) + draw.choice((*_NAMES, draw.text(8))), 4)
    return draw.choice((*_ADDRESSES, draw.text(20))) + "".join(names) + draw.choice(_ENDS)


def _a_sane_file_is_read(draw: Draw) -> None:
    expected: dict[bytes, str] = {}
    lines = []
    for _ in range(draw.length(10)):
        if draw.chance(0.5):
            shown, peer = _ipv4(draw)
        else:
            shown, peer = _ipv6(draw)
        name = draw.choice(("registry.example", "Mirror.Example", "a-1", "x" * 63, "_dns.a"))
        rest = draw.choice(("", " other.example", " # a comment", "\t#x", "#x"))
        lines.append(f"{draw.choice(('', ' '))}{shown}{draw.choice((' ', chr(9)))}{name}{rest}\n")
        if peer is not None:
            expected.setdefault(peer, name.lower())
    text = "".join(lines).encode()
    assert parse_hosts(text) == expected, text
    is_sound(text)


def _ipv4(draw: Draw) -> tuple[str, bytes | None]:
    packed = draw.choice((b"\x7f\0\0", b"\xc0\0\2", bytes(3), b"\x0a\1\2")) + draw.randbytes(1)
    is_own = packed[0] == 127 or packed == bytes(4)
    shown = ".".join(map(str, packed))
    return draw.choice((shown, f"::ffff:{shown}")), None if is_own else _MAPPED + packed


def _ipv6(draw: Draw) -> tuple[str, bytes | None]:
    packed = draw.choice((bytes(14), b"\x20\1\x0d\xb8" + bytes(10))) + draw.randbytes(2)
    shown = ipaddress.IPv6Address(packed)
    is_own = packed in (bytes(16), bytes(15) + b"\1")
    return draw.choice((str(shown), shown.exploded.upper())), None if is_own else packed


def is_sound(text: bytes) -> None:
    names = parse_hosts(text)
    assert len(names) <= text.count(b"\n") + 1
    for peer, name in names.items():
        assert len(peer) == 16
        assert is_host_name(name)
        assert name.encode() in text.lower()
        mapped = ipaddress.IPv6Address(peer).ipv4_mapped
        address = mapped or ipaddress.IPv6Address(peer)
        assert not address.is_loopback
        assert not address.is_unspecified
