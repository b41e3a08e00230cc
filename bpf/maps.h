/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The maps that the programs share, and helpers for all of them. */
#pragma once

#include "egress.h"

/*
 * A line before each program says where it is attached, by libbpf's name of the hook. `make wire`
 * makes the loader's list (exporter/kernel/programs/hooks.py) of these lines; for the compiler they
 * are nothing. Programs of one hook are attached, and called, in the order in which they stand
 * here.
 */
#define HOOK(hook)
#define HOOK_IF_THERE(hook)		       /* left out where the kernel has no such hook */
#define HOOK_UNLESS(hook, ...)		       /* left out where all these programs are attached */
#define HOOK_IF_THERE_UNLESS(hook, ...)	       /* left out for either reason */
#define TAIL_CALLED(hook, map, index)	       /* not attached: programs of that hook call it */
#define HOOK_AND_TAIL_CALLED(hook, map, index) /* both */
#define RESERVE(hook)			       /* attached later, where it is needed */

#define LINEAGE_PAGES 4096 /* 16 MiB: a burst of 10,000 programs, at 1.6 KiB each */
#define RING_PAGES 256
#define ENVIRONMENTS_PAGES 512 /* 1,500 usual environments: one that is lost may be a job's */
#define LOOKUPS_PAGES 128
#define PROCS_MAX 131072 /* more than a user may have on most machines (RLIMIT_NPROC) */
#define STRAYS_MAX 1024
#define CANDIDATES_MAX 32768
#define FLOWS_MAX 16384
#define SLOTS_MAX 8192
#define OTHER_SLOTS_MAX (SLOTS_MAX / 2)
#define OPEN_MAX 16384
#define SCOPES_MAX 2048
#define OTHERS_MAX (SCOPES_MAX * VERDICTS * ACTS)
#define QUERIES_MAX 32768
#define POLICY_MAX 262144
#define ALTERNATIVES_ROOM 16384
#define NAMES_MAX 262144
#define FURTHER_NAMES_MAX 8192
#define GRANTED_MAX 262144
#define RULE_PORTS_MAX 65536
#define EXECUTABLES_ROOM 1024
#define NAMED_SOCKETS_ROOM 4096
#define LISTENERS_MAX 4096
#define LATE_RESOLVERS_MAX 4096
#define REFUSED_MAX 65536
#define RESOLVER_UNITS_MAX 64
#define EXE_NAMES_MAX 64
#define AGENTS_MAX 256
#define MARKS_MAX 64

#define NS_PER_S 1000000000ULL

/* Numbers of functions of the kernel's, as in exporter/kernel/compilation/btf.py */
#define BPF_CAST_TO_KERN_CTX 0x70000001
#define BPF_PREEMPT_DISABLE 0x70000002
#define BPF_PREEMPT_ENABLE 0x70000003

/*
 * One ring for each kind of record, so that none can fill another's: `lineage` for forks, execs and
 * exits; `first` for the first act of a program with a peer, and for tampering; `events` for
 * further acts, flows and bytes; `lookups` for DNS messages; `environments` for the environments
 * with which processes of no job execute. Records are submitted without a wakeup, which would cost
 * more than the hook: the exporter reads by a timer, and merges the rings by time. Only
 * environments wake it up, where there are policies.
 */
BPF_RINGBUF_OUTPUT(lineage, LINEAGE_PAGES);
BPF_RINGBUF_OUTPUT(first, RING_PAGES);
BPF_RINGBUF_OUTPUT(events, RING_PAGES);
BPF_RINGBUF_OUTPUT(lookups, LOOKUPS_PAGES);
BPF_RINGBUF_OUTPUT(environments, ENVIRONMENTS_PAGES);

/*
 * The processes that are followed, by tgid: those of every job, and with config's `is_host` all
 * others, too. All of its memory, 18 MB, is allocated at once, and charged to whoever loads the
 * programs. If each entry were allocated when it is made, a job that fills the memory that it
 * shares with the exporter could make processes that get no entry.
 */
BPF_HASH(procs, u32, struct proc_value, PROCS_MAX);

/*
 * The processes that aren't in `procs` although they should be, with the facts that could be found
 * out when they acted: some were running before the programs were attached, others were made while
 * `procs` was full.
 */
BPF_TABLE("lru_hash", u32, struct proc_value, strays, STRAYS_MAX);

