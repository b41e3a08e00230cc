"""Which policies are in the kernel, and which job goes by which; the kernel itself is another test's."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from exporter.common.errors import CiEgressError, KernelError
from exporter.events.facts import HOST
from exporter.kernel.maps.policies import WrittenPolicy
from exporter.kernel.maps.registry import JobMode, Registered
from exporter.pipeline.names import Names
from exporter.pipeline.process_spans import ProcessSpans
from exporter.policy.model import Mode
from exporter.session.job_policy import Source
from exporter.session.settings import OutputConfig, WatchConfig
from exporter.session.watch import policy_change
from exporter.session.watch.jobs_by_scope import WITHOUT_ROOM
from exporter.session.watch.policy_holder import WatchPolicyHolder
from exporter.session.watch.reload import reread
from tests.unit.dns_samples import answered, asked, lookup, mapped
from tests.unit.policy.files import policy
from tests.unit.samples import JOB

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from exporter.jobs.model import Job
    from exporter.kernel.scopes import Named, NamesOf
    from exporter.pipeline.ruling import Terms
    from exporter.policy.compile import Compiled

SECTIONS = """
version: 1
allow: [a.example]
trust_names: true
jobs:
  "*/strict": {mode: enforce}
  "*/more": {allow: [b.example]}
"""


PEER = mapped("192.0.2.7")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another try follows at once."""
    monkeypatch.setattr(policy_change, "_PAUSES", 0)


@dataclass
class Kernel:
    """Its tables, as far as a holder changes them."""

    room: int = 10
    """Policies."""
    written: dict[int, Compiled] = field(default_factory=dict)
    held: dict[int, tuple[int, Mode]] = field(default_factory=dict)
    """The policy and the mode of each scope."""
    told: dict[int, Registered] = field(default_factory=dict)
    prepared: list[tuple[int, int]] = field(default_factory=list)
    carried: list[tuple[int, int, int]] = field(default_factory=list)
    carried_early: list[tuple[int, int]] = field(default_factory=list)
    names_of_a_step: dict[int, set[str]] = field(default_factory=dict)
    """By scope, those of PEER."""
    chosen: dict[int, JobMode] = field(default_factory=dict)
    alive: set[int] = field(default_factory=set)
    undecided: int = 0
    refuses: str = ""
    """A rule that has no room."""
    numbers: Any = field(default_factory=lambda: count(1))
    fails: bool = False
    """Whether nobody can be held now."""
    closed: list[int] = field(default_factory=list)
    unholdable: set[int] = field(default_factory=set)
    """Scopes for which there is no memory now."""
    is_locked: bool = False
    """Whether somebody holds on to the modes."""
    lock_waits: int = 0
    following: dict[int, int] = field(default_factory=dict)
    """The policy that answers grant for, too, by scope."""

    @property
    def scopes(self) -> Kernel:
        return self

    def hold_undecided(self, scope: int) -> None:
        self.undecided = scope

    def open(self, scope: int) -> None:
        self.alive.add(scope)

    def register(self, scope: int, job: Registered) -> None:
        self.told[scope] = job

    def unregister(self, scope: int) -> None:
        self.told.pop(scope, None)

    def mode(self, scope: int) -> JobMode:
        asked = JobMode.ENFORCE if self.held[scope][1] is Mode.ENFORCE else JobMode.AUDIT
        return self.chosen.get(scope, asked)

    def write(self, policy: Compiled, _scope: int, *, leaving: int) -> WrittenPolicy:
        assert leaving >= 0
        if len(self.written) >= self.room or self.refuses in {rule.text for rule in policy.rules}:
            raise KernelError("no room")
        number: int = next(self.numbers)
        policy = replace(policy, named=replace(policy.named))  # as an instance numbers its executables
        self.written[number] = policy
        return WrittenPolicy(number, policy, 0)

    def hold(self, scope: int, number: int, policy: Compiled, _seeds: object, **_: bool) -> None:
        if self.fails:
            raise MemoryError
        if scope in self.unholdable:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        assert self.written[number] is policy
        self.held[scope] = (number, policy.mode)
        self.following.pop(scope, None)

    def prepare(self, scope: int, number: int, _policy: Compiled) -> None:
        if self.is_locked:
            self.lock_waits += 1
            raise KernelError("another process has been changing modes for a while")
        self.prepared.append((scope, number))
        self.following[scope] = number

    def carry_over(self, scope: int, before: int, after: int, *_: object) -> int:
        assert (scope, after) in self.prepared
        self.carried.append((scope, before, after))
        return 0

    def carry_over_early(self, before: Named, after: Named, names_of: NamesOf) -> int:
        assert (WITHOUT_ROOM, after.number) in self.prepared
        assert self.written[after.number].named is after.rules
        self.carried_early.append((before.number, after.number))
        self.names_of_a_step = {scope: set(names_of(scope, PEER)) for scope in (HOST, *self.held)}
        return 0

    def drop_grants(self, scope: int, number: int) -> None:
        assert self.held[scope][0] != number

    def remove(self, number: int) -> None:
        assert number not in {held for held, _ in self.held.values()}
        del self.written[number]

    def look_again(self) -> None:
        """Nothing changed."""

    def empty(self, scopes: Collection[int]) -> list[int]:
        return [scope for scope in scopes if scope not in self.alive]

    def close(self, scopes: Collection[int]) -> None:
        for scope in scopes:
            self.held.pop(scope, None)
            self.closed.append(scope)

    def allows(self, policy: int, _peer: object) -> bool:
        return policy in self.written

    def begin(self, scope: int) -> None:
        """It is known what mode the scope has."""

    def end(self, scope: int) -> None:
        """It has none."""


