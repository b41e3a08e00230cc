// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Reports acts that no honest build does: to make sockets for frames that no cgroup hook sees, to
 * use bpf(2), to send a signal to the exporter or to get at its memory. None of it is prevented.
 * The programs are attached to raw tracepoints: on_sys_enter to `sys_enter`, on_signal to
 * `signal_generate`, on_uring_submit to `io_uring_submit_req`, if the kernel has that.
 */
#pragma once

#include "calls.h"
#include "process.bpf.c"
#include "slots.bpf.c"

#define AF_XDP 44
#define SOCK_PACKET 10
#define SOCK_TYPES 0xf	/* the bits of a type, besides flags */
#define TOLD_EACH 4	/* times that get a record each; from then on each doubling does */
#define COMMANDS_MAX 64 /* commands of bpf(2) that are told apart */
#define SIGNAL_KERNEL 1 /* in place of a siginfo: sent by the kernel itself */
/* Signals of a terminal and of the exporter's own timers, and SIGKILL where memory ran out. */
#define SIGNALS_OF_THE_KERNEL                                                                      \
	(1u << 1 | 1u << 2 | 1u << 3 | 1u << 9 | 1u << 14 | 1u << 18 | 1u << 20 | 1u << 21 |       \
	 1u << 22 | 1u << 26 | 1u << 27 | 1u << 28)
#define URING_SOCKET 45
#define PTRACE_ATTACH 16
#define SIGCHLD 17
#define SIGSTOP 19
#define SOCKETCALL_SOCKET 1

/*
 * How often each process tampered. A child has entries of its own; an entry that is pushed out of
 * the table begins anew.
 */
BPF_TABLE("lru_hash", struct tamper_key, struct tamper_value, tampers, 4096);

/* Each command of bpf(2) counts by itself: otherwise harmless ones would hide later ones. */
static inline u32 kind_of(u32 what, u32 detail)
{
	if (what != TAMPER_BPF)
		return what;
	return what | (detail < COMMANDS_MAX ? detail : COMMANDS_MAX) << 8;
}

/*
 * Return how often this process did `what` within a second; 0: this time gets no record. bpf(2)
 * counts by job: any user may call it as often as he likes, and a crowd of processes would push
 * other entries out.
 */
static inline u32 times_to_tell(const struct proc_value *proc, u32 pid, u32 what, u64 at_ns)
{
	u32 is_by_job = proc->scope && (what & 0xff) == TAMPER_BPF;
	struct tamper_key key = {
		.started_ns = is_by_job ? 0 : proc->started_ns,
		.pid = is_by_job ? proc->scope : pid,
		.what = what,
	};
	struct tamper_value *value = tampers.lookup(&key);

	if (!value || at_ns - value->began_ns > NS_PER_S) {
		struct tamper_value begun = { .began_ns = at_ns, .times = 1 };

		tampers.update(&key, &begun);
		return 1;
	}

	u32 times = value->times + 1;

	value->times = times;
	return times <= TOLD_EACH || !(times & (times - 1)) ? times : 0;
}

/* Return the number of the network namespace that a task is in. */
static inline u32 network_number_of(u64 task)
{
	return number_at(pointer_at(pointer_at(task, TASK_NAMESPACES), NAMESPACES_NETWORK),
			 NETWORK_NUMBER);
}

