"""Layout of the kernel's records: `make wire` generates this from bpf/egress.h."""

from __future__ import annotations

import struct
from typing import NamedTuple

LAYOUT = 0x4CF65D36
"""Edition of the layout; every record and every pinned instance carries it."""

ARGUMENTS_PIECE = 4096
ARGUMENTS_MAX = 32768
ENVIRONMENT_MAX = 262144
PATH_ROOM = 1024
CGROUP_ROOM = 96
MESSAGE_ROOM = 2048
AGENT_NAME_ROOM = 56
MARK_ROOM = 28
FILE_NAMES_MAX = 4
SOCKET_NAME_ROOM = 108
UNIT_ROOM = 64

KIND_FORK = 1
KIND_EXEC = 2
KIND_ARGUMENTS = 3
KIND_EXIT = 4
KIND_ACT = 5
KIND_FLOW = 6
KIND_AGGREGATE = 7
KIND_DNS = 8
KIND_TAMPER = 9
KIND_ENVIRONMENT = 10
KIND_BYTES = 11
KINDS = 12

ACT_CONNECT = 1
ACT_SEND = 2
ACT_CREATE = 3
ACTS = 4

OUTCOME_NONE = 0
OUTCOME_ESTABLISHED = 1
OUTCOME_REFUSED = 2
OUTCOME_TIMEOUT = 3
OUTCOME_RESET = 4
OUTCOME_UNREACHABLE = 5
OUTCOME_ABORTED = 6
OUTCOME_OPEN = 7

VERDICT_NONE = 0
VERDICT_ALLOW = 1
VERDICT_DENY = 2
VERDICT_AUDIT = 3
VERDICTS = 4

ALTERNATIVES_MAX = 16
STEPS_MAX = 64
CLASSES = 3
HOST_NAME_ROOM = 252

FINAL = 2147483648

RULE_OF_LOOKUPS = 4294967292
RULE_OF_NOTHING_SENT = 4294967293
RULE_OF_ANSWERS = 4294967294
RULE_OF_NAMES = 4294967295

NAMED_WITHOUT_RULES = 2147483647
NAMED_MAY_BE_ASKED = 2147483648

PORTLESS_ICMP = 1
PORTLESS_TCP = 2
PORTLESS_UDP = 4
PORTLESS_OTHER = 8

TAMPER_PACKET_SOCKET = 1
TAMPER_BPF = 2
TAMPER_SIGNAL = 3
TAMPER_PTRACE = 4
TAMPER_MEMORY = 5
TAMPER_XDP_SOCKET = 6
TAMPER_FRAMES = 7
TAMPER_MARKS = 8
TAMPER_VSOCK_SOCKET = 9
TAMPER_OTHER_MEMORY = 10

PROTOCOL_UNIX = 4096
POLICY_UNIX = 255

JOB_NAME_ROOM = 256
RUN_ID_ROOM = 128

JOB_MODE_NONE = 0
JOB_MODE_AUDIT = 1
JOB_MODE_ENFORCE = 2
JOB_MODE_STOPPED = 3

FLOW_ESTABLISHED = 1
FLOW_ENDED = 2
FLOW_NEVER_SENT = 3
FLOW_FAILED = 4

STANDING_NONE = 0
STANDING_AGENT = 1
STANDING_STEP = 2
STANDING_MARKED = 3
STANDING_MARKED_STEP = 4

NOTICED_START = 1
NOTICED_PROGRAM = 2
NOTICED_VARIABLES = 4
NOTICED_ALL = 7
NOTICED_NOTHING = 8

SCOPE_WITHOUT_ROOM = 1
SCOPE_EARLY = 2147483648

AGENT_PROGRAM = 1
AGENT_UNIT = 2
AGENT_USER = 3

DNS_QUERY = 1
DNS_ANSWER = 2

COUNT_SEEN = 0
COUNT_LOST = 1
COUNT_UNTRACKED = 2
COUNT_UNREAD = 3
COUNT_UNASKED = 4
COUNT_UNGRANTED = 5
COUNT_KEPT_BACK = 6
COUNTS = 7

PLACE_FLOW = 0
PLACE_OTHER_FLOW = 1
PLACE_SLOT = 2
PLACE_OTHER_SLOT = 3
PLACE_RECORD = 4
PLACES = 8

