/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef MAPS_H
#define MAPS_H

#include "egress.h"

#define RING_PAGES 1024 /* 4 MiB: 20 ms of the fastest two cores measured */
#define PROCS_MAX 32768

/* Submitted without a wakeup, which would cost more than the hook: the exporter has a timer. */
BPF_RINGBUF_OUTPUT(events, RING_PAGES);

/* The processes of every job, by tgid; whatever isn't here belongs to no job. */
BPF_HASH(procs, u32, struct proc_value, PROCS_MAX);

BPF_PERCPU_ARRAY(counters, u64, (KINDS * COUNTS));
BPF_ARRAY(config, struct config_value, 1);

/* Atomic even per CPU: a cgroup hook can be preempted between its load and its store. */
static inline void count(u32 kind, u32 what)
{
	u32 index = kind * COUNTS + what;
	u64 *value = counters.lookup(&index);

	if (value)
		__sync_fetch_and_add(value, 1);
}

static inline void fill_header(struct record_header *header, u32 kind, u32 pid,
			       const struct proc_value *proc)
{
	header->layout = LAYOUT;
	header->kind = kind;
	header->pad = 0;
	header->at_ns = bpf_ktime_get_boot_ns();
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
static long (*read_user)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_user;

/* A kernel struct's member, by the offset the loader took from this kernel's BTF. */
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

static inline u32 parent_of(u64 task)
{
	return number_at(pointer_at(task, TASK_REAL_PARENT), TASK_TGID);
}

#endif
