"""The policy file: what it means, and all that is wrong with it, each with its place."""
# ruff: noqa: E501 - a case a line

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.common.errors import UsageError
from exporter.policy import parse
from exporter.policy.model import Effect, Lookups, Mode, Name, Policy, Protocol, Rule
from exporter.policy.parse import KIND, load_policy, parse_allowed_endpoints, parse_policy
from exporter.policy.problems import PolicyError
from tests.unit.document_errors import bomb
from tests.unit.policy.files import EXAMPLE, NAME, errors, policy, rules

_443 = (443,)


def plain(rule: Rule) -> tuple[object, ...]:
    host = rule.host if isinstance(rule.host, Name) else str(rule.host)
    return rule.effect, host, rule.protocol, rule.ports, rule.lineage, rule.line


def test_a_policy_means_what_it_says() -> None:
    found = policy(EXAMPLE)
    allow, deny = Effect.ALLOW, Effect.DENY
    tcp, udp, icmp, everything = Protocol.TCP, Protocol.UDP, Protocol.ICMP, Protocol.ANY
    assert [plain(rule) for rule in found.rules] == [
        (allow, Name("registry.npm.example"), tcp, _443, (), 4),
        (allow, Name("wheels.example", is_wildcard=True), tcp, _443, (), 5),
        (allow, "10.20.0.0/16", tcp, (5432,), (), 6),
        (allow, "2001:db8::/32", tcp, _443, (), 7),
        (allow, "192.0.2.53/32", udp, (53,), (), 8),
        (allow, "192.0.2.1/32", icmp, None, (), 9),
        (allow, Name("mirror.example"), tcp, None, (), 10),
        (allow, Name("github.com"), tcp, _443, ("git",), 11),
        (deny, "169.254.169.254/32", everything, None, (), 13),
    ]
    assert found.mode is Mode.AUDIT
    assert found.resolvers is None
    (section,) = found.sections
    assert (section.key.text, section.mode, section.trusts_names) == ("release/*", Mode.ENFORCE, None)
    assert [plain(rule) for rule in section.rules] == [
        (allow, Name("upload.packages.example"), tcp, _443, (), 15)
    ]


def test_lookups_are_refused_and_domains_searched_where_it_says_so() -> None:
    found = policy(
        "version: 1\ndns: deny\nsearch_domains: [Corp.example., lan]\njobs: {a: {}, b: {dns: deny}}"
    )
    assert found.lookups == Lookups(are_refused=True, search=("corp.example", "lan"))
    assert [section.refuses_lookups for section in found.sections] == [False, True]
    assert policy("version: 1\ndns: allow").lookups == policy("version: 1").lookups == Lookups()


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("REGISTRY.example.", "REGISTRY.example."),
        ("{ host: a.example ,  ports: [ 80,443 ] } # why", "{host: a.example, ports: [80, 443]}"),
        ('{host: a.example, ports: "*"}', '{host: a.example, ports: "*"}'),
        ("host: a.example\n    lineage:\n    - git", "{host: a.example, lineage: [git]}"),
    ],
)
def test_a_rule_is_told_as_it_was_written_on_one_line(written: str, text: str) -> None:
    (rule,) = policy(f"version: 1\nallow:\n  - {written}\n").rules
    assert rule.text == text
    assert (rule.source, rule.line, rule.column) == (NAME, 3, 5)


@pytest.mark.parametrize(
    ("written", "protocol", "ports"),
    [
        ("{host: a.example}", Protocol.TCP, _443),
        ("{host: a.example, ports: [80, 443, 80]}", Protocol.TCP, (80, 443)),
        ('{host: a.example, ports: ["8080"], protocol: UDP}', Protocol.UDP, (8080,)),
        ('{host: a.example, ports: "*"}', Protocol.TCP, None),
        ("{host: a.example, protocol: icmp}", Protocol.ICMP, None),
        ("{host: a.example, protocol: any}", Protocol.ANY, None),
        ("{host: 2001:db8::1}", Protocol.TCP, _443),
        ('{host: "[2001:db8::]"}', Protocol.TCP, _443),
        ("{host: unix:///run/engine.sock, lineage: [docker]}", Protocol.UNIX, None),
        ('{host: "unix://*"}', Protocol.UNIX, None),
    ],
)
def test_the_long_form_says_the_same_with_keys(
    written: str, protocol: Protocol, ports: tuple[int, ...] | None
) -> None:
    (rule,) = rules(allow=written).rules
    assert (rule.protocol, rule.ports) == (protocol, ports)


