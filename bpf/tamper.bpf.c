// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Reports acts that no honest build does: to make sockets for frames that no cgroup hook sees, to
 * use bpf(2), to send a signal to the exporter, or to get at the memory of other processes. Where
 * the kernel lets programs answer for its security modules, on_socket, on_bpf and on_access are
 * called for these acts alone, and an enforced job is denied such sockets and other processes'
 * memory. Elsewhere on_sys_enter sees all system calls, and prevents none.
 */
#pragma once

#include "calls.h"
#include "policy.bpf.c"
#include "process.bpf.c"
#include "slots.bpf.c"

#define AF_VSOCK 40
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
#define PTRACE_SEIZE 0x4206
#define PTRACE_MODE_ATTACH 2 /* to trace a process, or to read or write its memory */
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

/* An act to be reported; the members are those of `struct tamper_record`. */
struct tampering_act {
	u32 what;
	u32 detail;
	u32 network; /* 0: unknown */
	u32 is_denied;
	u64 target; /* the task that `detail` is the pid of; 0: it isn't one's */
};

static inline void tell_tampering(const struct proc_value *proc, u32 pid,
				  const struct tampering_act *act)
{
	u64 at_ns = bpf_ktime_get_boot_ns(), task = bpf_get_current_task();
	u32 times = times_to_tell(proc, pid, kind_of(act->what, act->detail), at_ns);

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
	record->detail = act->detail;
	record->network = act->network;
	record->what = act->what;
	record->is_denied = act->is_denied;
	__builtin_memset(record->target, 0, sizeof(record->target));
	if (act->target)
		read_kernel(record->target, sizeof(record->target),
			    (void *)member_of(act->target, TASK_NAME));
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
	if (family == AF_VSOCK)
		return TAMPER_VSOCK_SOCKET;
	return family == AF_XDP ? TAMPER_XDP_SOCKET : 0;
}

/* Called before any socket is made, by whatever call and in whatever namespace. */
HOOK_IF_THERE("lsm/socket_create")
int on_socket(struct bpf_raw_tracepoint_args *ctx)
{
	u32 what = tampering_of(ctx->args[0], ctx->args[1]), is_the_kernels = ctx->args[3];

	if (!what || is_the_kernels)
		return 0;

	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value proc;

	if (!read_actor(pid, &proc))
		return 0;

	struct tampering_act act = {
		.what = what,
		.detail = bpf_ntohs(ctx->args[2]),
		.network = network_number_of(bpf_get_current_task()),
		.is_denied = is_held(&proc),
	};

	tell_tampering(&proc, pid, &act);
	return answer(act.is_denied);
}

HOOK_IF_THERE("lsm/bpf")
int on_bpf(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value proc;

	if (!read_current(pid, &proc))
		return 0;

	struct tampering_act act = {
		.what = TAMPER_BPF,
		.detail = ctx->args[0],
		.network = network_number_of(bpf_get_current_task()),
	};

	tell_tampering(&proc, pid, &act);
	return 0;
}

/* Whether the current process made the one that `leader` leads, or made one that did. */
static inline int is_below_current(u64 leader, u32 pid)
{
	u32 step;

#pragma clang loop unroll(disable)
	for (step = 0; step < ANCESTORS_MAX; step++) {
		leader = pointer_at(leader, TASK_REAL_PARENT);
		if (number_at(leader, TASK_TGID) == pid)
			return 1;
	}
	return 0;
}

/*
 * Whether a process is of the same step as `proc`: there a debugger, or what reports a crash, may
 * be any process's child.
 */
static inline int is_of_same_step(const struct proc_value *proc, u32 pid)
{
	struct proc_value *other = entry_of(pid);

	if (!proc->early && !proc->scope)
		return 0; /* of no known step: nor is the agent of one */
	return other && other->early == proc->early && scope_of(other) == proc->scope;
}

/*
 * Called when a process may trace another one, or may get at its memory or its descriptors, by
 * whatever call or file, and isn't called for a process's own. Files that `ps` reads are no such.
 */
