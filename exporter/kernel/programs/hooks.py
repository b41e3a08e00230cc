"""The programs and where they are attached: `make wire` generates this from bpf/*.bpf.c."""

from __future__ import annotations

from .kinds import (
    ContextHook,
    Continuation,
    FunctionExit,
    Hook,
    Program,
    Reserve,
    SecurityHook,
    Tracepoint,
)
from .objects import AttachType, ProgramType

PROGRAMS: list[Program] = [
    Tracepoint("before_exec", "sched_process_exec"),
    Tracepoint("on_exec", "sched_process_exec"),
    Tracepoint("after_exec", "sched_process_exec"),
    Tracepoint("on_fork", "sched_wakeup_new"),
    Tracepoint("on_exit", "sched_process_exit"),
    Tracepoint("on_signal", "signal_generate"),
    Continuation("on_next", ProgramType.CGROUP_SKB, AttachType.INET_INGRESS, "later", 0),
    Continuation("on_grant", ProgramType.CGROUP_SKB, AttachType.INET_INGRESS, "later", 1),
    Continuation("on_alias", ProgramType.CGROUP_SKB, AttachType.INET_INGRESS, "later", 2),
    Continuation("on_name", ProgramType.CGROUP_SKB, AttachType.INET_EGRESS, "questions", 1),
    Continuation("on_lookup", ProgramType.CGROUP_SKB, AttachType.INET_EGRESS, "questions", 0),
    Continuation("on_packet", ProgramType.CGROUP_SKB, AttachType.INET_EGRESS, "packets", 0),
    Hook("on_answer", ProgramType.CGROUP_SKB, AttachType.INET_INGRESS),
    Hook("on_sock_ops", ProgramType.SOCK_OPS, AttachType.SOCK_OPS),
    Hook("on_sock_release", ProgramType.CGROUP_SOCK, AttachType.SOCK_RELEASE),
    FunctionExit("on_stream_connected", "inet_stream_connect"),
    Hook("on_egress", ProgramType.CGROUP_SKB, AttachType.INET_EGRESS),
    SecurityHook("on_send", "socket_sendmsg"),
    Hook("on_connect4", ProgramType.CGROUP_SOCK_ADDR, AttachType.INET4_CONNECT),
    Hook("on_connect6", ProgramType.CGROUP_SOCK_ADDR, AttachType.INET6_CONNECT),
    Hook("on_sendmsg4", ProgramType.CGROUP_SOCK_ADDR, AttachType.UDP4_SENDMSG),
    Hook("on_sendmsg6", ProgramType.CGROUP_SOCK_ADDR, AttachType.UDP6_SENDMSG),
    Hook("on_bind4", ProgramType.CGROUP_SOCK, AttachType.INET4_POST_BIND),
    Hook("on_bind6", ProgramType.CGROUP_SOCK, AttachType.INET6_POST_BIND),
    Hook("on_sock_create", ProgramType.CGROUP_SOCK, AttachType.INET_SOCK_CREATE),
    SecurityHook("on_socket", "socket_create"),
    SecurityHook("on_bpf", "bpf"),
    SecurityHook("on_access", "ptrace_access_check"),
    SecurityHook("on_listen", "socket_listen"),
    SecurityHook("on_unix_connect", "unix_stream_connect"),
    SecurityHook("on_unix_send", "unix_may_send"),
    Hook("on_query", ProgramType.CGROUP_SKB, AttachType.INET_EGRESS, "questions", 2),
    Reserve("on_frame", ProgramType.SCHED_CLS),
    Reserve("idle_frame", ProgramType.SCHED_CLS),
    Reserve("on_setsockopt", ProgramType.CGROUP_SOCKOPT, AttachType.SETSOCKOPT),
    Reserve("idle_setsockopt", ProgramType.CGROUP_SOCKOPT, AttachType.SETSOCKOPT),
    Tracepoint("on_sys_exit", "sys_exit", unless="on_stream_connected"),
    Tracepoint("on_sys_enter", "sys_enter", unless="on_socket on_bpf on_access"),
    Tracepoint("on_uring_submit", "io_uring_submit_req", is_optional=True, unless="on_socket"),
    ContextHook(
        "on_named_connect", ProgramType.CGROUP_SOCK_ADDR, AttachType.UNIX_CONNECT, unless="on_unix_connect"
    ),
    ContextHook(
        "on_named_send", ProgramType.CGROUP_SOCK_ADDR, AttachType.UNIX_SENDMSG, unless="on_unix_send"
    ),
]
"""In the order in which they are attached."""