/*
 * The scopes that user space has found, 0 for no job's, by the program whose environment showed the
 * job. Each is the scope of the program's process and of the processes that it forked. Entries are
 * removed with the job, or earlier, when no process needs them any more. This map's memory is
 * allocated at once, too: nobody may keep the next job from being held to its policy.
 */
BPF_HASH(candidates, struct candidate_key, u32, CANDIDATES_MAX);

/*
 * The agents and steps that user space found in /proc when it began, by the number of their step,
 * each with the CI system of its agent: processes that they made before they were found are steps,
 * too. Empty once all are found.
 */
BPF_F_TABLE("hash", u32, u32, found_steps, PROCS_MAX, BPF_F_NO_PREALLOC);

/*
 * The agents, which start jobs; and the marks, the beginnings of variables by which jobs are known.
 */
BPF_F_TABLE("hash", struct agent_key, u32, agents, AGENTS_MAX, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct mark_key, u32, marks, MARKS_MAX, BPF_F_NO_PREALLOC);

/* Whether `procs` was ever full: then a process that isn't in it may still be a job's. */
BPF_ARRAY(overflow, u32, 1);

BPF_PERCPU_ARRAY(counters, u64, (KINDS * COUNTS));

/*
 * How many processes each scope has made. A reader that walks through `procs` may miss a process
 * that goes on as its child before its turn comes. If this count stays the same during the walk, no
 * child was made, and none was missed.
 */
BPF_HASH(forks, u32, u64, SCOPES_MAX);
BPF_ARRAY(config, struct config_value, 1);

/*
 * The acts of each program with each peer within a window. There are two maps, for windows with
 * even and with odd numbers: user space reads and clears one while the other is in use.
 */
BPF_HASH(flows_even, struct flow_key, struct flow_value, FLOWS_MAX);
BPF_HASH(flows_odd, struct flow_key, struct flow_value, FLOWS_MAX);

/*
 * The places that each scope has taken in a window: two maps, as for flows. And those that all
 * scopes together have taken, in windows with even and with odd numbers. User space makes the
 * entries. See share.bpf.c.
 */
BPF_HASH(places_even, u32, struct places_value, SCOPES_MAX);
BPF_HASH(places_odd, u32, struct places_value, SCOPES_MAX);
BPF_ARRAY(places_of_all, struct places_value, 2);

/*
 * The slots, where acts are counted that get no record of their own, and the numbers of the free
 * slots. Half of them are for acts of a program with all its other peers.
 */
BPF_F_TABLE("array", u32, struct aggregate_record, slots, SLOTS_MAX, BPF_F_MMAPABLE);
BPF_STACK(free_slots, u32, SLOTS_MAX);
BPF_STACK(free_other_slots, u32, OTHER_SLOTS_MAX);

/* The number of acts for which there was no slot: the key is scope << 16 | verdict << 8 | act. */
BPF_HASH(others, u64, u64, OTHERS_MAX);
/*
 * How many acts in `others` were reported, and the account of all attempts: for an exporter that
 * adopts the instance. No program reads them.
 */
BPF_F_TABLE("hash", u64, u64, others_told, OTHERS_MAX, BPF_F_NO_PREALLOC);
BPF_ARRAY(account, struct account_value, 1);

/*
 * Connects that get no record, until they are counted with their outcome. The key is the socket's
 * cookie. And their number by scope, and that of all scopes: kept by the programs, and, of those
 * that user space removed with their scope, by user space.
 */
BPF_HASH(open_connects, u64, struct act_value, OPEN_MAX);
BPF_HASH(open_noted, u32, s64, SCOPES_MAX);
BPF_ARRAY(open_of_all, s64, 2);

/*
 * The questions that wait for their answers. So that no job takes another's room, they are counted
 * by scope, and for all scopes together under ALL_SCOPES. User space removes questions that were
 * never answered, and counts them in `queries_expired`.
 */
BPF_HASH(queries, struct query_key, struct query_value, QUERIES_MAX);
BPF_HASH(queries_noted, u32, struct quota_value, SCOPES_MAX);
BPF_HASH(queries_expired, u32, u64, SCOPES_MAX);

