// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Counts acts that get no record of their own, and the bytes of these acts: by program, peer and
 * outcome, window by window. No program is attached here: acts.bpf.c, flow.bpf.c and meter.bpf.c
 * call count_act.
 */
#pragma once

#include "share.bpf.c"

#define ALLOW 1
#define DENY 0	   /* EPERM for the caller */
#define LOOPBACK 1 /* lo's index, in every network namespace */
#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define SOCK_RAW 3
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define IPPROTO_UDPLITE 136

/*
 * Load a value here: else LLVM may load it through a pointer that it computes, which the verifier
 * refuses for sockets and contexts.
 */
#define LOAD_HERE(value) asm volatile("" : "+r"(value))

/* BCC declares this helper u32, and cookies would collide. */
static u64 (*cookie_of)(void *) = (void *)BPF_FUNC_get_socket_cookie;

union address {
	u8 bytes[16];
	u32 words[4];
};

static inline int is_same_address(const union address *one, const union address *other)
{
	return one->words[0] == other->words[0] && one->words[1] == other->words[1] &&
	       one->words[2] == other->words[2] && one->words[3] == other->words[3];
}

static inline u32 current_window(void)
{
	u32 zero = 0;
	struct config_value *value = config.lookup(&zero);

	return value ? value->window : 0;
}

static inline struct flow_value *find_flow(struct flow_key *key, u32 window)
{
	if (window & 1)
		return flows_odd.lookup(key);
	return flows_even.lookup(key);
}

/* Let an act stand for those with all other peers of its program. */
static inline void hide_peer(struct act_value *act)
{
	__builtin_memset(act->key.peer, 0, sizeof(act->key.peer));
	act->key.peer_port = 0;
	act->key.other = 1;
}

/*
 * Insert an act's flow, unless it is there: another CPU may have been faster. Return 0 if its scope
 * has no room for it.
 */
static inline struct flow_value *note_flow(struct act_value *act, u32 told, u32 window)
{
	struct flow_value value = { .told = told };
	enum place place = act->key.other ? PLACE_OTHER_FLOW : PLACE_FLOW;

	if (!take_place(act->scope, place, FLOWS_KEPT, FLOWS_MAX / 4, window))
		return 0;
	if (window & 1)
		flows_odd.insert(&act->key, &value);
	else
		flows_even.insert(&act->key, &value);
	return find_flow(&act->key, window);
}

/*
 * Take a free slot for an act. Two CPUs may do so at once for the same key: then acts are counted
 * in both slots.
 */
static inline u32 new_slot(const struct act_value *act, u32 window)
{
	enum place place = act->key.other ? PLACE_OTHER_SLOT : PLACE_SLOT;
	u32 index = 0;

	if (!take_place(act->scope, place, SLOTS_KEPT, SLOTS_MAX / 8, window) ||
	    (act->key.other ? free_other_slots.pop(&index) : free_slots.pop(&index)))
		return 0;

	struct aggregate_record *slot = slots.lookup(&index);

	if (!slot)
		return 0;
	slot->header.layout = LAYOUT;
	slot->header.at_ns = act->at_ns;
	slot->header.started_ns = act->key.started_ns;
	slot->header.pid = act->key.pid;
	slot->header.exec_id = act->key.exec_id;
	slot->parent_pid = act->parent_pid;
	slot->uid = act->uid;
	slot->scope = act->scope;
	slot->peer_port = act->key.peer_port;
	slot->protocol = act->key.protocol;
	__builtin_memcpy(slot->peer, act->key.peer, sizeof(slot->peer));
	slot->act = act->key.act;
	slot->outcome = act->key.outcome;
	slot->other = act->key.other;
	slot->verdict = act->key.verdict;
	slot->rule = act->rule;
	slot->policy = act->policy;
	slot->held = act->held;
	slot->window = window;
	slot->header.kind = KIND_AGGREGATE; /* written last: a slot without a kind is a free one */
	return index;
}

static inline void count_other(const struct act_value *act)
{
	u64 key = (u64)act->scope << 16 | act->key.verdict << 8 | act->key.act;
	u64 *number = others.lookup(&key);

	if (number)
		__sync_fetch_and_add(number, 1);
	else
		count(KIND_ACT, COUNT_LOST);
}

/* Return the slot for an act's key, or 0 if its scope has no room for it. */
static inline u32 slot_of_key(struct act_value *act, u32 window)
{
	struct flow_value *flow = find_flow(&act->key, window);

	if (!flow)
		flow = note_flow(act, 0, window);
	if (!flow)
		return 0;
	if (!flow->slot) {
		u32 slot = new_slot(act, window);

		if (slot) /* else another CPU may have found one meanwhile */
			flow->slot = slot;
	}
	return flow->slot;
}

/*
 * Return an act's slot. Where its scope has no room for its peer, the act is changed to stand for
 * all other peers; 0: there is no room for these, either.
 */
static inline u32 slot_of(struct act_value *act, u32 window)
{
	u32 slot = slot_of_key(act, window);

	if (slot || act->key.other)
		return slot;
	hide_peer(act);
	return slot_of_key(act, window);
}

/* Count attempts and bytes of an act. Return its slot, or 0 if there was none. */
static inline u32 count_act(struct act_value *act, u64 attempts, u64 bytes_sent, u64 bytes_received,
			    u32 window)
{
	u32 index = slot_of(act, window);
	struct aggregate_record *slot = slots.lookup(&index);

	if (!index || !slot) {
		if (attempts)
			count_other(act);
		return 0;
	}
	__sync_fetch_and_add(&slot->attempts, attempts);
	__sync_fetch_and_add(&slot->bytes_sent, bytes_sent);
	__sync_fetch_and_add(&slot->bytes_received, bytes_received);
	slot->last_ns = bpf_ktime_get_boot_ns();
	return index;
}
