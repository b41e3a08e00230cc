"""Lines of `run --live` between COMMAND's own."""

from __future__ import annotations

import os
import re
import termios
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.common.text import printable
from exporter.pipeline.ruling import Ruling
from exporter.report.terminal.lines import A_SECOND, BURST, Lines
from exporter.report.terminal.new_destinations import KNOWN_MAX
from tests.unit.report.terminal.terminals import Clock
from tests.unit.samples import JOB, attempt, by

from .acts import ALLOW, DENY, NEW, WOULD, to
from .terminals import Picture, Pty, pseudo_terminal

CURL = by("dash", "curl")


@pytest.fixture
def pty() -> Iterator[Pty]:
    with pseudo_terminal() as made:
        yield made


def seen(pty: Pty, columns: int = 80) -> list[str]:
    """The rows that came."""
    picture = Picture(columns, 3000)
    picture.show(pty.read())
    return picture.rows


def test_each_kind_of_act_has_one_line(pty: Pty) -> None:
    lines = Lines(pty.terminal())
    for _ in range(3):
        lines.met(JOB, attempt(to("registry.example"), CURL, ALLOW))
        lines.met(JOB, attempt(to("registry.example"), by("dash", "node"), ALLOW))
        lines.met(JOB, attempt(to("192.0.2.53", 53, "udp", "192.0.2.53"), CURL, ALLOW))
        lines.met(JOB, attempt(to("new.example"), CURL, NEW))
        lines.met(JOB, attempt(to("evil.example"), CURL, DENY, attempts=40))
        lines.met(JOB, attempt(to("evil.example"), None, WOULD))
        lines.tick()
    lines.close()
    assert seen(pty) == [
        "ci-egress: → new.example:443 new  dash > curl",
        "ci-egress: → evil.example:443 denied by evil.example:443  dash > curl",
        "ci-egress: → evil.example:443 would be denied by default  a program that is no…",
        "ci-egress: → registry.example:443  dash > curl",
        "ci-egress: → registry.example:443  dash > node",
        "ci-egress: → 192.0.2.53:53 udp  dash > curl",
    ]


@pytest.mark.parametrize(
    "before", ["", "50%", "x" * 79, "x" * 80, "x" * 81, "one\r\ntwo", "one\r\n", "50%\r"]
)
def test_a_line_begins_where_no_other_stands(pty: Pty, before: str) -> None:
    os.write(pty.theirs, before.encode())
    lines = Lines(pty.terminal())
    lines.met(JOB, attempt(to("registry.example"), CURL, ALLOW))
    lines.tick()
    os.write(pty.theirs, b"and on")
    rows = seen(pty)
    mine = rows.index("ci-egress: → registry.example:443  dash > curl")
    assert rows[mine + 1 :] == ["and on"]
    assert "" not in rows
    kept = "".join(rows[:mine])
    assert kept == ("" if before.endswith("%\r") else before.replace("\r\n", ""))


def test_what_stays_on_the_machine_has_none_unless_somebody_should_look_at_it(pty: Pty) -> None:
    lines = Lines(pty.terminal())
    lines.met(JOB, attempt(to("127.0.0.1", 80, peer="127.0.0.1"), CURL, ALLOW))
    lines.met(JOB, attempt(to("127.0.0.2", 80, peer="127.0.0.2"), CURL, DENY))
    lines.tick()
    assert seen(pty) == ["ci-egress: → 127.0.0.2:80 denied by evil.example:443  dash > curl"]


@pytest.mark.parametrize(
    ("number", "said"),
    [(10_000, ALLOW), (10_000, DENY), (KNOWN_MAX + 500, ALLOW)],
    ids=["allowed", "denied", "more than are known"],
)
def test_a_scan_does_not_flood_the_terminal_and_what_is_left_out_is_counted(
    pty: Pty, number: int, said: Ruling
) -> None:
    clock = Clock()
    lines = Lines(pty.terminal(), clock)
    text = ""
    for start in range(0, number, 100):
        for each in range(start, min(start + 100, number)):
            lines.met(JOB, attempt(to(f"host-{each}.example"), CURL, said))
        clock.now_s += 0.1
        lines.tick()
        text += pty.read()
    lines.close()
    picture = Picture(80, 3000)
    picture.show(text + pty.read())
    shown = [row for row in picture.rows if " host-" in row]
    more = [
        int(found[1].replace(",", "")) for row in picture.rows if (found := re.search(r"… and ([\d,]+)", row))
    ]
    assert len(shown) <= BURST * 2 + A_SECOND * clock.now_s - A_SECOND * 1000
    assert len(more) <= clock.now_s - 1000 + 2
    assert len(shown) + sum(more) == min(number, KNOWN_MAX)
    assert any("further ones aren't shown" in row for row in picture.rows) == (number > KNOWN_MAX)


