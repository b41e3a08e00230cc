// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Follows the processes of jobs: notes each fork and each exit, and finds the job and the standing
 * of a process. on_fork is attached to the raw tracepoint `sched_wakeup_new`, on_exit to
 * `sched_process_exit`; execs are in exec.bpf.c. They are raw tracepoints because a perf tracepoint
 * is skipped, and its fork lost, while any task on that CPU is inside a map system call.
 *
 * `sched_wakeup_new` is where the creator wakes the new task up, with interrupts off. A program at
 * `task_newtask` may be preempted since Linux 7.0, and the kernel runs no program on a CPU on which
 * it is running already: meanwhile, others could fork there without being noticed.
 */
#pragma once

#include "maps.h"

#define SIGNAL_GROUP_EXIT 4
#define ANCESTORS_MAX 8
#define NS_PER_TICK 10000000

static inline struct config_value *settings(void)
{
	u32 zero = 0;

	return config.lookup(&zero);
}

static inline int holds_jobs(const struct config_value *config)
{
	return is_for(USE_POLICIES) && config && config->has_policies;
}

static inline int has_policies(void)
{
	return holds_jobs(settings());
}

/* Return the mode of a scope's policy, null if it has none. */
static inline struct mode_value *mode_for(u32 scope)
{
	return is_for(USE_POLICIES) ? modes.lookup(&scope) : 0;
}

static inline int reads_environments(const struct config_value *config)
{
	return is_for(USE_ENVIRONMENTS) && config && config->reads_environments;
}

static inline int is_overflown(void)
{
	u32 zero = 0;
	u32 *is = overflow.lookup(&zero);

	return is && *is;
}

/* Make the process a candidate: its own environment, and no ancestor's, shows its job. */
static inline void become_candidate(struct proc_value *proc, u32 pid)
{
	proc->candidate.born_ns = proc->started_ns;
	proc->candidate.tgid = pid;
	proc->candidate.program = proc->exec_id;
}

/*
 * Begin a step with this process, whose job is to be found. Its candidate key may change with each
 * exec; the number of its step stays.
 */
static inline void begin_step(struct proc_value *proc, u32 pid)
{
	u64 mixed = (proc->started_ns ^ (u64)pid << 40) * 0x9e3779b97f4a7c15ULL;

	proc->early = SCOPE_EARLY | mixed >> 33;
}

/*
 * Return the standing that a process had before its variables were seen: they turned out to be no
 * job's.
 */
static inline u32 unmarked(u32 standing)
{
	if (standing == STANDING_MARKED_STEP)
		return STANDING_STEP;
	return standing == STANDING_MARKED ? STANDING_NONE : standing;
}

/*
 * Return the scope of the process's job, 0 for none. The scope that user space found is written
 * into the process's entry, and inherited from then on: nobody has to look for processes that were
 * forked meanwhile.
 */
static inline u32 scope_of(struct proc_value *proc)
{
	u32 *found;

	if (!proc->scope && proc->candidate.tgid) {
		found = candidates.lookup(&proc->candidate);
		if (found) {
			proc->scope = *found;
			if (!*found)
				proc->standing = unmarked(proc->standing);
		}
	}
	return proc->scope;
}

/*
 * Return the scope to whose policy the process is held: its job's. A step, or a process that may be
 * one, is held to the strictest policy that there is until its job is known.
 */
static inline u32 held_as(const struct proc_value *proc)
{
	struct config_value *config;

	if (proc->scope || proc->standing < STANDING_STEP)
		return proc->scope;
	config = settings();
	return config ? config->undecided : 0;
}

/*
 * Return the scope under which the process's questions and their grants are noted: its job's.
 * Before its job is known, it is the number of its step alone: the step may turn out to be any
 * job's, and so may the others that are held to the same policy.
 */
static inline u32 noted_as(const struct proc_value *proc)
{
	u32 scope = held_as(proc);

	return !proc->scope && scope == SCOPE_WITHOUT_ROOM ? proc->early | SCOPE_EARLY : scope;
}

/* Return the scope whose policy applies to questions and grants noted under `noted`. */
static inline u32 governing(u32 noted)
{
	return noted & SCOPE_EARLY ? SCOPE_WITHOUT_ROOM : noted;
}