@pytest.mark.parametrize(
    ("written", "protocol", "ports"),
    [
        ("a.example", Protocol.ANY, None),
        ("unix:///run/engine.sock", Protocol.UNIX, None),
        ("a.example:80", Protocol.TCP, (80,)),
        ('"a.example:*"', Protocol.TCP, None),
        ("udp://a.example", Protocol.UDP, None),
        ("{host: a.example}", Protocol.ANY, None),
        ("{host: a.example, lineage: [node]}", Protocol.ANY, None),
        ("{host: a.example, protocol: tcp}", Protocol.TCP, None),
    ],
)
def test_a_deny_without_a_port_means_all_of_them(
    written: str, protocol: Protocol, ports: tuple[int, ...] | None
) -> None:
    (rule,) = rules(deny=written).rules
    assert (rule.effect, rule.protocol, rule.ports) == (Effect.DENY, protocol, ports)


def test_what_a_job_resolves_with_is_allowed_when_it_says_so() -> None:
    found = policy("version: 1\nresolvers: system\n")
    assert found.resolvers is not None
    assert (found.resolvers.text, found.resolvers.line) == ("resolvers: system", 2)


ONE_ERROR = [
    ("", "1:1: the file is empty; a policy begins with `version: 1`"),
    ("# nothing\n", "1:1: the file is empty; a policy begins with `version: 1`"),
    ("allow: [a.example]", "1:1: `version` is missing; begin the file with `version: 1`"),
    ("version: 1\nentries: []", "1:1: this is a baseline, no policy; make a policy of it with `ci-egress baseline export`"),
    ('{"resourceSpans": []}\n', "1:1: these are lines of OTLP, no policy; `ci-egress policy init` drafts a policy of spans"),
    ("version: 1\n<<<<<<< HEAD\nallow: []\n=======\ndeny: []\n>>>>>>> more\n", "2:1: a merge conflict, `<<<<<<<`; settle it, and remove its three marks"),
    ("version: 2", "1:10: not a version that this program knows; write `version: 1`"),
    ('version: "1"', "1:10: not a version that this program knows; write `version: 1`"),
    ("version: [1]", "1:10: not a version that this program knows; write `version: 1`"),
    ("- version: 1", "1:1: a policy can't be a list; it is a mapping with version, mode, resolvers, dns, search_domains, allow, deny, trust_names, jobs"),
    ("version: 1\nallows: []", "2:1: unknown key `allows`; did you mean `allow`?"),
    ("version: 1\nzzz: 1", "2:1: unknown key `zzz`; known here are version, mode, resolvers, dns, search_domains, allow, deny, trust_names, jobs"),
    ("version: 1\nversion: 1", "2:1: `version` is there twice; merge it with line 1"),
    ("version: 1\n? [a]\n: b", "2:3: a key can't be a list; it is a text"),
    ("version: 1\nmode: enforced", "2:7: `mode` can't be `enforced`; did you mean `enforce`?"),
    ("version: 1\nmode: [audit]", "2:7: `mode` can't be a list; it is audit or enforce"),
    ("version: 1\nmode:", "2:6: `mode` can't be ``; write audit or enforce"),
    ("version: 1\nresolvers: 8.8.8.8", "2:12: `resolvers` can't be `8.8.8.8`; write system"),
    ("version: 1\ndns: none", "2:6: `dns` can't be `none`; write allow or deny"),
    ("version: 1\njobs: {a: {dns: [deny]}}", "2:17: `dns` can't be a list; it is allow or deny"),
    ("version: 1\njobs: {a: {search_domains: []}}", "2:12: unknown key `search_domains`; known here are mode, dns, allow, deny, protected_ref, trust_names"),
    ("version: 1\nsearch_domains: lan", "2:17: `search_domains` can't be a text; it is a list, as in `[corp.example, lan]`"),
    ("version: 1\nsearch_domains: [[lan]]", "2:18: a domain of `search_domains` can't be a list; it is a text such as `corp.example`"),
    ("version: 1\nsearch_domains: [192.0.2.1]", "2:18: `192.0.2.1` is no domain; write it as in `corp.example`"),
    ('version: 1\nsearch_domains: ["*.corp.example"]', "2:18: `*.corp.example` is no domain; write it as in `corp.example`"),
    ("version: 1\nsearch_domains: [lan:53]", "2:18: `lan:53` is no domain; write it as in `corp.example`"),
    (f"version: 1\nsearch_domains: [{', '.join(['lan'] * 17)}]", "2:17: more than 16 domains that are searched; name fewer"),
    ("version: 1\nallow: a.example", "2:8: `allow` can't be a text; it is a list, with `- registry.example:443` on each line"),
    ("version: 1\nallow:", "2:7: `allow` is empty; it is a list, with `- registry.example:443` on each line"),
    ("version: 1\nallow: [[2001:db8::/32]]", '2:9: a rule can\'t be a list; it is a text such as "[2001:db8::/32]:443" (in quotes), or a mapping'),
    ("version: 1\njobs: []", '2:7: `jobs` can\'t be a list; it is a mapping, as in `"release/*": {allow: [registry.example:443]}`'),
    ('version: 1\njobs: {"": {}}', '2:8: an empty pattern; name jobs, as in "release/*", or "*" for all'),
    ("version: 1\njobs: {a: }", "2:11: a section of `jobs` is empty; it is a mapping with mode, dns, allow, deny, protected_ref, trust_names"),
    ("version: 1\ntrust_names: yes", "2:14: `trust_names` can't be `yes`; write true or false"),
    ("version: 1\njobs: {a: {trust_names: []}}", "2:25: `trust_names` can't be a list; it is true or false"),
    ("version: 1\njobs: {\"gihub:github.com/octo/app:x\": {}}", "2:8: unknown CI system `gihub`; did you mean github?"),
    ("version: 1\njobs: {\"github:github.com/octo/app\": {}}", "2:8: `github:github.com/octo/app` lacks a part; write github:SERVER/OWNER/REPOSITORY:PIPELINE/TASK, with * for any; a colon in a name is written as [:]"),
    ("version: 1\njobs: {\"github:octo/app:x\": {}}", "2:8: `octo/app` is no project of github; write it as SERVER/OWNER/REPOSITORY; a colon in a name is written as [:]"),
    ("version: 1\njobs: {a: {jobs: {}}}", "2:12: unknown key `jobs`; known here are mode, dns, allow, deny, protected_ref, trust_names"),
    ("version: 1\njobs:\n  a: {}\n  a: {}", "4:3: `a` is there twice; merge it with line 3"),
    ("version: 1\nallow: [{port: 443}]", "2:9: a rule without `host`; add one, as in {host: github.com, lineage: [git]}"),
    ("version: 1\nallow: [{host: [a]}]", "2:16: `host` can't be a list or a mapping; it is a single text"),
    ("version: 1\nallow: [{host: a.example, ports: 443}]", '2:34: `ports` can\'t be `443`; write [443], [80, 443], or "*" for all'),
    ("version: 1\nallow: [{host: a.example, ports: []}]", '2:34: `ports` is no list with something in it; write [443], [80, 443], or "*" for all'),
    ('version: 1\nallow: [{host: a.example, ports: ["*"]}]', '2:35: `*` within a list; every port is `ports: "*"`'),
    ("version: 1\nallow: [{host: a.example, ports: [0]}]", "2:35: port `0` is out of range; ports are 1 to 65535, or `*` for all"),
    ("version: 1\nallow: [{host: a.example, ports: [1], protocol: icmp}]", "2:34: ports for icmp; icmp has no ports: leave the port out"),
    ("version: 1\nallow: [{host: a.example, lineage: git}]", "2:36: `lineage` is no list with something in it; write a list, as in [git]"),
    ("version: 1\nallow: [{host: a.example, lineage: []}]", "2:36: `lineage` is no list with something in it; write a list, as in [git]"),
    ("version: 1\nallow: [{host: a.example, lineage: [bin/git]}]", "2:37: `bin/git` is no executable; name executables as git, or by absolute path as /usr/bin/git"),
    ("version: 1\nallow: [{host: a.example, lineage: [/usr/../git]}]", "2:37: `/usr/../git` is no executable; name executables as git, or by absolute path as /usr/bin/git"),
    ("version: 1\nallow: [{host: unix:///run/a, ports: [443]}]", "2:38: `ports` of a Unix socket; leave it out"),
    ("version: 1\nallow: [{host: unix:///run/a, protocol: tcp}]", "2:41: `protocol` of a Unix socket; leave it out"),
    ("version: 1\nallow: [{host: unix://run/a}]", "2:16: `unix://run/a` names no Unix socket; write a path as in unix:///run/docker.sock, @ and an abstract name, or unix://*"),
    ("version: 1\nallow: [{host: a.example, protocol: unix}]", "2:37: `unix` without a socket; write {host: unix:///run/docker.sock}"),
    ("version: 1\nallow: [{host: tcp://a.example}]", "2:16: `tcp://a.example` is more than a host; the protocol has a key of its own: protocol"),
    ("version: 1\nallow: [{host: a.example:443}]", "2:16: `a.example:443` is more than a host; ports have a key of their own: ports"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), ONE_ERROR, ids=range(len(ONE_ERROR)))
