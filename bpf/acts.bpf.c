// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Reports each act (an attempt to connect, to send or to create a socket): writes a record of its
 * own, or only counts it. The first acts of a program with a peer get a record each. Further ones
 * are counted: a flood costs user space nothing, and no act is missing. No program is attached
 * here: those of socket.bpf.c, packet.bpf.c, question.bpf.c and join.bpf.c call report.
 */
#pragma once

#include "meter.bpf.c"
#include "process.bpf.c"
#include "slots.bpf.c"

#define EACH_MAX 32    /* the most records of one program with one peer, per window */
#define FIRSTS_MAX 256 /* the most peers of one process that are told apart, per window */
#define KEY_WORDS (sizeof(struct flow_key) / sizeof(u64))

/*
 * Whether an act is kept in its socket's storage. CARE_ONCE: it isn't. CARE_REPEATED: it is, so
 * that repeats are counted quickly. CARE_METERED: it is, so that its datagrams' bytes are counted.
 */
enum care { CARE_ONCE, CARE_REPEATED, CARE_METERED };
enum ring { RING_NONE, RING_FIRST, RING_EVENTS };

/*
 * Whether the socket has ports. In place of a port, a raw socket keeps its protocol, and a ping
 * socket its identifier.
 */
static inline int has_ports(u32 type, u32 protocol)
{
	return type != SOCK_RAW && protocol != IPPROTO_ICMP && protocol != IPPROTO_ICMPV6;
}

static inline void fill_local(struct act_record *record, struct bpf_sock *sk)
{
	union address local = {};

	record->local_port = 0;
	if (sk && sk->src_port && has_ports(sk->type, sk->protocol)) {
		record->local_port = sk->src_port;
		if (sk->family == AF_INET6) {
			local.words[0] = sk->src_ip6[0];
			local.words[1] = sk->src_ip6[1];
			local.words[2] = sk->src_ip6[2];
			local.words[3] = sk->src_ip6[3];
		} else {
			local.words[3] = sk->src_ip4;
			LOAD_HERE(local.words[3]);
			local.words[2] = bpf_htonl(0xffff);
		}
	}
	__builtin_memcpy(record->local, local.bytes, sizeof(local));
}

static inline void fill_act(struct act_record *record, const struct act_value *act,
			    struct bpf_sock *sk, u32 is_metered)
{
	record->header.layout = LAYOUT;
	record->header.kind = KIND_ACT;
	record->header.pad = 0;
	record->header.at_ns = act->at_ns;
	record->header.started_ns = act->key.started_ns;
	record->header.pid = act->key.pid;
	record->header.exec_id = act->key.exec_id;
	record->cookie = act->cookie;
	record->tid = act->tid;
	record->parent_pid = act->parent_pid;
	record->uid = act->uid;
	record->scope = act->scope;
	__builtin_memcpy(record->peer, act->key.peer, sizeof(record->peer));
	record->peer_port = act->key.peer_port;
	record->protocol = act->key.protocol;
	record->act = act->key.act;
	record->rule = act->rule;
	record->verdict = act->key.verdict;
	record->held = act->held;
	record->policy = act->policy;
	record->is_metered = is_metered;
	record->name_here = 0;
	record->pad = 0;
	fill_local(record, sk);
}