METERING_NONE = 0
METERING_TOLD = 1
METERING_COUNTED = 2

PEERS_ANY = 1
PEERS_CONNECTED = 2
PEERS_SEVERAL = 4


class RecordHeader(NamedTuple):
    """`struct record_header`, 32 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int

    @classmethod
    def unpack(cls, data: bytes) -> RecordHeader:
        """Read one from 32 bytes."""
        return cls._make(RECORD_HEADER.unpack(data))


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

    @classmethod
    def unpack(cls, data: bytes) -> ForkRecord:
        """Read one from 56 bytes."""
        return cls._make(FORK_RECORD.unpack(data))


FORK_RECORD = struct.Struct("<IH2xQQIIQIIII")


class ExecRecord(NamedTuple):
    """`struct exec_record`, 1176 bytes."""

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
    cgroup: bytes

    @classmethod
    def unpack(cls, data: bytes) -> ExecRecord:
        """Read one from 1176 bytes."""
        return cls._make(EXEC_RECORD.unpack(data))


EXEC_RECORD = struct.Struct("<IH2xQQIIIIIIII1024s96s")


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

    @classmethod
    def unpack(cls, data: bytes) -> ArgumentsRecord:
        """Read one from 40 bytes."""
        return cls._make(ARGUMENTS_RECORD.unpack(data))


ARGUMENTS_RECORD = struct.Struct("<IH2xQQIIII")


class EnvironmentRecord(NamedTuple):
    """`struct environment_record`, 64 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    size: int
    offset: int
    here: int
    standing: int
    agent: int
    parent_started_ns: int
    parent_pid: int

    @classmethod
    def unpack(cls, data: bytes) -> EnvironmentRecord:
        """Read one from 64 bytes."""
        return cls._make(ENVIRONMENT_RECORD.unpack(data))


ENVIRONMENT_RECORD = struct.Struct("<IH2xQQIIIIIHHQI4x")


class ExitRecord(NamedTuple):
    """`struct exit_record`, 40 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    wait_status: int

    @classmethod
    def unpack(cls, data: bytes) -> ExitRecord:
        """Read one from 40 bytes."""
        return cls._make(EXIT_RECORD.unpack(data))


EXIT_RECORD = struct.Struct("<IH2xQQIII4x")


class ActRecord(NamedTuple):
    """`struct act_record`, 128 bytes."""

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
    rule: int
    verdict: int
    held: int
    policy: int
    is_metered: int
    name_here: int

    @classmethod
    def unpack(cls, data: bytes) -> ActRecord:
        """Read one from 128 bytes."""
        return cls._make(ACT_RECORD.unpack(data))


ACT_RECORD = struct.Struct("<IH2xQQIIQIIII16s16sHHHHIIQIII4x")


class FlowRecord(NamedTuple):
    """`struct flow_record`, 88 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    cookie: int
    bytes_sent: int
    bytes_received: int
    local: bytes
    rtt_us: int
    local_port: int
    error: int
    stage: int
    outcome: int

    @classmethod
    def unpack(cls, data: bytes) -> FlowRecord:
        """Read one from 88 bytes."""
        return cls._make(FLOW_RECORD.unpack(data))


FLOW_RECORD = struct.Struct("<IH2xQQIIQQQ16sIHHHH4x")


class BytesRecord(NamedTuple):
    """`struct bytes_record`, 64 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    cookie: int
    acted_ns: int
    bytes_sent: int
    bytes_received: int

    @classmethod
    def unpack(cls, data: bytes) -> BytesRecord:
        """Read one from 64 bytes."""
        return cls._make(BYTES_RECORD.unpack(data))


BYTES_RECORD = struct.Struct("<IH2xQQIIQQQQ")


class AggregateRecord(NamedTuple):
    """`struct aggregate_record`, 120 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    last_ns: int
    attempts: int
    bytes_sent: int
    bytes_received: int
    parent_pid: int
    uid: int
    scope: int
    peer_port: int
    protocol: int
    peer: bytes
    act: int
    outcome: int
    other: int
    verdict: int
    window: int
    rule: int
    policy: int
    held: int

    @classmethod
    def unpack(cls, data: bytes) -> AggregateRecord:
        """Read one from 120 bytes."""
        return cls._make(AGGREGATE_RECORD.unpack(data))