/*
 * The policies. `policy` has the rules for addresses, and `alternatives` those that apply where one
 * of these doesn't hold; `names` has the rule sets of names, `granted` the rule sets that names
 * granted to an address in a scope, and `rule_ports` the verdicts of rule sets. `modes` has the
 * scopes with a policy: it is written last, when all entries of the policy are there.
 */
BPF_F_TABLE("lpm_trie", struct policy_key, struct choice_value, policy, POLICY_MAX,
	    BPF_F_NO_PREALLOC);
BPF_ARRAY(alternatives, struct choice_value, ALTERNATIVES_ROOM);
BPF_F_TABLE("lpm_trie", struct name_key, u32, names, NAMES_MAX, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct granted_key, struct granted_value, granted, GRANTED_MAX,
	    BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct port_key, struct step_value, rule_ports, RULE_PORTS_MAX,
	    BPF_F_NO_PREALLOC);
BPF_HASH(modes, u32, struct mode_value, SCOPES_MAX);
/*
 * The scopes that no policy holds any more, and whose last policy refused lookups and was enforced.
 * The value has no meaning.
 */
BPF_TABLE("lru_hash", u32, u32, refused_to_the_end, REFUSED_MAX);
/* All policies, by their numbers. No program reads it. */
BPF_F_TABLE("hash", u32, struct policy_value, policies, SCOPES_MAX, BPF_F_NO_PREALLOC);

/* The files of the executables that the policies name, of all scopes together. */
BPF_HASH(exe_bits, struct exe_key, struct exe_value, EXECUTABLES_ROOM);
/* The Unix sockets that the policies name, of all scopes together. */
BPF_HASH(named_sockets, struct socket_key, struct socket_value, NAMED_SOCKETS_ROOM);
/* The bits of the executables' names. No program reads it. */
BPF_F_TABLE("hash", struct exe_name_key, u32, exe_names, EXE_NAMES_MAX, BPF_F_NO_PREALLOC);
/*
 * The jobs, by scope, for `ci-egress enforce` and for an exporter that adopts the instance. No
 * program reads it.
 */
BPF_F_TABLE("hash", u32, struct job_value, jobs, SCOPES_MAX, BPF_F_NO_PREALLOC);

/*
 * How many grants were made, and how many of them user space has removed: by scope, and for all
 * scopes together under ALL_SCOPES.
 */
BPF_HASH(grants_made, u32, u64, SCOPES_MAX);
BPF_HASH(grants_ended, u32, u64, SCOPES_MAX);

/*
 * The addresses where port 53 was taken since the programs were attached: an answer from there over
 * loopback may be the job's, or anybody's. The key is the network namespace's cookie and the
 * address; zeros for all its addresses. If a process took it that may turn out to be a job's, the
 * value is the key in `candidates` that would show it; else zeros.
 */
BPF_TABLE("lru_hash", struct late_key, struct candidate_key, late_resolvers, LATE_RESOLVERS_MAX);

/*
 * The systemd services that may take port 53 at any time: they resolve names for the machine, and
 * may be restarted.
 */
BPF_HASH(resolver_units, struct unit_key, u32, RESOLVER_UNITS_MAX);

/* Each socket's latest act, and how its packets are judged. */
BPF_SK_STORAGE(lasts, struct last_peer);

/*
 * The TCP sockets with a connect that has a record of its own: 1 until the record of its outcome.
 * The hooks that see outcomes are called for other sockets, too: those of jobs that another
 * instance follows.
 */
BPF_SK_STORAGE(told_connects, u32);

/*
 * Add one to a counter. Atomic although the map is per CPU: a cgroup hook can be preempted between
 * its load and its store.
 */
static inline void count(u32 kind, u32 what)
{
	u32 index = kind * COUNTS + what;
	u64 *value = counters.lookup(&index);

	if (value)
		__sync_fetch_and_add(value, 1);
}

/*
 * at_ns must be taken before the record is reserved: then no record is older than its cause,
 * whichever rings the two are in, and merging by time keeps causes before their effects.
 */
static inline void fill_header(struct record_header *header, u32 kind, u64 at_ns, u32 pid,
			       const struct proc_value *proc)
{
	header->layout = LAYOUT;
	header->kind = kind;
	header->pad = 0;
	header->at_ns = at_ns;
	header->started_ns = proc->started_ns;
	header->pid = pid;
	header->exec_id = proc->exec_id;
}

