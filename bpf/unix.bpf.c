// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Judges and reports connects of a job's processes to Unix sockets of processes outside of the job:
 * whoever listens there may act for the job, unseen, as a container engine does. Such an act is an
 * act like others, whose peer's address is a digest of the socket's name. Datagrams, which say
 * nothing about who reads them, are looked at only where user space has named their socket.
 *
 * Where the kernel lets programs answer for its security modules, they see the socket itself.
 * Elsewhere programs at `cgroup/connect_unix` and `cgroup/sendmsg_unix` see the name that the
 * caller gave, which isn't the socket's own where links lead there: they look at named ones alone.
 */
#pragma once

#include "acts.bpf.c"
#include "missed.bpf.c"
#include "policy.bpf.c"
#include "process.bpf.c"

#define SOCKET_NAME_WORDS ((SOCKET_NAME_ROOM + 4) / sizeof(u64))
#define AF_UNIX 1
#define FAMILY_SIZE 2 /* bytes of a socket's address before its name */
#define TGID_LINKS 1  /* the place of thread groups in `tasks` of a pid, and in a task's links */
#define HEAD_SIZE 8
#define LINKS_SIZE 16
#define FIRST_FACTOR 0x9e3779b97f4a7c15ULL
#define OTHER_FACTOR 0xc2b2ae3d27d4eb4fULL

/* The job or step of the process that listens on a socket, by the socket's address. */
struct listener_value {
	u32 scope;
	u32 early;
	u32 is_guest;
};

BPF_TABLE("lru_hash", u64, struct listener_value, unix_listeners, LISTENERS_MAX);

/* A socket's name: a path, or for an abstract one a NUL and then any bytes; zeros behind it. */
struct socket_name {
	u64 words[SOCKET_NAME_WORDS];
	u32 size; /* 0: the socket has none */
};

/* The record of an act on a Unix socket, with room for the socket's name behind it. */
struct act_on_name {
	struct act_record act;
	u64 name[SOCKET_NAME_WORDS];
};

/* Read the name in an address (struct sockaddr_un) of so many bytes. */
static inline void read_name(u64 address, u64 size, struct socket_name *name)
{
	void *text = (void *)(address + FAMILY_SIZE);
	s64 read;

	__builtin_memset(name, 0, sizeof(*name));
	if (!address || size <= FAMILY_SIZE)
		return;
	size = at_most(size - FAMILY_SIZE, SOCKET_NAME_ROOM);
	read = read_kernel_text(name->words, size + 1, text);
	if (read > 1) {
		name->size = read - 1; /* a path, without its NUL */
	} else {
		read_kernel(name->words, size, text);
		name->size = size;
	}
}

/* exporter/common/net/unix_sockets.py has the same. */
static inline void digest(const struct socket_name *name, struct socket_value *into)
{
	u64 first = name->size, other = ~first;
	u32 word;

#pragma unroll
	for (word = 0; word < SOCKET_NAME_WORDS; word++) {
		first = (first ^ name->words[word]) * FIRST_FACTOR;
		first ^= first >> 32;
		other = (other ^ name->words[word]) * OTHER_FACTOR;
		other ^= other >> 29;
	}
	into->first = first;
	into->other = other;
}

/*
 * Replace the digest of a socket's name by that of the name that user space has for it, if it has
 * one. Return whether it has.
 */
static inline int take_own_name(struct socket_value *peer)
{
	struct socket_key key = { .first = peer->first, .other = peer->other };
	struct socket_value *known = named_sockets.lookup(&key);

	if (!known)
		return 0;
	*peer = *known;
	return 1;
}

/* Return the digest of a name that user space has for the file with this inode; null if none. */
static inline struct socket_value *name_of_file(u64 inode, u32 number)
{
	struct socket_key key = {
		.first = pointer_at(inode, INODE_NUMBER),
		.other = number_at(pointer_at(inode, INODE_SUPER), SUPER_DEVICE),
		.number = number,
	};

	return inode ? named_sockets.lookup(&key) : 0;
}

/*
 * Return the process that listens on a socket, 0 if it is none any more. The kernel keeps who
 * called listen(2), as a struct whose number may be another process's by now: it is followed to its
 * process instead.
 */
