// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Reports the program that a process executes: path, argv, container and environment, from the new
 * program's own memory, before it has had a chance to change any of it. Its programs are
 * before_exec, on_exec and after_exec, all at the raw tracepoint sched_process_exec, in this order.
 */
#pragma once

#include "agent.bpf.c"
#include "executable.bpf.c"
#include "missed.bpf.c"
#include "process.bpf.c"

#define PATH_DEPTH 40
#define NAME_ROOM 256

/*
 * Read the executable's path: walk from its file up to the root of its mount namespace.
 * bprm->filename wouldn't do: it is the text that the caller gave, and for a script it isn't the
 * program that runs.
 */
static inline void read_path(struct exec_record *record, u64 mm)
{
	u64 file = pointer_at(mm, MM_EXE_FILE);
	u64 dentry = pointer_at(file, FILE_DENTRY);
	u64 mount = holder_of(pointer_at(file, FILE_MNT), MOUNT_MNT);
	/*
	 * The length is in the record's memory, where the verifier doesn't follow it: else it would
	 * follow each way to each sum.
	 */
	volatile u32 *length = &record->path_here;
	int step;

	*length = 0;
	record->path_cut = 1;
	for (step = 0; step < PATH_DEPTH; step++) {
		u64 parent = pointer_at(dentry, DENTRY_PARENT), at = *length;

		/* A file that is its own parent has no directory: memfd_create makes such files. */
		if (dentry == pointer_at(member_of(mount, MOUNT_MNT), VFSMOUNT_ROOT) ||
		    (at && dentry == parent)) {
			u64 above = pointer_at(mount, MOUNT_PARENT);

			if (!above || above == mount) {
				/*
				 * A mount without a namespace is detached: its root may be any
				 * directory.
				 */
				record->path_cut = !pointer_at(mount, MOUNT_NS);
				break;
			}
			dentry = pointer_at(mount, MOUNT_MOUNTPOINT);
			mount = above;
			continue;
		}
		if (at > PATH_ROOM - NAME_ROOM)
			break;
		long n = read_kernel_text(record->path + at, NAME_ROOM,
					  (void *)pointer_at(dentry, DENTRY_NAME));

		if (n <= 0 || n > NAME_ROOM)
			break;
		*length = at + n;
		dentry = parent;
	}
	if (*length)
		return;

	/*
	 * The file is a detached mount by itself: container runtimes execute their own file that
	 * way.
	 */
	long n = read_kernel_text(record->path, NAME_ROOM,
				  (void *)pointer_at(pointer_at(file, FILE_DENTRY), DENTRY_NAME));

	if (n > 0 && n <= NAME_ROOM)
		*length = n;
}

static inline u64 name_of_cgroup(u64 cgroup)
{
	return pointer_at(pointer_at(cgroup, CGROUP_NODE), NODE_NAME);
}

/*
 * Read the cgroup's name, which has a container's id: whoever asks /proc comes too late for a short
 * process.
 */
static inline void read_cgroup(struct exec_record *record, u64 task)
{
	u64 cgroup = pointer_at(pointer_at(task, TASK_CGROUPS), CSS_SET_CGROUP);

	if (read_kernel_text(record->cgroup, CGROUP_ROOM, (void *)name_of_cgroup(cgroup)) < 0)
		record->cgroup[0] = 0;
}

/*
 * Send the further pieces of a long argv. Not on the ring of execs, which a storm of long argvs
 * would fill.
 */
static inline void send_arguments(u64 from, u64 size, u32 pid, const struct proc_value *proc)
{
	u64 offset;

	for (offset = ARGUMENTS_PIECE; offset < ARGUMENTS_MAX; offset += ARGUMENTS_PIECE) {
		if (offset >= size)
			return;

		u64 here = at_most(size - offset, ARGUMENTS_PIECE);
		u64 at_ns = bpf_ktime_get_boot_ns();
		struct arguments_record *record =
			events.ringbuf_reserve(sizeof(*record) + ARGUMENTS_PIECE);

		count(KIND_ARGUMENTS, COUNT_SEEN);
		if (!record) {
			count(KIND_ARGUMENTS, COUNT_LOST);
			return;
		}
		fill_header(&record->header, KIND_ARGUMENTS, at_ns, pid, proc);
		record->offset = offset;
		record->arguments_here = here;
		if (read_user(record + 1, here, (void *)(from + offset)))
			record->arguments_here = 0;
		events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	}
}

