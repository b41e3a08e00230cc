"""The command that shows a file's errors is named only where something would have started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.common.documents.problems import DocumentError
from exporter.pipeline.process_spans import ProcessSpans
from exporter.policy.parse import load_policy
from exporter.session.baselines import baseline_of, required_baseline
from exporter.session.job_policy import requested, source_of
from exporter.session.settings import OutputConfig, WatchConfig

BAD = "version: 1\nentries: [x]\nallow: {}\n"
CROWDED = ", ".join(f"{{host: 192.0.2.1, lineage: [tool-{n}]}}" for n in range(17))
"""More rules for one address than the kernel can hold."""
CHECK_POLICY = "`ci-egress policy check` shows them without starting anything"


def hint_of(read: Callable[[Path], object], path: Path, text: str = BAD) -> str | None:
    path.write_text(text)
    with pytest.raises(DocumentError) as caught:
        read(path)
    return caught.value.hint


def watch(policy: Path) -> WatchConfig:
    output = OutputConfig(None, ProcessSpans.NETWORK)
    return WatchConfig(output=output, job_env=None, otlp_dir_limit_mib=1, policy=policy)


def test_it_is_named_for_a_policy_that_jobs_would_be_held_to(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    assert hint_of(lambda path: requested(watch(path)), file) == CHECK_POLICY
    crowded = f"version: 1\nallow: [{CROWDED}]\n"
    assert hint_of(lambda path: source_of(watch(path)), file, crowded) == CHECK_POLICY


def test_it_is_not_named_for_a_policy_that_is_only_read(tmp_path: Path) -> None:
    assert hint_of(load_policy, tmp_path / "policy.yaml") is None


def test_it_is_named_for_a_baseline_only_where_jobs_would_be_held_against_it(tmp_path: Path) -> None:
    file = tmp_path / "baseline.yaml"
    hint = "`ci-egress baseline show` shows them without starting anything"
    assert hint_of(lambda path: required_baseline(path, ()), file) == hint
    assert hint_of(baseline_of, file) is None
