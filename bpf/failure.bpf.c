// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Why a connect failed at once, as without a route: the kernel keeps nothing of that with the
 * socket, and what connect(2) returns is all there is. What io_uring connects doesn't come here.
 */
#define EPERM 1
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
 * Sockets of which a failure was told: once each, like all that is told of one. No act comes before
 * an address that isn't one, or a filter of the job's own that makes up an error, so nothing else
 * bounds them. Who tries another peer on the same socket has only his first error told.
 */
BPF_TABLE("lru_hash", u64, u32, failed_sockets, FAILED_MAX);

/*
 * It goes on, was denied, or is told as the end of a connection that had begun. The first two are
 * what other calls return again and again, and connect to an address of the network doesn't. The
 * last line is of no socket, or of none that was asked to do something.
 */
static inline int is_told_otherwise(s64 error)
{
	return error == EAGAIN || error == ENOENT || error == EINPROGRESS || error == EALREADY ||
	       error == EISCONN || error == EINTR || error == EPERM || error == ECONNREFUSED ||
	       error == ECONNRESET || error == ETIMEDOUT || error == EBADF || error == ENOTSOCK ||
	       error == EFAULT;
}

/* The cookie of the socket that a descriptor of the current task stands for; 0: it has none. */
static inline u64 cookie_behind(u64 task, u32 descriptor)
{
	u64 files = pointer_at(pointer_at(task, TASK_FILES), FILES_TABLE);
	u64 file = pointer_at(pointer_at(files, TABLE_FILES), descriptor * sizeof(u64));
	u64 socket = pointer_at(pointer_at(file, FILE_PRIVATE), SOCKET_SOCK);

	return socket ? pointer_at(socket, SOCK_COOKIE) : 0;
}

/* Of each call of every process; nearly all leave because they succeeded. */
int on_sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	s64 result = ctx->args[1];

	if (result >= 0 || result < -ERRNO_MAX || is_told_otherwise(-result))
		return 0;

	u64 registers = ctx->args[0], number = number_at_exit(registers);

	if (!is_connect(number, 0) && !is_connect(number, 1))
		return 0;

	u64 task = bpf_get_current_task();
	int is_32_bits = (number_at(task, TASK_ABI) & COMPAT_CALL) != 0;
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value proc;

	if (!is_connect(number, is_32_bits) || !read_current(pid, &proc))
		return 0;

	u64 cookie = cookie_behind(task, first_argument_at_exit(registers, is_32_bits));

	u32 told = 1;

	if (!cookie || open_connects.lookup(&cookie) || failed_sockets.insert(&cookie, &told))
		return 0;

	struct flow_record *record = new_flow_record(cookie, FLOW_FAILED);

	if (!record)
		return 0;
	record->outcome = OUTCOME_UNREACHABLE;
	record->error = -result;
	events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}
