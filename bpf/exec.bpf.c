// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * What a process executes: path, argv, container and environment, from the new program's own
 * memory, before it has had a chance to change any of it.
 */
#define PATH_DEPTH 40
#define NAME_ROOM 256

/*
 * By hand: LLVM compares another copy of n than it goes on with, or one from before it put n
 * aside, of which the verifiers up to 6.1 know nothing any more.
 */
static inline u64 at_most(u64 n, u64 limit)
{
	asm volatile("if %0 <= %1 goto +1\n\t%0 = %1" : "+r"(n) : "ri"(limit));
	return n;
}

/*
 * Walks from the file up to the root of its mount namespace. Not bprm->filename: that is what the
 * caller typed, and for a script it isn't the program that runs.
 */
static inline void read_path(struct exec_record *record, u64 mm)
{
	u64 file = pointer_at(mm, MM_EXE_FILE);
	u64 dentry = pointer_at(file, FILE_DENTRY);
	u64 mount = pointer_at(file, FILE_MNT) - MOUNT_MNT;
	/* In the record's memory the verifier doesn't follow it: else it would each way to each
	 * sum. */
	volatile u32 *length = &record->path_here;
	int step;

	*length = 0;
	record->path_cut = 1;
	for (step = 0; step < PATH_DEPTH; step++) {
		u64 parent = pointer_at(dentry, DENTRY_PARENT), at = *length;

		/* A file that is its own parent has no directory: memfd_create makes such. */
		if (dentry == pointer_at(mount + MOUNT_MNT, VFSMOUNT_ROOT) ||
		    (at && dentry == parent)) {
			u64 above = pointer_at(mount, MOUNT_PARENT);

			if (!above || above == mount) {
				/* Detached from its namespace, a mount can be anything's root. */
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

	/* A file that is a detached mount by itself, as container runtimes execute their own. */
	long n = read_kernel_text(record->path, NAME_ROOM,
				  (void *)pointer_at(pointer_at(file, FILE_DENTRY), DENTRY_NAME));

	if (n > 0 && n <= NAME_ROOM)
		*length = n;
}

static inline u64 name_of_cgroup(u64 cgroup)
{
	return pointer_at(pointer_at(cgroup, CGROUP_NODE), NODE_NAME);
}

/* A container's id: who asks /proc comes too late for a short process. */
static inline void read_cgroup(struct exec_record *record, u64 task)
{
	u64 cgroup = pointer_at(pointer_at(task, TASK_CGROUPS), CSS_SET_CGROUP);

	if (read_kernel_text(record->cgroup, CGROUP_ROOM, (void *)name_of_cgroup(cgroup)) < 0)
		record->cgroup[0] = 0;
}

/* Not on the ring of execs: a storm of long argvs would fill it. */
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

/* room is constant in each call: a ring reservation can't have a size that varies. */
static inline __attribute__((always_inline)) void
send_exec(u64 task, u64 mm, u64 from, u64 size, u32 pid, struct proc_value *proc, u64 room)
{
	u64 at_ns = bpf_ktime_get_boot_ns();
	struct exec_record *record = lineage.ringbuf_reserve(sizeof(*record) + room);
	u64 here = size;

	BLUR(here, at_ns); /* else what it is says something of `size`, too */
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
 * room is constant in each call, as in send_exec. Whether there is more to send. Where the process
 * may have a policy waiting for it, user space is woken.
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
		if (!held_as(proc)) /* then what it executes next may show its job */
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
	/* Once more, where it is used: 5.15 forgets what it knew of a size that was put aside. */
	if (read_user(record + 1, at_most(left, room), (void *)(from + offset)))
		record->here = 0;
	environments.ringbuf_submit(record, flags);
	/* Not by the offset: 5.15 and 6.1 would follow it on, and a rest below 0 with it. */
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

int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *proc = procs.lookup(&pid);

	if (!proc)
		return 0;

	u64 task = ctx->args[0];
	u64 mm = pointer_at(task, TASK_MM);
	u64 from = pointer_at(mm, MM_ARG_START);
	u64 size = pointer_at(mm, MM_ARG_END) - from;

	/* The process has one thread now, so nobody else writes here. */
	proc->exec_id++;
	count(KIND_EXEC, COUNT_SEEN);
	if (size <= 256)
		send_exec(task, mm, from, size, pid, proc, 256);
	else if (size <= 1024)
		send_exec(task, mm, from, size, pid, proc, 1024);
	else
		send_exec(task, mm, from, size, pid, proc, ARGUMENTS_PIECE);
	if (size > ARGUMENTS_PIECE)
		send_arguments(from, size, pid, proc);
	return 0;
}

/*
 * Around on_exec, which is as much as the verifier can follow. Before: what is executed counts for
 * the process from here on, and who has no entry among the others gets one, if there is room now.
 * After: what was executed with.
 */
int before_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *proc = procs.lookup(&pid);
	struct proc_value *followed = proc ? proc : stray(ctx->args[0], pid);

	if (!followed)
		return 0;
	followed->held |= executables_in(pointer_at(ctx->args[0], TASK_MM));
	if (number_at(pointer_at(ctx->args[0], TASK_NUMBERS), NUMBERS_LEVEL))
		followed->is_guest = 1;
	if (!proc)
		procs.update(&pid, followed);
	return 0;
}

int after_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *proc = procs.lookup(&pid);
	struct config_value *config = settings();

	if (!proc || !config || !config->reads_environments || scope_of(proc))
		return 0;
	/* Its job is about to be known, by what it, or who made it, was executed with before. */
	if (proc->standing == STANDING_AGENT || proc->standing >= STANDING_MARKED)
		return 0;

	/* In a container nobody is an agent: its steps are known by their variables. */
	u32 may_be_agent = proc->standing == STANDING_NONE && !proc->is_guest;
	u32 agent = may_be_agent ? agent_by_program(ctx->args[0]) : NO_AGENT;
	u32 is_marked = 0;

	if (config->has_policies || agent != NO_AGENT) {
		u64 mm = pointer_at(ctx->args[0], TASK_MM);

		BLUR(agent, mm);
		BLUR(may_be_agent, mm);
		is_marked = has_mark(mm, agent);
	}
	/* Who is called as an agent is, and has a job's variables, may be called so by the job. */
	if (is_marked)
		agent = NO_AGENT;
	if (may_be_agent && agent == NO_AGENT)
		agent = agent_by_place(ctx->args[0]);
	if (agent != NO_AGENT) {
		proc->standing = STANDING_AGENT;
		proc->agent = agent;
		proc->early = 0;
		return 0;
	}
	/* Also in audit, where nothing is held: what it executes next may say something else. */
	if (config->has_policies && is_marked) {
		if (proc->standing == STANDING_NONE)
			begin_step(proc, pid);
		proc->standing =
			proc->standing == STANDING_STEP ? STANDING_MARKED_STEP : STANDING_MARKED;
	}
	become_candidate(proc, pid);
	/* Should it be a job's root: what it descends from is none of the job's. */
	proc->held = executables_in(pointer_at(ctx->args[0], TASK_MM));
	send_environment(pointer_at(ctx->args[0], TASK_MM), pid, proc,
			 config->has_policies ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
	return 0;
}