/*
 * Return the scope that counts questions and grants noted under `noted`. It is one scope for all
 * steps: there may be many, and nothing shows when a step is over.
 */
static inline u32 counted_as(u32 noted)
{
	return noted & SCOPE_EARLY ? SCOPE_EARLY : noted;
}

/*
 * Whether a policy applies to the process, which is held as `scope`: if it is a job's, or if the
 * host has a policy and it is in a container. No policy applies to the host's own services, nor to
 * the processes that started the job.
 */
static inline int is_governed(const struct proc_value *proc, u32 scope)
{
	return scope || proc->is_guest;
}

/* Return the standing of a process that `creator` makes: below an agent, nobody is an agent. */
static inline u32 standing_below(const struct proc_value *creator)
{
	return creator->standing == STANDING_AGENT ? STANDING_STEP : creator->standing;
}

/*
 * Make the process a step if it descends from one, or from an agent, that was found after it had
 * been made. Both have the same step number, by which this finds out: user space can't be as quick
 * as a process that forks.
 */
static inline void settle(struct proc_value *proc)
{
	u32 standing = proc->standing, *agent;

	/* Before the lookup, which costs more: most forks are of jobs and steps. */
	if (proc->scope || (standing != STANDING_NONE && standing != STANDING_MARKED))
		return;
	agent = found_steps.lookup(&proc->early);
	if (!agent)
		return;
	proc->standing = standing == STANDING_NONE ? STANDING_STEP : STANDING_MARKED_STEP;
	proc->agent = *agent;
}

/*
 * Fill in the facts about a process without an entry, by its nearest ancestor that has one. Return
 * 0 if it isn't to be followed.
 */
static inline int find_stray(u64 task, const struct config_value *config, struct proc_value *proc)
{
	u64 above = pointer_at(task, TASK_GROUP_LEADER);
	u32 step;

	proc->started_ns = pointer_at(above, TASK_START);
	proc->started_ns -= proc->started_ns % NS_PER_TICK; /* as exact as in /proc */
#pragma clang loop unroll(disable)			    /* it is in nearly every program */
	for (step = 0; step < ANCESTORS_MAX; step++) {
		above = pointer_at(above, TASK_REAL_PARENT);

		u32 pid = number_at(above, TASK_TGID);
		struct proc_value *ancestor = procs.lookup(&pid);

		if (ancestor) {
			proc->scope = ancestor->scope;
			proc->held = ancestor->held;
			/* Unless it is a step, it may have become a job's root before we saw it. */
			if (ancestor->standing >= STANDING_STEP || is_overflown())
				proc->candidate = ancestor->candidate;
			proc->is_guest = ancestor->is_guest;
			proc->standing = standing_below(ancestor);
			proc->agent = ancestor->agent;
			proc->early = ancestor->early;
			return 1;
		}
	}
	/*
	 * All of these ancestors were made after the search for everybody, and before on_fork
	 * was attached. The first one may be a step's.
	 */
	if (config->knows_everyone)
		proc->standing = STANDING_STEP;
	return config->is_host;
}

static inline struct proc_value *stray(u64 task, u32 pid)
{
	struct config_value *config = settings();
	struct proc_value proc = {};

	/* Never the exporter itself: its export would be traced, and exported. */
	if (!config || config->self_pid == pid || (!config->is_host && !is_overflown()))
		return 0;
	if (!strays.lookup(&pid)) {
		if (!find_stray(task, config, &proc))
			return 0;
		if (!proc.scope && !proc.candidate.tgid)
			become_candidate(&proc, pid);
		if (!proc.early)
			begin_step(&proc, pid);
		strays.update(&pid, &proc);
	}
	return strays.lookup(&pid);
}

static inline struct proc_value *entry_of(u32 pid)
{
	struct proc_value *entry = procs.lookup(&pid);

	return entry ? entry : strays.lookup(&pid);
}

/*
 * Copy an entry, so that the code that follows is verified once, not for the entries of each of the
 * two tables. Return 0 if there is none.
 */
static inline int read_process(struct proc_value *entry, struct proc_value *proc)
{
	if (!entry)
		return 0;
	scope_of(entry);
	return !read_kernel(proc, sizeof(*proc), entry);
}

