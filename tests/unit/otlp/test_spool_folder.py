"""Where telemetry waits on disk, and which folders are refused: somebody else may have a hand in them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from exporter.otlp.settings import Endpoint, OtlpProtocol, Signal
from exporter.otlp.sinks import SpoolError
from exporter.otlp.spool_folder import SpoolFolder, default_folder

TRACES = Endpoint(Signal.TRACES, "http://collector.example:4318/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT")
LOGS = Endpoint(Signal.LOGS, "http://collector.example:4318/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT")
OVER_GRPC = Endpoint(Signal.TRACES, TRACES.url, TRACES.variable, OtlpProtocol.GRPC)
OTHER = Endpoint(Signal.TRACES, "http://other.example:4318/v1/traces", TRACES.variable)


def test_systemds_folder_is_used_before_any_other() -> None:
    environment = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x", "HOME": "/home/a"}
    assert default_folder(environment, 0) == default_folder(environment, 7) == Path("/var/lib/a/spool")


def test_root_and_users_have_folders_of_their_own() -> None:
    environment = {"XDG_STATE_HOME": "/x", "HOME": "/home/a"}
    assert default_folder(environment, 0) == Path("/var/lib/ci-egress/spool")
    assert default_folder(environment, 7) == Path("/x/ci-egress/spool")
    assert default_folder({"HOME": "/home/a"}, 7) == Path("/home/a/.local/state/ci-egress/spool")


def test_the_folder_is_made_and_is_the_users_alone(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path / "a" / "b" / "spool")
    folder.prepare()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.path.chmod(0o755)
    folder.prepare()
    assert folder.path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["ci-egress", "ci-egress/spool"])
def test_a_symbolic_link_is_refused_and_not_followed(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(SpoolError, match="symbolic link"):
        SpoolFolder(tmp_path / "ci-egress" / "spool").prepare()
    assert list(elsewhere.iterdir()) == []
    assert elsewhere.stat().st_mode & 0o777 == 0o755


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    with pytest.raises(SpoolError):
        SpoolFolder(tmp_path / "spool").prepare()


def test_a_folder_above_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    above = tmp_path / "open"
    above.mkdir()
    above.chmod(0o777)
    with pytest.raises(SpoolError, match=f"others may write to {above}"):
        SpoolFolder(above / "spool").prepare()
    above.chmod(0o1777)  # like /tmp: others can't take away what isn't theirs
    SpoolFolder(above / "spool").prepare()


@pytest.mark.kernel  # root: gives files away
@pytest.mark.parametrize("given", ["open", "open/spool"])
def test_a_folder_of_another_user_is_refused(tmp_path: Path, given: str) -> None:
    (tmp_path / "open" / "spool").mkdir(parents=True)
    os.chown(tmp_path / given, 65534, 65534)
    with pytest.raises(SpoolError, match="another user"):
        SpoolFolder(tmp_path / "open" / "spool").prepare()


def test_a_file_belongs_to_its_owner_until_that_is_gone(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path)
    file = folder.create(TRACES)
    assert list(folder.adopt(TRACES)) == []
    os.close(file.lock)
    (adopted,) = folder.adopt(TRACES)
    assert adopted.path == file.path
    assert list(folder.adopt(TRACES)) == []
    folder.delete(adopted)
    assert list(tmp_path.iterdir()) == []


def test_files_are_adopted_for_the_same_endpoint_alone_and_the_oldest_first(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path)
    files = [folder.create(TRACES) for _ in range(3)]
    for file in (*files, folder.create(OTHER), folder.create(LOGS), folder.create(OVER_GRPC)):
        os.close(file.lock)
    adopted = list(folder.adopt(TRACES))
    assert [file.path for file in adopted] == [file.path for file in files]
    for file in adopted:
        os.close(file.lock)


def test_what_nobody_wanted_for_long_is_outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SpoolFolder(tmp_path)
    file = folder.create(OTHER)
    other_signal = folder.create(LOGS)
    os.close(other_signal.lock)
    now_ns = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + 8 * 86_400 * 10**9)
    assert list(folder.outdated(TRACES)) == []  # its owner lives
    os.close(file.lock)
    (outdated,) = folder.outdated(TRACES)
    assert outdated.path == file.path
    os.close(outdated.lock)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + 6 * 86_400 * 10**9)
    assert list(folder.outdated(TRACES)) == []


def test_what_the_folder_holds_is_counted_whoevers_it_is(tmp_path: Path) -> None:
    folder = SpoolFolder(tmp_path)
    (tmp_path / "one.db").write_bytes(b"x" * 1000)
    (tmp_path / "one.db-wal").write_bytes(b"x" * 234)
    assert folder.used_bytes() == 1234
    assert SpoolFolder(tmp_path / "missing").used_bytes() == 0