/*
 * Send the record of an exec. `room` is constant in each call: a ring reservation can't have a size
 * that varies.
 */
static inline __attribute__((always_inline)) void
send_exec(u64 task, u64 mm, u64 from, u64 size, u32 pid, struct proc_value *proc, u64 room)
{
	u64 at_ns = bpf_ktime_get_boot_ns();
	struct exec_record *record = lineage.ringbuf_reserve(sizeof(*record) + room);
	u64 here = size;

	BLUR(here, at_ns); /* else the verifier ties it to `size` */
	here = at_most(here, room);

	if (!record) {
		count(KIND_EXEC, COUNT_LOST);
		return;
	}
	fill_header(&record->header, KIND_EXEC, at_ns, pid, proc);
	record->parent_pid = parent_of(task);
	record->scope = scope_of(proc);
	record->arguments_size = size;
	record->arguments_here = here;
	if (read_user(record + 1, here, (void *)from))
		record->arguments_here = 0;
	read_path(record, mm);
	read_cgroup(record, task);
	lineage.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/*
 * Send a piece of the environment; returns whether there is more to send. `room` is constant in
 * each call, as in send_exec. `flags` wakes user space where a policy may be waiting for the
 * process.
 */
static inline __attribute__((always_inline)) int
send_environment_piece(u64 from, u64 size, u64 offset, u32 pid, struct proc_value *proc,
		       u32 parent_pid, u64 parent_started_ns, u64 room, u64 flags)
{
	u64 left = size - offset, here = at_most(left, room);
	u64 at_ns = bpf_ktime_get_boot_ns();
	struct environment_record *record = environments.ringbuf_reserve(sizeof(*record) + room);

	count(KIND_ENVIRONMENT, COUNT_SEEN);
	if (!record) {
		count(KIND_ENVIRONMENT, COUNT_LOST);
		if (!held_as(proc)) /* if nothing holds it, its next exec may show its job */
			proc->standing = unmarked(proc->standing);
		return 0;
	}
	fill_header(&record->header, KIND_ENVIRONMENT, at_ns, pid, proc);
	record->size = size;
	record->offset = offset;
	record->here = here;
	record->standing = proc->standing;
	record->agent = proc->agent;
	record->parent_pid = parent_pid;
	record->parent_started_ns = parent_started_ns;
	record->pad = 0;
	/*
	 * Limited once more, where it is used: 5.15 forgets what it knew of a size that was put
	 * aside.
	 */
	if (read_user(record + 1, at_most(left, room), (void *)(from + offset)))
		record->here = 0;
	environments.ringbuf_submit(record, flags);
	/*
	 * Not by comparing the offset: 5.15 and 6.1 would go on to follow it, and with it a rest
	 * below 0.
	 */
	return left > room;
}

static inline void send_environment(u64 mm, u32 pid, struct proc_value *proc, u64 flags)
{
	u64 from = pointer_at(mm, MM_ENV_START);
	u64 size = pointer_at(mm, MM_ENV_END) - from;
	u64 most = proc->standing >= STANDING_STEP ? ENVIRONMENT_MAX : ARGUMENTS_MAX;
	u32 parent_pid = parent_of(bpf_get_current_task());
	struct proc_value *parent = procs.lookup(&parent_pid);
	u64 began_ns = parent ? parent->started_ns : 0, offset;

	if (size <= 1024) {
		send_environment_piece(from, size, 0, pid, proc, parent_pid, began_ns, 1024, flags);
		return;
	}
	for (offset = 0; offset < ENVIRONMENT_MAX; offset += ARGUMENTS_PIECE)
		if (offset >= most ||
		    !send_environment_piece(from, size, offset, pid, proc, parent_pid, began_ns,
					    ARGUMENTS_PIECE, flags))
			return;
}

/*
 * before_exec and after_exec run around on_exec, which alone is as much as the verifier can follow.
 * before_exec adds the executable to those in the process's chain; a process that is only among the
 * strays gets an entry in `procs`, if there is room now; if not, all three use that of the strays.
 * after_exec reports the environment.
 */
static inline void enter_program(u64 task)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *proc = procs.lookup(&pid);
	struct proc_value *followed = proc ? proc : stray(task, pid);

	if (!followed)
		return;
	settle(followed);
	start_exec(followed, pid, task);
	note_program(followed, task);
	if (!proc && !procs.update(&pid, followed))
		strays.delete(&pid);
}