/* `network` is the number of the network namespace that a socket will be in; 0: unknown. */
static inline void tell_tampering(const struct proc_value *proc, u32 pid, u32 what, u32 detail,
				  u32 network)
{
	u64 at_ns = bpf_ktime_get_boot_ns(), task = bpf_get_current_task();
	u32 times = times_to_tell(proc, pid, kind_of(what, detail), at_ns);

	count(KIND_TAMPER, COUNT_SEEN);
	if (!times)
		return;

	struct tamper_record *record = first.ringbuf_reserve(sizeof(*record));

	if (!record) {
		count(KIND_TAMPER, COUNT_LOST);
		return;
	}
	fill_header(&record->header, KIND_TAMPER, at_ns, pid, proc);
	record->scope = proc->scope;
	record->uid = bpf_get_current_uid_gid();
	record->parent_pid = parent_of(task);
	record->times = times;
	record->detail = detail;
	record->network = network;
	record->what = what;
	record->pad = 0;
	first.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static inline u32 exporter_pid(void)
{
	u32 zero = 0;
	struct config_value *value = config.lookup(&zero);

	return value ? value->self_pid : 0;
}

/*
 * Return the kind of tampering that making a socket of this family and type is; 0 if it is none. By
 * an old name for it, AF_INET and SOCK_PACKET make a packet socket.
 */
static inline u32 tampering_of(u32 family, u32 type)
{
	if (family == AF_PACKET || (family == AF_INET && (type & SOCK_TYPES) == SOCK_PACKET))
		return TAMPER_PACKET_SOCKET;
	return family == AF_XDP ? TAMPER_XDP_SOCKET : 0;
}

/*
 * Arguments that can't be read here may be there when the kernel reads them: they are reported,
 * too.
 */
static inline u32 tampering_of_socketcall(u32 which, u32 at, u32 *detail)
{
	u32 arguments[3] = {};

	if (which != SOCKETCALL_SOCKET)
		return 0;
	if (read_user(arguments, sizeof(arguments), (void *)(u64)at))
		return TAMPER_PACKET_SOCKET;
	*detail = bpf_ntohs(arguments[2]);
	return tampering_of(arguments[0], arguments[1]);
}

/*
 * Every system call of every process comes here, and nearly all leave by their number. There is no
 * narrower hook: with a tracepoint for one system call, all of them take the same detour.
 */
HOOK("raw_tp/sys_enter")
int on_sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	u64 number = ctx->args[1];
	enum call native = call_of(number), other = call_of_32_bits(number);

	if (native == CALL_NONE && other == CALL_NONE)
		return 0;

	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value proc;

	if (!read_current(pid, &proc))
		return 0;

	int is_32_bits = (number_at(bpf_get_current_task(), TASK_ABI) & COMPAT_CALL) != 0;
	enum call call = is_32_bits ? other : native;
	u64 registers = ctx->args[0];
	u32 one = argument(registers, 0, is_32_bits), two = argument(registers, 1, is_32_bits);
	u32 what = 0, detail = one;

	if (call == CALL_SOCKET) {
		what = tampering_of(one, two);
		detail = bpf_ntohs(argument(registers, 2, is_32_bits));
	} else if (call == CALL_SOCKETCALL) {
		detail = 0;
		what = tampering_of_socketcall(one, two, &detail);
	} else if (call == CALL_BPF) {
		what = TAMPER_BPF;
	} else if (call == CALL_PTRACE && one != PTRACE_ATTACH && two == exporter_pid()) {
		what = TAMPER_PTRACE;
	} else if (call == CALL_WRITE_MEMORY && one == exporter_pid()) {
		what = TAMPER_MEMORY;
		detail = 0;
	}
	if (what)
		tell_tampering(&proc, pid, what, detail, network_number_of(bpf_get_current_task()));
	return 0;
}

/*
 * A worker may make the socket, later, in the network namespace in which it began: its thread may
 * be elsewhere by now.
 */
HOOK_IF_THERE("raw_tp/io_uring_submit_req")
int on_uring_submit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 request = ctx->args[0];

	if ((number_at(request, URING_OPCODE) & 0xff) != URING_SOCKET)
		return 0;

	/* In a kernel thread that polls for a job, too, this is the job's process. */
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value proc;
	u32 what = tampering_of(number_at(request, URING_SOCKET_FAMILY),
				number_at(request, URING_SOCKET_TYPE));

	if (what && read_current(pid, &proc))
		tell_tampering(&proc, pid, what,
			       bpf_ntohs(number_at(request, URING_SOCKET_PROTOCOL)), 0);
	return 0;
}

/*
 * Whether the signal is one of the kernel's own. Signals of a terminal, and those about a child,
 * aren't aimed at the process that they reach. But any file can be made to send any signal, so that
 * no other signal of the kernel's is to be trusted.
 */
static inline int is_of_the_kernel(u64 signal, u64 information)
{
	if (information == SIGNAL_KERNEL)
		return signal < 32 && (SIGNALS_OF_THE_KERNEL >> signal & 1);
	return signal == SIGCHLD && information && (s32)number_at(information, SIGINFO_CODE) > 0;
}

HOOK("raw_tp/signal_generate")
int on_signal(struct bpf_raw_tracepoint_args *ctx)
{
	u32 target = number_at(ctx->args[2], TASK_TGID), self = exporter_pid();
	u64 signal = ctx->args[0], information = ctx->args[1];
	/* The only SIGSTOP that the kernel sends: when ptrace attaches to a thread. */
	int is_attached_to = information == SIGNAL_KERNEL && signal == SIGSTOP;

	if (target != self || !self)
		return 0;
	if (!is_attached_to && is_of_the_kernel(signal, information))
		return 0;

	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value proc;

	if (read_current(pid, &proc))
		tell_tampering(&proc, pid, is_attached_to ? TAMPER_PTRACE : TAMPER_SIGNAL,
			       is_attached_to ? PTRACE_ATTACH : signal,
			       network_number_of(bpf_get_current_task()));
	return 0;
}
