"""The policy file: any bytes are a policy or errors with places; and the kernel says what the policy says."""

from __future__ import annotations

import re
from ipaddress import ip_address

from exporter.common.errors import FileError
from exporter.jobs.claims import named
from exporter.policy.compile import compile_policy
from exporter.policy.decide import EgressRequest, decide
from exporter.policy.entries import EntryVerdict
from exporter.policy.model import Effect, JobPolicy, Policy
from exporter.policy.parse import parse_allowed_endpoints, parse_policy
from exporter.policy.problems import PolicyError
from exporter.policy.sections import effective
from tests.fuzz.draw import Draw
from tests.unit.policy.files import EXAMPLE
from tests.unit.policy.kernel_model import Kernel, held_mask

_ERROR = re.compile(r"(a\.yaml|--allowed-endpoints):(\d+):(\d+): .*; .+")
_HOSTS = (
    *("a.example", "*.example", "*.a.example", "b.a.example", "*.com", "*", "A.EXAMPLE.", "é.example"),
    *("192.0.2.1", "192.0.2.0/24", "192.0.2.1/24", "0.0.0.0/0", "[::/0]", "[2001:db8::1]", "2001:db8::1"),
    *("[::ffff:192.0.2.1]", "[fe80::1%a]", "999.1.1.1", "", "a" * 300, "192.0.2.0/99", "127.0.0.1", "a..b"),
)
_SOUND = (*_HOSTS[:4], "192.0.2.1", "192.0.2.0/24", "0.0.0.0/0", "[::/0]", "[2001:db8::1]", "127.0.0.1")
"""Those that are no errors."""
_SCHEMES = ("", "", "", "tcp://", "udp://", "icmp://", "any://", "TCP://", "https://", "://")
_PORTS = ("", "", ":443", ":80", ":*", ":0", ":65536", ":x", ":", ":443:443")
_LINEAGES = ("[git]", "[git, npm]", "[/usr/bin/git]", "[]", "git", "[a b]", "[[git]]", '["\\0"]')
_KEYS = (
    *("allow", "deny", "allow", "mode", "resolvers", "jobs", "version", "allows", '""', "? a"),
    *("trust_names", "protected_ref"),
)
_FULL = tuple(
    f'"{key}"'
    for key in ("github:github.com/octo/app:*", "g*:*:release/*", "gihub:a:b", "github::", "*:[:]:[", ":::")
)
"""Keys of `jobs` with parts, or nearly."""
_DICTIONARY = [
    *(b"&a ", b"*a", b"!!str ", b"? ", b"<<: ", b"---\n", b"...\n", b"%YAML 1.1\n", b"\xff"),
    *(b"{", b"}", b"[", b"]", b"'", b'"', b"|\n", b">\n", b"#", b": ", b"- ", b"\r", b"\t", b"\0"),
    *(b"[" * 3000, b"\xe2\x80\xa8", b"\xc2\x85", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n  "),
]
_NAMES = ("a.example", "b.a.example", "example")
_PEERS = tuple(map(ip_address, ("192.0.2.1", "192.0.2.9", "2001:db8::1", "127.0.0.1", "203.0.113.1")))
_CHAINS = ((), ("git",), ("/usr/bin/git", "npm"))


def check(draw: Draw) -> None:
    """Policies as people write them, some with errors, some changed; and the text of --allowed-endpoints."""
    if draw.chance(0.1):
        _endpoints(" ".join(draw.some(lambda: _destination(draw), 6)) + draw.text(8))
        return
    way = draw.randrange(3)
    text = EXAMPLE
    if draw.chance(0.9):
        make = _sound if way == 0 else _unsound
        text = "version: 1\n" + make(draw)
    data = text.encode(errors="surrogatepass")
    if way == 2:
        data = draw.mutated(data, _DICTIONARY)
    policy = _parsed(data)
    if policy is not None:
        _decides_alike(draw, effective(policy, named("release", "build")))


def _sound(draw: Draw) -> str:
    """Of rules that may still repeat one another."""
    lists = {effect: [_sound_rule(draw) for _ in range(draw.randrange(4))] for effect in ("allow", "deny")}
    told = [f"{effect}: [{', '.join(rules)}]" for effect, rules in lists.items()]
    pattern = draw.choice(("release", "release/*", "*", "*/build", "other"))
    section = f'jobs: {{"{pattern}": {{{draw.choice(told)}}}}}' if draw.chance(0.3) else ""
    return "\n".join((*told, section))


def _sound_rule(draw: Draw) -> str:
    host = draw.choice(_SOUND)
    if draw.chance(0.6):
        return f'"{host}{draw.choice(("", ":443", ":80", ":*"))}"'
    return f'{{host: "{host}", lineage: {draw.choice(_LINEAGES[:3])}}}'


def _unsound(draw: Draw) -> str:
    return "".join(draw.some(lambda: _entry(draw, 0), 6))


def _entry(draw: Draw, depth: int) -> str:
    key = draw.choice(_KEYS)
    indent = "  " * depth
    match key:
        case "mode" | "resolvers" | "version" | "trust_names" | "protected_ref":
            words = ("audit", "enforce", "system", "1", "[1]", "true", draw.text(4))
            return f"{indent}{key}: {draw.choice(words)}\n"
        case "jobs" if depth == 0:
            pattern = draw.choice(("release", '"release/*"', '"*"', '"*/build"', '""', "[a-", *_FULL))
            return f"jobs:\n  {pattern}:\n" + "".join(draw.some(lambda: _entry(draw, 2), 3))
        case _:
            rules = draw.some(lambda: _rule(draw), 5)
            return f"{indent}{key}:\n" + "".join(f"{indent}- {rule}\n" for rule in rules)


def _rule(draw: Draw) -> str:
    if draw.chance(0.3):
        known = (f"lineage: {draw.choice(_LINEAGES)}", "ports: [443, 80]", 'ports: "*"')
        extras = draw.some(lambda: draw.choice(known), 2)
        host = f'host: "{draw.choice(_HOSTS)}"'
        return f"{{{', '.join([host, *extras])}}}"
    return f'"{_destination(draw)}"' if draw.chance(0.8) else _destination(draw)


def _destination(draw: Draw) -> str:
    return draw.choice(_SCHEMES) + draw.choice(_HOSTS) + draw.choice(_PORTS)


def _parsed(data: bytes) -> Policy | None:
    try:
        return parse_policy(data, "a.yaml")
    except PolicyError as error:
        are_placed(
            error, data.count(b"\n") + data.count(b"\r") + len(re.findall(rb"\xc2\x85|\xe2\x80", data))
        )
        return None


def _endpoints(text: str) -> None:
    try:
        policy = parse_allowed_endpoints(text)
    except PolicyError as error:
        are_placed(error, text.count("\n"))
        return
    assert all(rule.effect is Effect.ALLOW for rule in policy.rules)


def are_placed(error: FileError, breaks: int) -> None:
    """Each line of `error` has a place in a text with so many line breaks, and is fit for a terminal."""
    assert error.lines
    for line in error.lines:
        found = _ERROR.fullmatch(line)
        assert found, line
        assert line.isprintable()
        assert len(line) < 600
        assert 1 <= int(found[2]) <= breaks + 2
        assert int(found[3]) >= 1


def _decides_alike(draw: Draw, policy: JobPolicy) -> None:
    try:
        compiled = compile_policy(policy, _PEERS[:1])
    except PolicyError as error:
        are_placed(error, 1 << 20)
        return
    kernel = Kernel(compiled)
    names = draw.sample(_NAMES, draw.randrange(3))
    chain = draw.choice(_CHAINS)
    held = held_mask(compiled, chain)
    for peer in _PEERS:
        for name in names:
            kernel.answer(name, peer)
        act = EgressRequest(peer, draw.choice((6, 17, 1, 58, 132)), draw.choice((443, 80, 53, 0)))
        expected = decide(policy, act, names=names, chain=chain, resolvers=_PEERS[:1])
        told = kernel.decide(act, held)
        assert (told.verdict is EntryVerdict.ALLOW) == (expected.effect is Effect.ALLOW)
        assert kernel.rule(told, act, names, held) == expected.rule
