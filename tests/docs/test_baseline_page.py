"""docs/baseline.md says what is so: its files are valid, its errors are those that are told."""

from __future__ import annotations

import re

import pytest

from exporter.baseline.export import export
from exporter.baseline.parse import ENTRIES_MAX, KIND, parse_baseline
from exporter.policy.parse import parse_policy
from tests.docs.pages import DOCS
from tests.unit.baseline.files import EXAMPLE, errors
from tests.unit.baseline.test_parse import ONE_ERROR, WRONG_ENTRIES

TEXT = (DOCS / "baseline.md").read_text()
_CODE = re.compile(r"`[^`]*`")
_ROW = re.compile(r"^\| (.*?) ?\| (.*) \|$", re.MULTILINE)
FILE, POLICY = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def rows(after: str) -> list[tuple[str, str]]:
    """Of the table behind a sentence, its head left out; the first cells without their code marks."""
    table = TEXT.partition(after)[2].split("\n\n")[1]
    return [(row[1].strip("`"), row[2]) for row in _ROW.finditer(table)][1:]


def normal(told: str) -> str:
    """What an error says, whatever it says it of."""
    return re.sub(r"\d+", "0", _CODE.sub("``", told.partition("; ")[0]).partition("`: ")[0])


WRONG_FILES = rows("(`\\n` is a line break):")
WRONG_IN_DOCS = [row for row in rows("(here as the only one below `entries:`):") if row[0] != "---"]


def test_its_baseline_is_valid() -> None:
    found = parse_baseline(FILE.encode(), "docs")
    assert len(found.entries) == 2
    assert found.histories["release"].quiet_runs == 40


def test_its_policy_is_what_export_makes() -> None:
    dns = "destination: 192.0.2.53, port: 53, transport: udp, lineage: any"
    text = f"{EXAMPLE}  - {{pipeline: release, task: build, {dns}}}\n"
    found = parse_baseline(text.encode(), "docs")
    made = "\n".join(export(found).lines)
    assert all(line in made for line in POLICY.splitlines())
    assert parse_policy(POLICY.encode(), "docs").sections


@pytest.mark.parametrize(("entry", "told"), WRONG_IN_DOCS)
def test_its_entries_are_wrong_as_it_says(entry: str, told: str) -> None:
    assert [line.partition(": ")[2] for line in errors(f"version: 1\nentries:\n- {entry}\n")] == [told]


@pytest.mark.parametrize(("file", "told"), [row for row in WRONG_FILES if row[0] != "---"])
def test_its_files_are_wrong_as_it_says(file: str, told: str) -> None:
    assert [line.partition(": ")[2] for line in errors(file.replace("\\n", "\n"))] == [told]


def test_it_has_every_error_that_the_tests_know() -> None:
    documented = {normal(told) for _, told in (*WRONG_IN_DOCS, *WRONG_FILES)}
    known = {normal(told) for _, told in WRONG_ENTRIES}
    known |= {normal(told.partition(": ")[2]) for _, told in ONE_ERROR}
    assert known - documented == set()


def test_its_limits_are_those_of_the_parser() -> None:
    limits = TEXT.partition("## Limits")[2]
    assert f"{ENTRIES_MAX:,} entries" in limits
    assert f"{KIND.nodes_max:,} values" in limits
    assert f"{KIND.size_max >> 20} MiB" in limits