def source(text: str = SECTIONS, *, is_enforced: bool = False) -> Source:
    return Source(policy(text), is_enforced, "policy.yaml", ())


@dataclass
class Jobs:
    """What a watch has of its jobs."""

    changed: list[tuple[int, Terms]] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None
    names_in: Callable[[int], Names] = lambda _: Names()

    def change_terms(self, scope: int, terms: Terms) -> None:
        self.changed.append((scope, terms))

    def catch_up(self) -> None:
        self.meanwhile()


class Holder(WatchPolicyHolder):
    """One that is started, beside jobs that a test may change."""

    def __init__(self, kernel: Kernel, given: Source | None, warn: Callable[[str], object]) -> None:
        super().__init__(kernel, given, dict, warn)  # type: ignore[arg-type]
        self.jobs = Jobs()
        self.start(kernel, self.jobs, self.jobs.catch_up)  # type: ignore[arg-type]


def started(kernel: Kernel, given: Source | None = None, said: list[str] | None = None) -> Holder:
    return Holder(kernel, given or source(), (said if said is not None else []).append)


def named(task: str) -> Job:
    return replace(JOB, task=task)


def change(
    holder: Holder,
    text: str,
    changed: list[tuple[int, Terms]] | None = None,
    catch_up: Callable[[], object] = lambda: None,
    names_in: Callable[[int], Names] = lambda _: Names(),
) -> int:
    jobs = holder.jobs
    jobs.changed = changed if changed is not None else []
    jobs.meanwhile, jobs.names_in = catch_up, names_in
    return holder.change(source(text))


def test_jobs_for_which_the_policy_says_the_same_share_it() -> None:
    kernel = Kernel()
    holder = started(kernel)
    tasks = ["build", "test", "strict", "more", "strict"]
    terms = [holder.begin(scope, named(task)) for scope, task in enumerate(tasks, 2)]
    assert [kernel.held[scope][0] for scope in range(2, 7)] == [2, 2, 1, 3, 1]
    assert [each.mode for each in terms if each] == ["audit", "audit", "enforce", "audit", "enforce"]
    assert kernel.held[WITHOUT_ROOM] == (1, Mode.ENFORCE)
    assert {scope: job.requested for scope, job in kernel.told.items() if scope in (2, 4)} == {
        2: JobMode.AUDIT,
        4: JobMode.ENFORCE,
    }


