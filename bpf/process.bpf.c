// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Who is who: fork, exec and exit of every process of a job. Raw tracepoints, because a perf
 * tracepoint is skipped, and its fork lost, while any task on that CPU is inside a map system call.
 */
#define CLONE_THREAD 0x10000
#define SIGNAL_GROUP_EXIT 4
#define PATH_DEPTH 40
#define NAME_ROOM 256

#define ANCESTORS_MAX 8
#define NS_PER_TICK 10000000

static inline struct config_value *settings(void)
{
	u32 zero = 0;

	return config.lookup(&zero);
}

static inline int is_overflown(void)
{
	u32 zero = 0;
	u32 *is = overflow.lookup(&zero);

	return is && *is;
}

/* What there is to say of a process without an entry, by its nearest ancestor that has one. */
static inline int find_stray(u64 task, u32 is_host, struct proc_value *proc)
{
	u64 above = pointer_at(task, TASK_GROUP_LEADER);
	u32 step;

	proc->started_ns = pointer_at(above, TASK_START);
	proc->started_ns -= proc->started_ns % NS_PER_TICK; /* as /proc tells it */
#pragma clang loop unroll(disable)			    /* it stands in nearly every program */
	for (step = 0; step < ANCESTORS_MAX; step++) {
		above = pointer_at(above, TASK_REAL_PARENT);

		u32 pid = number_at(above, TASK_TGID);
		struct proc_value *ancestor = procs.lookup(&pid);

		if (ancestor) {
			proc->scope = ancestor->scope;
			return 1;
		}
	}
	return is_host;
}

static inline struct proc_value *stray(u64 task, u32 pid)
{
	struct config_value *config = settings();
	struct proc_value proc = {};

	/* Never the exporter itself: what it exports would be traced, and exported. */
	if (!config || config->self_pid == pid || (!config->is_host && !is_overflown()))
		return 0;
	if (!strays.lookup(&pid)) {
		if (!find_stray(task, config->is_host, &proc))
			return 0;
		strays.update(&pid, &proc);
	}
	return strays.lookup(&pid);
}

/* The current process, if it is followed. */
static inline struct proc_value *process_of(u32 pid)
{
	struct proc_value *proc = procs.lookup(&pid);

	return proc ? proc : stray(bpf_get_current_task(), pid);
}

static inline int is_in_job(u32 pid, const struct proc_value *proc)
{
	u64 *started_ns = in_jobs.lookup(&pid);

	return started_ns && *started_ns == proc->started_ns;
}

int on_newtask(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0];

	if (ctx->args[1] & CLONE_THREAD)
		return 0;

	u32 creator_pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *creator = process_of(creator_pid);

	if (!creator)
		return 0;

	u32 pid = number_at(task, TASK_TGID);
	struct proc_value proc = {
		.started_ns = bpf_ktime_get_boot_ns(),
		.scope = creator->scope,
	};

	count(KIND_FORK, COUNT_SEEN);
	/* BPF_ANY: whatever stands under a pid that is being born is a leftover. */
	if (procs.update(&pid, &proc)) {
		u32 zero = 0, is = 1;

		count(KIND_FORK, COUNT_UNTRACKED);
		overflow.update(&zero, &is);
	}
	strays.delete(&pid);
	if (is_in_job(creator_pid, creator))
		in_jobs.update(&pid, &proc.started_ns);

	struct fork_record *record = lineage.ringbuf_reserve(sizeof(*record));

	if (!record) {
		count(KIND_FORK, COUNT_LOST);
		return 0;
	}
	fill_header(&record->header, KIND_FORK, proc.started_ns, pid, &proc);
	record->creator_started_ns = creator->started_ns;
	record->creator_pid = creator_pid;
	record->creator_exec_id = creator->exec_id;
	record->parent_pid = parent_of(task);
	record->scope = proc.scope;
	lineage.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

