/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef MAPS_H
#define MAPS_H

#include "egress.h"

#define LINEAGE_PAGES 4096 /* 16 MiB: a burst of 10,000 programs, at 1.6 KiB each */
#define RING_PAGES 256
#define ENVIRONMENTS_PAGES 512 /* 1,500 usual ones: one that is lost may be a job's */
#define LOOKUPS_PAGES 128
#define PROCS_MAX 131072 /* more than a user has on most machines: RLIMIT_NPROC */
#define STRAYS_MAX 1024
#define CANDIDATES_MAX 32768
#define FLOWS_MAX 16384
#define SLOTS_MAX 4096
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
#define LATE_RESOLVERS_MAX 4096
#define RESOLVER_UNITS_MAX 64
#define EXE_NAMES_MAX 64
#define AGENTS_MAX 256
#define MARKS_MAX 64

/*
 * A ring for each matter, so that none can fill another's: forks, execs and exits; the first act of
 * a program with a peer; DNS messages; the rest; and what processes of no job executed with. All
 * are submitted without a wakeup, which would cost more than the hook: the exporter has a timer,
 * and merges them by time.
 */
BPF_RINGBUF_OUTPUT(lineage, LINEAGE_PAGES);
BPF_RINGBUF_OUTPUT(first, RING_PAGES);
BPF_RINGBUF_OUTPUT(events, RING_PAGES);
BPF_RINGBUF_OUTPUT(lookups, LOOKUPS_PAGES);
BPF_RINGBUF_OUTPUT(environments, ENVIRONMENTS_PAGES);

/*
 * The processes of every job, by tgid; whatever isn't here belongs to no job. All of its memory, 18
 * MB, is taken at once: it is of whoever loads this, and a job that fills what it shares with the
 * exporter could make processes that find none.
 */
BPF_HASH(procs, u32, struct proc_value, PROCS_MAX);

/*
 * Of processes that aren't there although they should be, what could be found out when they acted:
 * some were running before anything was traced, others found the map above full.
 */
BPF_TABLE("lru_hash", u32, struct proc_value, strays, STRAYS_MAX);

/*
 * The processes of which user space found the job; entries go with the job. Its memory is taken at
 * once, too: nobody is to keep the next job from being held.
 */
BPF_HASH(candidates, struct candidate_key, u32, CANDIDATES_MAX);

/* Who starts jobs, and what is looked for in the environments of what nobody known to started. */
BPF_F_TABLE("hash", struct agent_key, u32, agents, AGENTS_MAX, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct mark_key, u32, marks, MARKS_MAX, BPF_F_NO_PREALLOC);

/* Whether `procs` was ever full: then a process that isn't there may still be of a job. */
BPF_ARRAY(overflow, u32, 1);

BPF_PERCPU_ARRAY(counters, u64, (KINDS * COUNTS));

/*
 * How many processes each scope has made. Whoever walks through `procs` may miss one that goes on
 * as another before its turn comes: what shows that there is none is that meanwhile none was made.
 */
BPF_HASH(forks, u32, u64, SCOPES_MAX);
BPF_ARRAY(config, struct config_value, 1);

/*
 * What each program did with each peer within a window. There are two of each, for windows with
 * even and with odd numbers: user space reads and clears one while the other is in use.
 */
BPF_HASH(flows_even, struct flow_key, struct flow_value, FLOWS_MAX);
BPF_HASH(flows_odd, struct flow_key, struct flow_value, FLOWS_MAX);

/* Where acts are counted that get no record; those that are free are on the stack. */
BPF_F_TABLE("array", u32, struct aggregate_record, slots, SLOTS_MAX, BPF_F_MMAPABLE);
BPF_STACK(free_slots, u32, SLOTS_MAX);

/* Acts of a scope for which there was no slot: the key is scope << 16 | verdict << 8 | act. */
BPF_HASH(others, u64, u64, OTHERS_MAX);
/* How many of them were told, and the account: for whoever adopts the instance. No program asks. */
BPF_F_TABLE("hash", u64, u64, others_told, OTHERS_MAX, BPF_F_NO_PREALLOC);
BPF_ARRAY(account, struct account_value, 1);

/* Connects that get no record and aren't counted before their outcome is known, by socket cookie.
 */
BPF_HASH(open_connects, u64, struct act_value, OPEN_MAX);

/*
 * Questions that wait for their answers, and by scope, and under ALL_SCOPES of all together, how
 * many there are, so that no job takes another's room. User space removes what was never answered,
 * and counts it in queries_expired.
 */
BPF_HASH(queries, struct query_key, struct query_value, QUERIES_MAX);
BPF_HASH(queries_noted, u32, struct quota_value, SCOPES_MAX);
BPF_HASH(queries_expired, u32, u64, SCOPES_MAX);