HOOK_IF_THERE("lsm/ptrace_access_check")
int on_access(struct bpf_raw_tracepoint_args *ctx)
{
	u32 mode = ctx->args[1];

	if (!(mode & PTRACE_MODE_ATTACH))
		return 0;

	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value proc;

	if (!read_actor(pid, &proc))
		return 0;

	u64 task = bpf_get_current_task(), leader = pointer_at(ctx->args[0], TASK_GROUP_LEADER);
	u32 target = number_at(leader, TASK_TGID), is_exporter = target == exporter_pid();
	struct tampering_act act = {
		.what = is_exporter ? TAMPER_MEMORY : TAMPER_OTHER_MEMORY,
		.detail = is_exporter ? 0 : target,
		.network = network_number_of(task),
		.target = is_exporter ? 0 : leader,
	};

	if (!is_exporter && (pointer_at(leader, TASK_MM) == pointer_at(task, TASK_MM) ||
			     is_below_current(leader, pid)))
		return 0;
	act.is_denied = is_held(&proc) && !is_of_same_step(&proc, target);
	tell_tampering(&proc, pid, &act);
	return answer(act.is_denied);
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
 * Return the kind of tampering that it is to reach for a process by the number `target`, 0 if it is
 * of the same step. A number that isn't known may be a thread's, and so are all numbers in a
 * container: those are nobody's here.
 */
static inline u32 tampering_of_access(const struct proc_value *proc, u32 target)
{
	u64 numbers = pointer_at(bpf_get_current_task(), TASK_NUMBERS);

	if (target == exporter_pid())
		return TAMPER_MEMORY;
	if (number_at(numbers, NUMBERS_LEVEL) || !procs.lookup(&target) ||
	    is_of_same_step(proc, target))
		return 0;
	return TAMPER_OTHER_MEMORY;
}

/*
 * Every system call of every process comes here, and nearly all leave by their number. There is no
 * narrower tracepoint: with one for one system call, all of them take the same detour.
 */
HOOK_UNLESS("raw_tp/sys_enter", on_socket, on_bpf, on_access)
int on_sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	u64 number = ctx->args[1];
	enum call native = call_of(number), other = call_of_32_bits(number);

	if (native == CALL_NONE && other == CALL_NONE)
		return 0;

	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value proc;

	if (!read_actor(pid, &proc))
		return 0;

	int is_32_bits = (number_at(bpf_get_current_task(), TASK_ABI) & COMPAT_CALL) != 0;
	enum call call = is_32_bits ? other : native;
	u64 registers = ctx->args[0];
	u32 one = argument(registers, 0, is_32_bits), two = argument(registers, 1, is_32_bits);
	struct tampering_act act = { .detail = one };

	if (call == CALL_SOCKET) {
		act.what = tampering_of(one, two);
		act.detail = bpf_ntohs(argument(registers, 2, is_32_bits));
	} else if (call == CALL_SOCKETCALL) {
		act.detail = 0;
		act.what = tampering_of_socketcall(one, two, &act.detail);
	} else if (call == CALL_BPF) {
		act.what = TAMPER_BPF;
	} else if (call == CALL_PTRACE && two == exporter_pid()) {
		act.what = one == PTRACE_ATTACH ? 0 : TAMPER_PTRACE; /* on_signal tells it */
	} else if (call == CALL_PTRACE && (one == PTRACE_ATTACH || one == PTRACE_SEIZE)) {
		act.what = tampering_of_access(&proc, two);
		act.detail = two;
	} else if (call == CALL_MEMORY) {
		act.what = tampering_of_access(&proc, one);
	}
	if (act.what == TAMPER_MEMORY)
		act.detail = 0;
	if (act.what) {
		act.network = network_number_of(bpf_get_current_task());
		tell_tampering(&proc, pid, &act);
	}
	return 0;
}

/*
 * A worker may make the socket, later, in the network namespace in which it began: its thread may
 * be elsewhere by now.
 */
HOOK_IF_THERE_UNLESS("raw_tp/io_uring_submit_req", on_socket)
int on_uring_submit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 request = ctx->args[0];

	if ((number_at(request, URING_OPCODE) & 0xff) != URING_SOCKET)
		return 0;

	/* In a kernel thread that polls for a job, too, this is the job's process. */
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value proc;
	struct tampering_act act = {
		.what = tampering_of(number_at(request, URING_SOCKET_FAMILY),
				     number_at(request, URING_SOCKET_TYPE)),
		.detail = bpf_ntohs(number_at(request, URING_SOCKET_PROTOCOL)),
	};

	if (act.what && read_current(pid, &proc))
		tell_tampering(&proc, pid, &act);
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
	struct tampering_act act = {
		.what = is_attached_to ? TAMPER_PTRACE : TAMPER_SIGNAL,
		.detail = is_attached_to ? PTRACE_ATTACH : signal,
		.network = network_number_of(bpf_get_current_task()),
	};

	if (read_current(pid, &proc))
		tell_tampering(&proc, pid, &act);
	return 0;
}