def test_an_error_tells_its_place_and_how_to_mend_it(text: str, told: str) -> None:
    found = errors(text)
    assert told in found
    assert [line for line in found if "unknown key `port`" not in line] == [told]


def test_all_errors_are_told_in_the_order_of_the_file() -> None:
    text = "mode: on\nallow:\n- '*.com'\n- {host: a..b, ports: [x, 0], lineage: [a b], hots: 1}\njobs: 1\n"
    assert [line.partition("; ")[0] for line in errors(text)] == [
        "1:1: `version` is missing",
        "1:7: `mode` can't be `on`",
        "3:3: `*.com`: com is a public suffix",
        "4:10: `a..b` is not a host's name",
        "4:24: port `x` is not a port",
        "4:27: port `0` is out of range",
        "4:41: `a b` is no executable",
        "4:47: unknown key `hots`",
        "5:7: `jobs` can't be a text",
    ]


HOSTILE = [
    (b"version: 1\nallow: [\xff]", "2:9: not UTF-8 (byte 0xff); save it as UTF-8"),
    (b"\xef\xbb\xbf\xff", "1:1: not UTF-8 (byte 0xff); save it as UTF-8"),
    ("version: 1\n".encode("utf-16"), "1:1: not UTF-8 (byte 0xff); save it as UTF-8"),
    ("version: 1\n# é\x07".encode(), "2:4: a control character; remove it, or write it as an escape in quotes"),
    (b"version: &a 1\nmode: *a", "1:10: an anchor, `&a`; remove it"),
    (b"version: !!int 1", "1:10: a tag, `tag:yaml.org,2002:int`; remove it, or quote the text"),
    (b"version: !!python/object/apply:os.system [id]", "1:10: a tag, `tag:yaml.org,2002:python/object/apply:os.system`; remove it, or quote the text"),
    (b"version: 1\n---\nversion: 1", "2:1: a second document; a policy is one document: remove `---`"),
    (b"version: 1\nallow: " + b"[" * 20, "2:19: nested too deep; a policy has no more than six levels"),
    (b"version: 1\nallow: " + b"[" * 100_000, "2:1007: nested too deep; a policy has no more than six levels"),
    (b"- " * 100_000, "1:25: nested too deep; a policy has no more than six levels"),
    (b"#" * (KIND.size_max + 1), "1:1: larger than 4 MiB; split the policy by jobs"),
    (b"[" + b"0," * (KIND.nodes_max + 1), "1:500000: more than 250,000 values; split the policy by jobs"),
    (b"version: 1\nallow:\n- *.x.example", '3:3: `*` without quotes is an alias in YAML; write it in double quotes, as in "*.registry.example:443"'),
]  # fmt: skip