static inline u32 listener_of(u64 sock)
{
	u64 pid = pointer_at(sock, SOCK_LISTENER);
	u64 links = pointer_in(member_of(pid, PID_TASKS) + TGID_LINKS * HEAD_SIZE);

	if (!pid || !links)
		return 0;
	return number_at(holder_of(links, TASK_PID_LINKS) - TGID_LINKS * LINKS_SIZE, TASK_TGID);
}

/*
 * Whether the socket's listener is of the same job as `proc`; while no job is known, of the same
 * step; and of no job, in a container, too. Where the process that called listen(2) has ended, as
 * that of a server that goes on in the background, its job was noted then.
 */
static inline int is_of_same_job(const struct proc_value *proc, u64 sock)
{
	u32 pid = listener_of(sock), scope, early, is_guest;
	struct proc_value *other = pid ? entry_of(pid) : 0; /* a zombie has none, either */

	if (other) {
		scope = scope_of(other);
		early = other->early;
		is_guest = other->is_guest;
	} else {
		struct listener_value *noted = unix_listeners.lookup(&sock);

		if (!noted)
			return 0;
		scope = noted->scope;
		early = noted->early;
		is_guest = noted->is_guest;
	}
	if (scope && proc->scope)
		return scope == proc->scope;
	if (early && early == proc->early)
		return 1;
	return !scope && !early && !proc->scope && !proc->early && is_guest;
}

/*
 * Judge the act by one name of its socket: fill in policy, verdict and rule. Whatever no rule
 * denies is allowed: no packet leaves by it. Return whether a rule denies it, in whatever mode.
 */
static inline int judge_name(struct act_value *act, const struct proc_value *proc,
			     const struct socket_value *name)
{
	struct mode_value *mode = mode_of(proc);

	__builtin_memcpy(act->key.peer, name, sizeof(act->key.peer));
	act->scope = proc->scope;
	act->rule = 0;
	if (!mode)
		return 0;

	u32 is_enforcing = mode->is_enforcing;
	struct policy_key key = {
		.prefix_bits = POLICY_KEY_BITS,
		.policy = mode->policy,
		.protocol = POLICY_UNIX,
	};
	struct choice_value *choice;

	__builtin_memcpy(key.address, act->key.peer, sizeof(key.address));
	act->policy = mode->policy;
	act->held = proc->held;
	act->key.verdict = VERDICT_ALLOW;
	FORGET(key);
	choice = choice_of(&key, act->held);
	if (!choice)
		return 0;
	act->rule = choice->rule;
	if (choice->verdict != VERDICT_DENY)
		return 0;
	act->key.verdict = is_enforcing ? VERDICT_DENY : VERDICT_AUDIT;
	return 1;
}

/*
 * Judge the act by all names of its socket: that of `peer`, and those that policies have for its
 * file. A job can't choose any of them, so one that is denied is enough.
 */
static inline void judge_socket(struct act_value *act, const struct proc_value *proc,
				const struct socket_value *peer, u64 inode)
{
	u32 number;

	if (judge_name(act, proc, peer))
		return;
#pragma clang loop unroll(disable)
	for (number = 1; number <= FILE_NAMES_MAX; number++) {
		struct socket_value *name = name_of_file(inode, number);

		if (!name)
			break;
		if (judge_name(act, proc, name))
			return;
	}
	judge_name(act, proc, peer);
}

/* Report an act on a Unix socket, as `report` does with others. */
static inline void report_socket(struct act_value *act, u32 pid, const struct proc_value *proc,
				 const struct socket_name *name)
{
	u32 window = current_window();
	struct act_on_name *record = 0;

	act->key.started_ns = proc->started_ns;
	act->key.pid = pid;
	act->key.exec_id = proc->exec_id;
	count(KIND_ACT, COUNT_SEEN);
	act->at_ns = bpf_ktime_get_boot_ns();
	act->parent_pid = parent_of(bpf_get_current_task());

	enum ring ring = ring_of(act, window);

	if (ring == RING_FIRST)
		record = first.ringbuf_reserve(sizeof(*record));
	else if (ring == RING_EVENTS)
		record = events.ringbuf_reserve(sizeof(*record));
	if (!record) {
		count_act(act, 1, 0, 0, window);
		return;
	}
	fill_act(&record->act, act, 0, 0);
	record->act.name_here = name->size;
	__builtin_memcpy(record->name, name->words, sizeof(record->name));
	first.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* Judge and report an act; return whether it is denied. */
static inline u32 act_by_name(u32 kind, const struct proc_value *proc,
			      const struct socket_name *name, const struct socket_value *peer,
			      u64 inode)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct act_value act = {};

	act.key.protocol = PROTOCOL_UNIX;
	act.key.act = kind;
	act.tid = pid_tgid;
	act.uid = bpf_get_current_uid_gid();
	judge_socket(&act, proc, peer, inode);

	u32 is_denied = act.key.verdict == VERDICT_DENY;

	report_socket(&act, pid_tgid >> 32, proc, name);
	return is_denied;
}