/*
 * The kernel's helpers under names of our own: where BCC can't read kallsyms (without CAP_SYSLOG),
 * it turns the usual names into bpf_probe_read, which cgroup hooks don't have.
 */
static long (*read_kernel)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_kernel;
static long (*read_kernel_text)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_kernel_str;
static long (*read_user_text)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_user_str;
static long (*read_user)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_user;

/*
 * Functions of the kernel's, from Linux 6.10 on; the exporter puts their numbers in place of these,
 * or nothing where there are no such functions. A program that is preempted before it has submitted
 * its record keeps all later records from being read.
 */
static void (*disable_preemption)(void) = (void *)BPF_PREEMPT_DISABLE;
static void (*enable_preemption)(void) = (void *)BPF_PREEMPT_ENABLE;

/* Hide a value from LLVM, so that it can't transform computations with it. */
#define OPAQUE(value) asm volatile("" : "+r"(value))

/*
 * Make the verifier forget a number, which stays the same: otherwise it follows each way to each
 * value of the number through all the code that comes. `by` is a number that the verifier doesn't
 * know.
 */
#define BLUR(value, by) asm volatile("%0 -= %1\n%0 += %1" : "+r"(value) : "r"(by))

/* Make the verifier forget a variable in memory, which stays the same. */
#define FORGET(value) read_kernel(&(value), sizeof(value), &(value))

/*
 * Set all of a key on the stack to zeros; its size is a multiple of 8. If only parts of it are
 * written, the verifier keeps whatever stood there before, and follows each such state.
 */
#define CLEAR(key)                                                                                 \
	do {                                                                                       \
		_Static_assert(sizeof(key) % 8 == 0, "CLEAR");                                     \
		for (u32 at = 0; at < sizeof(key) / 8; at++)                                       \
			((volatile u64 *)&(key))[at] = 0;                                          \
	} while (0)

/*
 * Return n, at most `limit`. In assembly, since LLVM compares one copy of n and uses another, or
 * one from before it put n aside: the verifiers up to 6.1 then know nothing of the copy that is
 * used.
 */
static inline u64 at_most(u64 n, u64 limit)
{
	asm volatile("if %0 <= %1 goto +1\n\t%0 = %1" : "+r"(n) : "ri"(limit));
	return n;
}

/*
 * Return the address of a member of a kernel struct. The offset is the number of one instruction,
 * which the exporter replaces by this kernel's offset (exporter/kernel/compilation/bytecode.py). In
 * assembly, since LLVM would calculate with the number.
 */
static inline u64 member_of(u64 base, u32 offset)
{
	asm("%0 += %1" : "+r"(base) : "i"(offset));
	return base;
}

/* Return the address of the struct that has this member. */
static inline u64 holder_of(u64 member, u32 offset)
{
	asm("%0 -= %1" : "+r"(member) : "i"(offset));
	return member;
}

/*
 * Return a number of one instruction, which the exporter replaces: 1 if the instance has that use,
 * 0 if it hasn't. So the verifier doesn't follow what there is no use for, and leaves it out
 * (exporter/kernel/compilation/uses.py).
 */
static inline u64 is_for(u32 use)
{
	u64 is_used = 0;

	asm("%0 += %1" : "+r"(is_used) : "i"(use));
	return is_used;
}

static inline u64 pointer_in(u64 address)
{
	u64 value = 0;

	read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static inline u32 number_in(u64 address)
{
	u32 value = 0;

	read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

/* Read a member of a kernel struct. */
static inline u64 pointer_at(u64 base, u32 offset)
{
	return pointer_in(member_of(base, offset));
}

static inline u32 number_at(u64 base, u32 offset)
{
	return number_in(member_of(base, offset));
}

/*
 * Return a socket's address as a number. No program may calculate with a socket's pointer, but it
 * can read the pointer back from the stack.
 */
static inline u64 address_of(void *socket)
{
	u64 address = 0;

	read_kernel(&address, sizeof(address), &socket);
	return address;
}

/* Before Linux 6.10 programs for packets and sock_ops can't call bpf_get_current_pid_tgid. */
static inline u32 current_pid(void)
{
	return number_at(bpf_get_current_task(), TASK_TGID);
}

static inline u32 parent_of(u64 task)
{
	return number_at(pointer_at(task, TASK_REAL_PARENT), TASK_TGID);
}
