// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Makes up for executions that the programs of exec.bpf.c didn't notice as a whole. Since Linux 7.0
 * a program at a tracepoint can be preempted, and until it goes on, the kernel leaves it out for
 * all other tasks on that CPU: a job can arrange that as it likes. Hooks of the cgroup hierarchy
 * are never left out, so the entry of whoever connects or sends is compared here with the kernel's
 * own count of its execs. No program is attached here: those of exec.bpf.c call start_exec and
 * go_on_with_exec, those of socket.bpf.c and unix.bpf.c read_actor.
 */
#pragma once

#include "executable.bpf.c"
#include "process.bpf.c"

/* Note facts about a process that is executing a program, or has executed one. */
static inline void note_program(struct proc_value *proc, u64 task)
{
	proc->held |= executables_in(pointer_at(task, TASK_MM));
	if (number_at(pointer_at(task, TASK_NUMBERS), NUMBERS_LEVEL))
		proc->is_guest = 1;
}

/* Hold the process as one that is a job's by its variables. */
static inline void mark_process(struct proc_value *proc, u32 pid)
{
	u32 standing = proc->standing;

	if (standing >= STANDING_MARKED)
		return;
	if (standing == STANDING_NONE)
		begin_step(proc, pid);
	proc->standing = standing == STANDING_STEP ? STANDING_MARKED_STEP : STANDING_MARKED;
}

/*
 * Do what can still be done about a program that a process executed, of which something wasn't
 * noticed: as where no ring had room for it. If the variables weren't, which might have shown a
 * job, user space looks for one in /proc, and the process is held until that shows one. Return
 * whether it is to look.
 */
static inline int make_up_for_exec(struct proc_value *proc, u32 pid, u64 task)
{
	struct config_value *config = settings();

	if (!(proc->noticed & NOTICED_PROGRAM)) {
		proc->exec_id++;
		count(KIND_EXEC, COUNT_SEEN);
		count(KIND_EXEC, COUNT_LOST);
	}
	note_program(proc, task);
	if (proc->noticed & NOTICED_VARIABLES)
		return 0;
	if (!reads_environments(config) || scope_of(proc) || proc->standing == STANDING_AGENT ||
	    proc->standing >= STANDING_MARKED)
		return 0;
	become_candidate(proc, pid);
	if (holds_jobs(config))
		mark_process(proc, pid);
	/* It may be a job's root: then executables of its ancestors aren't in the job's chain. */
	proc->held = executables_in(pointer_at(task, TASK_MM));
	/* Not before: user space looks for it as soon as it reads this count. */
	count(KIND_ENVIRONMENT, COUNT_SEEN);
	count(KIND_ENVIRONMENT, COUNT_LOST);
	return 1;
}

/* Begin to notice an exec; make up for the one before, unless all of it was noticed. */
static inline void start_exec(struct proc_value *proc, u32 pid, u64 task)
{
	u32 execs = number_at(task, TASK_EXECS);

	if (!proc->noticed)
		return;
	if (proc->execs + 1 != execs)
		proc->noticed = NOTICED_NOTHING;
	if (proc->noticed != NOTICED_ALL) {
		/* on_exec will count this exec; its variables are those that /proc has. */
		if (make_up_for_exec(proc, pid, task))
			proc->candidate.program++;
	}
	proc->execs = execs;
	proc->noticed = NOTICED_START;
}

/* Note that a part of an exec has been noticed, if its start was. */
static inline void go_on_with_exec(struct proc_value *proc, u64 task, u32 part)
{
	if (proc->noticed && proc->execs == number_at(task, TASK_EXECS))
		proc->noticed |= part;
}

static inline u32 current_execs(void)
{
	return number_at(bpf_get_current_task(), TASK_EXECS);
}

/*
 * Copy the entry of the current process, which is acting; return 0 if it isn't followed. Only for
 * hooks that a process calls itself: a packet may leave in anybody's name, also while that process
 * is just executing a program.
 */
static inline int read_actor(u32 pid, struct proc_value *proc)
{
	struct proc_value *entry;

	if (!read_current(pid, proc))
		return 0;
	if (proc->execs == current_execs() && proc->noticed == NOTICED_ALL)
		return 1;
	entry = entry_of(pid);
	if (!entry)
		return 1;
	if (entry->noticed && entry->execs != current_execs())
		entry->noticed = NOTICED_NOTHING;
	if (entry->noticed)
		make_up_for_exec(entry, pid, bpf_get_current_task());
	entry->execs = current_execs();
	entry->noticed = NOTICED_ALL;
	return read_process(entry, proc);
}
