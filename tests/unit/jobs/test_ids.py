"""Trace and span ids: the contract's check values, GitHub's formula, TRACEPARENT."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.jobs import ids
from exporter.jobs.detect import detect
from exporter.jobs.ids import (
    GithubRun,
    Identity,
    SpanContext,
    further_part,
    joined_late,
    parse_traceparent,
    parse_tracestate,
)
from exporter.jobs.model import TraceIds
from tests.unit.jobs.provider_environments import environment

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_SPAN = "b7ad6b7169203331"
_TRACEPARENT = f"00-{_TRACE}-{_SPAN}-01"


def test_the_contracts_formula_gives_the_contracts_ids() -> None:
    identity = Identity("gitlab", "https://gitlab.example", "group/app", "987", "1", "4321")
    assert f"{identity.trace_id:032x}" == "7af8cd1de3fa344b938ded2af6d4282f"
    assert f"{identity.job_span_id:016x}" == "d2080ab2c1b9e899"


def test_the_receivers_formula_gives_the_receivers_ids() -> None:
    run = GithubRun("1234567890", "1")
    assert f"{run.trace_id:032x}" == "7ce83249e5d6f40439e92a79d3f3f594"
    assert f"{run.root_span_id:016x}" == "33519328a5a749b8"
    assert f"{run.parent_span_id('987654321'):016x}" == "74ef751350305b0c"


def test_on_github_the_job_hangs_below_the_runs_root_span() -> None:
    job = detect(environment("github"))
    assert f"{job.ids.trace_id:032x}" == "7ce83249e5d6f40439e92a79d3f3f594"
    assert job.ids.parent_span_id == int("33519328a5a749b8", 16)


def test_on_github_a_known_check_run_is_the_parent() -> None:
    job = detect(environment("github") | {"CI_EGRESS_CHECK_RUN_ID": "987654321"})
    assert job.task_run_id == "987654321"
    assert job.ids.parent_span_id == int("74ef751350305b0c", 16)


@pytest.mark.parametrize("not_a_number", ["${{ job.check_run_id }}", "-1", "٣", "1\n2x"])
def test_a_check_run_id_that_is_no_number_is_no_parent(not_a_number: str) -> None:
    job = detect(environment("github") | {"CI_EGRESS_CHECK_RUN_ID": not_a_number})
    assert job.ids.parent_span_id == int("33519328a5a749b8", 16)


def test_the_job_span_is_never_another_producers() -> None:
    job = detect(environment("github") | {"CI_EGRESS_CHECK_RUN_ID": "987654321"})
    foreign = {GithubRun("1234567890", "1").root_span_id, ids.github_job_span_id("987654321")}
    assert job.ids.job_span_id not in foreign


@pytest.mark.parametrize("provider", ["gitea", "forgejo", "gitlab"])
def test_outside_github_the_job_is_a_root(provider: str) -> None:
    assert detect(environment(provider)).ids.parent_span_id is None


def test_gitea_runs_of_one_number_on_two_servers_are_two_traces() -> None:
    elsewhere = environment("gitea") | {"GITHUB_SERVER_URL": "https://other.example"}
    assert detect(environment("gitea")).ids.trace_id != detect(elsewhere).ids.trace_id


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_traceparent_wins_over_every_formula(provider: str) -> None:
    alone = detect(environment(provider)).ids
    context = {"TRACEPARENT": _TRACEPARENT, "TRACESTATE": "congo=t61rcWkgMzE"}
    below = detect(environment(provider) | context).ids
    assert below.trace_id == int(_TRACE, 16)
    assert below.parent_span_id == int(_SPAN, 16)
    assert below.trace_state == "congo=t61rcWkgMzE"
    assert below.job_span_id == alone.job_span_id


def test_a_job_inside_itself_is_not_its_own_parent() -> None:
    outer = detect(environment("gitlab")).ids
    traceparent = f"00-{outer.trace_id:032x}-{outer.job_span_id:016x}-01"
    inner = detect(environment("gitlab") | {"TRACEPARENT": traceparent}).ids
    assert (inner.trace_id, inner.job_span_id) == (outer.trace_id, outer.job_span_id)
    assert inner.parent_span_id is None


def test_tracestate_without_traceparent_is_dropped() -> None:
    assert detect(environment("gitlab") | {"TRACESTATE": "congo=t61rcWkgMzE"}).ids.trace_state == ""


def test_the_variable_is_upper_case_only() -> None:
    assert detect(environment("gitlab") | {"traceparent": _TRACEPARENT}).ids.parent_span_id is None


@pytest.mark.parametrize(
    "valid",
    [
        _TRACEPARENT,
        f"00-{_TRACE}-{_SPAN}-00",
        f"00-{_TRACE}-{_SPAN}-ff",
        f"cc-{_TRACE}-{_SPAN}-01",
        f"cc-{_TRACE}-{_SPAN}-01-what-the-future-will-be-like",
    ],
)
def test_a_valid_traceparent_is_read(valid: str) -> None:
    assert parse_traceparent(valid) == SpanContext(int(_TRACE, 16), int(_SPAN, 16))


@pytest.mark.parametrize(
    "invalid",
    [
        "",
        f"ff-{_TRACE}-{_SPAN}-01",
        f"00-{'0' * 32}-{_SPAN}-01",
        f"00-{_TRACE}-{'0' * 16}-01",
        f"00-{_TRACE}-{_SPAN}-01-more",
        f"00-{_TRACE}-{_SPAN}-01-",
        f"cc-{_TRACE}-{_SPAN}-01.more",
        f"00-{_TRACE.upper()}-{_SPAN}-01",
        f"00-{_TRACE}-{_SPAN}",
        f"0-{_TRACE}-{_SPAN}-01",
        f"00-{_TRACE[1:]}-{_SPAN}-01",
        f"00-{_TRACE}-{_SPAN}-01\n",
        f" {_TRACEPARENT}",
        f"cc-{_TRACE}-{_SPAN}-01-{'x' * 512}",
        f"00-{_TRACE.replace('0', '٠')}-{_SPAN}-01",
    ],
)
def test_an_invalid_traceparent_is_refused(invalid: str) -> None:
    assert parse_traceparent(invalid) is None


@pytest.mark.parametrize("insane", ["a=b\n", "a=\x1b[31m", "a=é", "a=" + "b" * 511])
def test_an_insane_tracestate_is_dropped(insane: str) -> None:
    assert parse_tracestate(insane) == ""


def test_a_sane_tracestate_is_passed_on_unchanged() -> None:
    longest = "a=" + "b" * 510
    assert parse_tracestate(longest) == longest


@given(st.text())
def test_no_text_makes_the_traceparent_parser_raise(text: str) -> None:
    context = parse_traceparent(text)
    assert context is None or all(context)


def test_an_id_is_never_all_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zeros:
        def hexdigest(self) -> str:
            return "0" * 64

    monkeypatch.setattr("exporter.jobs.ids.hashlib.sha256", lambda _: Zeros())
    assert Identity("", "", "", "", "", "").trace_id == 1
    assert GithubRun("", "").root_span_id == 1


def test_a_further_part_of_a_job_stands_beside_the_first_under_an_id_of_its_own() -> None:
    first = TraceIds(1, 2, 3, "vendor=x")
    second = further_part(first, "now")
    assert second == TraceIds(1, second.job_span_id, 3, "vendor=x", derive_from=2)
    third = further_part(second, "later")
    assert third.derive_from == 2
    assert len({2, second.job_span_id, third.job_span_id}) == 3
    assert further_part(first, "now") == second


def test_a_job_that_was_joined_late_shares_no_id_with_another_tellers() -> None:
    job = TraceIds(1, 2, 3)
    joined = joined_late(job, "instance.now")
    assert (joined.trace_id, joined.parent_span_id, joined.derive_from) == (1, 3, None)
    assert len({2, joined.job_span_id, joined_late(job, "other.now").job_span_id}) == 3
    assert further_part(joined, "later").derive_from == joined.job_span_id
