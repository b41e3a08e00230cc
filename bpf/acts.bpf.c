// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * What becomes of an act: a record of its own, or a count. The first acts of a program with a peer
 * are told one by one; a flood of them costs user space nothing, and still adds up.
 */
#define ALLOW 1
#define DENY 0	   /* EPERM for the caller */
#define LOOPBACK 1 /* lo's index, in every network namespace */
#define AF_INET6 10
#define SOCK_RAW 3
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define IPPROTO_UDPLITE 136
#define EACH_MAX 32    /* records of a program with one peer, in a window */
#define FIRSTS_MAX 256 /* peers that a process is told apart with, in a window */
#define KEY_WORDS (sizeof(struct flow_key) / sizeof(u64))

#define ALLOW 1
#define DENY 0 /* EPERM for the caller */

/* Else LLVM may load through a pointer that it computes, which no socket's and no context's may be.
 */
#define LOAD_HERE(value) asm volatile("" : "+r"(value))

enum lane { LANE_NONE, LANE_FIRST, LANE_EVENTS };

/* BCC declares this helper u32, and cookies would collide. */
static u64 (*cookie_of)(void *) = (void *)BPF_FUNC_get_socket_cookie;

union address {
	u8 bytes[16];
	u32 words[4];
};

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

/* Unless it is there: another CPU may have been faster. */
static inline struct flow_value *note_flow(struct flow_key *key, u32 told, u32 window)
{
	struct flow_value value = { .told = told };

	if (window & 1)
		flows_odd.insert(key, &value);
	else
		flows_even.insert(key, &value);
	return find_flow(key, window);
}

