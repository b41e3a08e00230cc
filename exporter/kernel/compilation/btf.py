"""Offsets of kernel struct members, and numbers of functions, from the running kernel's own BTF."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from exporter.common.errors import KernelError

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_HEADER = struct.Struct("<HBBIIIII")
_MAGIC = 0xEB9F
_KIND_STRUCT, _KIND_UNION, _KIND_FUNCTION = 4, 5, 12
_TRANSPARENT_KINDS = {8, 9, 10, 11, 18}  # typedef, volatile, const, restrict, type tag

# All is counted in words of 4 bytes. A type has three: its name's offset, its kind and number of entries, and
# a size or another type. Behind them are those of its kind: fixed, and for each entry (linux/btf.h).
_TYPE_WORDS, _MEMBER_WORDS = 3, 3
_FIXED_WORDS = {1: 1, 3: 3, 14: 1, 17: 1}
_ENTRY_WORDS = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}
_KIND_AND_ENTRIES = 0x1F00FFFF

# The constant in bpf/ for each offset, and the member that the offset is of. A union's or an anonymous
# struct's members count as the struct's own, as in C.
MEMBERS = {
    "TASK_FLAGS": ("task_struct", "flags"),
    "TASK_NAME": ("task_struct", "comm"),
    "TASK_MM": ("task_struct", "mm"),
    "TASK_PID": ("task_struct", "pid"),
    "TASK_TGID": ("task_struct", "tgid"),
    "TASK_START": ("task_struct", "start_boottime"),
    "TASK_EXECS": ("task_struct", "self_exec_id"),
    "TASK_CRED": ("task_struct", "cred"),
    "CRED_UID": ("cred", "uid"),
    "TASK_ABI": ("task_struct", "thread_info", "status"),
    "SIGINFO_CODE": ("kernel_siginfo", "si_code"),
    "URING_OPCODE": ("io_kiocb", "opcode"),
    "URING_SOCKET_FAMILY": ("io_socket", "domain"),
    "URING_SOCKET_TYPE": ("io_socket", "type"),
    "URING_SOCKET_PROTOCOL": ("io_socket", "protocol"),
    "TASK_NUMBERS": ("task_struct", "thread_pid"),
    "NUMBERS_LEVEL": ("pid", "level"),
    "TASK_NAMESPACES": ("task_struct", "nsproxy"),
    "NAMESPACES_NETWORK": ("nsproxy", "net_ns"),
    "NETWORK_NUMBER": ("net", "ns", "inum"),
    "TASK_REAL_PARENT": ("task_struct", "real_parent"),
    "TASK_GROUP_LEADER": ("task_struct", "group_leader"),
    "TASK_SIGNAL": ("task_struct", "signal"),
    "TASK_EXIT_CODE": ("task_struct", "exit_code"),
    "SIGNAL_LIVE": ("signal_struct", "live"),
    "SIGNAL_FLAGS": ("signal_struct", "flags"),
    "SIGNAL_GROUP_EXIT_CODE": ("signal_struct", "group_exit_code"),
    "MM_ARG_START": ("mm_struct", "arg_start"),
    "MM_ARG_END": ("mm_struct", "arg_end"),
    "MM_ENV_START": ("mm_struct", "env_start"),
    "MM_ENV_END": ("mm_struct", "env_end"),
    "MM_EXE_FILE": ("mm_struct", "exe_file"),
    "FILE_MNT": ("file", "f_path", "mnt"),
    "FILE_DENTRY": ("file", "f_path", "dentry"),
    "DENTRY_PARENT": ("dentry", "d_parent"),
    "DENTRY_NAME": ("dentry", "d_name", "name"),
    "TASK_CGROUPS": ("task_struct", "cgroups"),
    "CSS_SET_CGROUP": ("css_set", "dfl_cgrp"),
    "CGROUP_NODE": ("cgroup", "kn"),
    "CGROUP_LEVEL": ("cgroup", "level"),
    "CGROUP_PARENT": ("cgroup", "self", "parent"),
    "CSS_CGROUP": ("cgroup_subsys_state", "cgroup"),
    "NODE_NAME": ("kernfs_node", "name"),
    "VFSMOUNT_ROOT": ("vfsmount", "mnt_root"),
    "SOCK_FAMILY": ("sock", "__sk_common", "skc_family"),
    "SOCK_COOKIE": ("sock", "__sk_common", "skc_cookie"),
    "SOCK_ERROR": ("sock", "sk_err"),
    "SOCK_ERROR_QUEUE": ("sock", "sk_error_queue"),
    "SKB_CONTROL": ("sk_buff", "cb"),
    "QUEUED_ERROR": ("sock_exterr_skb", "ee", "ee_errno"),
    "QUEUED_ORIGIN": ("sock_exterr_skb", "ee", "ee_origin"),
    "SOCK_SOCKET": ("sock", "sk_socket"),
    "SOCK_OWNED": ("sock", "sk_lock", "owned"),
    "SOCKET_FILE": ("socket", "file"),
    "SOCKET_SOCK": ("socket", "sk"),
    "TASK_FILES": ("task_struct", "files"),
    "FILES_TABLE": ("files_struct", "fdt"),
    "TABLE_FILES": ("fdtable", "fd"),
    "FILE_PRIVATE": ("file", "private_data"),
    "INET_OPTIONS": ("inet_sock", "inet_opt"),
    "CONNECTION_PROTOCOL": ("inet_connection_sock", "icsk_ulp_ops"),
    "CONNECTION_DATA": ("inet_connection_sock", "icsk_ulp_data"),
    "UPPER_NAME": ("tcp_ulp_ops", "name"),
    "SUBFLOW_UPPER": ("mptcp_subflow_context", "conn"),
    "MPTCP_FIRST": ("mptcp_sock", "first"),
    "SKB_DEVICE": ("sk_buff", "dev"),
    "SKB_HEAD": ("sk_buff", "head"),
    "SKB_END": ("sk_buff", "end"),
    "SHARED_FLAGS": ("skb_shared_info", "flags"),
    "DEVICE_LINK_OPS": ("net_device", "rtnl_link_ops"),
    "LINK_KIND": ("rtnl_link_ops", "kind"),
    "INET_IPV6": ("inet_sock", "pinet6"),
    "IPV6_OPTIONS": ("ipv6_pinfo", "opt"),
    "SOCK_NETWORK": ("sock", "__sk_common", "skc_net", "net"),
    "NETWORK_USERS": ("net", "user_ns"),
    "NETWORK_COOKIE": ("net", "net_cookie"),
    "USERS_LEVEL": ("user_namespace", "level"),
    "SOCK_FLAGS": ("sock", "__sk_common", "skc_flags"),
    "SOCK_CALLBACKS": ("tcp_sock", "bpf_sock_ops_cb_flags"),
    "MOUNT_MNT": ("mount", "mnt"),
    "MOUNT_NS": ("mount", "mnt_ns"),
    "MOUNT_PARENT": ("mount", "mnt_parent"),
    "MOUNT_MOUNTPOINT": ("mount", "mnt_mountpoint"),
    "FILE_INODE": ("file", "f_inode"),
    "INODE_NUMBER": ("inode", "i_ino"),
    "INODE_SUPER": ("inode", "i_sb"),
    "INODE_CTIME_SEC": ("inode", "i_ctime_sec"),
    "INODE_CTIME_NSEC": ("inode", "i_ctime_nsec"),
    "SUPER_DEVICE": ("super_block", "s_dev"),
    "UNIX_ADDRESS": ("unix_sock", "addr"),
    "UNIX_DENTRY": ("unix_sock", "path", "dentry"),
    "UNIX_ADDRESS_SIZE": ("unix_address", "len"),
    "UNIX_ADDRESS_NAME": ("unix_address", "name"),
    "CONTEXT_ADDRESS": ("bpf_sock_addr_kern", "uaddr"),
    "CONTEXT_ADDRESS_SIZE": ("bpf_sock_addr_kern", "uaddrlen"),
    "DENTRY_INODE": ("dentry", "d_inode"),
    "SOCK_LISTENER": ("sock", "sk_peer_pid"),
    "PID_TASKS": ("pid", "tasks"),
    "TASK_PID_LINKS": ("task_struct", "pid_links"),
}
ELSEWHERE: dict[str, list[tuple[str, ...]]] = {
    "TASK_ABI": [("task_struct", "thread_info", "flags")],
    "INODE_CTIME_SEC": [("inode", "__i_ctime", "tv_sec"), ("inode", "i_ctime", "tv_sec")],
    "INODE_CTIME_NSEC": [("inode", "__i_ctime", "tv_nsec"), ("inode", "i_ctime", "tv_nsec")],
}
"""The places of some MEMBERS in other kernels: on arm64; in Linux 6.6 to 6.10, and before 6.6."""
OPTIONAL = frozenset(
    {
        *("io_kiocb", "io_socket", "mptcp_subflow_context", "mptcp_sock"),
        *("unix_address", "unix_sock", "bpf_sock_addr_kern"),
    }
)
"""Structs that, or of which members, a kernel may lack, along with the feature that uses them; their offsets
are 0 then."""
_SECURITY_HOOKS = (
    *("socket_sendmsg", "socket_create", "socket_listen", "unix_stream_connect", "unix_may_send"),
    *("bpf", "ptrace_access_check"),
)
_FUNCTION_EXITS = ("inet_stream_connect",)
KERNEL_CONTEXT = "bpf_cast_to_kern_ctx"
"""The function that gives a program the kernel's own context."""
PREEMPTION = ("bpf_preempt_disable", "bpf_preempt_enable")
"""The functions that keep a program from being preempted, and end that."""
KERNEL_FUNCTIONS = dict(zip((KERNEL_CONTEXT, *PREEMPTION), range(0x70000001, 0x70000004), strict=True))
"""The functions that programs call, with the numbers that bpf/ calls them by (bpf/maps.h)."""
FUNCTIONS = (
    *(f"{prefix}_{hook}" for hook in _SECURITY_HOOKS for prefix in ("bpf_lsm", "security")),
    *_FUNCTION_EXITS,
    *KERNEL_FUNCTIONS,
)
"""The functions that programs are attached to, or call, of which a kernel may lack some."""


