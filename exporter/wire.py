"""Layout of the kernel's records: `make wire` generates this from bpf/egress.h."""

from __future__ import annotations

import struct
from typing import NamedTuple

LAYOUT = 0xFAE7F998
"""Edition of the layout; every record and every pinned instance carries it."""

ARGUMENTS_PIECE = 4096
ARGUMENTS_MAX = 32768
PATH_ROOM = 1024

KIND_FORK = 1
KIND_EXEC = 2
KIND_ARGUMENTS = 3
KIND_EXIT = 4
KIND_ACT = 5
KINDS = 6

ACT_CONNECT = 1
ACT_SEND = 2

COUNT_SEEN = 0
COUNT_LOST = 1
COUNT_UNTRACKED = 2
COUNTS = 3


class RecordHeader(NamedTuple):
    """`struct record_header`, 32 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int


RECORD_HEADER = struct.Struct("<IH2xQQII")


class ForkRecord(NamedTuple):
    """`struct fork_record`, 56 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    creator_started_ns: int
    creator_pid: int
    creator_exec_id: int
    parent_pid: int
    scope: int


FORK_RECORD = struct.Struct("<IH2xQQIIQIIII")


class ExecRecord(NamedTuple):
    """`struct exec_record`, 1080 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    parent_pid: int
    scope: int
    arguments_size: int
    arguments_here: int
    path_here: int
    path_cut: int
    path: bytes


EXEC_RECORD = struct.Struct("<IH2xQQIIIIIIII1024s")


class ArgumentsRecord(NamedTuple):
    """`struct arguments_record`, 40 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    offset: int
    arguments_here: int


ARGUMENTS_RECORD = struct.Struct("<IH2xQQIIII")


class ExitRecord(NamedTuple):
    """`struct exit_record`, 40 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    wait_status: int


EXIT_RECORD = struct.Struct("<IH2xQQIII4x")


class ActRecord(NamedTuple):
    """`struct act_record`, 96 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    cookie: int
    tid: int
    parent_pid: int
    uid: int
    scope: int
    peer: bytes
    local: bytes
    peer_port: int
    local_port: int
    protocol: int
    act: int


ACT_RECORD = struct.Struct("<IH2xQQIIQIIII16s16sHHHH")


class ProcValue(NamedTuple):
    """`struct proc_value`, 16 bytes."""

    started_ns: int
    scope: int
    exec_id: int


PROC_VALUE = struct.Struct("<QII")


class ConfigValue(NamedTuple):
    """`struct config_value`, 8 bytes."""

    layout: int
    enforcing: int


CONFIG_VALUE = struct.Struct("<II")


OFFSETS = {
    "record_header": (32, {"layout": 0, "kind": 4, "at_ns": 8, "started_ns": 16, "pid": 24, "exec_id": 28}),
    "fork_record": (
        56,
        {
            "layout": 0,
            "kind": 4,
            "at_ns": 8,
            "started_ns": 16,
            "pid": 24,
            "exec_id": 28,
            "creator_started_ns": 32,
            "creator_pid": 40,
            "creator_exec_id": 44,
            "parent_pid": 48,
            "scope": 52,
        },
    ),
    "exec_record": (
        1080,
        {
            "layout": 0,
            "kind": 4,
            "at_ns": 8,
            "started_ns": 16,
            "pid": 24,
            "exec_id": 28,
            "parent_pid": 32,
            "scope": 36,
            "arguments_size": 40,
            "arguments_here": 44,
            "path_here": 48,
            "path_cut": 52,
            "path": 56,
        },
    ),
    "arguments_record": (
        40,
        {
            "layout": 0,
            "kind": 4,
            "at_ns": 8,
            "started_ns": 16,
            "pid": 24,
            "exec_id": 28,
            "offset": 32,
            "arguments_here": 36,
        },
    ),
    "exit_record": (
        40,
        {"layout": 0, "kind": 4, "at_ns": 8, "started_ns": 16, "pid": 24, "exec_id": 28, "wait_status": 32},
    ),
    "act_record": (
        96,
        {
            "layout": 0,
            "kind": 4,
            "at_ns": 8,
            "started_ns": 16,
            "pid": 24,
            "exec_id": 28,
            "cookie": 32,
            "tid": 40,
            "parent_pid": 44,
            "uid": 48,
            "scope": 52,
            "peer": 56,
            "local": 72,
            "peer_port": 88,
            "local_port": 90,
            "protocol": 92,
            "act": 94,
        },
    ),
    "proc_value": (16, {"started_ns": 0, "scope": 8, "exec_id": 12}),
    "config_value": (8, {"layout": 0, "enforcing": 4}),
}
"""Size in bytes of each struct, and the offset of each member."""