/* Write the act's record into the given ring. Returns whether the ring had room. */
static inline int tell(const struct act_value *act, struct bpf_sock *sk, enum ring ring,
		       u32 is_metered)
{
	struct act_record *record;

	if (ring == RING_FIRST)
		record = first.ringbuf_reserve(sizeof(*record));
	else
		record = events.ringbuf_reserve(sizeof(*record));
	if (!record)
		return 0;
	fill_act(record, act, sk, is_metered);
	first.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

/*
 * Count a send if it repeats its socket's latest counted act, without a lookup in the flows.
 * Returns whether it does.
 */
static inline int repeats(const struct act_value *act, struct bpf_sock *sk, u32 window)
{
	struct last_peer *last = lasts.sk_storage_get((void *)sk, 0, 0);
	const u64 *now = (const void *)&act->key;
	u32 word, index;

	if (!last || last->window != window || !last->slot)
		return 0;

	const u64 *before = (const void *)&last->act.key;

#pragma unroll
	for (word = 0; word < KEY_WORDS; word++)
		if (now[word] != before[word])
			return 0;
	index = last->slot;

	struct aggregate_record *slot = slots.lookup(&index);

	if (!slot)
		return 0;
	__sync_fetch_and_add(&slot->attempts, 1);
	slot->last_ns = bpf_ktime_get_boot_ns();
	last->act.tid = act->tid;
	return 1;
}

static inline struct last_peer *place_for(struct bpf_sock *sk)
{
	return lasts.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

/*
 * Choose the ring for this act's record; RING_NONE: the act is only counted. If its process has met
 * too many peers in this window, the act's key is changed to stand for all other peers. Each
 * process has a record of its first act, however few places its scope has left.
 */
static inline enum ring ring_of(struct act_value *act, u32 window)
{
	struct proc_value *proc;
	struct flow_value *flow = find_flow(&act->key, window);

	if (flow) {
		if (flow->told >= EACH_MAX)
			return RING_NONE;
		__sync_fetch_and_add(&flow->told, 1);
		return RING_EVENTS;
	}
	proc = entry_of(act->key.pid);
	if (proc && proc->window != (u16)window) {
		proc->window = window;
		proc->firsts = 0;
	}
	if (proc && proc->firsts < FIRSTS_MAX) {
		u32 has_record = !proc->firsts || take_place(act->scope, PLACE_RECORD, RECORDS_KEPT,
							     RECORDS_COMMON, window);

		__sync_fetch_and_add(&proc->firsts, 1);
		note_flow(act, has_record ? 1 : EACH_MAX, window);
		return has_record ? RING_FIRST : RING_NONE;
	}
	hide_peer(act);
	return RING_NONE;
}

/*
 * Keep a TCP connect that has no record until its outcome is known; then flow.bpf.c counts it. If
 * an earlier connect of the same socket, to another peer, is still kept, it never sent anything: it
 * is put into *act, as unreachable, to be counted in place of the new one. Returns whether *act has
 * to be counted now; so it has where there is no room to keep it.
 */
static inline int wait_for_outcome(struct act_value *act, int is_told)
{
	struct act_value *waiting = open_connects.lookup(&act->cookie);

	if (!waiting || is_same_peer(&waiting->key, &act->key))
		return !is_told && !keep_open(act);

	struct act_value before = *waiting;

	if (!forget_open(&before))
		return !is_told && !keep_open(act);
	if (!is_told && !keep_open(act))
		count_other(act);
	*act = before;
	act->key.outcome = OUTCOME_UNREACHABLE;
	return 1;
}

/*
 * Keep in the socket's storage that the act is counted in `slot`. With slot 0 it is in no slot, and
 * then its bytes aren't counted, either.
 */
static inline void keep(const struct act_value *act, struct bpf_sock *sk, enum care care,
			u32 window, u32 slot)
{
	u32 is_metered = care == CARE_METERED;

	if (care == CARE_ONCE || !(is_metered || (slot && !act->key.other)))
		return;

	struct last_peer *last = place_for(sk);

	if (last && slot)
		change_act(last, act, is_metered ? METERING_COUNTED : METERING_NONE, window, slot);
	else if (last)
		change_act(last, 0, METERING_NONE, 0, 0);
	if (!slot)
		count(KIND_BYTES, COUNT_UNTRACKED);
}

/* Note that the socket's connect has a record; return 0 if there is no room to note it. */
static inline int note_told(struct bpf_sock *sk)
{
	u32 *waits =
		sk ? told_connects.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;

	if (!waits)
		return 0;
	*waits = 1;
	return 1;
}

/*
 * Report an act. The caller has judged it, and has filled in tid and uid, since not every type of
 * program may ask for them in the same way. `task` is a task of the process; 0: none is at hand.
 * Without a socket (`sk` is 0), `care` has no effect.
 */
static inline void report(struct act_value *act, u32 pid, u64 task, const struct proc_value *proc,
			  struct bpf_sock *sk, enum care care)
{
	u32 window = current_window();

	act->key.started_ns = proc->started_ns;
	act->key.pid = pid;
	act->key.exec_id = proc->exec_id;
	count(KIND_ACT, COUNT_SEEN);
	if (sk && act->key.act == ACT_SEND && repeats(act, sk, window))
		return;
	act->at_ns = bpf_ktime_get_boot_ns();
	act->parent_pid = task ? parent_of(task) : 0;

	enum ring ring = ring_of(act, window);
	struct last_peer *last = sk && care == CARE_METERED ? place_for(sk) : 0;

	int has_outcome = act->key.act == ACT_CONNECT && act->key.protocol == IPPROTO_TCP &&
			  act->key.verdict != VERDICT_DENY;
	int is_told = ring != RING_NONE && (!has_outcome || note_told(sk)) &&
		      tell(act, sk, ring, last != 0);

	if (has_outcome) {
		if (!wait_for_outcome(act, is_told))
			return;
	} else if (is_told) {
		if (last)
			change_act(last, act, METERING_TOLD, window, 0);
		return;
	}

	u32 slot = count_act(act, 1, 0, 0, window);

	if (sk)
		keep(act, sk, care, window, slot);
}