@pytest.mark.parametrize(("data", "told"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_file_is_refused_with_a_place(data: bytes, told: str) -> None:
    assert errors(data)[0] == told


_QUOTE_IT = "text that begins with one of * & [ { @ ` ! | > % needs double quotes"
_INDENT = (
    "indent this line, and the one above, as those around them, with spaces; quote text that has `: ` in it"
)
_STRAY = "is neither a key with `:` behind it nor an item with `- ` in front; write it as one of these, or remove it"
_NO_YAML = [  # the error is at the ¦
    ("version: 1\nallow:\n¦\t- a.example\n", "a tab; indent with spaces"),
    ("version: 1\nallow:\n- ä.example\n¦\t- a.example\n", "a tab; indent with spaces"),
    ("version: 1\r\njobs:\r\n  x:\r\n¦\tmode: audit\r\n", "a tab; indent with spaces"),
    ('version: 1\nallow:\n- ¦"a.example\n- b.example\n', 'nothing closes the quote `"`; write `"` behind the text'),
    ("version: 1\nmode: ¦'audit\n\n---\nversion: 1\n", "nothing closes the quote `'`; write `'` behind the text"),
    ("¦audit\nversion: 1\n", f"`audit` {_STRAY}"),
    ("¦a b\n\nc\n\nversion: 1\n", f"`a b` {_STRAY}"),
    ("¦a b\n\n# c\n\nversion: 1\n", f"`a b` {_STRAY}"),
    ("version: 1\njobs:\n  ¦x\n  mode: audit\n", f"`x` {_STRAY}"),
    ("version: 1\nallow:\n- a.example\n¦deny\n", f"`deny` {_STRAY}"),
    ("version: 1\nallow:\n- a.example\n  ports¦: [1]\n", f"not YAML: mapping values are not allowed in this context; {_INDENT}"),
    ("version: 1\nallow: a¦: b\n", f"not YAML: mapping values are not allowed in this context; {_INDENT}"),
    ("version: 1\nallow:\n- ¦@a\n", f"not YAML: while scanning for the next token, found character that cannot start any token; {_QUOTE_IT}"),
    ("version: 1\nallow:\n- [2001:db8::1]¦:443\n", f"not YAML: while parsing a block mapping, did not find expected key; {_QUOTE_IT}"),
    ("version: 1\nallow: [a, b\nmode¦: audit\n", "not YAML: while parsing a flow sequence, did not find expected ',' or ']'; close the `[` of line 2, or put text that begins with it in double quotes"),
    ("version: 1\nallow: [a,¦, b]\n", "not YAML: while parsing a flow node, did not find expected node content; remove the `,`, or put text that begins with it in double quotes"),
    ('version: 1\nallow:\n- "a.example\n- "¦b.example"\n', "not YAML: while parsing a block mapping, did not find expected key; a quoted text ends in front of this: close the quote before that, or put all of it in quotes"),
    ('version: 1\nmode: "a¦\\q"\n', "not YAML: while parsing a quoted scalar, found unknown escape character; write `\\\\` for a backslash in double quotes"),
    ("version: 1\n...\n¦foo\n", "not YAML: did not find expected <document start>; a policy has `key: value` on each line, or `- item`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), _NO_YAML)
def test_what_is_no_yaml_is_told_where_it_begins_with_a_hint_that_fits(text: str, told: str) -> None:
    before, _, after = text.partition("¦")
    place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    assert errors(before + after) == [f"{place}: {told}"]


def test_a_bomb_of_aliases_builds_nothing_and_is_told_in_two_lines() -> None:
    assert errors("version: 1\n" + bomb(levels=40)) == [
        "2:5: an anchor, `&a0` and 39 more; remove it",
        '3:10: an alias, `*a0` and 350 more; write out what it stands for; for a wildcard, write it in double quotes, as in "*.registry.example:443"',
    ]


@pytest.mark.parametrize(
    "text", [f"version: 1\nallow: [&{'a' * 10_000} x]", "version: 1\nallow: [" + "!x a, " * 1000 + "b]"]
)
def test_what_a_policy_has_no_use_for_is_told_in_a_short_line(text: str) -> None:
    (told,) = errors(text)
    assert len(told) < 120


def test_a_mark_of_byte_order_is_no_error() -> None:
    assert parse_policy(b"\xef\xbb\xbfversion: 1\n", NAME) == Policy()


def test_too_many_rules_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "RULES_MAX", 2)
    told = errors("version: 1\nallow: [a.example, b.example, c.example, d.example]")
    assert told == ["2:31: more than 2 rules; name networks and `*.` zones instead"]


def test_errors_show_hostile_text_on_one_bounded_line() -> None:
    (told,) = errors('version: 1\nallow: ["\\e[2J\\n' + "x" * 10_000 + '"]')
    assert told.startswith(r"2:9: `\x1b[2J\nxxx")
    assert len(told) < 250


@pytest.mark.parametrize(("name", "why"), [("none", "No such file"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"cannot read the policy .*: {why}"):
        load_policy(tmp_path / name)


def test_allowed_endpoints_are_rules_and_the_resolvers() -> None:
    found = parse_allowed_endpoints("a.example:443 *.b.example\n  10.0.0.0/8:5432 a.example:443\n")
    assert [(plain(rule)[1:4], rule.line, rule.column) for rule in found.rules] == [
        ((Name("a.example"), Protocol.TCP, _443), 1, 1),
        ((Name("b.example", is_wildcard=True), Protocol.TCP, _443), 1, 15),
        (("10.0.0.0/8", Protocol.TCP, (5432,)), 2, 3),
    ]
    assert found.resolvers is not None
    assert {rule.source for rule in found.rules} == {"--allowed-endpoints"}


def test_wrong_endpoints_are_all_told() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_allowed_endpoints("a.example:0\n https://b.example")
    assert [line.partition(": ")[0] for line in caught.value.lines] == [
        "--allowed-endpoints:1:1",
        "--allowed-endpoints:2:2",
    ]


@given(st.text(max_size=60))
def test_any_text_is_a_policy_or_errors(text: str) -> None:
    told = errors(("version: 1\nallow: [" + text).encode(errors="surrogatepass"))
    assert all(line.count(": ") >= 1 and "; " in line for line in told)