AGGREGATE_RECORD = struct.Struct("<IH2xQQIIQQQQIIIHH16sBBBBIIIQ")


class DnsRecord(NamedTuple):
    """`struct dns_record`, 72 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    cookie: int
    resolver: bytes
    scope: int
    resolver_port: int
    message_size: int
    message_here: int
    protocol: int
    stage: int
    counts: int
    doubtful: int

    @classmethod
    def unpack(cls, data: bytes) -> DnsRecord:
        """Read one from 72 bytes."""
        return cls._make(DNS_RECORD.unpack(data))


DNS_RECORD = struct.Struct("<IH2xQQIIQ16sIHHHBBHH")


class TamperRecord(NamedTuple):
    """`struct tamper_record`, 80 bytes."""

    layout: int
    kind: int
    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    scope: int
    uid: int
    parent_pid: int
    times: int
    detail: int
    network: int
    what: int
    is_denied: int
    target: bytes

    @classmethod
    def unpack(cls, data: bytes) -> TamperRecord:
        """Read one from 80 bytes."""
        return cls._make(TAMPER_RECORD.unpack(data))


TAMPER_RECORD = struct.Struct("<IH2xQQIIIIIIIIII16s")

TAMPER_KEY = struct.Struct("<QII")

TAMPER_VALUE = struct.Struct("<QI4x")

QUERY_KEY = struct.Struct("<QQ16sHH4x")


class QueryValue(NamedTuple):
    """`struct query_value`, 40 bytes."""

    at_ns: int
    started_ns: int
    pid: int
    exec_id: int
    scope: int
    policy: int
    told: int
    on_loopback: int
    doubtful: int

    @classmethod
    def unpack(cls, data: bytes) -> QueryValue:
        """Read one from 40 bytes."""
        return cls._make(QUERY_VALUE.unpack(data))


QUERY_VALUE = struct.Struct("<QQIIIIBBH4x")


class QuotaValue(NamedTuple):
    """`struct quota_value`, 16 bytes."""

    noted: int
    answered: int

    @classmethod
    def unpack(cls, data: bytes) -> QuotaValue:
        """Read one from 16 bytes."""
        return cls._make(QUOTA_VALUE.unpack(data))


QUOTA_VALUE = struct.Struct("<QQ")

FLOW_KEY = struct.Struct("<QII16sHHBBBB")

FLOW_VALUE = struct.Struct("<II")

PLACES_VALUE = struct.Struct("<32s")


class ActValue(NamedTuple):
    """`struct act_value`, 88 bytes."""

    started_ns: int
    pid: int
    exec_id: int
    peer: bytes
    peer_port: int
    protocol: int
    act: int
    outcome: int
    other: int
    verdict: int
    at_ns: int
    cookie: int
    parent_pid: int
    uid: int
    scope: int
    tid: int
    rule: int
    policy: int
    held: int

    @classmethod
    def unpack(cls, data: bytes) -> ActValue:
        """Read one from 88 bytes."""
        return cls._make(ACT_VALUE.unpack(data))


ACT_VALUE = struct.Struct("<QII16sHHBBBBQQIIIIIIQ")

LAST_PEER = struct.Struct("<QII16sHHBBBBQQIIIIIIQQQIIIIIBBH16s16s16sHHI")


class PolicyKey(NamedTuple):
    """`struct policy_key`, 28 bytes."""

    prefix_bits: int
    policy: int
    port: int
    protocol: int
    address: bytes

    @classmethod
    def unpack(cls, data: bytes) -> PolicyKey:
        """Read one from 28 bytes."""
        return cls._make(POLICY_KEY.unpack(data))


POLICY_KEY = struct.Struct("<IIHB1x16s")


class ChoiceValue(NamedTuple):
    """`struct choice_value`, 24 bytes."""

    needed: int
    rule: int
    rank: int
    following: int
    verdict: int

    @classmethod
    def unpack(cls, data: bytes) -> ChoiceValue:
        """Read one from 24 bytes."""
        return cls._make(CHOICE_VALUE.unpack(data))


CHOICE_VALUE = struct.Struct("<QIIII")


class NameKey(NamedTuple):
    """`struct name_key`, 260 bytes."""

    prefix_bits: int
    policy: int
    name: bytes

    @classmethod
    def unpack(cls, data: bytes) -> NameKey:
        """Read one from 260 bytes."""
        return cls._make(NAME_KEY.unpack(data))


NAME_KEY = struct.Struct("<II252s")


class GrantedKey(NamedTuple):
    """`struct granted_key`, 24 bytes."""

    scope: int
    policy: int
    address: bytes

    @classmethod
    def unpack(cls, data: bytes) -> GrantedKey:
        """Read one from 24 bytes."""
        return cls._make(GRANTED_KEY.unpack(data))


GRANTED_KEY = struct.Struct("<II16s")


class GrantedValue(NamedTuple):
    """`struct granted_value`, 32 bytes."""

    sets_low: int
    sets_high: int
    until_ns: int
    used: int

    @classmethod
    def unpack(cls, data: bytes) -> GrantedValue:
        """Read one from 32 bytes."""
        return cls._make(GRANTED_VALUE.unpack(data))


GRANTED_VALUE = struct.Struct("<QQQI4x")


class PortKey(NamedTuple):
    """`struct port_key`, 8 bytes."""

    policy: int
    port: int
    protocol: int
    step: int

    @classmethod
    def unpack(cls, data: bytes) -> PortKey:
        """Read one from 8 bytes."""
        return cls._make(PORT_KEY.unpack(data))


PORT_KEY = struct.Struct("<IHBB")


class StepValue(NamedTuple):
    """`struct step_value`, 48 bytes."""

    needed: int
    allow_low: int
    allow_high: int
    deny_low: int
    deny_high: int
    more: int

    @classmethod
    def unpack(cls, data: bytes) -> StepValue:
        """Read one from 48 bytes."""
        return cls._make(STEP_VALUE.unpack(data))


STEP_VALUE = struct.Struct("<QQQQQI4x")


class ModeValue(NamedTuple):
    """`struct mode_value`, 24 bytes."""

    policy: int
    next_policy: int
    is_enforcing: int
    has_names: int
    portless: int
    refuses_lookups: int

    @classmethod
    def unpack(cls, data: bytes) -> ModeValue:
        """Read one from 24 bytes."""
        return cls._make(MODE_VALUE.unpack(data))


MODE_VALUE = struct.Struct("<IIIIII")


class ExeKey(NamedTuple):
    """`struct exe_key`, 16 bytes."""

    inode: int
    device: int

    @classmethod
    def unpack(cls, data: bytes) -> ExeKey:
        """Read one from 16 bytes."""
        return cls._make(EXE_KEY.unpack(data))


EXE_KEY = struct.Struct("<QI4x")


class SocketKey(NamedTuple):
    """`struct socket_key`, 24 bytes."""

    first: int
    other: int
    number: int

    @classmethod
    def unpack(cls, data: bytes) -> SocketKey:
        """Read one from 24 bytes."""
        return cls._make(SOCKET_KEY.unpack(data))


SOCKET_KEY = struct.Struct("<QQI4x")


class SocketValue(NamedTuple):
    """`struct socket_value`, 16 bytes."""

    first: int
    other: int

    @classmethod
    def unpack(cls, data: bytes) -> SocketValue:
        """Read one from 16 bytes."""
        return cls._make(SOCKET_VALUE.unpack(data))


SOCKET_VALUE = struct.Struct("<QQ")


class ExeValue(NamedTuple):
    """`struct exe_value`, 24 bytes."""

    bits: int
    ctime_sec: int
    ctime_nsec: int

    @classmethod
    def unpack(cls, data: bytes) -> ExeValue:
        """Read one from 24 bytes."""
        return cls._make(EXE_VALUE.unpack(data))


EXE_VALUE = struct.Struct("<QQI4x")


class CandidateKey(NamedTuple):
    """`struct candidate_key`, 16 bytes."""

    born_ns: int
    tgid: int
    program: int

    @classmethod
    def unpack(cls, data: bytes) -> CandidateKey:
        """Read one from 16 bytes."""
        return cls._make(CANDIDATE_KEY.unpack(data))


CANDIDATE_KEY = struct.Struct("<QII")

LATE_KEY = struct.Struct("<Q16s")


class MarkValue(NamedTuple):
    """`struct mark_value`, 8 bytes."""

    is_dropped: int
    scope: int

    @classmethod
    def unpack(cls, data: bytes) -> MarkValue:
        """Read one from 8 bytes."""
        return cls._make(MARK_VALUE.unpack(data))


MARK_VALUE = struct.Struct("<II")

UNIT_KEY = struct.Struct("<64s")


class JobValue(NamedTuple):
    """`struct job_value`, 744 bytes."""

    trace_high: int
    trace_low: int
    span: int
    run_hash: int
    identity: int
    parent: int
    below: int
    began_ns: int
    told_ns: int
    who_high: int
    who_low: int
    rules: int
    requested: int
    switched: int
    switched_by: int
    pipeline: bytes
    task: bytes
    run: bytes

    @classmethod
    def unpack(cls, data: bytes) -> JobValue:
        """Read one from 744 bytes."""
        return cls._make(JOB_VALUE.unpack(data))


JOB_VALUE = struct.Struct("<QQQQQQQQQQQIIII256s256s128s")


class ProcValue(NamedTuple):
    """`struct proc_value`, 64 bytes."""

    started_ns: int
    scope: int
    exec_id: int
    window: int
    lookup_second: int
    firsts: int
    lookup_bytes: int
    execs: int
    held: int
    born_ns: int
    tgid: int
    program: int
    is_guest: int
    standing: int
    agent: int
    noticed: int
    early: int

    @classmethod
    def unpack(cls, data: bytes) -> ProcValue:
        """Read one from 64 bytes."""
        return cls._make(PROC_VALUE.unpack(data))


PROC_VALUE = struct.Struct("<QIIHHIIIQQIIBBBBI")


class ConfigValue(NamedTuple):
    """`struct config_value`, 40 bytes."""

    layout: int
    window: int
    self_pid: int
    is_host: int
    reads_environments: int
    has_policies: int
    has_executables: int
    edition: int
    undecided: int
    knows_everyone: int

    @classmethod
    def unpack(cls, data: bytes) -> ConfigValue:
        """Read one from 40 bytes."""
        return cls._make(CONFIG_VALUE.unpack(data))


CONFIG_VALUE = struct.Struct("<IIIIIIIIII")

AGENT_KEY = struct.Struct("<II56s")


class MarkKey(NamedTuple):
    """`struct mark_key`, 32 bytes."""

    prefix_bits: int
    text: bytes

    @classmethod
    def unpack(cls, data: bytes) -> MarkKey:
        """Read one from 32 bytes."""
        return cls._make(MARK_KEY.unpack(data))


MARK_KEY = struct.Struct("<I28s")


class PolicyValue(NamedTuple):
    """`struct policy_value`, 40 bytes."""

    fingerprint: bytes
    base: int
    alternatives: int

    @classmethod
    def unpack(cls, data: bytes) -> PolicyValue:
        """Read one from 40 bytes."""
        return cls._make(POLICY_VALUE.unpack(data))


POLICY_VALUE = struct.Struct("<32sII")

EXE_NAME_KEY = struct.Struct("<32s")


class AccountValue(NamedTuple):
    """`struct account_value`, 16 bytes."""

    settled: int
    lost: int

    @classmethod
    def unpack(cls, data: bytes) -> AccountValue:
        """Read one from 16 bytes."""
        return cls._make(ACCOUNT_VALUE.unpack(data))


ACCOUNT_VALUE = struct.Struct("<QQ")


OFFSETS = {
    "record_header": (32, {"layout": 0, "kind": 4, "at_ns": 8, "started_ns": 16, "pid": 24, "exec_id": 28}),
    "fork_record": (
        56,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
            "creator_started_ns": 32,
            "creator_pid": 40,
            "creator_exec_id": 44,
            "parent_pid": 48,
            "scope": 52,
        },
    ),
    "exec_record": (
        1176,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
            "parent_pid": 32,
            "scope": 36,
            "arguments_size": 40,
            "arguments_here": 44,
            "path_here": 48,
            "path_cut": 52,
            "path": 56,
            "cgroup": 1080,
        },
    ),
    "arguments_record": (
        40,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
            "offset": 32,
            "arguments_here": 36,
        },
    ),
    "environment_record": (
        64,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
            "size": 32,
            "offset": 36,
            "here": 40,
            "standing": 44,
            "agent": 46,
            "parent_started_ns": 48,
            "parent_pid": 56,
        },
    ),
    "exit_record": (
        40,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
            "wait_status": 32,
        },
    ),
    "act_record": (
        128,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
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
            "rule": 96,
            "verdict": 100,
            "held": 104,
            "policy": 112,
            "is_metered": 116,
            "name_here": 120,
        },
    ),
    "flow_record": (
        88,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
            "cookie": 32,
            "bytes_sent": 40,
            "bytes_received": 48,
            "local": 56,
            "rtt_us": 72,
            "local_port": 76,
            "error": 78,
            "stage": 80,
            "outcome": 82,
        },
    ),
    "bytes_record": (
        64,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
            "cookie": 32,
            "acted_ns": 40,
            "bytes_sent": 48,
            "bytes_received": 56,
        },
    ),
    "aggregate_record": (
        120,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
            "last_ns": 32,
            "attempts": 40,
            "bytes_sent": 48,
            "bytes_received": 56,
            "parent_pid": 64,
            "uid": 68,
            "scope": 72,
            "peer_port": 76,
            "protocol": 78,
            "peer": 80,
            "act": 96,
            "outcome": 97,
            "other": 98,
            "verdict": 99,
            "window": 100,
            "rule": 104,
            "policy": 108,
            "held": 112,
        },
    ),
    "dns_record": (
        72,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
            "cookie": 32,
            "resolver": 40,
            "scope": 56,
            "resolver_port": 60,
            "message_size": 62,
            "message_here": 64,
            "protocol": 66,
            "stage": 67,
            "counts": 68,
            "doubtful": 70,
        },
    ),
    "tamper_record": (
        80,
        {
            "header.layout": 0,
            "header.kind": 4,
            "header.at_ns": 8,
            "header.started_ns": 16,
            "header.pid": 24,
            "header.exec_id": 28,
            "scope": 32,
            "uid": 36,
            "parent_pid": 40,
            "times": 44,
            "detail": 48,
            "network": 52,
            "what": 56,
            "is_denied": 60,
            "target": 64,
        },
    ),
    "tamper_key": (16, {"started_ns": 0, "pid": 8, "what": 12}),
    "tamper_value": (16, {"began_ns": 0, "times": 8}),
    "query_key": (40, {"cookie": 0, "hash": 8, "resolver": 16, "id": 32, "type": 34}),
    "query_value": (
        40,
        {
            "at_ns": 0,
            "started_ns": 8,
            "pid": 16,
            "exec_id": 20,
            "scope": 24,
            "policy": 28,
            "told": 32,
            "on_loopback": 33,
            "doubtful": 34,
        },
    ),
    "quota_value": (16, {"noted": 0, "answered": 8}),
    "flow_key": (
        40,
        {
            "started_ns": 0,
            "pid": 8,
            "exec_id": 12,
            "peer": 16,
            "peer_port": 32,
            "protocol": 34,
            "act": 36,
            "outcome": 37,
            "other": 38,
            "verdict": 39,
        },
    ),
    "flow_value": (8, {"told": 0, "slot": 4}),
    "places_value": (32, {"taken": 0}),
    "act_value": (
        88,
        {
            "key.started_ns": 0,
            "key.pid": 8,
            "key.exec_id": 12,
            "key.peer": 16,
            "key.peer_port": 32,
            "key.protocol": 34,
            "key.act": 36,
            "key.outcome": 37,
            "key.other": 38,
            "key.verdict": 39,
            "at_ns": 40,
            "cookie": 48,
            "parent_pid": 56,
            "uid": 60,
            "scope": 64,
            "tid": 68,
            "rule": 72,
            "policy": 76,
            "held": 80,
        },
    ),
    "last_peer": (
        184,
        {
            "act.key.started_ns": 0,
            "act.key.pid": 8,
            "act.key.exec_id": 12,
            "act.key.peer": 16,
            "act.key.peer_port": 32,
            "act.key.protocol": 34,
            "act.key.act": 36,
            "act.key.outcome": 37,
            "act.key.other": 38,
            "act.key.verdict": 39,
            "act.at_ns": 40,
            "act.cookie": 48,
            "act.parent_pid": 56,
            "act.uid": 60,
            "act.scope": 64,
            "act.tid": 68,
            "act.rule": 72,
            "act.policy": 76,
            "act.held": 80,
            "bytes_sent": 88,
            "bytes_received": 96,
            "window": 104,
            "slot": 108,
            "metering": 112,
            "is_mixed": 116,
            "lock": 120,
            "undecided": 124,
            "peers": 125,
            "first_port": 126,
            "first": 128,
            "called": 144,
            "connected": 160,
            "called_port": 176,
            "connected_port": 178,
            "held_as": 180,
        },
    ),
    "policy_key": (28, {"prefix_bits": 0, "policy": 4, "port": 8, "protocol": 10, "address": 12}),
    "choice_value": (24, {"needed": 0, "rule": 8, "rank": 12, "following": 16, "verdict": 20}),
    "name_key": (260, {"prefix_bits": 0, "policy": 4, "name": 8}),
    "granted_key": (24, {"scope": 0, "policy": 4, "address": 8}),
    "granted_value": (32, {"sets_low": 0, "sets_high": 8, "until_ns": 16, "used": 24}),
    "port_key": (8, {"policy": 0, "port": 4, "protocol": 6, "step": 7}),
    "step_value": (
        48,
        {"needed": 0, "allow_low": 8, "allow_high": 16, "deny_low": 24, "deny_high": 32, "more": 40},
    ),
    "mode_value": (
        24,
        {
            "policy": 0,
            "next_policy": 4,
            "is_enforcing": 8,
            "has_names": 12,
            "portless": 16,
            "refuses_lookups": 20,
        },
    ),
    "exe_key": (16, {"inode": 0, "device": 8}),
    "socket_key": (24, {"first": 0, "other": 8, "number": 16}),
    "socket_value": (16, {"first": 0, "other": 8}),
    "exe_value": (24, {"bits": 0, "ctime_sec": 8, "ctime_nsec": 16}),
    "candidate_key": (16, {"born_ns": 0, "tgid": 8, "program": 12}),
    "late_key": (24, {"network": 0, "address": 8}),
    "mark_value": (8, {"is_dropped": 0, "scope": 4}),
    "unit_key": (64, {"name": 0}),
    "job_value": (
        744,
        {
            "trace_high": 0,
            "trace_low": 8,
            "span": 16,
            "run_hash": 24,
            "identity": 32,
            "parent": 40,
            "below": 48,
            "began_ns": 56,
            "told_ns": 64,
            "who_high": 72,
            "who_low": 80,
            "rules": 88,
            "requested": 92,
            "switched": 96,
            "switched_by": 100,
            "pipeline": 104,
            "task": 360,
            "run": 616,
        },
    ),
    "proc_value": (
        64,
        {
            "started_ns": 0,
            "scope": 8,
            "exec_id": 12,
            "window": 16,
            "lookup_second": 18,
            "firsts": 20,
            "lookup_bytes": 24,
            "execs": 28,
            "held": 32,
            "candidate.born_ns": 40,
            "candidate.tgid": 48,
            "candidate.program": 52,
            "is_guest": 56,
            "standing": 57,
            "agent": 58,
            "noticed": 59,
            "early": 60,
        },
    ),
    "config_value": (
        40,
        {
            "layout": 0,
            "window": 4,
            "self_pid": 8,
            "is_host": 12,
            "reads_environments": 16,
            "has_policies": 20,
            "has_executables": 24,
            "edition": 28,
            "undecided": 32,
            "knows_everyone": 36,
        },
    ),
    "agent_key": (64, {"kind": 0, "user": 4, "name": 8}),
    "mark_key": (32, {"prefix_bits": 0, "text": 4}),
    "policy_value": (40, {"fingerprint": 0, "base": 32, "alternatives": 36}),
    "exe_name_key": (32, {"digest": 0}),
    "account_value": (16, {"settled": 0, "lost": 8}),
}
"""Size in bytes of each struct, and the offset of each member, by its C path."""
