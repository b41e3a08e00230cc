"""That sudo kept a job's variables from ci-egress is told; where the policy goes by them, it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.common.errors import UsageError
from exporter.policy.parse import parse_policy
from exporter.session import sudo
from exporter.session.sudo import tell_kept_back
from tests.unit.jobs.provider_environments import environment

if TYPE_CHECKING:
    from exporter.policy.model import Policy

OF_SUDO = {"SUDO_UID": "1000", "SUDO_GID": "1000", "SUDO_USER": "ci", "SUDO_COMMAND": "/usr/bin/ci-egress"}
CLEARED = {"PATH": "/usr/bin", **OF_SUDO}
JOB = environment("gitlab")
SECTIONS = 'version: 1\nmode: audit\njobs:\n  "release/*": {mode: enforce, deny: [203.0.113.1]}\n'


def policy(text: str) -> Policy:
    return parse_policy(text.encode(), "policy.yaml")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(sudo, "warn", said.append)
    return said


def started_by(monkeypatch: pytest.MonkeyPatch, *above: dict[str, str]) -> None:
    monkeypatch.setattr(sudo, "_environments_above", lambda: iter(above))


def test_the_variables_that_sudo_had_and_kept_are_told(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started_by(monkeypatch, CLEARED, JOB)  # a shell or env between the two
    tell_kept_back(CLEARED, policy("version: 1\nallow: [registry.example]\n"))
    (warning,) = told
    assert warning.startswith("sudo kept back the variables of gitlab, by which the job would be known; ")
    assert "--preserve-env=" in warning


def test_a_policy_with_sections_is_refused_then(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    started_by(monkeypatch, JOB)
    with pytest.raises(UsageError, match="and the policy has sections for jobs; hand them on"):
        tell_kept_back(CLEARED, policy(SECTIONS))
    assert told == []


@pytest.mark.parametrize(
    ("environment", "above"),
    [
        ({**CLEARED, **JOB}, [JOB]),
        ({"PATH": "/usr/bin"}, [JOB]),
        (CLEARED, [{"PATH": "/usr/bin"}, JOB]),
        (CLEARED, [{"PATH": "/usr/bin", "SUDO_UID": "0"}, JOB]),
        (CLEARED, []),
    ],
    ids=["handed on", "no sudo", "none was there", "none was there, of a sudo in a sudo", "nobody is seen"],
)
def test_else_nothing_is_said_and_nothing_is_refused(
    environment: dict[str, str],
    above: list[dict[str, str]],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started_by(monkeypatch, *above)
    tell_kept_back(environment, policy(SECTIONS))
    tell_kept_back(environment, None)
    assert told == []