def test_what_may_be_any_jobs_is_held_to_what_none_is_stricter_than() -> None:
    kernel = Kernel()
    text = SECTIONS.replace("{allow: [b.example]}", "{allow: [b.example], deny: [no.example]}")
    holder = started(kernel, source(text))
    assert kernel.undecided == WITHOUT_ROOM
    held = kernel.written[kernel.held[WITHOUT_ROOM][0]]
    assert [rule.text for rule in held.rules][:2] == ["a.example", "no.example"]
    assert holder.others().keys() == {kernel.held[WITHOUT_ROOM][0]}


def test_who_turns_enforcement_on_has_steps_held_from_their_beginning_too() -> None:
    kernel = Kernel()
    holder = started(kernel, source(SECTIONS.replace("enforce", "audit")))
    kernel.chosen[WITHOUT_ROOM] = JobMode.ENFORCE
    holder.look(lambda _: None)
    assert kernel.undecided == WITHOUT_ROOM
    seen = []
    change(holder, SECTIONS.replace("enforce", "audit"), catch_up=lambda: seen.append(kernel.undecided))
    assert {*seen, kernel.undecided} <= {WITHOUT_ROOM}, "all the while"
    kernel.chosen[WITHOUT_ROOM] = JobMode.AUDIT
    holder.look(lambda _: None)
    assert kernel.undecided == 0


def test_where_nothing_is_enforced_nothing_is_held_that_is_undecided() -> None:
    kernel = Kernel()
    holder = started(kernel, source(SECTIONS.replace("enforce", "audit")))
    assert kernel.undecided == 0
    change(holder, SECTIONS)
    assert kernel.undecided == WITHOUT_ROOM
    change(holder, SECTIONS.replace("enforce", "audit"))
    assert kernel.undecided == 0


def test_what_sections_deny_is_left_out_where_it_has_no_room() -> None:
    kernel, said = Kernel(), list[str]()
    text = SECTIONS.replace("{allow: [b.example]}", "{deny: [no.example]}")
    kernel.refuses = "no.example"
    started(kernel, source(text), said)
    assert kernel.held[WITHOUT_ROOM] == (1, Mode.ENFORCE)
    assert "what the sections deny doesn't hold" in said[0]


def test_rules_for_names_are_told_by_the_policy_as_it_was_written() -> None:
    kernel = Kernel()
    holder = started(kernel)
    terms = holder.begin(2, named("build"))
    assert terms is not None
    assert terms.named is kernel.written[kernel.held[2][0]].named


def test_a_job_that_goes_on_stays_as_it_is() -> None:
    kernel = Kernel()
    holder = started(kernel)
    holder.begin(2, named("more"))
    holder.end(2)
    assert holder.begin(2, named("more")) is not None
    holder.look(kernel.close)
    assert 2 in kernel.held


def test_a_policy_goes_with_the_last_job_that_has_it() -> None:
    kernel = Kernel()
    holder = started(kernel)
    for scope in (2, 3):
        holder.begin(scope, named("more"))
    for scope in (2, 3):
        assert len(kernel.written) == 2
        kernel.alive.discard(scope)
        holder.end(scope)
        holder.look(kernel.close)
    assert (list(kernel.written), sorted(kernel.held)) == ([1], [WITHOUT_ROOM])


def test_nothing_is_let_go_of_while_the_kernel_has_a_process_of_it() -> None:
    kernel = Kernel()
    holder = started(kernel)
    holder.begin(2, named("strict"))
    holder.end(2)
    holder.look(kernel.close)
    assert 2 in kernel.held
    kernel.alive.discard(2)
    holder.look(kernel.close)
    assert 2 not in kernel.held


def test_a_job_whose_part_has_no_room_is_held_to_the_rules_of_all_in_its_mode() -> None:
    kernel, said = Kernel(room=2), list[str]()
    holder = started(kernel, said=said)
    holder.begin(2, named("build"))
    terms = holder.begin(3, named("more"))
    assert terms is not None
    assert (kernel.held[3], terms.mode) == ((2, Mode.AUDIT), "audit")
    assert "held to the rules of the file as a whole" in said[0]