/* Copy the current process's entry; return 0 if the process isn't followed. */
static inline int read_current(u32 pid, struct proc_value *proc)
{
	struct proc_value *entry = procs.lookup(&pid);

	return read_process(entry ? entry : stray(bpf_get_current_task(), pid), proc);
}

static inline void count_fork(u32 scope)
{
	u64 *made = forks.lookup(&scope);

	if (made)
		__sync_fetch_and_add(made, 1);
}

HOOK("raw_tp/sched_wakeup_new")
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0];
	u32 pid = number_at(task, TASK_TGID);

	if (number_at(task, TASK_PID) != pid)
		return 0; /* a thread */

	u32 creator_pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value creator;

	if (!read_current(creator_pid, &creator)) {
		/* Of an earlier process, whose exit was missed. */
		procs.delete(&pid);
		strays.delete(&pid);
		return 0;
	}
	settle(&creator);

	struct proc_value proc = {
		.started_ns = pointer_at(task, TASK_START),
		.scope = creator.scope,
		.held = creator.held,
		.candidate = creator.candidate,
		.is_guest = creator.is_guest,
		.standing = standing_below(&creator),
		.agent = creator.agent,
		.early = creator.early,
		.execs = creator.noticed ? creator.execs : (u32)number_at(task, TASK_EXECS),
		.noticed = creator.noticed ? creator.noticed : NOTICED_ALL,
	};

	/* Whatever job the agent may turn out to be a part of, this process is no part of it. */
	if (!proc.scope && creator.standing == STANDING_AGENT) {
		become_candidate(&proc, pid);
		begin_step(&proc, pid);
	}
	count(KIND_FORK, COUNT_SEEN);
	/* BPF_ANY: an entry under the pid of a process that is being born is a leftover. */
	if (procs.update(&pid, &proc)) {
		u32 zero = 0, is = 1;

		count(KIND_FORK, COUNT_UNTRACKED);
		overflow.update(&zero, &is);
		/* Noted now, while its creator is known: as an orphan it would be nobody's. */
		strays.update(&pid, &proc);
	} else {
		strays.delete(&pid);
	}
	/*
	 * Not before: a reader that sees this count unchanged must have seen the process, or its
	 * creator. The process may be of a step whose job isn't known.
	 */
	count_fork(held_as(&proc));

	struct fork_record *record = lineage.ringbuf_reserve(sizeof(*record));

	if (!record) {
		count(KIND_FORK, COUNT_LOST);
		return 0;
	}
	fill_header(&record->header, KIND_FORK, bpf_ktime_get_boot_ns(), pid, &proc);
	record->creator_started_ns = creator.started_ns;
	record->creator_pid = creator_pid;
	record->creator_exec_id = creator.exec_id;
	record->parent_pid = parent_of(task);
	record->scope = proc.scope;
	lineage.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

static inline void tell_exit(u64 task)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *found = procs.lookup(&pid);

	if (!found)
		return;

	u64 signal = pointer_at(task, TASK_SIGNAL);

	if (number_at(signal, SIGNAL_LIVE))
		return;

	struct proc_value proc = *found;

	/*
	 * Two threads that end at once both see nobody live: the one that deletes the entry
	 * reports.
	 */
	if (procs.delete(&pid))
		return;
	count(KIND_EXIT, COUNT_SEEN);

	u64 at_ns = bpf_ktime_get_boot_ns();
	struct exit_record *record = lineage.ringbuf_reserve(sizeof(*record));

	if (!record) {
		count(KIND_EXIT, COUNT_LOST);
		return;
	}
	fill_header(&record->header, KIND_EXIT, at_ns, pid, &proc);
	if (number_at(signal, SIGNAL_FLAGS) & SIGNAL_GROUP_EXIT)
		record->wait_status = number_at(signal, SIGNAL_GROUP_EXIT_CODE);
	else
		record->wait_status =
			number_at(pointer_at(task, TASK_GROUP_LEADER), TASK_EXIT_CODE);
	record->pad = 0;
	lineage.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

HOOK("raw_tp/sched_process_exit")
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	disable_preemption();
	tell_exit(ctx->args[0]);
	enable_preemption();
	return 0;
}