class Btf:
    """The types of one BTF blob, in which structs and their members are looked up by name."""

    def __init__(self, blob: bytes) -> None:
        """Index the types of `blob`, a whole BTF section. Raises KernelError when it isn't one."""
        if len(blob) < _HEADER.size:
            raise KernelError("the kernel's BTF is empty", hint="boot a kernel with CONFIG_DEBUG_INFO_BTF=y")
        magic, _, _, header_size, type_at, type_size, string_at, string_size = _HEADER.unpack_from(blob)
        if magic != _MAGIC:
            raise KernelError(
                f"the kernel's BTF begins with {magic:#x}", hint="boot a kernel with CONFIG_DEBUG_INFO_BTF=y"
            )
        first = header_size + type_at
        self._words = memoryview(blob)[first : first + type_size // 4 * 4].cast("I")
        self._strings = blob[header_size + string_at : header_size + string_at + string_size]
        self._at = self._walk()

    def _walk(self) -> list[int]:
        """Return where each type's words begin, by type id: ids begin at 1, and 0 is void.

        There are more than a hundred thousand types, of few lengths: each length is calculated once.
        """
        words, places, lengths = self._words, [0], dict[int, int]()
        at, end, known = 0, len(words), lengths.get
        while at < end:
            places.append(at)
            info = words[at + 1] & _KIND_AND_ENTRIES
            length = known(info)
            if length is None:
                kind, entries = info >> 24, info & 0xFFFF
                length = _TYPE_WORDS + _FIXED_WORDS.get(kind, 0) + _ENTRY_WORDS.get(kind, 0) * entries
                lengths[info] = length
            at += length
        return places

    def _name(self, offset: int) -> bytes:
        return self._strings[offset : self._strings.index(b"\0", offset)]

    def _type(self, type_id: int) -> memoryview[int]:
        return self._words[self._at[type_id] : self._at[type_id] + _TYPE_WORDS]

    def _named(self, names: Collection[str]) -> Iterator[tuple[str, int, int, int]]:
        """Yield the name, type id, kind and number of members of each type whose name is in `names`."""
        wanted = {}
        for name in names:
            offset = self._strings.find(b"\0" + name.encode() + b"\0")
            if offset >= 0:
                wanted[offset + 1] = name
        words = self._words
        for type_id in [type_id for type_id, at in enumerate(self._at) if words[at] in wanted]:
            name_at, info, _ = self._type(type_id)
            yield wanted[name_at], type_id, info >> 24 & 0x1F, info & 0xFFFF

    def functions(self, names: Collection[str]) -> dict[str, int]:
        """Return the type ids, by name, of those functions in `names` that this kernel has."""
        return {name: type_id for name, type_id, kind, _ in self._named(names) if kind == _KIND_FUNCTION}

    def _structs(self, names: Collection[str]) -> dict[str, int]:
        found = self._named(names)
        return {name: type_id for name, type_id, kind, number in found if kind == _KIND_STRUCT and number}

    def _member(self, type_id: int, name: bytes) -> tuple[int, int] | None:
        """Find the member `name`, also in an anonymous struct or union: its offset in bytes and its type."""
        _, info, referred = self._type(type_id)
        kind = info >> 24 & 0x1F
        if kind in _TRANSPARENT_KINDS:
            return self._member(referred, name)
        if kind not in (_KIND_STRUCT, _KIND_UNION):
            return None
        is_bitfield_form = info >> 31
        for index in range(info & 0xFFFF):
            at = self._at[type_id] + _TYPE_WORDS + _MEMBER_WORDS * index
            name_at, member_type, offset = self._words[at : at + _MEMBER_WORDS]
            offset_bytes = (offset & 0xFFFFFF if is_bitfield_form else offset) // 8
            if name_at and self._name(name_at) == name:
                return offset_bytes, member_type
            if not name_at:
                inner = self._member(member_type, name)
                if inner:
                    return offset_bytes + inner[0], inner[1]
        return None

    def offsets(self, members: dict[str, tuple[str, ...]]) -> dict[str, int]:
        """Return the offset in bytes of each member, given as (struct, member[, member of that member]).

        Raises KernelError naming the first one that this kernel lacks, unless its struct is OPTIONAL.
        """
        structs = self._structs({path[0] for path in members.values()})
        found = {}
        for constant, path in members.items():
            ways = [path, *ELSEWHERE.get(constant, ())]
            offset = next((at for way in ways if (at := self._offset(structs, way)) is not None), None)
            if offset is None and path[0] not in OPTIONAL:
                raise KernelError(
                    f"this kernel's BTF has no {'.'.join(path)}",
                    hint="ci-egress doesn't know this kernel's layout: report its version",
                )
            found[constant] = offset or 0
        return found

    def _offset(self, structs: dict[str, int], path: tuple[str, ...]) -> int | None:
        offset, type_id = 0, structs.get(path[0])
        for name in path[1:]:
            step = None if type_id is None else self._member(type_id, name.encode())
            if step is None:
                return None
            offset, type_id = offset + step[0], step[1]
        return offset


class KernelTypes(NamedTuple):
    """The parts of a kernel's BTF that are needed."""

    offsets: dict[str, int]
    """The offset in bytes for every constant in MEMBERS."""
    functions: dict[str, int]
    """The type id of each of FUNCTIONS, by name; one that this kernel lacks is left out."""


def kernel_types(path: Path = VMLINUX) -> KernelTypes:
    """Read the running kernel's BTF, once. Raises KernelError."""
    return _types_in(path)


@cache
def _types_in(path: Path) -> KernelTypes:
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise KernelError(
            f"cannot read the kernel's BTF ({path}: {error.strerror})",
            hint="boot a kernel with CONFIG_DEBUG_INFO_BTF=y (every distribution's since 2021 has it)",
        ) from None
    types = Btf(blob)
    return KernelTypes(types.offsets(MEMBERS), types.functions(FUNCTIONS))


def kernel_offsets(path: Path = VMLINUX) -> dict[str, int]:
    """Return the offset in bytes for every constant in MEMBERS, on the running kernel. Raises KernelError."""
    return kernel_types(path).offsets