/*
 * The rules for addresses of every policy, and what stands behind them; those for names; what these
 * granted to scopes, what is said to that; and which scopes have a policy, written last: then its
 * entries are there.
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
/* All policies that are there, by their numbers; no program asks. */
BPF_F_TABLE("hash", u32, struct policy_value, policies, SCOPES_MAX, BPF_F_NO_PREALLOC);

/* The files that are executables which policies name, in whatever scope. */
BPF_HASH(exe_bits, struct exe_key, struct exe_value, EXECUTABLES_ROOM);
/* The bits that names have; no program asks. */
BPF_F_TABLE("hash", struct exe_name_key, u32, exe_names, EXE_NAMES_MAX, BPF_F_NO_PREALLOC);
/* The jobs, by scope, for `ci-egress enforce` and whoever adopts the instance; no program asks. */
BPF_F_TABLE("hash", u32, struct job_value, jobs, SCOPES_MAX, BPF_F_NO_PREALLOC);

/*
 * By scope, and under ALL_SCOPES of all together: how many grants were made, and how many of them
 * user space removed again.
 */
BPF_HASH(grants_made, u32, u64, SCOPES_MAX);
BPF_HASH(grants_ended, u32, u64, SCOPES_MAX);

/*
 * Where port 53 was taken since the programs run, by the network namespace's cookie and the
 * address, zeros for all of them: what answers there over loopback may be the job's, or anybody's.
 * Where it was a process that may turn out to be of a job, that by which it would; else zeros.
 */
BPF_TABLE("lru_hash", struct late_key, struct candidate_key, late_resolvers, LATE_RESOLVERS_MAX);

/* The systemd services that may do so: they resolve names for the machine, and start again. */
BPF_HASH(resolver_units, struct unit_key, u32, RESOLVER_UNITS_MAX);

/* The peer a socket sent to last, and the slot where its next sends to that peer are counted. */
BPF_SK_STORAGE(lasts, struct last_peer);

/* Atomic even per CPU: a cgroup hook can be preempted between its load and its store. */
static inline void count(u32 kind, u32 what)
{
	u32 index = kind * COUNTS + what;
	u64 *value = counters.lookup(&index);

	if (value)
		__sync_fetch_and_add(value, 1);
}

/*
 * at_ns is taken before the record is reserved: then no record is older than what it follows from,
 * whichever rings the two are on, and merging by time keeps causes before their effects.
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
 * Under names of their own: where BCC can't read kallsyms (without CAP_SYSLOG) it turns the
 * usual ones into bpf_probe_read, which cgroup hooks don't have.
 */
static long (*read_kernel)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_kernel;
static long (*read_kernel_text)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_kernel_str;
static long (*read_user_text)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_user_str;
static long (*read_user)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_user;

/* LLVM knows no more what it is, and so makes nothing else of what is done with it. */
#define OPAQUE(value) asm volatile("" : "+r"(value))

/*
 * The value stays what it is, but the verifier knows it no more: else it follows each way to each
 * value through all that comes. `by` is a number that it doesn't know.
 */
#define BLUR(value, by) asm volatile("%0 -= %1\n%0 += %1" : "+r"(value) : "r"(by))

/* The same for what stands in memory. */
#define FORGET(value) read_kernel(&(value), sizeof(value), &(value))

/*
 * Writes all of a key on the stack, whose size is a multiple of 8: what is written in parts alone
 * keeps alive, for the verifier, whatever stood there before, and it follows each of that.
 */
#define CLEAR(key)                                                                                 \
	do {                                                                                       \
		_Static_assert(sizeof(key) % 8 == 0, "CLEAR");                                     \
		for (u32 at = 0; at < sizeof(key) / 8; at++)                                       \
			((volatile u64 *)&(key))[at] = 0;                                          \
	} while (0)

/* A kernel struct's member, by the offset the exporter took from this kernel's BTF. */
static inline u64 pointer_at(u64 base, u32 offset)
{
	u64 value = 0;

	read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

static inline u32 number_at(u64 base, u32 offset)
{
	u32 value = 0;

	read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

/* No program may calculate with a socket's pointer, but read it back from the stack. */
static inline u64 address_of(void *socket)
{
	u64 address = 0;

	read_kernel(&address, sizeof(address), &socket);
	return address;
}

/* Before Linux 6.10 programs at packets and sock_ops can't ask bpf_get_current_pid_tgid. */
static inline u32 current_pid(void)
{
	return number_at(bpf_get_current_task(), TASK_TGID);
}

static inline u32 parent_of(u64 task)
{
	return number_at(pointer_at(task, TASK_REAL_PARENT), TASK_TGID);
}

#endif
