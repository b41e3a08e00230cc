"""A short run of every target, of the same inputs each time; and what a run tells when something breaks."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.fuzz import __main__ as command
from tests.fuzz import engine
from tests.fuzz.draw import Draw, Guided
from tests.fuzz.engine import Target, processes, run, shares
from tests.fuzz.targets import TARGETS

SHORT = 60_000
SEED = 1
_SEVEN = "it was seven"


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """The command has the SDK say nothing, in this process, too: afterwards it may speak again."""
    logger = logging.getLogger("opentelemetry")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.mark.parametrize(("target", "inputs"), [*shares([*TARGETS.values()], SHORT)], ids=TARGETS.keys())
def test_a_short_run_finds_nothing(target: Target, inputs: int) -> None:
    report = run(target, seed=SEED, first=0, inputs=inputs, pool=None)
    assert [f"{crash.told}\nRepeat: {crash.repeat}" for crash in report.found.values()] == []
    assert report.inputs == inputs


def brittle(draw: Draw) -> None:
    if draw.randrange(100) == 7:
        raise ValueError(_SEVEN)


def endless(draw: Draw) -> None:
    while draw.random() < 2:
        pass


def swallowing(draw: Draw) -> None:
    while draw.random() < 2:
        try:
            endless(draw)
        except Exception:  # noqa: BLE001, S112 - as the code under test might
            continue


BRITTLE = Target("brittle", brittle, 1)


@pytest.fixture
def brittle_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "brittle", BRITTLE)
    argument = next(each for each in command.main.params if each.name == "names")
    monkeypatch.setattr(argument.type, "choices", [*TARGETS])


@pytest.mark.usefixtures("brittle_target")
def test_a_crash_is_told_once_saved_and_repeated_by_its_command(tmp_path: Path) -> None:
    options = ["brittle", "--inputs", "2000", "--seed", "3", "--save", str(tmp_path / "crashes")]
    result = CliRunner().invoke(command.main, options)
    assert result.exit_code == 1
    assert "1 crashes that differ" in result.stdout
    saved = (tmp_path / "crashes").read_text()
    assert saved == result.stderr
    assert saved.count(_SEVEN) == 1
    (again,) = re.findall(r"Repeat: python -m tests\.fuzz (.*)", saved)
    repeated = CliRunner().invoke(command.main, again.split())
    assert repeated.exit_code == 1
    assert repeated.stderr == saved


def test_the_inputs_are_the_same_on_several_processes() -> None:
    alone = run(BRITTLE, seed=3, first=0, inputs=9000, pool=None)
    with processes(2) as pool:
        together = run(BRITTLE, seed=3, first=0, inputs=9000, pool=pool)
    assert 0 < alone.crashes == together.crashes
    assert alone.found == together.found
    assert alone.inputs == together.inputs == 9000


@pytest.mark.parametrize("check", [endless, swallowing])
def test_an_input_that_hangs_is_a_crash(check: engine.Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "INPUT_MAX_S", 0.05)
    before = signal.getsignal(signal.SIGVTALRM)
    report = run(Target("slow", check, 1), seed=1, first=0, inputs=1, pool=None)
    (crash,) = report.found.values()
    assert "TooSlowError" in crash.place
    assert signal.getsignal(signal.SIGVTALRM) == before


def test_without_a_crash_the_status_is_0() -> None:
    result = CliRunner().invoke(command.main, ["hosts", "--inputs", "10"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "10 inputs, 0 crashes" in result.stdout


def test_every_target_gets_its_share() -> None:
    parts = dict(shares([Target("a", brittle, 3), Target("b", brittle, 1)], 100))
    assert [*parts.values()] == [75, 25]
    assert all(inputs >= 1 for _, inputs in shares([*TARGETS.values()], 1))


def test_choices_come_from_a_fuzzers_bytes_and_end_with_them() -> None:
    draw = Guided(b"\x03\x80\x00\xff")
    assert (draw.getrandbits(8), draw.random(), draw.getrandbits(3), draw.getrandbits(64)) == (3, 0.5, 7, 0)
    for target in TARGETS.values():
        for data in (b"", bytes(range(256)), b"\xff" * 400):
            target.check(Guided(data))
