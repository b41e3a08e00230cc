"""`ci-egress run` under a policy, in either mode, and what must be told of what no rule allows."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkout import ROOT

from .lab import RUN_LIMIT_S, Lab
from .tracing import Span, Trace, Value, environment, logs, read, trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODES = pytest.mark.parametrize("mode", ["audit", "enforce"])
_BLOCKED = "ci-egress: blocked: "


def bracketed(address: str) -> str:
    """As rules and destinations have it."""
    return f"[{address}]" if ":" in address else address


def script(directory: Path, *commands: Sequence[str]) -> list[str]:
    """A shell that runs them one by one, whatever comes of it; from a file, for short arguments."""
    path = directory / "step"
    lines = [shlex.join(command) for command in commands]
    path.write_bytes(os.fsencode("\n".join([*lines, "true\n"])))
    return ["sh", str(path)]


@dataclass(frozen=True)
class Ruled:
    """A run under a policy that is over."""

    seen: Trace
    mode: str
    file: str
    """The policy's."""
    records: list[dict[str, Any]] = field(repr=False)
    """Of the log."""

    @property
    def is_enforced(self) -> bool:
        """Whether what the policy doesn't allow is denied."""
        return self.mode == "enforce"

    @property
    def blocked(self) -> list[str]:
        """What the lines on stderr tell of denials."""
        lines = self.seen.stderr.splitlines()
        return [line.removeprefix(_BLOCKED) for line in lines if line.startswith(_BLOCKED)]

    def errno(self, otherwise: str = "ok") -> str:
        """What an act that nothing allows comes to; `otherwise` in audit."""
        return "EPERM" if self.is_enforced else otherwise

    def assert_allowed(self, spans: Sequence[Span], rule: str) -> None:
        """That rule did."""
        for span in spans:
            assert self._ruling("allow", rule).items() <= span.attributes.items()
            assert not span.is_error

    def assert_against(self, spans: Sequence[Span], rule: str = "default") -> None:
        """Nothing allowed these; they are told as denied, or as what would be."""
        for span in spans:
            ruling = self._ruling("deny" if self.is_enforced else "audit", rule)
            assert ruling.items() <= span.attributes.items()
            assert span.is_error == self.is_enforced
            how = (span.attributes.get("egress.outcome"), span.attributes.get("error.type"))
            assert (how == ("denied", "EPERM")) == self.is_enforced

    def assert_told(self, told: Sequence[tuple[Span, str]]) -> None:
        """These spans, and no others, have a log record each, and a line where it was denied."""
        did, event, severity = (
            ("blocked", "cicd.egress.denied", "ERROR")
            if self.is_enforced
            else ("would block", "cicd.egress.would_deny", "WARN")
        )
        assert [
            (record["traceId"], record["spanId"], record["body"]["stringValue"]) for record in self.records
        ] == [(span.trace_id, span.span_id, f"{did}: {text}") for span, text in told]
        assert {(record["eventName"], record["severityText"]) for record in self.records} == {
            (event, severity)
        }
        assert self.blocked == ([text for _, text in told] if self.is_enforced else [])

    def assert_account(self, attempts: int) -> None:
        """Each attempt has a span of its own."""
        assert self.seen.account == (
            f"attempts {attempts} = exported {attempts} + aggregated 0 + dropped 0 + pending 0"
        )

    def _ruling(self, verdict: str, rule: str) -> dict[str, Value]:
        return {
            "egress.verdict": verdict,
            "egress.mode": self.mode,
            "egress.rule": rule,
            "security_rule.name": rule,
            "security_rule.ruleset.name": self.file,
            "cicd.pipeline.run.id": self.seen.job["cicd.pipeline.run.id"],
        }


def under(
    lab: Lab,
    mode: str,
    allow: Sequence[object],
    command: Sequence[str],
    directory: Path,
    *options: str,
    more: str = "",
    is_inside: bool = False,
    env: Mapping[str, str] | None = None,
) -> Ruled:
    """Run COMMAND under a policy with these rules.

    `more` is what else the policy has. With `is_inside` ci-egress itself is on the build side, where
    files may name a resolver.
    """
    file = policy(directory, f"mode: {mode}\nallow: {json.dumps(list(allow))}\n{more}")
    otlp, wanted = directory / "otlp", ("--policy", file, *options)
    if is_inside:
        seen = lab.build.call(trace, None, command, otlp, *wanted, env=env).result()
    else:
        seen = trace(lab, command, otlp, *wanted, env=env)
    return Ruled(seen, mode, file, logs(otlp))


GITLAB = {
    "GITLAB_CI": "true",
    "CI_SERVER_URL": "https://gitlab.example",
    "CI_PROJECT_PATH": "group/release",
    "CI_PIPELINE_ID": "987",
    "CI_JOB_ID": "4321",
    "CI_JOB_NAME": "publish",
}


def policy(tmp_path: Path, text: str) -> str:
    """A file of that policy; its name."""
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\n{text}")
    return str(path)


def replay(recording: Path, otlp_dir: Path) -> Trace:
    command = [sys.executable, "-m", "exporter", "replay", "--otlp-dir", str(otlp_dir), str(recording)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_LIMIT_S, env=environment(), cwd=ROOT, check=False
    )
    return read(done, otlp_dir)


FAILED_MARK = "ci-egress: error: --fail-on "


def failed(stderr: str) -> list[str]:
    """What is said to have made it fail."""
    return [line.removeprefix(FAILED_MARK) for line in stderr.splitlines() if line.startswith(FAILED_MARK)]