/* Two CPUs may do so at once for the same key: then both slots count for it. */
static inline u32 new_slot(const struct act_value *act, u32 window)
{
	u32 index = 0;

	if (free_slots.pop(&index))
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
	slot->header.kind = KIND_AGGREGATE; /* last: a slot without a kind is a free one */
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

/* Returns the slot, or 0 where there was none. */
static inline u32 count_act(struct act_value *act, u64 bytes_sent, u64 bytes_received, u32 window)
{
	struct flow_value *flow = find_flow(&act->key, window);

	if (!flow)
		flow = note_flow(&act->key, 0, window);

	u32 index = flow ? flow->slot : 0;

	if (flow && !index) {
		index = new_slot(act, window);
		flow->slot = index;
	}

	struct aggregate_record *slot = slots.lookup(&index);

	if (!index || !slot) {
		count_other(act);
		return 0;
	}
	__sync_fetch_and_add(&slot->attempts, 1);
	__sync_fetch_and_add(&slot->bytes_sent, bytes_sent);
	__sync_fetch_and_add(&slot->bytes_received, bytes_received);
	slot->last_ns = bpf_ktime_get_boot_ns();
	return index;
}

/* A raw socket keeps its protocol where others have a port, a ping socket its identifier. */
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

/* Returns whether the ring had room. */
static inline int tell(const struct act_value *act, struct bpf_sock *sk, enum lane lane)
{
	struct act_record *record;

	if (lane == LANE_FIRST)
		record = first.ringbuf_reserve(sizeof(*record));
	else
		record = events.ringbuf_reserve(sizeof(*record));
	if (!record)
		return 0;
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
	record->pad = 0;
	fill_local(record, sk);
	first.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

/* The short way of a socket that goes on sending to the peer it was counted with. */
static inline int repeats(const struct flow_key *key, struct bpf_sock *sk, u32 window)
{
	struct last_peer *last = lasts.sk_storage_get((void *)sk, 0, 0);
	const u64 *now = (const void *)key;
	u32 word, index;

	if (!last || last->window != window)
		return 0;

	const u64 *before = (const void *)&last->key;

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
	return 1;
}

static inline void remember(const struct flow_key *key, struct bpf_sock *sk, u32 window, u32 slot)
{
	struct last_peer *last = lasts.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!last)
		return;
	last->window = window - 1; /* not to be believed while it is being written */
	asm volatile("" ::: "memory");
	last->key = *key;
	last->slot = slot;
	asm volatile("" ::: "memory");
	last->window = window;
}

/* From now on each packet of the socket is decided, by packet.bpf.c; returns 0 without room. */
static inline int set_undecided(struct bpf_sock *sk, u32 verdict)
{
	struct last_peer *last =
		sk ? lasts.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;

	if (!last)
		return 0;
	last->undecided = verdict;
	return 1;
}

/* What was said to its connect; VERDICT_NONE: it isn't. */
static inline u32 undecided(struct bpf_sock *sk)
{
	struct last_peer *last;

	if (!sk || sk->protocol != IPPROTO_UDP || sk->type == SOCK_RAW)
		return VERDICT_NONE;
	last = lasts.sk_storage_get((void *)sk, 0, 0);
	return last ? last->undecided : VERDICT_NONE;
}

/* The lane for this act's record; key names "other peers" where it is one peer too many. */
static inline enum lane lane_of(struct act_value *act, struct proc_value *proc, u32 window)
{
	struct flow_value *flow = find_flow(&act->key, window);

	if (flow) {
		if (flow->told >= EACH_MAX)
			return LANE_NONE;
		__sync_fetch_and_add(&flow->told, 1);
		return LANE_EVENTS;
	}
	if (proc->window != window) {
		proc->window = window;
		proc->firsts = 0;
	}
	if (proc->firsts < FIRSTS_MAX) {
		__sync_fetch_and_add(&proc->firsts, 1);
		note_flow(&act->key, 1, window);
		return LANE_FIRST;
	}
	__builtin_memset(act->key.peer, 0, sizeof(act->key.peer));
	act->key.peer_port = 0;
	act->key.other = 1;
	return LANE_NONE;
}

static inline int is_same_peer(const struct flow_key *key, const struct flow_key *other)
{
	const u64 *peer = (const void *)key->peer, *other_peer = (const void *)other->peer;

	return peer[0] == other_peer[0] && peer[1] == other_peer[1] &&
	       key->peer_port == other->peer_port;
}

/*
 * A TCP connect that isn't told is counted with its outcome, in flow.bpf.c. What waits for one on a
 * socket that now connects to another peer never left: then that one is in *act, to be counted.
 * Returns whether anything is to be counted now.
 */
static inline int wait_for_outcome(struct act_value *act, int is_told)
{
	struct act_value *waiting = open_connects.lookup(&act->cookie);

	if (!waiting || is_same_peer(&waiting->key, &act->key))
		return !is_told && open_connects.insert(&act->cookie, act);

	struct act_value before = *waiting;

	if (is_told)
		open_connects.delete(&act->cookie);
	else
		open_connects.update(&act->cookie, act);
	*act = before;
	act->key.outcome = OUTCOME_UNREACHABLE;
	return 1;
}

/*
 * The caller has it judged, and fills in tid and uid: not every kind of program may ask for them in
 * the same way.
 */
static inline void report(struct act_value *act, u32 pid, struct proc_value *proc,
			  struct bpf_sock *sk)
{
	u32 window = current_window();

	act->key.started_ns = proc->started_ns;
	act->key.pid = pid;
	act->key.exec_id = proc->exec_id;
	count(KIND_ACT, COUNT_SEEN);
	if (sk && act->key.act == ACT_SEND && repeats(&act->key, sk, window))
		return;
	act->at_ns = bpf_ktime_get_boot_ns();
	act->parent_pid = parent_of(bpf_get_current_task());

	enum lane lane = lane_of(act, proc, window);

	int is_told = lane != LANE_NONE && tell(act, sk, lane);

	if (act->key.act == ACT_CONNECT && act->key.protocol == IPPROTO_TCP &&
	    act->key.verdict != VERDICT_DENY) {
		if (!wait_for_outcome(act, is_told))
			return;
	} else if (is_told) {
		return;
	}

	u32 slot = count_act(act, 0, 0, window);

	if (slot && sk && act->key.act == ACT_SEND && !act->key.other)
		remember(&act->key, sk, window, slot);
}