@pytest.mark.parametrize(
    ("refused", "left", "said"),
    [
        ("b.example", ["a.example", "no.example"], "less what any section denies"),
        ("no.example", ["a.example"], "what its sections deny doesn't hold"),
    ],
)
def test_a_job_whose_part_has_no_room_is_denied_what_sections_deny_as_long_as_that_has_some(
    refused: str, left: list[str], said: str
) -> None:
    kernel, lines = Kernel(refuses=refused), list[str]()
    text = SECTIONS.replace("{allow: [b.example]}", "{allow: [b.example], deny: [no.example]}")
    holder = started(kernel, source(text), lines)
    holder.begin(2, named("more"))
    held = kernel.written[kernel.held[2][0]]
    assert [rule.text for rule in held.rules if rule.text.endswith(".example")] == left
    assert lines[-1].endswith(said)


def test_a_changed_policy_takes_over_in_each_scope_and_the_old_one_goes() -> None:
    kernel, changed = Kernel(), list[tuple[int, Any]]()
    holder = started(kernel)
    for scope, task in enumerate(("build", "more", "strict"), 2):
        holder.begin(scope, named(task))
    assert change(holder, SECTIONS.replace("b.example", "c.example"), changed) == 3
    assert [scope for scope, _ in changed] == [3]  # the others' says the same
    assert kernel.carried == [(3, 3, 4)]
    assert sorted(kernel.written) == [1, 2, 4]
    holder.begin(9, named("more"))
    assert kernel.held[9] == kernel.held[3]


def test_what_steps_looked_up_is_carried_over_where_that_of_the_strictest_changes() -> None:
    """By the names of their jobs, which may go by the same as before, and of what is of none yet."""
    kernel, names = Kernel(), {HOST: led_by("b.example"), 2: led_by("a.example"), WITHOUT_ROOM: Names()}
    holder = started(kernel)
    holder.begin(2, named("more"))
    new = SECTIONS.replace("b.example", "c.example")
    change(holder, new, names_in=names.__getitem__)
    assert (kernel.carried, kernel.carried_early) == ([(2, 2, 3)], [])
    change(holder, new.replace("a.example", "b.example"), names_in=names.__getitem__)
    assert kernel.carried_early == [(1, 4)]
    assert kernel.names_of_a_step == {HOST: {"b.example"}, 2: {"a.example"}, WITHOUT_ROOM: set()}


def led_by(name: str) -> Names:
    """Of a job that looked up `name`, which led to PEER."""
    names, (question, reply) = Names(), lookup(name, f"{name} A 192.0.2.7")
    names.asked(asked(question))
    names.answered(answered(reply, counts=True))
    return names


def test_a_job_that_begins_while_the_policy_is_changed_is_held_to_the_new_one() -> None:
    kernel = Kernel()
    holder = started(kernel)
    holder.begin(2, named("more"))
    new = SECTIONS.replace("b.example", "c.example")
    assert change(holder, new, catch_up=lambda: holder.begin(9, named("more"))) == 2
    assert kernel.held[9] == kernel.held[2]
    assert "c.example" in {rule.text for rule in kernel.written[kernel.held[9][0]].rules}
    assert sorted(kernel.written) == [kernel.held[WITHOUT_ROOM][0], kernel.held[9][0]]


def test_what_somebody_chose_outlives_a_change() -> None:
    kernel, changed = Kernel(), list[tuple[int, Any]]()
    holder = started(kernel)
    holder.begin(2, named("strict"))
    kernel.chosen[2] = JobMode.AUDIT
    change(holder, SECTIONS.replace("a.example", "c.example"), changed)
    assert [terms.mode for scope, terms in changed if scope == 2] == ["audit"]


AUDITED = SECTIONS.replace("enforce", "audit")
CHANGED = SECTIONS.replace("a.example", "c.example")


