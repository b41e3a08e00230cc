// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Reports why a connect failed at once, as it does without a route. The kernel keeps nothing of
 * such a failure with the socket: the result of connect(2) is all there is. on_stream_connected
 * sees it where it comes about, with io_uring, too, on a kernel that takes programs at the end of
 * its functions. Elsewhere on_sys_exit, at the raw tracepoint sys_exit, sees the results of all
 * system calls.
 */
#pragma once

#include "calls.h"
#include "flow.bpf.c"
#include "process.bpf.c"

#define ENOENT 2
#define EINTR 4
#define EBADF 9
#define EAGAIN 11
#define EFAULT 14
#define ENOTSOCK 88
#define EISCONN 106
#define EALREADY 114
#define EINPROGRESS 115

#define FAILED_MAX 4096

/*
 * Sockets whose failure was reported, which is done once for each. A connect to an address that
 * isn't one, or an error that a filter of the job's own makes up, comes without an act, so nothing
 * else bounds the number of reports. If a process tries another peer on the same socket, only the
 * first error is reported.
 */
BPF_TABLE("lru_hash", u64, u32, failed_sockets, FAILED_MAX);

/*
 * Whether an error isn't reported here: the connect goes on, was denied, or is reported as the end
 * of a connection that had begun. Other calls return EAGAIN and ENOENT again and again; connect to
 * a network address doesn't return them. EBADF, ENOTSOCK and EFAULT mean that there was no socket,
 * or none that was asked to do something.
 */
static inline int is_told_otherwise(s64 error)
{
	return error == EAGAIN || error == ENOENT || error == EINPROGRESS || error == EALREADY ||
	       error == EISCONN || error == EINTR || error == EPERM || error == ECONNREFUSED ||
	       error == ECONNRESET || error == ETIMEDOUT || error == EBADF || error == ENOTSOCK ||
	       error == EFAULT;
}

/* Whether the result of a connect is the error of one that failed at once. */
static inline int is_failure(s64 result)
{
	return result < 0 && result >= -ERRNO_MAX && !is_told_otherwise(-result);
}

/* Report the failure of the current process's connect, by a socket of the kernel's. */
static inline int tell_failure(u64 socket, s64 result)
{
	u64 sock = socket ? pointer_at(socket, SOCKET_SOCK) : 0;
	u64 cookie = sock ? pointer_at(sock, SOCK_COOKIE) : 0;
	struct proc_value proc;
	u32 told = 1;

	if (!cookie || !read_current(current_pid(), &proc) || open_connects.lookup(&cookie) ||
	    failed_sockets.insert(&cookie, &told))
		return 0;

	struct flow_record *record = new_flow_record(cookie, FLOW_FAILED);

	if (!record)
		return 0;
	record->outcome = OUTCOME_UNREACHABLE;
	record->error = -result;
	events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

HOOK_IF_THERE("fexit/inet_stream_connect")
int on_stream_connected(struct bpf_raw_tracepoint_args *ctx)
{
	s64 result = (s32)ctx->args[4];

	return is_failure(result) ? tell_failure(ctx->args[0], result) : 0;
}

/* Return the socket behind a descriptor of the current task; 0: there is none. */
static inline u64 socket_behind(u64 task, u32 descriptor)
{
	u64 files = pointer_at(pointer_at(task, TASK_FILES), FILES_TABLE);
	u64 file = pointer_in(pointer_at(files, TABLE_FILES) + descriptor * sizeof(u64));

	return pointer_at(file, FILE_PRIVATE);
}

/*
 * Runs at the end of each system call of every process; nearly all leave at once, as they
 * succeeded.
 */
HOOK_UNLESS("raw_tp/sys_exit", on_stream_connected)
int on_sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	s64 result = ctx->args[1];

	if (!is_failure(result))
		return 0;

	u64 registers = ctx->args[0], number = number_at_exit(registers);

	if (!is_connect(number, 0) && !is_connect(number, 1))
		return 0;

	u64 task = bpf_get_current_task();
	int is_32_bits = (number_at(task, TASK_ABI) & COMPAT_CALL) != 0;

	if (!is_connect(number, is_32_bits))
		return 0;
	return tell_failure(socket_behind(task, first_argument_at_exit(registers, is_32_bits)),
			    result);
}
