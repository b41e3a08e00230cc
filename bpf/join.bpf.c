// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Judges the multicast groups that a job joins. The kernel reports each to the network (IGMP, MLD)
 * by a packet that no hook sees, and the group's address can carry data of the job's choice. So
 * joining is judged as if the job sent that packet to the group. By lo nothing is reported. No
 * program is attached here: on_setsockopt (frame.bpf.c), at cgroup/setsockopt, calls
 * is_denied_join.
 */
#pragma once

#include "acts.bpf.c"
#include "policy.bpf.c"
#include "process.bpf.c"
#include "slots.bpf.c"

#define SOL_IP 0
#define SOL_IPV6 41
#define IPPROTO_IGMP 2
#define IP_ADD_MEMBERSHIP 35
#define IP_ADD_SOURCE_MEMBERSHIP 39
#define IPV6_ADD_MEMBERSHIP 20
#define MCAST_JOIN_GROUP 42
#define MCAST_JOIN_SOURCE_GROUP 46
#define GROUP_REQUEST_FAMILY 8 /* in struct group_req, like the next two */
#define GROUP_REQUEST_IPV4 12
#define GROUP_REQUEST_IPV6 16

/* A group to be joined, and the number of the interface; 0: the kernel chooses one. */
struct join {
	union address group;
	u32 interface;
};

static inline void read_ipv4_group(const u8 *at, union address *group)
{
	group->words[2] = bpf_htonl(0xffff);
	group->words[3] = *(const u32 *)at;
}

static inline void read_ipv6_group(const u8 *at, union address *group)
{
	group->words[0] = ((const u32 *)at)[0];
	group->words[1] = ((const u32 *)at)[1];
	group->words[2] = ((const u32 *)at)[2];
	group->words[3] = ((const u32 *)at)[3];
}

/*
 * Read a struct ip_mreqn, ip_mreq or ip_mreq_source: in place of the interface's number, ip_mreq
 * has nothing, and ip_mreq_source a source. The kernel uses the length that it was given; behind
 * that length there are zeros here, or bytes that the kernel ignores.
 */
static inline int read_ipv4_join(const u8 *value, const u8 *end, s32 length, s32 option,
				 struct join *join)
{
	if (length < 8 || value + 12 > end)
		return 0;
	read_ipv4_group(value, &join->group);
	join->interface = *(const u32 *)(value + 4) == bpf_htonl(0x7f000001) ? LOOPBACK : 0;
	if (option == IP_ADD_MEMBERSHIP && length >= 12 && *(const u32 *)(value + 8))
		join->interface = *(const u32 *)(value + 8);
	return 1;
}

static inline int read_ipv6_join(const u8 *value, const u8 *end, struct join *join)
{
	if (value + 20 > end)
		return 0;
	read_ipv6_group(value, &join->group);
	join->interface = *(const u32 *)(value + 16);
	return 1;
}

/* Read a struct group_req, or a group_source_req, which begins likewise. */
static inline int read_any_join(const u8 *value, const u8 *end, struct join *join)
{
	if (value + GROUP_REQUEST_IPV6 + 16 > end)
		return 0;
	join->interface = *(const u32 *)value;
	if (*(const u16 *)(value + GROUP_REQUEST_FAMILY) == AF_INET6)
		read_ipv6_group(value + GROUP_REQUEST_IPV6, &join->group);
	else
		read_ipv4_group(value + GROUP_REQUEST_IPV4, &join->group);
	return 1;
}

/*
 * Read the group that an option joins. Returns whether it joins one, and is whole: the kernel
 * refuses other values. If the value is shorter than 16 bytes, the copy has 16 all the same, with
 * zeros at its end.
 */
static inline int read_join(struct bpf_sockopt *ctx, s32 length, struct join *join)
{
	const u8 *value = ctx->optval, *end = ctx->optval_end;
	s32 level = ctx->level, option = ctx->optname;

	if (level != SOL_IP && level != SOL_IPV6)
		return 0;
	if (option == MCAST_JOIN_GROUP || option == MCAST_JOIN_SOURCE_GROUP)
		return read_any_join(value, end, join);
	if (level == SOL_IPV6)
		return option == IPV6_ADD_MEMBERSHIP && read_ipv6_join(value, end, join);
	return (option == IP_ADD_MEMBERSHIP || option == IP_ADD_SOURCE_MEMBERSHIP) &&
	       read_ipv4_join(value, end, length, option, join);
}

/* Return how many bytes of the caller's value were copied here: a page at most. */
static inline s32 copied_of(struct bpf_sockopt *ctx)
{
	return (u64)ctx->optval_end - (u64)ctx->optval;
}

/*
 * Return the length that the kernel is to use. `length` is 0 where a program before this one gave
 * the caller's own value back to the kernel.
 */
static inline s32 length_of_join(struct bpf_sockopt *ctx, s32 length)
{
	s32 copied = copied_of(ctx), option = ctx->optname;

	if (length > 0)
		return length < copied ? length : copied;
	return option == IP_ADD_MEMBERSHIP || option == IP_ADD_SOURCE_MEMBERSHIP ? 12 : copied;
}

/*
 * Whether the policy of the current task's job denies a join, and is enforced; a denied join is
 * reported. The kernel is to take the copy that is judged here, and not a value that another thread
 * may have written since: so a program that looks at a join keeps the option's length, also for the
 * other programs.
 */
static inline int is_denied_join(struct bpf_sockopt *ctx, s32 length)
{
	struct join join = {};

	length = length_of_join(ctx, length);
	if (!read_join(ctx, length, &join))
		return 0;
	ctx->optlen = length;
	if (!is_enforced_on_actor() || join.interface == LOOPBACK)
		return 0;

	u64 task = bpf_get_current_task();
	u32 pid = number_at(task, TASK_TGID);
	struct proc_value proc;
	struct act_value act = { .key.act = ACT_SEND };

	if (!read_current(pid, &proc))
		return 0;
	act.key.protocol = ctx->level == SOL_IP ? IPPROTO_IGMP : IPPROTO_ICMPV6;
	__builtin_memcpy(act.key.peer, join.group.bytes, sizeof(act.key.peer));
	judge(&act, &proc, 0);
	FORGET(act);
	if (act.key.verdict != VERDICT_DENY)
		return 0;
	act.tid = number_at(task, TASK_PID);
	act.uid = number_at(pointer_at(task, TASK_CRED), CRED_UID);
	report(&act, pid, task, &proc, 0, CARE_ONCE);
	return 1;
}
