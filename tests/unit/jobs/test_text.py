"""URLs of a job carry no credentials and can't be anything but URLs."""

from __future__ import annotations

import pytest

from exporter.jobs.text import clean_repository_url, clean_url, path_of, server_of


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
