"""Whether names are resolved by DNS packets, told from the files and sockets that decide about it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.common.net.name_service import NameService, dns_obstacles, others_that_ask
from exporter.kernel.doctor import Check, name_resolution

UNSEEN = "no rules for names in policies, and no names in traces: "


@pytest.fixture(name="of")
def _of(tmp_path: Path) -> NameService:
    """A machine on which none of the files is there."""
    return NameService(
        tmp_path / "nsswitch", tmp_path / "resolved", tmp_path / "nscd", tmp_path / "nscd.conf"
    )


@contextmanager
def listening(path: Path) -> Iterator[None]:
    """As a daemon does; when it ends, its socket stays behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        yield


@pytest.mark.parametrize(
    "line",
    [
        "hosts: files dns",
        "hosts:\tfiles  myhostname\tdns",
        "hosts: files mdns4_minimal [NOTFOUND=return] dns",
        "hosts: files dns resolve sss",
        "hosts: files dns [!UNAVAIL=return] resolve",
        "hosts: files dns # resolve",
        "hosts: resolve dns\nhosts: files dns",
        "#hosts: resolve dns",
        "hosts: files",
        "hosts:",
        "networks: resolve",
        "",
    ],
)
def test_where_dns_comes_before_daemons_nothing_is_in_the_way(of: NameService, line: str) -> None:
    of.nsswitch.write_text(f"passwd: files sss\n{line}\ngroup: files sss\n")
    with listening(of.resolved):
        assert dns_obstacles(of) == []


def test_without_any_of_the_files_names_are_resolved_by_dns(of: NameService) -> None:
    assert dns_obstacles(of) == []


@pytest.mark.parametrize(
    "line",
    [
        "hosts: files resolve dns",
        "hosts: resolve [!UNAVAIL=return] files dns",
        "hosts: files myhostname resolve [!UNAVAIL=return] dns",
    ],
)
def test_systemd_resolved_behind_its_socket_hides_names(of: NameService, line: str) -> None:
    of.nsswitch.write_text(f"{line}\n")
    with listening(of.resolved):
        (obstacle,) = dns_obstacles(of)
    assert obstacle.lost == (
        f"{UNSEEN}`resolve` in {of.nsswitch} has systemd-resolved look them up, at {of.resolved}"
    )
    assert obstacle.fix.startswith("remove `resolve` from the line `hosts`, with the brackets behind it")
    assert str(obstacle) == f"{obstacle.lost}; {obstacle.fix}"


def test_where_only_it_is_asked_dns_takes_its_place(of: NameService) -> None:
    of.nsswitch.write_text("hosts: files resolve\n")
    with listening(of.resolved):
        (obstacle,) = dns_obstacles(of)
    assert obstacle.fix.startswith("in the line `hosts`, write `dns` in place of `resolve`")


def test_a_systemd_resolved_that_does_not_run_is_passed_over_by_the_c_library_too(of: NameService) -> None:
    of.nsswitch.write_text("hosts: files resolve dns\n")
    assert dns_obstacles(of) == []
    with listening(of.resolved):
        pass
    assert of.resolved.exists()
    assert dns_obstacles(of) == []


@pytest.mark.parametrize("service", ["sss", "ldap", "mymachines", "wins", "mdns4", "something-else"])
def test_another_service_hides_the_names_that_it_knows(of: NameService, service: str) -> None:
    of.nsswitch.write_text(f"hosts: files {service} dns\n")
    (obstacle,) = dns_obstacles(of)
    assert obstacle.lost == (
        "no rules for the names in policies, and none of them in traces, that "
        f"`{service}` in {of.nsswitch} resolves"
    )
    assert obstacle.fix.startswith(f"remove `{service}` from the line `hosts`")


@pytest.mark.parametrize(
    ("configuration", "hides"),
    [
        (None, True),
        ("enable-cache\t\thosts\t\tyes\n", True),
        ("enable-cache hosts no\n", False),
        ("#enable-cache hosts yes\nenable-cache passwd yes\n", False),
    ],
    ids=["none", "yes", "no", "not-said"],
)
def test_nscd_hides_names_if_it_keeps_them(
    of: NameService, configuration: str | None, *, hides: bool
) -> None:
    of.nsswitch.write_text("hosts: files dns\n")
    if configuration is not None:
        of.nscd_configuration.write_text(configuration)
    with listening(of.nscd):
        told = [obstacle.lost for obstacle in dns_obstacles(of)]
    assert told == ([f"{UNSEEN}nscd looks them up and answers at {of.nscd}"] if hides else [])
    assert dns_obstacles(of) == [], "it has ended, and left its socket"


def test_who_asks_for_others_is_named_whatever_the_c_library_does(of: NameService) -> None:
    of.nsswitch.write_text("hosts: files dns\n")
    assert list(others_that_ask(of)) == []
    with listening(of.resolved), listening(of.nscd):
        resolved, nscd = map(str, others_that_ask(of))
    assert resolved == (
        f"no `dns: deny` for what systemd-resolved is asked at {of.resolved} and by D-Bus: it asks in its "
        "own name; stop systemd-resolved, or keep the job from it"
    )
    assert nscd.startswith(f"no `dns: deny` for what nscd is asked at {of.nscd}: ")


def test_the_check_names_all_that_is_in_the_way(of: NameService) -> None:
    assert name_resolution(of) == Check("name resolution", ok=True, found="by DNS packets", is_required=False)
    of.nsswitch.write_text("hosts: sss resolve dns\n")
    with listening(of.resolved), listening(of.nscd):
        check = name_resolution(of)
        obstacles = dns_obstacles(of)
    assert (check.ok, check.is_required) == (False, False)
    assert check.lost == "; ".join(obstacle.lost for obstacle in obstacles)
    assert check.fix == "; ".join(obstacle.fix for obstacle in obstacles)
    assert [word in check.fix for word in ("nscd", "`sss`", "`resolve`")] == [True] * 3