/* Read the current process; return whether it is of a job or a step, or held to a policy anyway. */
static inline int read_of_job(struct proc_value *proc)
{
	return read_actor(bpf_get_current_pid_tgid() >> 32, proc) &&
	       (proc->scope || proc->early || mode_of(proc));
}

static inline int act_on_socket(u64 sock, u32 kind)
{
	struct proc_value proc;
	struct socket_name name;
	struct socket_value peer;
	u64 address = pointer_at(sock, UNIX_ADDRESS);
	u64 inode = pointer_at(pointer_at(sock, UNIX_DENTRY), DENTRY_INODE);
	u32 is_named;

	if (!address || !read_of_job(&proc))
		return 0; /* without an address, it is of a socketpair */
	read_name(member_of(address, UNIX_ADDRESS_NAME), number_at(address, UNIX_ADDRESS_SIZE),
		  &name);
	digest(&name, &peer);
	is_named = take_own_name(&peer) || name_of_file(inode, 1);
	if (kind == ACT_SEND ? !is_named : is_of_same_job(&proc, sock))
		return 0;
	return answer(act_by_name(kind, &proc, &name, &peer, inode));
}

/* An entry about an earlier socket at this address is of no use any more. */
HOOK_IF_THERE("lsm/socket_listen")
int on_listen(struct bpf_raw_tracepoint_args *ctx)
{
	u64 sock = pointer_at(ctx->args[0], SOCKET_SOCK);
	struct proc_value proc;

	if ((number_at(sock, SOCK_FAMILY) & 0xffff) != AF_UNIX)
		return 0;
	if (!read_of_job(&proc)) {
		unix_listeners.delete(&sock);
		return 0;
	}

	struct listener_value listener = {
		.scope = proc.scope,
		.early = proc.early,
		.is_guest = proc.is_guest,
	};

	unix_listeners.update(&sock, &listener);
	return 0;
}

HOOK_IF_THERE("lsm/unix_stream_connect")
int on_unix_connect(struct bpf_raw_tracepoint_args *ctx)
{
	return act_on_socket(ctx->args[1], ACT_CONNECT);
}

/* Called for each datagram, and when a socket for datagrams connects. */
HOOK_IF_THERE("lsm/unix_may_send")
int on_unix_send(struct bpf_raw_tracepoint_args *ctx)
{
	return act_on_socket(pointer_at(ctx->args[1], SOCKET_SOCK), ACT_SEND);
}

/* A function of the kernel's, whose number the exporter puts in place of this one. */
static void *(*kernel_context)(void *) = (void *)BPF_CAST_TO_KERN_CTX;

static inline int act_on_given_name(struct bpf_sock_addr *ctx, u32 kind)
{
	u64 context = address_of(kernel_context(ctx));
	struct proc_value proc;
	struct socket_name name;
	struct socket_value peer;

	if (!read_of_job(&proc))
		return ALLOW;
	read_name(pointer_at(context, CONTEXT_ADDRESS), number_at(context, CONTEXT_ADDRESS_SIZE),
		  &name);
	digest(&name, &peer);
	if (!take_own_name(&peer))
		return ALLOW;
	return act_by_name(kind, &proc, &name, &peer, 0) ? DENY : ALLOW;
}

HOOK_IF_THERE_UNLESS("cgroup/connect_unix", on_unix_connect)
int on_named_connect(struct bpf_sock_addr *ctx)
{
	return act_on_given_name(ctx, ACT_CONNECT);
}

HOOK_IF_THERE_UNLESS("cgroup/sendmsg_unix", on_unix_send)
int on_named_send(struct bpf_sock_addr *ctx)
{
	return act_on_given_name(ctx, ACT_SEND);
}
