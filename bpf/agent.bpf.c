// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Finds where a job may begin: recognises agents, which start jobs, and environments that have a
 * job's variables. A child of an agent is a step from its fork on; elsewhere, a process that
 * executes with a job's variables may be a step. No program is attached here: after_exec
 * (exec.bpf.c) calls these functions.
 */
#pragma once

#include "maps.h"

#define TEXT_MAX 4096
#define TEXTS_MAX 512 /* the most variables, or pieces of long ones, that are read */

/*
 * Room for a variable. Only the variable's length is used, so it does no harm if another exec
 * overwrites the room in between.
 */
struct text {
	char bytes[TEXT_MAX];
};
BPF_PERCPU_ARRAY(texts, struct text, 1);

#define NO_AGENT 0xffffffffU

/*
 * Return the number of the agent's CI system; 0: the system isn't known; NO_AGENT: the key is no
 * agent's.
 */
static inline u32 agent_of(struct agent_key *key)
{
	u32 *found = agents.lookup(key);

	return found ? *found : NO_AGENT;
}

static inline u32 agent_named(struct agent_key *key, u64 name)
{
	if (read_kernel_text(key->name, sizeof(key->name), (void *)name) < 0)
		return NO_AGENT;
	return agent_of(key);
}

/* Look for an agent by the name of its executable, which a job may have chosen. */
static inline u32 agent_by_program(u64 task)
{
	u64 file = pointer_at(pointer_at(task, TASK_MM), MM_EXE_FILE);
	struct agent_key program = { .kind = AGENT_PROGRAM };

	return agent_named(&program, pointer_at(pointer_at(file, FILE_DENTRY), DENTRY_NAME));
}

/* Look for an agent by its unit or its user, which the host's administrator chose. */
static inline u32 agent_by_place(u64 task)
{
	u64 cgroup = pointer_at(pointer_at(task, TASK_CGROUPS), CSS_SET_CGROUP);
	struct agent_key unit = { .kind = AGENT_UNIT };
	struct agent_key owner = {
		.kind = AGENT_USER,
		.user = number_at(pointer_at(task, TASK_CRED), CRED_UID),
	};
	u32 agent = agent_named(&unit, pointer_at(pointer_at(cgroup, CGROUP_NODE), NODE_NAME));

	return agent == NO_AGENT ? agent_of(&owner) : agent;
}

/*
 * Whether the environment has a variable that jobs are known by, or can't be read as a whole.
 * Variables of the agent's own CI system don't count.
 */
static inline int has_mark(u64 mm, u32 agent)
{
	u64 at = pointer_at(mm, MM_ENV_START), end = pointer_at(mm, MM_ENV_END);
	struct mark_key key = { .prefix_bits = 8 * MARK_ROOM };
	/*
	 * Turns 0, an unknown system, into NO_AGENT, which is no variable's system. With a branch,
	 * the verifier would follow both ways through all that comes.
	 */
	u32 own = agent | (u32)((s32)(agent - 1) >> 31);
	u32 zero = 0, number;
	struct text *text = texts.lookup(&zero);

	if (!text)
		return 1;
	BLUR(own, at);
#pragma clang loop unroll(disable)
	for (number = 0; number < TEXTS_MAX; number++) {
		if (at >= end)
			return 0;
		if (read_user_text(key.text, sizeof(key.text), (void *)at) <= 0)
			return 1;

		u32 *system = marks.lookup(&key);

		if (system && *system != own)
			return 1;

		long length = read_user_text(text->bytes, sizeof(text->bytes), (void *)at);

		if (length <= 0)
			return 1;
		/* A text that fills the room may be a piece, whose NUL isn't in the environment. */
		at += length - (u64)length / TEXT_MAX;
	}
	return at < end;
}