/* The barrier keeps LLVM from comparing another copy of n than the verifier then follows. */
static inline u64 at_most(u64 n, u64 limit)
{
	asm volatile("" : "+r"(n));
	return n > limit ? limit : n;
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

/* A container's id: who asks /proc comes too late for a short process. */
static inline void read_cgroup(struct exec_record *record, u64 task)
{
	u64 cgroup = pointer_at(pointer_at(task, TASK_CGROUPS), CSS_SET_CGROUP);
	u64 name = pointer_at(pointer_at(cgroup, CGROUP_NODE), NODE_NAME);

	if (read_kernel_text(record->cgroup, CGROUP_ROOM, (void *)name) < 0)
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
send_exec(u64 task, u64 mm, u64 from, u64 size, u32 pid, const struct proc_value *proc, u64 room)
{
	u64 at_ns = bpf_ktime_get_boot_ns();
	struct exec_record *record = lineage.ringbuf_reserve(sizeof(*record) + room);
	u64 here = at_most(size, room);

	if (!record) {
		count(KIND_EXEC, COUNT_LOST);
		return;
	}
	fill_header(&record->header, KIND_EXEC, at_ns, pid, proc);
	record->parent_pid = parent_of(task);
	record->scope = proc->scope;
	record->arguments_size = size;
	record->arguments_here = here;
	if (read_user(record + 1, here, (void *)from))
		record->arguments_here = 0;
	read_path(record, mm);
	read_cgroup(record, task);
	lineage.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* room is constant in each call, as in send_exec. Whether there is more to send. */
static inline __attribute__((always_inline)) int
send_environment_piece(u64 from, u64 size, u64 offset, u32 pid, const struct proc_value *proc,
		       u64 room)
{
	u64 here = at_most(size - offset, room);
	u64 at_ns = bpf_ktime_get_boot_ns();
	struct environment_record *record = environments.ringbuf_reserve(sizeof(*record) + room);

	count(KIND_ENVIRONMENT, COUNT_SEEN);
	if (!record) {
		count(KIND_ENVIRONMENT, COUNT_LOST);
		return 0;
	}
	fill_header(&record->header, KIND_ENVIRONMENT, at_ns, pid, proc);
	record->size = size;
	record->offset = offset;
	record->here = here;
	record->pad = 0;
	if (read_user(record + 1, here, (void *)(from + offset)))
		record->here = 0;
	environments.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

static inline void send_environment(u64 mm, u32 pid, const struct proc_value *proc)
{
	u64 from = pointer_at(mm, MM_ENV_START);
	u64 size = pointer_at(mm, MM_ENV_END) - from;
	u64 offset;

	if (size <= 1024) {
		send_environment_piece(from, size, 0, pid, proc, 1024);
		return;
	}
	for (offset = 0; offset < ARGUMENTS_MAX && offset < size; offset += ARGUMENTS_PIECE)
		if (!send_environment_piece(from, size, offset, pid, proc, ARGUMENTS_PIECE))
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
 * Around on_exec, which is as much as the verifier can follow. Before: who has no entry among the
 * others gets one, if there is room now. After: what was executed with.
 */
int before_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *proc = procs.lookup(&pid);

	if (proc)
		return 0;
	proc = stray(ctx->args[0], pid);
	if (proc)
		procs.update(&pid, proc);
	return 0;
}

int after_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *proc = procs.lookup(&pid);
	struct config_value *config = settings();

	if (proc && !proc->scope && config && config->reads_environments && !is_in_job(pid, proc))
		send_environment(pointer_at(ctx->args[0], TASK_MM), pid, proc);
	return 0;
}

int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *found = procs.lookup(&pid);

	if (!found)
		return 0;

	u64 task = ctx->args[0];
	u64 signal = pointer_at(task, TASK_SIGNAL);

	if (number_at(signal, SIGNAL_LIVE))
		return 0;

	struct proc_value proc = *found;

	/* Two threads that end at once both see nobody live: the one that deletes reports. */
	if (procs.delete(&pid))
		return 0;
	count(KIND_EXIT, COUNT_SEEN);

	u64 at_ns = bpf_ktime_get_boot_ns();
	struct exit_record *record = lineage.ringbuf_reserve(sizeof(*record));

	if (!record) {
		count(KIND_EXIT, COUNT_LOST);
		return 0;
	}
	fill_header(&record->header, KIND_EXIT, at_ns, pid, &proc);
	if (number_at(signal, SIGNAL_FLAGS) & SIGNAL_GROUP_EXIT)
		record->wait_status = number_at(signal, SIGNAL_GROUP_EXIT_CODE);
	else
		record->wait_status =
			number_at(pointer_at(task, TASK_GROUP_LEADER), TASK_EXIT_CODE);
	record->pad = 0;
	lineage.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}