def test_who_cannot_be_given_a_changed_policy_is_until_it_can_and_the_others_have_it() -> None:
    kernel, said, changed = Kernel(), list[str](), list[tuple[int, Any]]()
    holder = started(kernel, source(AUDITED), said)
    for scope, task in enumerate(("build", "more", "strict"), 2):
        holder.begin(scope, named(task))
    before = kernel.held[3]
    kernel.unholdable = {3}
    assert change(holder, CHANGED, changed) == 2
    assert said == [
        "1 of 4 that are held to the policy can't be given it now: OSError: [Errno 12] Cannot allocate "
        "memory; they keep the one before, and it is tried again"
    ]
    holder.look(kernel.close)
    holder.begin(5, named("build"))
    assert (kernel.held[3], kernel.held[5], kernel.held[4][1]) == (before, kernel.held[2], Mode.ENFORCE)
    assert (kernel.undecided, {scope for scope, _ in changed}) == (WITHOUT_ROOM, {WITHOUT_ROOM, 2, 4})
    kernel.unholdable = set()
    holder.look(kernel.close)
    assert said[1:] == ["all that are held to the policy go by it now as it was read last"]
    assert (changed[-1][0], kernel.following) == (3, {})
    assert {rule.text for rule in kernel.written[kernel.held[3][0]].rules} >= {"c.example", "b.example"}
    assert sorted(kernel.written) == sorted({number for number, _ in kernel.held.values()})


def test_while_somebody_holds_on_to_the_modes_not_every_job_waits_for_it() -> None:
    kernel = Kernel()
    holder = started(kernel)
    for scope in (2, 3, 4):
        holder.begin(scope, named("build"))
    kernel.is_locked = True
    assert (change(holder, CHANGED), kernel.lock_waits) == (0, 1)
    kernel.is_locked = False
    holder.look(kernel.close)
    assert len({kernel.held[scope] for scope in (2, 3, 4)}) == 1
    assert change(holder, CHANGED) == 3


def test_a_change_goes_on_where_what_was_told_could_not_be_taken_in() -> None:
    kernel, errors = Kernel(), [OSError(errno.ENOMEM, "no memory")]

    def catch_up() -> None:
        if errors:
            raise errors.pop()

    holder = started(kernel)
    holder.begin(2, named("build"))
    assert change(holder, CHANGED, catch_up=catch_up) == 0
    holder.look(kernel.close)
    assert "c.example" in {rule.text for rule in kernel.written[kernel.held[2][0]].rules}


def test_a_change_that_could_not_be_made_is_taken_back_by_the_next_one() -> None:
    kernel = Kernel()
    holder = started(kernel)
    holder.begin(2, named("build"))
    before = kernel.held[2]
    kernel.unholdable = {2}
    assert change(holder, CHANGED) == 0
    assert 2 in kernel.following
    kernel.unholdable = set()
    assert change(holder, SECTIONS) == 1
    assert (kernel.held[2], kernel.following) == (before, {})
    assert sorted(kernel.written) == sorted({number for number, _ in kernel.held.values()})


def test_a_scope_that_is_over_is_given_no_policy_any_more() -> None:
    kernel = Kernel()
    holder = started(kernel)
    holder.begin(2, named("build"))
    kernel.unholdable = {2}
    change(holder, CHANGED)
    holder.end(2)
    kernel.alive.discard(2)
    holder.look(kernel.close)
    assert list(kernel.held) == [WITHOUT_ROOM]
    assert len(kernel.written) == 1


