"""What the checks of `ci-egress doctor` make of what they find; the whole runs in tests/integration."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cli.doctor import fields, show
from exporter.common.errors import KernelError
from exporter.kernel import doctor, requirements
from exporter.kernel.compilation.compiling import system_compiler
from exporter.kernel.doctor import Check
from exporter.kernel.elsewhere import FROM_THE_HOST
from exporter.kernel.instances.control import Instance

MISSING = Check("a", ok=False, lost="no tracing: a is missing", fix="install a")
LESS = Check("b", ok=False, lost="no b", fix="install b", is_required=False)
THERE = Check("c", ok=True, found="c 1.0")


@pytest.mark.parametrize("release", ["5.15.0-91-generic", "5.15", "6.1.0", "6.18.5-fc", "10.0"])
def test_kernels_from_5_15_on_are_supported(release: str) -> None:
    assert requirements.supported_kernel(release) == release


@pytest.mark.parametrize("release", ["5.14.21", "5.9.0", "4.19.0", "garbage"])
def test_an_older_kernel_is_named_with_the_oldest_that_works(release: str) -> None:
    with pytest.raises(KernelError, match=rf"Linux {release} is too old; upgrade to Linux 5\.15"):
        requirements.supported_kernel(release)


def test_a_real_time_kernel_whose_rings_may_sleep_is_refused() -> None:
    version = "#1 SMP PREEMPT_RT Debian 6.1.0-1"
    with pytest.raises(KernelError, match=r"Linux 6\.1\.0-rt is a real-time kernel; use .* Linux 6\.12"):
        requirements.supported_kernel("6.1.0-rt", version)
    assert requirements.supported_kernel("6.12.0-rt", version) == "6.12.0-rt"


BPF, PERFMON, NET_ADMIN = requirements.TRACING_CAPABILITIES.values()
SYS_ADMIN = requirements.CAP_SYS_ADMIN


@pytest.mark.parametrize("release", ["5.15.0-25-generic", "6.1.0-50-amd64", "6.8.0-31-generic", "6.18.5"])
def test_the_three_capabilities_of_tracing_are_enough_on_every_kernel(release: str) -> None:
    found = requirements.tracing_capabilities({BPF, PERFMON, NET_ADMIN}.__contains__, release)
    assert found == "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"


def test_cap_sys_admin_does_for_all_three_since_linux_6_9() -> None:
    assert requirements.tracing_capabilities({SYS_ADMIN}.__contains__, "6.9.0")


def test_before_linux_6_9_it_does_not_for_cap_net_admin() -> None:
    assert requirements.tracing_capabilities({SYS_ADMIN, NET_ADMIN}.__contains__, "6.8.12")
    with pytest.raises(KernelError, match=r"^CAP_NET_ADMIN is missing; .*, or with CAP_NET_ADMIN$"):
        requirements.tracing_capabilities({SYS_ADMIN}.__contains__, "6.8.12")


@pytest.mark.parametrize(
    ("release", "enough"),
    [("6.8", "CAP_SYS_ADMIN and CAP_NET_ADMIN are enough"), ("6.9", "CAP_SYS_ADMIN alone is enough")],
)
def test_it_is_said_where_cap_sys_admin_is_enough(release: str, enough: str) -> None:
    with pytest.raises(KernelError) as raised:
        requirements.tracing_capabilities(set[int]().__contains__, release)
    assert str(raised.value).startswith("CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN are missing; run it as root")
    assert str(raised.value).endswith(f", or with CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN ({enough} instead)")


@pytest.mark.parametrize(
    ("started_as", "called"),
    [
        ("/usr/bin/ci-egress", "sudo -E ci-egress"),
        ("/usr/local/bin/ci-egress", "sudo -E /usr/local/bin/ci-egress"),
        ("/opt/exporter/.venv/bin/ci-egress", "sudo -E /opt/exporter/.venv/bin/ci-egress"),
        ("/home/ci/my builds/ci-egress", "sudo -E '/home/ci/my builds/ci-egress'"),
        (".venv/bin/ci-egress", f"sudo -E {Path.cwd()}/.venv/bin/ci-egress"),
        ("/opt/ci-egress/lib/__main__.py", "sudo -E ci-egress"),
    ],
)
def test_root_is_told_the_path_of_a_ci_egress_that_it_would_not_find(started_as: str, called: str) -> None:
    assert requirements.as_root(started_as) == called


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(KernelError, match="riscv64 is not supported; use one of x86_64, aarch64"):
        requirements.supported_machine("riscv64")


def test_another_pid_namespace_than_the_hosts_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "pid"
    link.symlink_to("pid:[4026532178]")
    with pytest.raises(KernelError, match=r"namespace pid:\[4026532178\]; .*--pid=host"):
        requirements.host_pid_namespace(link)


def test_another_time_namespace_than_the_hosts_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "time"
    link.symlink_to("time:[4026532177]")
    with pytest.raises(KernelError, match=r"namespace time:\[4026532177\]; .*unshare --time"):
        requirements.host_time_namespace(link)


def test_a_kernel_without_time_namespaces_is_no_obstacle(tmp_path: Path) -> None:
    assert requirements.host_time_namespace(tmp_path / "time") == "there are none"


def test_without_proc_the_pid_namespace_is_unknown_and_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="mount -t proc"):
        requirements.host_pid_namespace(tmp_path / "pid")


def test_the_hosts_pid_namespace_is_the_kernels_first(tmp_path: Path) -> None:
    link = tmp_path / "pid"
    link.symlink_to("pid:[4026531836]")
    assert requirements.host_pid_namespace(link) == "pid:[4026531836]"


def test_a_containers_cgroup_namespace_costs_something_but_not_tracing(tmp_path: Path) -> None:
    link = tmp_path / "cgroup"
    link.symlink_to("cgroup:[4026532300]")
    check = doctor.host_cgroup_namespace(link, lambda: False)
    assert (check.ok, check.is_required) == (False, False)
    assert "4026532300" in check.lost
    assert "--cgroupns=host" in check.fix


def test_a_containers_cgroup_namespace_costs_nothing_where_the_hosts_cgroups_are_mounted(
    tmp_path: Path,
) -> None:
    link = tmp_path / "cgroup"
    link.symlink_to("cgroup:[4026532300]")
    assert doctor.host_cgroup_namespace(link, lambda: True).ok


def test_a_python_without_bcc_is_told_apart_by_the_compiler() -> None:
    with pytest.raises(KernelError, match=r"cannot use BCC: .*; apt-get install python3-bpfcc"):
        system_compiler(sys.executable).version()


def test_no_python_at_all_is_told() -> None:
    with pytest.raises(KernelError, match="cannot run /nonexistent/python3"):
        system_compiler("/nonexistent/python3").version()


def test_bcc_is_needed_only_where_the_programs_are_compiled() -> None:
    without = system_compiler(sys.executable)
    found = [
        doctor.programs(without, ahead=lambda _: "an object"),
        doctor.programs(without, ahead=lambda _: None),
        doctor.programs(without, compiles=True, ahead=lambda _: "an object"),
    ]
    assert [check.ok for check in found] == [True, False, False]
    assert all(check.is_required and "cannot use BCC" in check.lost for check in found[1:])


def test_what_run_would_say_becomes_the_check() -> None:
    def need() -> str:
        raise KernelError("it is missing", hint="install it", detail="said the tool")

    check = doctor.require("it", need)
    assert check == Check(
        "it", ok=False, lost="no tracing: it is missing", fix="install it", detail="said the tool"
    )


def test_bpffs_that_is_mounted_is_shown_with_its_place() -> None:
    assert doctor.bpffs(lambda: Path("/mnt/bpf")) == "/mnt/bpf"


def test_what_this_user_may_not_look_at_is_said_to_be_unchecked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requirements, "has_effective", lambda *_: False)

    def refused() -> list[Instance]:
        raise KernelError("CAP_BPF is missing", hint="run it as root")

    checks = [*doctor.frames(), *doctor.security_hooks(), *doctor.left_over(refused)]
    assert doctor.would_work(checks)
    show(checks, verbose=False)
    assert capsys.readouterr().out.splitlines() == [
        "packet sockets  not checked  this user may not look; run doctor as root",
        "security hooks  not checked  this user may not look; run doctor as root",
        "leftovers       not checked  this user may not look; run doctor as root",
        "`ci-egress run` works here",
    ]
    told = {"ok": False, "lost": "this user may not look", "fix": "run doctor as root"}
    assert fields(checks)["checks"] == [{"name": check.name, **told} for check in checks]


def test_run_works_when_only_something_helpful_is_missing() -> None:
    assert doctor.would_work([THERE, LESS])
    assert not doctor.would_work([THERE, LESS, MISSING])


def test_what_a_tool_said_is_shown_line_by_line_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    refused = replace(MISSING, detail="1: (bf) r0 = r9\nR9 !read_ok")
    show([refused, THERE], verbose=True)
    first, *shown, verdict = capsys.readouterr().out.splitlines()
    assert first.split() == ["a", "missing", "no", "tracing:", "a", "is", "missing;", "install", "a"]
    assert [line.rstrip() for line in shown[-2:]] == ["1: (bf) r0 = r9", "R9 !read_ok"]
    assert verdict == "`ci-egress run` can't trace here"
    show([refused, THERE], verbose=False)
    assert "R9" not in capsys.readouterr().out


def test_the_json_has_four_fields_a_check_and_null_for_what_is_ok() -> None:
    assert fields([THERE, LESS]) == {
        "ok": True,
        "instead": None,
        "checks": [
            {"name": "c", "ok": True, "lost": None, "fix": None},
            {"name": "b", "ok": False, "lost": "no b", "fix": "install b"},
        ],
    }
    assert fields([MISSING])["ok"] is False


def test_where_another_way_than_run_is_needed_it_is_said_last(capsys: pytest.CaptureFixture[str]) -> None:
    inside = replace(MISSING, name="pid namespace")
    show([inside, THERE], verbose=False)
    *_, verdict, way = capsys.readouterr().out.splitlines()
    assert (verdict, way) == ("`ci-egress run` can't trace here", FROM_THE_HOST)
    assert fields([inside])["instead"] == FROM_THE_HOST
