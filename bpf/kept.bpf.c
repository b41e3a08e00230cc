// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Drops packets, and marks their connections: TCP keeps the data of the packets, and sends it again
 * once no program drops it. So user space aborts these connections before the programs are detached
 * (exporter/kernel/dropped_connections.py). Connections to resolvers have the mark from their
 * connect on: if a policy refuses lookups in the end, TCP may have questions that nobody has
 * judged. No program is attached here: those of question.bpf.c, packet.bpf.c and socket.bpf.c call
 * these functions.
 */
#pragma once

#include "slots.bpf.c"

#define SOCK_DGRAM 2
#define UNMARKED_MAX 16384

BPF_SK_STORAGE(kept_back, struct mark_value);
/*
 * The cookies of the connections without room for the mark. The value has no meaning. Nobody
 * removes an entry: if there was no more room, user space reports that at the end.
 */
BPF_F_TABLE("hash", u64, u32, without_mark, UNMARKED_MAX, BPF_F_NO_PREALLOC);

static inline int has_connections(u32 type)
{
	return type != SOCK_RAW && type != SOCK_DGRAM;
}

/* Return null if there is no room: a process can fill the memory that its socket may take. */
static inline struct mark_value *place_for_mark(struct bpf_sock *sk)
{
	count(KIND_FLOW, COUNT_KEPT_BACK);
	return kept_back.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

/* Mark a connection to a resolver. Return whether there was room. */
static inline int mark(struct bpf_sock *sk, u32 scope)
{
	struct mark_value *mark = place_for_mark(sk);

	if (mark)
		mark->scope = scope;
	return mark != 0;
}

static inline void keep_back(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct mark_value *mark = place_for_mark(sk);
	u64 cookie;
	u32 value = 0;

	if (mark) {
		mark->is_dropped = 1;
		return;
	}
	cookie = cookie_of(skb);
	if (without_mark.update(&cookie, &value))
		count(KIND_FLOW, COUNT_UNTRACKED);
}

static inline int is_kept_back(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct mark_value *mark = kept_back.sk_storage_get((void *)sk, 0, 0);
	u64 cookie = cookie_of(skb);

	return (mark && mark->is_dropped) || without_mark.lookup(&cookie) != 0;
}

/* Return the value with which a program drops a packet of a whole socket (bpf_sk_fullsock). */
static inline int drop(struct __sk_buff *skb, struct bpf_sock *sk)
{
	if (has_connections(sk->type))
		keep_back(skb, sk);
	return DENY;
}