def test_what_is_denied_shows_in_the_midst_of_a_scan(pty: Pty) -> None:
    lines = Lines(pty.terminal(), Clock())
    for each in range(1000):
        lines.met(JOB, attempt(to(f"host-{each}.example"), CURL, ALLOW))
    lines.met(JOB, attempt(to("evil.example"), CURL, DENY))
    lines.tick()
    assert "ci-egress: → evil.example:443 denied by evil.example:443  dash > curl" in seen(pty)


def test_a_terminal_that_nobody_reads_is_not_waited_for(pty: Pty) -> None:
    lines = Lines(pty.terminal(), Clock())
    written = pty.fill()
    for each in range(1000):  # waiting, it would never end
        lines.met(JOB, attempt(to(f"host-{each}.example"), CURL, ALLOW))
        lines.tick()
    filled = pty.read()
    assert filled.startswith("." * written)
    lines.tick()
    lines.tick()
    rest = filled[written:] + pty.read()
    picture = Picture(80, 3000)
    picture.show(rest)
    assert next(filter(None, picture.rows)) == "ci-egress: → host-0.example:443  dash > curl"


def test_a_terminal_that_is_held_is_not_waited_for(pty: Pty) -> None:
    terminal = pty.terminal()
    lines = Lines(terminal)
    termios.tcflow(pty.theirs, termios.TCOOFF)  # ^S
    lines.met(JOB, attempt(to("registry.example"), CURL, ALLOW))
    lines.tick()
    assert terminal.is_behind
    termios.tcflow(pty.theirs, termios.TCOON)
    lines.tick()
    assert seen(pty) == ["ci-egress: → registry.example:443  dash > curl"]


def test_nothing_is_written_over_a_program_that_has_the_terminal_to_itself(pty: Pty) -> None:
    lines = Lines(pty.terminal())
    pty.set_canonical(is_on=False)
    lines.met(JOB, attempt(to("registry.example"), CURL, ALLOW))
    lines.tick()
    assert pty.read() == ""
    pty.set_canonical(is_on=True)
    lines.tick()
    assert seen(pty) == ["ci-egress: → registry.example:443  dash > curl"]


def test_a_terminal_that_is_gone_costs_nothing() -> None:
    with pseudo_terminal() as pty:
        terminal = pty.terminal()
        lines = Lines(terminal)
        os.close(pty.ours)
        lines.met(JOB, attempt(to("registry.example"), CURL, ALLOW))
        lines.tick()
        lines.close()
        pty.ours = os.open(os.devnull, os.O_RDONLY)


def test_its_mode_stays_as_it_was(pty: Pty) -> None:
    before = termios.tcgetattr(pty.theirs)
    lines = Lines(pty.terminal())
    lines.met(JOB, attempt(to("registry.example"), CURL, ALLOW))
    lines.tick()
    lines.close()
    assert termios.tcgetattr(pty.theirs) == before
    assert os.get_blocking(pty.theirs)


@pytest.mark.parametrize("columns", [12, 13, 40, 200])
def test_a_line_fits_the_terminal_as_it_is_now(pty: Pty, columns: int) -> None:
    clock, names = Clock(), count()
    lines = Lines(pty.terminal(), clock)
    pty.resize(columns, 24)
    for name in ("x" * 300, "漢字" * 100, "registry.example"):
        lines.met(JOB, attempt(to(f"{name}{next(names)}"), by(*["sh"] * 30, name), ALLOW))
    lines.tick()
    rows = seen(pty, columns)
    assert len(rows) == 3
    assert all(row.startswith("ci-egress:") for row in rows)


@given(st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_whatever_names_there_are_they_do_nothing_to_the_terminal(host: str, name: str) -> None:
    with pseudo_terminal(columns=300) as pty:
        lines = Lines(pty.terminal())
        lines.met(JOB, attempt(to(host), by("sh", name.replace("/", "") or "x"), NEW._replace(rule=host)))
        lines.tick()
        (row,) = [row for row in seen(pty, 300) if row]
        lines.close()
    assert row.startswith("ci-egress: → ")
    assert printable(row, limit=400) == row


def test_without_colours_where_nobody_wants_them(pty: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    from exporter.report.terminal import new_destinations

    monkeypatch.setenv("NO_COLOR", "1")
    new_destinations._console.cache_clear()
    lines = Lines(pty.terminal())
    lines.met(JOB, attempt(to("evil.example"), CURL, DENY))
    lines.tick()
    new_destinations._console.cache_clear()
    assert re.findall(r"\x1b\[[0-9;]*3[0-7]m", pty.read()) == []