def reread_by(holder: WatchPolicyHolder, file: Path, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said where the policy is `text` by now."""
    file.write_text(text)
    output = OutputConfig(None, ProcessSpans.NETWORK)
    config = WatchConfig(output=output, job_env=None, otlp_dir_limit_mib=1, policy=file)
    no_jobs: Any = None  # they go by no baseline
    reread(config, holder, no_jobs, lambda: None)
    return capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError(errno.E2BIG, "full"), MemoryError()])
def test_a_policy_that_cannot_be_taken_stays_whatever_is_in_the_way(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel()
    holder = started(kernel)
    before = dict(kernel.held)

    def look_again() -> None:
        raise error

    monkeypatch.setattr(kernel, "look_again", look_again)
    said = reread_by(holder, tmp_path / "policy.yaml", CHANGED, capsys)
    assert "SIGHUP: the policy stays as it was" in said
    assert kernel.held == before


def test_a_policy_that_some_could_not_be_given_is_not_said_to_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel, warned = Kernel(), list[str]()
    holder = started(kernel, said=warned)
    for scope in (2, 3):
        holder.begin(scope, named("build"))
    kernel.unholdable = {3}
    said = reread_by(holder, tmp_path / "policy.yaml", CHANGED, capsys)
    assert "SIGHUP: read the policy again, 1 job goes by it" in said
    assert "1 of 3 that are held to the policy can't be given it now" in warned[-1]


def test_a_change_for_which_there_is_no_room_changes_nothing() -> None:
    kernel = Kernel(room=3)
    holder = started(kernel)
    for scope, task in enumerate(("build", "more", "strict"), 2):
        holder.begin(scope, named(task))
    before = dict(kernel.held)
    with pytest.raises(CiEgressError):
        change(holder, SECTIONS.replace("a.example", "c.example"))
    assert (kernel.held, sorted(kernel.written), kernel.prepared) == (before, [1, 2, 3], [])


def test_what_has_no_room_beside_the_policies_before_takes_over_after_others() -> None:
    """No job is held to anything else meanwhile."""
    kernel, said = Kernel(room=4), list[str]()
    holder = started(kernel, said=said)
    for scope, task in enumerate(("build", "more", "strict"), 2):
        holder.begin(scope, named(task))
    assert change(holder, SECTIONS.replace("a.example", "c.example")) == 3
    assert (sorted(kernel.written), said) == ([4, 5, 6], [])
    assert {scope: number for scope, (number, _) in kernel.held.items()} == {
        WITHOUT_ROOM: 4,
        2: 5,
        3: 6,
        4: 4,
    }


def test_a_job_whose_part_has_no_room_by_then_is_held_to_what_has() -> None:
    kernel, said = Kernel(room=4), list[str]()
    holder = started(kernel, said=said)
    for scope, task in enumerate(("build", "more", "strict"), 2):
        holder.begin(scope, named(task))
    kernel.refuses = "d.example"
    assert change(holder, SECTIONS.replace("a.example", "c.example").replace("b.example", "d.example")) == 3
    assert kernel.held[3] == kernel.held[2]
    assert "held to the rules of the file as a whole" in said[-1]


def test_without_a_policy_scopes_are_opened_and_closed() -> None:
    kernel = Kernel()
    holder = Holder(kernel, None, print)
    assert holder.begin(1, named("build")) is None
    assert (holder.overflow(), holder.others(), kernel.alive, kernel.held) == (None, {}, {1}, {})
    assert kernel.told[1].label == "release/build"


def test_who_could_not_be_held_is_when_it_is_tried_again() -> None:
    kernel = Kernel()
    holder = started(kernel)
    kernel.fails = True
    with pytest.raises(MemoryError):
        holder.begin(2, named("strict"))
    assert 2 not in kernel.held
    kernel.fails = False
    terms = holder.begin(2, named("strict"))
    assert terms is not None
    assert kernel.held[2] == (terms.number, Mode.ENFORCE)


def test_nothing_is_left_in_the_kernel_of_who_could_not_begin() -> None:
    kernel = Kernel()
    holder = started(kernel)
    kernel.unholdable = {2}
    with pytest.raises(OSError, match="Cannot allocate memory"):
        holder.begin(2, named("more"))
    assert (2 in kernel.told, 2 in kernel.alive) == (True, True)
    holder.end(2)
    kernel.alive.discard(2)
    holder.look(kernel.close)
    assert (list(kernel.told), kernel.closed, len(kernel.written)) == ([WITHOUT_ROOM], [2], 1)
    holder.look(kernel.close)
    assert kernel.closed == [2]
