"""How an invalid policy is told."""

from __future__ import annotations

import json

import pytest

from exporter.policy.parse import parse_policy
from exporter.policy.problems import PolicyError
from exporter.session.messages import Messages

TEXT = b"version: 1\nmode: on\nallow: [a..b]\n"
LINES = [
    "policy.yaml:2:7: `mode` can't be `on`; write audit or enforce",
    "policy.yaml:3:9: `a..b` is not a host's name; labels of letters, digits, - and _ with dots between, "
    "251 characters in all",
]
LAST = "policy.yaml is not a valid policy: 2 errors"


@pytest.fixture
def error(monkeypatch: pytest.MonkeyPatch) -> PolicyError:
    monkeypatch.setattr(Messages, "_current", None)  # what the tests make current ends with them
    with pytest.raises(PolicyError) as caught:
        parse_policy(TEXT, "policy.yaml")
    return caught.value


def test_it_is_a_usage_error_with_all_lines(error: PolicyError) -> None:
    assert error.exit_status == 2
    assert list(error.lines) == LINES
    assert error.what == LAST


def test_each_error_is_a_line_that_begins_with_its_place(
    error: PolicyError, capfd: pytest.CaptureFixture[str]
) -> None:
    Messages(as_json=False, is_verbose=False).fail(error)
    assert capfd.readouterr().err.splitlines() == [*LINES, f"ci-egress: error: {error}"]


def test_each_error_is_a_message_where_these_are_json(
    error: PolicyError, capfd: pytest.CaptureFixture[str]
) -> None:
    Messages(as_json=True, is_verbose=False).fail(error)
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(each["level"], each["message"]) for each in told] == [("error", line) for line in (*LINES, LAST)]
