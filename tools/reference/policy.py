"""`docs/reference/policy.md`: keys of a policy, and what each way to write a rule means."""

from __future__ import annotations

from exporter.jobs.providers import PROVIDERS
from exporter.policy import entries, parse, rules
from exporter.policy.endpoints import DEFAULT_PORT, NAME_MAX
from exporter.policy.model import ANY_SOCKET, LOOPBACK, Effect, Mode, Name, Protocol, Rule, SocketName
from tools.reference.pages import block, code, codes, page, plain, table

_KEYS = {
    "version": "`1`. It must be there",
    "mode": f"{codes(mode.value for mode in Mode)}: what isn't allowed is told, or denied. The default is "
    f"{code(Mode.AUDIT.value)}",
    "resolvers": "`system`: port 53, udp and tcp, of the machine's own resolvers",
    "dns": "`allow`, `deny`: whether resolvers are asked for what no rule allows. The default is `allow`",
    "search_domains": "a list of domains: with `dns: deny` an allowed name may have one of them behind it",
    "allow": "a list of rules",
    "deny": "a list of rules",
    "trust_names": "`true`, `false`: whether what sections allow counts for whoever has the right name. The "
    "default is `false`",
    "jobs": "a mapping from keys to sections, which have more of these: for some jobs",
}
_PROTOCOLS = tuple(each.name.lower() for each in Protocol if each is not Protocol.UNIX)
_RULE_KEYS = {
    "host": "a name, `*.name`, an address or a network; or `unix://` and a socket. It must be there",
    "ports": f'a list of ports, or `"*"` for all. Without it {DEFAULT_PORT} in `allow`, all in `deny`',
    "protocol": f"{codes(_PROTOCOLS)}. Without it `tcp`; in `deny`, without ports, too, `any`",
    "lineage": "executables, by name or absolute path, which must all be in the chain of processes",
}
_EXAMPLES = (
    "registry.example",
    "registry.example:8443",
    '"registry.example:*"',
    '"*.wheels.example"',
    "192.0.2.10",
    "10.20.0.0/16:5432",
    '"[2001:db8::/32]:443"',
    "tcp://git.example:22",
    "udp://192.0.2.53:53",
    "icmp://192.0.2.1",
    "any://mirror.example",
    "unix:///run/docker.sock",
    "unix://@bus",
    '"unix://*"',
    "{host: github.com, ports: [22, 443], lineage: [git]}",
    '{host: registry.example, ports: "*"}',
    "{host: 192.0.2.53, ports: [53], protocol: udp}",
)
_DECIDES = (
    "An address that a `deny` names is denied, whatever name led to it. Else the most specific destination "
    "decides (a "
    "name before a network, the longer prefix before the shorter, any before none), then a stated port "
    "before every "
    "port, then deny before allow. On an address that two names share, deny wins. What no rule is about is "
    "denied, in "
    "mode `audit` only told; but a connect to a Unix socket is allowed."
)


def text() -> str:
    """Return the page. Raises SystemExit where the code has keys that nobody described."""
    _check()
    head = ["rule", "in `allow`", "in `deny`"]
    examples = [[code(rule), _meaning(rule, Effect.ALLOW), _meaning(rule, Effect.DENY)] for rule in _EXAMPLES]
    loopback = codes(str(rule.host) for rule in LOOPBACK)
    return page(
        "Policy",
        "The grammar of a policy's file, as the code has it. [The manual](../policy.md) tells how to get "
        "from a first "
        "draft to one that holds, and every error. `ci-egress policy check FILE` says what is wrong with "
        "one, "
        "`ci-egress policy explain FILE DEST` what it says.",
        "## Keys",
        _rows(parse.TOP_KEYS, _KEYS),
        f"A section of `jobs` has {codes(parse.SECTION_KEYS)}. All that match add up; the strictest mode "
        f"wins. Anchors, "
        "aliases, tags and further documents are errors.",
        block("NAMES | PROVIDER:PROJECT:NAMES\nNAMES     PIPELINE | PIPELINE/TASK"),
        "Its key is one of these, each part with patterns (fnmatch); `[:]` is a colon of a name. What a "
        "section denies, and that it enforces, counts for every job that it may be for. What it allows "
        "counts for jobs of a project that their system's agent tells, where the key names the system and "
        "the project's first two parts without wildcards; for any by a key of `*`; and by names alone with "
        "`trust_names: true`. With `protected_ref: true` a section is for protected branches and tags alone.",
        "## Projects",
        table(["system", "project", "told by its agent alone"], _projects()),
        "## Rules",
        "A rule is a text, or a mapping with these keys:",
        _rows(rules.KEYS, _RULE_KEYS),
        "What they mean, by the reader itself:",
        table(head, examples),
        block(
            "[PROTOCOL://]HOST[:PORT] | unix:///PATH | unix://@NAME | unix://*\nPROTOCOL  "
            + " | ".join(_PROTOCOLS)
            + "\nHOST      name | *.name | IPv4[/prefix] | [IPv6[/prefix]]\nPORT      1 to 65535 | *"
        ),
        f"Always allowed, without being named: {loopback}.",
        "## Which rule decides",
        _DECIDES,
        "## Limits",
        table(["", "at most"], _limits()),
    )


def _projects() -> list[list[str]]:
    return [
        [code(each.name), each.place or "none", "yes" if each.agents else "no"]
        for each in sorted(PROVIDERS, key=lambda each: each.name)
    ]


def _check() -> None:
    for keys, described in ((parse.TOP_KEYS, _KEYS), (rules.KEYS, _RULE_KEYS)):
        if set(keys) != described.keys():
            raise SystemExit(
                f"tools/reference/policy.py and the code differ in {set(keys) ^ described.keys()}"
            )


def _rows(keys: tuple[str, ...], described: dict[str, str]) -> str:
    return table(["key", ""], [[code(key), plain(described[key])] for key in keys])


def _meaning(rule: str, effect: Effect) -> str:
    policy = parse.parse_policy(f"version: 1\n{effect.value}:\n  - {rule}\n".encode(), "reference")
    return plain(_words(policy.rules[0]))


def _words(rule: Rule) -> str:
    if isinstance(rule.host, SocketName):
        return "all Unix sockets of others" if rule.host.text == ANY_SOCKET else f"Unix socket `{rule.host}`"
    where = (
        f"names below `{rule.host.text}`"
        if isinstance(rule.host, Name) and rule.host.is_wildcard
        else f"`{rule.host}`"
    )
    what = "everything" if rule.protocol is Protocol.ANY else rule.protocol.name
    ports = ""
    if rule.protocol in (Protocol.TCP, Protocol.UDP):
        ports = ", every port" if rule.ports is None else f" {' and '.join(map(str, rule.ports))}"
    by = f", below {' and '.join(f'`{name}`' for name in rule.lineage)}" if rule.lineage else ""
    return f"{what}{ports} of {where}{by}"


def _limits() -> list[list[str]]:
    return [
        ["size of the file", f"{parse.KIND.size_max >> 20} MiB"],
        ["rules of the file", f"{parse.RULES_MAX:,}"],
        ["characters of a name", str(NAME_MAX)],
        ["executables that rules name in `lineage`", str(entries.EXECUTABLES_MAX)],
        ["rules of an address that differ by `lineage`", str(entries.ALTERNATIVES_MAX)],
        ["different sets of ports and lineages of names", str(entries.RULE_SETS_MAX)],
    ]
