"""Keys of `jobs`: where they divide, and which mean nothing."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.common.documents.problems import InvalidTextError
from exporter.jobs.claims import Claim
from exporter.jobs.providers import PROVIDERS
from exporter.policy.keys import Key, parse_claim, parse_key
from exporter.policy.model import job_names
from tests.unit.policy.files import errors


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("github:github.com/octo/app:release/build", ("github", "github.com/octo/app", "release/build")),
        ("git*:*:*", ("git*", "*", "*")),
        ("[gf]*:*:a", ("[gf]*", "*", "a")),
        ("gitlab:h[:]8443/g/p:a: b: c", ("gitlab", "h[:]8443/g/p", "a: b: c")),
        ("github:github.com/[!a:b]/x:[:]", ("github", "github.com/[!a:b]/x", "[:]")),
        ("github:github.com/octo/app:[", ("github", "github.com/octo/app", "[")),
    ],
)
def test_a_full_key_divides_at_two_colons(text: str, parts: tuple[str, str, str]) -> None:
    key = parse_key(text)
    assert (key.provider, key.project, key.names, key.is_full) == (*parts, True)


@pytest.mark.parametrize(
    "text",
    [
        "release/*",
        "*",
        "deploy: prod/*",
        "a/b:c:d",
        "CI:lint:all",
        ":hammer: Specs",
        "[:]a:b",
        "a[:]b[:]c",
        "a[:",
    ],
)
def test_what_names_no_system_is_a_pattern_for_names(text: str) -> None:
    assert parse_key(text) == Key(text, text)


COLONS = "a colon in a name is written as [:]"
WRONG_KEYS = [
    ("gihub:github.com/octo/app:x", "unknown CI system `gihub`; did you mean github?"),
    (
        "github:github.com/octo/app",
        "`github:github.com/octo/app` lacks a part; write github:SERVER/OWNER/REPOSITORY:PIPELINE/TASK, "
        f"with * for any; {COLONS}",
    ),
    (
        "github:octo/app:*",
        f"`octo/app` is no project of github; write it as SERVER/OWNER/REPOSITORY; {COLONS}",
    ),
    (
        "gitlab:gitlab.example:8443/group/app:*",
        f"`gitlab.example` is no project of gitlab; write it as SERVER/GROUP/PROJECT; {COLONS}",
    ),
]


@pytest.mark.parametrize(("text", "told"), WRONG_KEYS)
def test_a_key_that_means_nothing_is_an_error_with_its_place(text: str, told: str) -> None:
    assert errors(f'version: 1\njobs:\n  "{text}": {{allow: [a.example]}}\n') == [f"3:3: {told}"]


@pytest.mark.parametrize("text", ["github::x", "github:github.com/a/b:", "*::", "argo:x"])
def test_no_part_may_be_empty_or_missing(text: str) -> None:
    with pytest.raises(InvalidTextError, match="lacks a part"):
        parse_key(text)


def test_a_system_that_nobody_knows_is_told_with_those_that_are() -> None:
    with pytest.raises(InvalidTextError, match="unknown CI system `lint`") as raised:
        parse_key("lint:unit:node")
    assert all(provider.name in raised.value.fix for provider in PROVIDERS)
    assert "[:]" in raised.value.fix


def test_one_job_is_named_like_a_key() -> None:
    assert parse_claim("release/build") == Claim(None, None, "release", "build", is_protected=True)
    assert parse_claim("group/app/build") == Claim(None, None, "group/app", "build", is_protected=True)
    assert parse_claim("gitlab:h[:]8443/g/p:a[:] b/c: d") == Claim(
        "gitlab", "h:8443/g/p", "a: b", "c: d", is_protected=True
    )


_TEXT = st.text(st.sampled_from("ab*?[]!:/\n\0é-"), max_size=8)
_NONE_OR_TEXT = st.none() | _TEXT


@given(_TEXT, st.builds(Claim, _NONE_OR_TEXT, _NONE_OR_TEXT, _NONE_OR_TEXT, _NONE_OR_TEXT))
@example("[!:]", Claim("github", "x", ":", None))
def test_a_plain_key_is_for_the_names_that_fnmatch_finds(text: str, claim: Claim) -> None:
    try:
        key = parse_key(text)
    except InvalidTextError:
        return
    by_names = any(fnmatchcase(name, key.names) for name in job_names(claim.pipeline, claim.task))
    if not key.is_full:
        assert key.fits(claim, unknown_fits=False) == key.fits(claim, unknown_fits=True) == by_names
    if key.fits(claim, unknown_fits=False):
        assert by_names
        assert key.fits(claim, unknown_fits=True)


@given(*[_TEXT] * 4, *[_TEXT] * 4)
def test_each_part_of_a_key_is_held_against_its_own(
    provider: str, project: str, pipeline: str, task: str, pattern: str, other: str, names: str, more: str
) -> None:
    key = Key("", f"{names}/{more}", pattern, other, is_full=True)
    claim = Claim(provider, project, pipeline, task)
    expected = (
        fnmatchcase(provider, pattern)
        and fnmatchcase(project, other)
        and any(fnmatchcase(name, key.names) for name in (pipeline, f"{pipeline}/{task}"))
    )
    assert key.fits(claim, unknown_fits=False) == key.fits(claim, unknown_fits=True) == expected


def test_what_telemetry_shows_of_a_name_with_a_secret_is_a_key_for_it() -> None:
    key = parse_key("app/login -p <redacted>")
    told, other = (Claim("gitlab", "g/p", "app", task) for task in ("login -p s3cret", "login"))
    assert (key.fits(told, unknown_fits=True), key.fits(other, unknown_fits=True)) == (True, False)
    assert not parse_key("<redacted>").is_for_all
