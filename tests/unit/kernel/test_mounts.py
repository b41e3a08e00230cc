"""Where cgroup v2 and bpffs are, on hosts of every make."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter.common.errors import KernelError
from exporter.kernel.mounts import Mount, cgroup2_root, devices, find_bpffs, is_whole, mounts

UNIFIED = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
HYBRID = """\
30 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,name=systemd"""
CONTAINER = "500 400 0:26 /docker/af01 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw"
BPFFS = "35 24 0:31 / /sys/fs/bpf rw,nosuid shared:12 - bpf bpf rw,mode=700"


def any_is_visible(_: Mount) -> bool:
    return True


@pytest.fixture
def mountinfo(tmp_path: Path) -> Path:
    return tmp_path / "mountinfo"


def test_a_line_has_root_path_and_type() -> None:
    (mount,) = mounts(CONTAINER)
    assert mount == Mount("/docker/af01", Path("/sys/fs/cgroup"), "cgroup2", os.makedev(0, 26), 500)


@pytest.mark.parametrize("fields", ["", "shared:1", "shared:1 master:2 propagate_from:3 unbindable"])
def test_optional_fields_may_be_none_or_many(fields: str) -> None:
    (mount,) = mounts(f"30 24 0:26 / /mnt rw {fields} - bpf bpf rw".replace("  ", " "))
    assert (mount.path, mount.kind) == (Path("/mnt"), "bpf")


def test_octal_escapes_are_read_as_what_they_stand_for() -> None:
    (mount,) = mounts(r"30 24 0:26 /a\134b /mnt/with\040space\011tab\012line\134back rw - bpf none rw")
    assert mount.root == r"/a\b"
    assert mount.path == Path("/mnt/with space\ttab\nline\\back")


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_other_line_breaks_in_a_path_make_no_line(separator: str) -> None:
    (mount,) = mounts(f"30 24 0:26 / /mnt/a{separator}b rw shared:1 master:2 propagate_from:3 - fuse.x x rw")
    assert mount.kind == "fuse.x"


def test_what_is_no_line_is_passed_over() -> None:
    assert mounts("\n-\n - \n1 2 - bpf\ngarbage\n") == []


def test_cgroup_v2_alone_is_where_it_is(mountinfo: Path) -> None:
    mountinfo.write_text(UNIFIED)
    assert cgroup2_root(mountinfo, any_is_visible) == Path("/sys/fs/cgroup")


def test_on_a_hybrid_host_it_is_beside_the_old_one(mountinfo: Path) -> None:
    mountinfo.write_text(HYBRID)
    assert cgroup2_root(mountinfo, any_is_visible) == Path("/sys/fs/cgroup/unified")


def test_the_whole_hierarchy_comes_before_a_part_of_it(mountinfo: Path) -> None:
    mountinfo.write_text(f"{CONTAINER}\n{UNIFIED.replace('/sys/fs/cgroup', '/host/cgroup')}\n")
    assert cgroup2_root(mountinfo, any_is_visible) == Path("/host/cgroup")


def test_in_a_cgroup_namespace_the_whole_is_told_from_the_own_part_by_its_inode(mountinfo: Path) -> None:
    whole = next(mount for mount in mounts(Path("/proc/self/mountinfo").read_text()) if is_whole(mount))
    line = UNIFIED.replace(" / ", " /../.. ").replace("/sys/fs/cgroup", str(whole.path))
    own_part = UNIFIED.replace("/sys/fs/cgroup", "/")
    mountinfo.write_text(f"{own_part}\n{line}\n")
    assert cgroup2_root(mountinfo, any_is_visible) == whole.path
    mountinfo.write_text(own_part)
    assert cgroup2_root(mountinfo, any_is_visible) == Path("/")


def test_a_containers_part_is_refused_with_the_way_out(mountinfo: Path) -> None:
    mountinfo.write_text(CONTAINER)
    with pytest.raises(KernelError, match=r"only a part of cgroup v2 \(/docker/af01\); .*--cgroupns=host"):
        cgroup2_root(mountinfo, any_is_visible)


def test_without_cgroup_v2_it_says_how_to_mount_it(mountinfo: Path) -> None:
    mountinfo.write_text(HYBRID.splitlines()[0] + "\n" + HYBRID.splitlines()[2])
    with pytest.raises(KernelError, match=r"cgroup v2 is not mounted; .*mount -t cgroup2"):
        cgroup2_root(mountinfo, any_is_visible)


def test_without_proc_it_says_so(mountinfo: Path) -> None:
    with pytest.raises(KernelError, match=r"cannot read .*mountinfo: No such file .*; mount -t proc"):
        find_bpffs(mountinfo, any_is_visible)


def test_mounts_at_paths_that_are_not_utf_8_do_no_harm(mountinfo: Path) -> None:
    mountinfo.write_bytes(b"29 24 0:9 / /home/u/\xff\xfe rw - fuse.x x rw\n" + BPFFS.encode())
    assert find_bpffs(mountinfo, any_is_visible) == Path("/sys/fs/bpf")


def test_bpffs_at_its_home_comes_before_another_one(mountinfo: Path) -> None:
    other = BPFFS.replace("/sys/fs/bpf", "/run/bpf")
    mountinfo.write_text(f"{other}\n{BPFFS}\n")
    assert find_bpffs(mountinfo, any_is_visible) == Path("/sys/fs/bpf")
    mountinfo.write_text(other)
    assert find_bpffs(mountinfo, any_is_visible) == Path("/run/bpf")
    mountinfo.write_text(UNIFIED)
    assert find_bpffs(mountinfo, any_is_visible) is None


def test_of_several_mounts_at_one_place_the_last_counts(mountinfo: Path) -> None:
    mountinfo.write_text(f"{UNIFIED}\n{CONTAINER}\n")
    with pytest.raises(KernelError, match="only a part of cgroup v2"):
        cgroup2_root(mountinfo, any_is_visible)


def test_what_is_mounted_somewhere_else_than_its_line_says_does_not_count(
    mountinfo: Path, tmp_path: Path
) -> None:
    there, status = tmp_path / "cgroup", tmp_path.stat()
    there.mkdir()
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    mountinfo.write_text(f"30 24 {device} / {there} rw - cgroup2 none rw")
    assert cgroup2_root(mountinfo) == there
    mountinfo.write_text(f"30 24 0:0 / {there} rw - cgroup2 none rw")
    with pytest.raises(
        KernelError, match=rf"{there}, but another mount covers it; .*mount -t cgroup2 none /run/cgroup2"
    ):
        cgroup2_root(mountinfo)
    mountinfo.write_text(f"30 24 {device} / {there}/gone rw - bpf none rw")
    assert find_bpffs(mountinfo) is None


def test_the_device_of_a_mount_is_found_by_its_id(mountinfo: Path) -> None:
    mountinfo.write_text(f"{CONTAINER}\n{BPFFS}\nx 24 0:31 / /a rw - a a rw\n")
    assert devices(mountinfo) == {500: os.makedev(0, 26), 35: os.makedev(0, 31), 0: os.makedev(0, 31)}
