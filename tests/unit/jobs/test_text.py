"""What a job says of itself carries no credentials and no controls, and its URLs can't be anything else."""

from __future__ import annotations

import pytest

from exporter.jobs.text import (
    MAX_CHARS,
    clean_repository_url,
    clean_text,
    clean_url,
    path_of,
    public_text,
    server_of,
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("https://git.example/group/app.git", "https://git.example/group/app"),
        ("https://user:pw@git.example:8443/group/app.git/", "https://git.example:8443/group/app"),
        ("https://token@git.example/app", "https://git.example/app"),
        ("https://user:p@ss@git.example/app", "https://git.example/app"),
        ("https://git.example/app?private_token=x#y", "https://git.example/app"),
        ("git@git.example:group/app.git", "ssh://git.example/group/app"),
        ("ssh://git@git.example/group/app", "ssh://git.example/group/app"),
        ("https://[2001:db8::1]:8443/app", "https://[2001:db8::1]:8443/app"),
        ("https://user:p/w@git.example/app", None),
        ("https://good.example\\@evil.example/", None),
        ("ext::sh -c whoami", None),
        ("/srv/git/app.git", None),
        ("C:\\src\\app", None),
        ("https://", None),
        ("", None),
    ],
)
def test_a_repository_is_a_url_without_credentials_or_nothing(raw: str, expected: str | None) -> None:
    assert clean_repository_url(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("https://ci.example/run/1?check=2#job", "https://ci.example/run/1?check=2#job"),
        ("HTTP://u:p@ci.example/run/1", "HTTP://ci.example/run/1"),
        ("javascript://ci.example/%0aalert(1)", None),
        ("file:///etc/passwd", None),
        ("ci.example/run/1", None),
    ],
)
def test_a_run_url_is_http_or_nothing(raw: str, expected: str | None) -> None:
    assert clean_url(raw) == expected


def test_a_url_has_a_server_and_a_path() -> None:
    assert server_of("https://ci.example:8443/a/b") == "https://ci.example:8443"
    assert path_of("https://ci.example/a/b/") == "a/b"
    assert path_of("https://ci.example/") is None
    assert server_of("nothing") is None


def test_no_character_turns_the_direction_of_text() -> None:
    turning = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    assert clean_text(f"a{turning}b") == public_text(f"a{turning}b") == "ab"


@pytest.mark.parametrize(
    ("raw", "public"),
    [
        ("deploy https://u:s3c/retD@h.example/x", "deploy https://<redacted>@h.example/x"),
        ("deploy --password s3cretE  now", "deploy --password <redacted>  now"),
        ("Don't deploy --password s3cretE", "Don't deploy --password <redacted>"),
        ("make TOKEN='s3 cret' all", "make TOKEN='<redacted>' all"),
        ("release ghp_" + "a1B2" * 9, "release <redacted>"),
        ("https://ci.example/1?access_token=s3cretE&n=1", "https://ci.example/1?access_token=<redacted>&n=1"),
    ],
)
def test_a_secret_in_a_text_is_redacted_as_in_a_command_line(raw: str, public: str) -> None:
    assert public_text(raw) == public


@pytest.mark.parametrize(
    "ordinary",
    [
        "test (3.12, ubuntu-24.04)",
        ":docker: Build & push",
        "Don't panic: it's the deploy of 'main'",
        "feature/token-refresh",
        "https://ci.example/group/app/-/jobs/4321?tab=log#L1",
        "9d59409acf479dfa0df1aa568182e43e43df8bbe",
        "4735ba57-80d0-46e2-8fa0-b28223a86586",
        "jenkins-folder » app #17",
    ],
)
def test_an_ordinary_text_stays_as_it_is(ordinary: str) -> None:
    assert public_text(ordinary) == clean_text(ordinary) == ordinary


def test_a_secret_at_the_end_of_what_is_kept_is_redacted_before_the_cut() -> None:
    text = public_text("x" * (MAX_CHARS - 10) + " ghp_" + "a1B2" * 9)
    assert text == "x" * (MAX_CHARS - 10) + " <redacted>"[:10]


def test_a_secret_that_is_cut_before_it_is_looked_for_is_left_out() -> None:
    before = "ghp_" + "a1B2" * 400 + " "
    between = "y" * (2 * MAX_CHARS - len(before) - 10)
    assert public_text(before + between + " ghp_" + "a1B2" * 9) == f"<redacted> {between}"
