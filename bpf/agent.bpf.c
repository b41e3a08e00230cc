// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Where a job may begin: what an agent makes is a step from its fork on, and elsewhere what
 * executes with a job's variables may be one.
 */
#define TEXT_MAX 4096
#define TEXTS_MAX 512 /* variables, or pieces of long ones, that are looked at */

/* Only its length counts: so it does no harm if another exec comes in between. */
struct text {
	char bytes[TEXT_MAX];
};
BPF_PERCPU_ARRAY(texts, struct text, 1);

static inline int is_agent(struct agent_key *key, u64 name, struct proc_value *proc)
{
	u32 *which;

	if (name && read_kernel_text(key->name, sizeof(key->name), (void *)name) < 0)
		return 0;
	which = agents.lookup(key);
	if (!which)
		return 0;
	proc->standing = STANDING_AGENT;
	proc->agent = *which;
	return 1;
}

/*
 * In a container nobody does: what it executes, and under which name, may be a job's choice. Its
 * steps are known by their variables.
 */
static inline int become_agent(u64 task, struct proc_value *proc)
{
	u64 file = pointer_at(pointer_at(task, TASK_MM), MM_EXE_FILE);
	u64 cgroup = pointer_at(pointer_at(task, TASK_CGROUPS), CSS_SET_CGROUP);
	struct agent_key program = { .kind = AGENT_PROGRAM }, unit = { .kind = AGENT_UNIT };
	struct agent_key owner = {
		.kind = AGENT_USER,
		.user = number_at(pointer_at(task, TASK_CRED), CRED_UID),
	};

	if (proc->is_guest)
		return 0;
	return is_agent(&program, pointer_at(pointer_at(file, FILE_DENTRY), DENTRY_NAME), proc) ||
	       is_agent(&unit, pointer_at(pointer_at(cgroup, CGROUP_NODE), NODE_NAME), proc) ||
	       is_agent(&owner, 0, proc);
}

/* Whether the environment has a variable that jobs are known by, or can't be read as a whole. */
static inline int has_mark(u64 mm)
{
	u64 at = pointer_at(mm, MM_ENV_START), end = pointer_at(mm, MM_ENV_END);
	struct mark_key key = { .prefix_bits = 8 * MARK_ROOM };
	u32 zero = 0, number;
	struct text *text = texts.lookup(&zero);

	if (!text)
		return 1;
#pragma clang loop unroll(disable)
	for (number = 0; number < TEXTS_MAX; number++) {
		if (at >= end)
			return 0;
		if (read_user_text(key.text, sizeof(key.text), (void *)at) <= 0 ||
		    marks.lookup(&key))
			return 1;

		long length = read_user_text(text->bytes, sizeof(text->bytes), (void *)at);

		if (length <= 0)
			return 1;
		/* One that is as long goes on, and ends with a NUL that isn't there. */
		at += length - (u64)length / TEXT_MAX;
	}
	return at < end;
}
