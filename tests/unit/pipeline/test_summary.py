"""What a person reads at the end, and that no text of the job's can make it say or do something else."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.events.destinations import destination
from exporter.events.facts import Outcome, ProcessKey
from exporter.events.programs import Program
from exporter.pipeline.ruling import Ruling
from exporter.pipeline.summary import Summary
from exporter.pipeline.summary_table import ROWS_MAX
from exporter.report.sheet import sheet_of_run
from exporter.report.verdict import verdict as judged
from tests.unit.records import ACT, BASH, SOCKET_ACT
from tests.unit.samples import JOB, attempt, bash, program

ACCOUNT = "attempts 3 = exported 3 + aggregated 0 + dropped 0 + pending 0"
STYLE = re.compile(r"\x1b\[[0-9;]*m")
MAPPED = bytes(10) + b"\xff\xff"
PEER = ACT.peer
LOOPBACK = MAPPED + bytes([127, 0, 0, 1])

HOSTILE = {
    "a colour": "\x1b[31mred\x1b[0m",
    "clearing the screen": "\x1b[2J\x1b[H",
    "a title": "\x1b]0;owned\x07",
    "a link": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "an 8-bit control": "\x9b2J",
    "a new line": "a\nattempts 0 = exported 0",
    "another line": "a\u2028b\x85c\x0bd\x0ce",
    "a carriage return": "innocent\rguilty",
    "backspaces": "guilty\b\b\b\b\b\bsaint",
    "bidi overrides": "\u202egnp.exe\u202c\u2066x\u2069",
    "hidden characters": "a\u200bb\ufeffc\u2060d\U000e0041",
    "a tab": "a\tb",
}
MARKUP = {
    "markup of rich": "[red]x[/red][link=http://evil.example]y[/link]",
    "HTML": "<script>alert(1)</script>",
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def met(
    summary: Summary,
    acting: Program,
    *,
    peer: bytes = ACT.peer,
    port: int = 443,
    times: int = 1,
    verdict: str = "allow",
    novel: bool | None = None,
) -> None:
    said = Ruling(verdict, is_novel=novel)
    for _ in range(times):
        summary.connected(attempt(destination(ACT._replace(peer=peer, peer_port=port)), acting, said))


def shown(
    summary: Summary, *, stream: io.StringIO | None = None, title: str = "egress of build", note: str = ""
) -> str:
    stream = stream or io.StringIO()
    summary.print(stream, account=ACCOUNT, title=title, notes=[note] if note else [])
    return stream.getvalue()


def curl(name: str = "curl") -> Program:
    return program(f"/usr/bin/{name}", (name,), parent=bash())


def test_it_counts_destinations_by_process_chain_and_ends_with_the_account() -> None:
    summary = Summary({})
    met(summary, curl(), times=3)
    met(summary, bash())
    met(summary, curl(), peer=LOOPBACK, port=80)
    summary.transferred(attempt(destination(ACT), curl()), 12, 1_500_000)
    for outcome in (Outcome.REFUSED, Outcome.TIMEOUT, Outcome.ESTABLISHED, Outcome.OPEN, None):
        summary.ended(attempt(destination(ACT), curl()), outcome)
    assert shown(summary, note="trace af → ./ci-egress").splitlines() == [
        "",
        "egress of build",
        "destination    transport  attempts  failed      sent  received  process chain",
        "192.0.2.7:443  tcp               3       2  12 bytes    1.5 MB  bash > curl",
        "192.0.2.7:443  tcp               1                              bash",
        "",
        "on this machine",
        "destination   transport  attempts  failed  sent  received  process chain",
        "127.0.0.1:80  tcp               1                          bash > curl",
        "",
        "trace af → ./ci-egress",
        ACCOUNT,
    ]


def test_a_job_without_egress_is_one_line() -> None:
    assert shown(Summary({})).splitlines() == [
        "",
        "egress of build: none of its processes reached beyond this machine",
        ACCOUNT,
    ]


def test_an_ipv6_peer_stands_in_brackets() -> None:
    summary = Summary({})
    met(summary, curl(), peer=bytes.fromhex("20010db8" + "00" * 11 + "01"))
    assert "[2001:db8::1]:443  tcp" in shown(summary)


@pytest.mark.parametrize(
    "variables", [{}, {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TTY_COMPATIBLE": "1"}]
)
def test_in_a_log_it_is_plain_and_rows_are_whole(
    monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]
) -> None:
    for name, value in {"COLUMNS": "20", **variables}.items():
        monkeypatch.setenv(name, value)
    summary = Summary({})
    long = ["program-with-a-long-name-" + "x" * number for number in range(6)]
    above = bash()
    for name in long:
        above = program(f"/bin/{name}", (name,), parent=above)
    met(summary, above)
    text = shown(summary)
    assert f"bash > {' > '.join(long)}\n" in text
    assert text.isascii()
    assert "\x1b" not in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_on_a_terminal_it_keeps_to_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    summary = Summary({})
    met(summary, curl("c" * 39))
    lines = [STYLE.sub("", line) for line in shown(summary, stream=Terminal()).splitlines()]
    assert max(map(len, lines)) <= max(60, len(ACCOUNT))


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_reaches_nobodys_terminal(text: str, stream: type[io.StringIO]) -> None:
    summary = Summary({})
    met(summary, curl(text))
    summary.left_behind([program("/bin/sh", ("sh", "-c", text))])
    said = STYLE.sub("", shown(summary, stream=stream(), title=text, note=text))
    assert all(character.isprintable() or character == "\n" for character in said)
    assert said.count(ACCOUNT) == 1
    assert said.splitlines()[-1] == ACCOUNT
    assert len([line for line in said.splitlines() if line.startswith("attempts")]) == 1


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("text", MARKUP.values(), ids=MARKUP.keys())
def test_markup_is_text_like_any_other(
    monkeypatch: pytest.MonkeyPatch, text: str, stream: type[io.StringIO]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    summary = Summary({})
    met(summary, program(f"/bin/{text.replace('/', '_')}", (text,)))
    summary.left_behind([program("/bin/sh", ("sh", text))])
    said = shown(summary, stream=stream(), title=text, note=text)
    assert said.count(text) == 3
    assert text.replace("/", "_")[:39] in said
    assert "\x1b]8" not in said


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_at_all_adds_a_line_or_a_control(name: str, argument: str) -> None:
    summary = Summary({})
    met(summary, program(f"/bin/{name}", (argument,)))
    summary.left_behind([program(f"/bin/{name}", (argument,))])
    said = shown(summary, title=f"egress of {name}", note=f"note {argument}")
    assert len(said.split("\n")) == len(shown_harmless().split("\n")), said
    assert not [character for character in said if character != "\n" and ord(character) < 0x20]


def shown_harmless() -> str:
    summary = Summary({})
    met(summary, curl())
    summary.left_behind([curl()])
    return shown(summary, note="note")


def test_a_flood_of_destinations_shows_50_rows_and_says_how_many_more() -> None:
    summary = Summary({})
    for number in range(300):
        met(summary, curl(), port=1000 + number, times=2 if number < ROWS_MAX else 1)
    text = shown(summary)
    assert text.count("192.0.2.7:") == ROWS_MAX
    assert "… and 250 more rows with 250 attempts: see the spans" in text


def test_memory_is_bounded_and_what_is_not_counted_is_said() -> None:
    summary = Summary({})
    acting = curl()
    for number in range(10_010):
        met(summary, acting, peer=MAPPED + bytes([10, 0, number >> 8, number & 255]))
    assert "10 more attempts to further destinations: see the spans" in shown(summary)


def test_a_long_chain_keeps_its_root_and_the_program_that_did_it() -> None:
    above = bash()
    for number in range(20):
        above = program(f"/bin/p{number}", (f"p{number}",), parent=above)
    summary = Summary({})
    met(summary, above)
    assert "bash > p0 > … > p15 > p16 > p17 > p18 > p19\n" in shown(summary)


@pytest.mark.parametrize(
    ("variable", "value", "peer", "port", "named"),
    [
        ("https_proxy", "http://192.0.2.7:3128", ACT.peer, 3128, "192.0.2.7:3128"),
        ("HTTP_PROXY", "192.0.2.7:3128", ACT.peer, 3128, "192.0.2.7:3128"),
        ("http_proxy", "http://proxy.example:8080/", ACT.peer, 8080, "proxy.example:8080"),
        ("ALL_PROXY", "socks5://[::1]:1080", bytes(15) + b"\x01", 1080, "[::1]:1080"),
        ("http_proxy", "http://me:hunter2@proxy.example:8080", ACT.peer, 8080, "proxy.example:8080"),
    ],
)
def test_a_proxy_that_was_met_is_named(variable: str, value: str, peer: bytes, port: int, named: str) -> None:
    summary = Summary({variable: value})
    met(summary, curl(), peer=peer, port=port)
    assert f"note: {named} is a proxy: what lies behind it isn't seen here" in shown(summary).splitlines()
    assert "hunter2" not in shown(summary)


@pytest.mark.parametrize(
    "value", ["", "http://", "http://x:99999", "http://[::1", "http://x:port", "\x1b[2J", "://"]
)
def test_a_proxy_variable_that_is_none_does_no_harm(value: str) -> None:
    summary = Summary({"http_proxy": value})
    met(summary, curl(), port=3128)
    assert "proxy" not in shown(summary)


def test_a_job_that_meets_many_peers_at_the_proxys_port_gets_one_note() -> None:
    summary = Summary({"http_proxy": "http://proxy.example:80"})
    for number in range(100):
        met(summary, curl(), peer=MAPPED + bytes([10, 0, 0, number]), port=80)
    assert shown(summary).count("note:") == 1


@pytest.mark.parametrize(
    ("acting", "note"),
    [
        (curl("docker"), "docker ran: what the Docker daemon did"),
        (curl("buildctl"), "buildctl ran: what the BuildKit daemon did"),
        (program("/usr/bin/dash", ("/bin/sh", "./gradlew", "build")), "gradlew ran: what a Gradle daemon"),
    ],
)
def test_a_client_of_a_daemon_brings_a_note(acting: Program, note: str) -> None:
    summary = Summary({})
    summary.ran(acting)
    summary.ran(acting)
    assert shown(summary).count(f"note: {note}") == 1


def test_a_job_whose_requests_others_made_is_not_said_to_have_made_none() -> None:
    summary = Summary({"http_proxy": "http://127.0.0.1:3128"})
    for name in ("docker", "docker-compose", "buildctl"):
        summary.ran(curl(name))
    met(summary, curl(), peer=LOOPBACK, port=3128)
    headline = judged(sheet_of_run("build", JOB, summary)).sentence
    assert headline == (
        "none of its processes reached beyond this machine; "
        "not seen: what the BuildKit daemon did, what the Docker daemon did, what lies behind its proxy"
    )


def test_what_is_seen_is_not_said_to_be_unseen() -> None:
    summary = Summary({}, sees_daemons=True)
    summary.ran(program("/usr/bin/docker", ("docker", "build", ".")))
    assert "note:" not in shown(summary)
    assert summary.tally().unseen == ()


def test_a_proxy_given_by_name_is_met_under_that_name_and_by_its_port() -> None:
    summary = Summary({"https_proxy": "http://proxy.example:3128"})
    summary.connected(attempt(destination(ACT._replace(peer_port=3128), "proxy.example"), curl()))
    assert "proxy.example:3128 is a proxy" in shown(summary)


def test_a_proxy_given_by_address_is_met_under_its_name_too() -> None:
    summary = Summary({"https_proxy": "http://192.0.2.7:443"})
    summary.connected(attempt(destination(ACT, "proxy.example"), curl()))
    assert "192.0.2.7:443 is a proxy" in shown(summary)


def test_naming_docker_is_not_running_it() -> None:
    summary = Summary({})
    summary.ran(program("/usr/bin/cat", ("cat", "docker")))
    summary.ran(program("/usr/bin/bash", ("bash", "-c", "echo docker")))
    summary.ran(program(None, ()))
    assert "note:" not in shown(summary)


def test_what_was_left_behind_is_listed_up_to_ten() -> None:
    summary = Summary({})
    summary.left_behind(
        [program("/bin/sleep", ("sleep", "9"), process=ProcessKey(number, 1)) for number in range(30, 45)]
    )
    text = shown(summary)
    assert "15 processes were left behind, no longer traced:\n  30 sleep 9\n" in text
    assert text.count("sleep 9") == 10


def test_json_has_the_same_facts() -> None:
    summary = Summary({"http_proxy": "http://192.0.2.7:443"})
    met(summary, curl(), times=2)
    summary.transferred(attempt(destination(ACT), curl()), 5, 7)
    summary.ended(attempt(destination(ACT), curl(), attempts=2), Outcome.UNREACHABLE)
    assert summary.fields() == {
        "destinations": [
            {
                "destination": "192.0.2.7:443",
                "transport": "tcp",
                "chain": ("bash", "curl"),
                "is_loopback": False,
                "verdict": "allow",
                "count": 2,
                "failed": 2,
                "bytes_sent": 5,
                "bytes_received": 7,
            }
        ],
        "uncounted": 0,
        "notes": ["note: 192.0.2.7:443 is a proxy: what lies behind it isn't seen here"],
    }
    assert bash().process == BASH


def test_what_the_baseline_does_not_have_comes_first_and_is_counted() -> None:
    summary = Summary({})
    met(summary, curl(), times=5, novel=False)
    met(summary, curl(), port=80, times=2, novel=True)
    met(summary, bash(), port=80, novel=True)
    assert shown(summary).splitlines()[2:] == [
        "     destination    transport  attempts  failed  sent  received  process chain",
        "new  192.0.2.7:80   tcp               2                          bash > curl",
        "new  192.0.2.7:80   tcp               1                          bash",
        "     192.0.2.7:443  tcp               5                          bash > curl",
        "",
        "3 attempts to 1 destination that the baseline doesn't have, or not from these chains",
        ACCOUNT,
    ]
    assert summary.told() == "8 attempts, 2 destinations, 3 novel"
    rows: list[dict[str, object]] = summary.fields()["destinations"]  # type: ignore[assignment]
    assert [row["novel"] for row in rows] == [True, True, False]


def test_where_all_is_known_the_table_is_as_ever() -> None:
    summary, without = Summary({}), Summary({})
    met(summary, curl(), novel=False)
    met(without, curl())
    assert shown(summary) == shown(without)


def test_a_flood_of_news_is_counted_to_the_last_attempt() -> None:
    summary = Summary({}, rows_max=2)
    for port in range(1, 6):
        met(summary, curl(), port=port, novel=True)
    least = "5 attempts to at least 2 destinations that the baseline doesn't have, or not from these chains"
    assert least in shown(summary).splitlines()
    assert summary.told() == "5 attempts, at least 2 destinations, 5 novel"


def test_rows_beyond_its_bound_are_only_counted() -> None:
    summary = Summary({}, rows_max=2)
    for port in range(1, 6):
        met(summary, curl(), port=port, times=2)
    assert summary.totals() == (2, 10)
    assert summary.told() == "10 attempts, at least 2 destinations"
    assert summary.fields()["uncounted"] == 6


def test_one_of_a_kind_is_told_in_the_singular() -> None:
    summary = Summary({})
    met(summary, curl(), port=1)
    assert summary.told() == "1 attempt, 1 destination"


def test_what_the_policy_is_against_is_told_to_the_last_attempt() -> None:
    summary = Summary({}, rows_max=1)
    for port, verdict in enumerate(("allow", "deny", "deny", "audit"), 1):
        met(summary, curl(), port=port, verdict=verdict)
    assert summary.told() == "4 attempts, at least 2 destinations, 2 denied, 1 would be denied"


@pytest.mark.parametrize(
    ("flooding", "verdict", "novel"),
    [
        (PEER, "deny", None),
        (PEER, "audit", None),
        (PEER, "allow", True),
        (LOOPBACK, "allow", None),
    ],
    ids=["denied", "would be denied", "new", "outward"],
)
def test_a_flood_takes_no_room_of_what_matters_more(
    flooding: bytes, verdict: str, novel: bool | None
) -> None:
    summary = Summary({}, rows_max=2)
    for port in range(1, 6):
        met(summary, curl(), peer=flooding, port=port, times=2)
    met(summary, curl(), port=443, verdict=verdict, novel=novel)
    assert "192.0.2.7:443" in shown(summary)


def test_what_is_denied_is_shown_however_often_others_were_met() -> None:
    summary = Summary({})
    for port in range(1, ROWS_MAX + 2):
        met(summary, curl(), port=port, times=2)
    met(summary, curl(), port=443, verdict="deny")
    assert "192.0.2.7:443 " in shown(summary)


def test_steps_have_a_column_where_they_differ() -> None:
    summary, one = Summary({}), Summary({})
    for step, port in (("install", 443), ("test", 443), (None, 80)):
        acting = curl()
        acting.step = step
        met(summary, acting, port=port)
        if step == "install":
            met(one, acting, port=port)
    assert shown(summary).splitlines()[2:6] == [
        "destination    transport  attempts  failed  sent  received  step     process chain",
        "192.0.2.7:80   tcp               1                                   bash > curl",
        "192.0.2.7:443  tcp               1                          install  bash > curl",
        "192.0.2.7:443  tcp               1                          test     bash > curl",
    ]
    assert "step" not in shown(one)
    rows: list[dict[str, object]] = summary.fields()["destinations"]  # type: ignore[assignment]
    assert [row.get("step") for row in rows] == [None, "install", "test"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_name_of_a_unix_socket_is_harmless(text: str) -> None:
    summary = Summary({})
    said = Ruling("deny", rule=f"unix://@{text}")
    summary.connected(attempt(destination(SOCKET_ACT, f"@{text}"), curl(), said))
    told = shown(summary)
    assert all(character.isprintable() or character == "\n" for character in told)
    assert [line for line in told.splitlines() if line.startswith("@")]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_step_is_harmless(text: str) -> None:
    summary = Summary({})
    acting = curl()
    acting.step = text
    met(summary, acting)
    met(summary, bash())
    said = shown(summary)
    assert all(character.isprintable() or character == "\n" for character in said)
    assert len(said.splitlines()) == 7


def test_rows_that_differ_in_what_is_unknown_can_be_put_in_order() -> None:
    summary = Summary({})
    for novel in (None, False):  # a baseline came while it ran
        met(summary, curl(), novel=novel)
    acting = curl()
    acting.step = "install"
    met(summary, acting, novel=False)
    summary.connected(attempt(destination(ACT._replace(peer_port=443, protocol=1)), curl()))
    assert shown(summary).count("192.0.2.7") == 4


def test_a_tally_holds_all_that_is_counted_and_what_is_to_be_known() -> None:
    summary = Summary({}, rows_max=1)
    met(summary, curl(), times=3, verdict="deny", novel=True)
    met(summary, curl(), port=80, novel=False)
    met(summary, curl(), port=81, verdict="audit", novel=True)
    summary.ran(curl("docker"))
    summary.left_behind([curl()])
    tally = summary.tally()
    assert [(row.destination, traffic.attempts) for row, traffic in tally.rows] == [
        ("192.0.2.7:443", 3),
        ("192.0.2.7:80", 1),
    ]
    assert tally.uncounted == 1
    assert tally.verdicts == {"deny": 3, "allow": 1, "audit": 1}
    assert tally.novel == 4
    assert [note.split()[0] for note in tally.notes] == ["note:", "1", str(curl().process.pid)]