HOOK("raw_tp/sched_process_exec")
int before_exec(struct bpf_raw_tracepoint_args *ctx)
{
	disable_preemption();
	enter_program(ctx->args[0]);
	enable_preemption();
	return 0;
}

static inline void tell_exec(u64 task)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *proc = entry_of(pid);

	if (!proc)
		return;

	u64 mm = pointer_at(task, TASK_MM);
	u64 from = pointer_at(mm, MM_ARG_START);
	u64 size = pointer_at(mm, MM_ARG_END) - from;

	/* The process has one thread now, so nobody else writes here. */
	proc->exec_id++;
	go_on_with_exec(proc, task, NOTICED_PROGRAM);
	count(KIND_EXEC, COUNT_SEEN);
	if (size <= 256)
		send_exec(task, mm, from, size, pid, proc, 256);
	else if (size <= 1024)
		send_exec(task, mm, from, size, pid, proc, 1024);
	else
		send_exec(task, mm, from, size, pid, proc, ARGUMENTS_PIECE);
	if (size > ARGUMENTS_PIECE)
		send_arguments(from, size, pid, proc);
}

HOOK("raw_tp/sched_process_exec")
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	disable_preemption();
	tell_exec(ctx->args[0]);
	enable_preemption();
	return 0;
}

static inline void look_for_job(u64 task)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *proc = entry_of(pid);
	struct config_value *config = settings();

	if (!proc)
		return;
	if (proc->noticed) {
		go_on_with_exec(proc, task, NOTICED_VARIABLES);
	} else {
		/* From now on; before, not all of the three may have been attached. */
		proc->execs = number_at(task, TASK_EXECS);
		proc->noticed = NOTICED_ALL;
	}
	if (!reads_environments(config) || scope_of(proc))
		return;
	/*
	 * An agent stays one. The job of a marked process is about to be known, by the environment
	 * that it, or its creator, was executed with before.
	 */
	if (proc->standing == STANDING_AGENT || proc->standing >= STANDING_MARKED)
		return;

	/* A process in a container is no agent: steps there are known by their variables. */
	u32 may_be_agent = proc->standing == STANDING_NONE && !proc->is_guest;
	u32 agent = may_be_agent ? agent_by_program(task) : NO_AGENT;
	u32 is_marked = 0;

	if (holds_jobs(config) || agent != NO_AGENT) {
		u64 mm = pointer_at(task, TASK_MM);

		BLUR(agent, mm);
		BLUR(may_be_agent, mm);
		is_marked = has_mark(mm, agent);
	}
	/*
	 * A process that has an agent's name and a job's variables may have been named by the job.
	 */
	if (is_marked)
		agent = NO_AGENT;
	if (may_be_agent && agent == NO_AGENT)
		agent = agent_by_place(task);
	if (agent != NO_AGENT) {
		proc->standing = STANDING_AGENT;
		proc->agent = agent;
		proc->early = 0;
		return;
	}
	/*
	 * Also in audit mode, where nothing is held: without this mark, the variables of its next
	 * program could name another job.
	 */
	if (holds_jobs(config) && is_marked)
		mark_process(proc, pid);
	become_candidate(proc, pid);
	/* It may be a job's root: then executables of its ancestors aren't in the job's chain. */
	proc->held = executables_in(pointer_at(task, TASK_MM));
	send_environment(pointer_at(task, TASK_MM), pid, proc,
			 holds_jobs(config) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

HOOK("raw_tp/sched_process_exec")
int after_exec(struct bpf_raw_tracepoint_args *ctx)
{
	disable_preemption();
	look_for_job(ctx->args[0]);
	enable_preemption();
	return 0;
}
