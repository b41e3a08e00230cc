// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Drops packets, and marks the connections that they are of: TCP keeps the data in them, and sends
 * it again once no program drops it. So user space aborts these connections before the programs are
 * detached (exporter/kernel/dropped_connections.py). Connections to resolvers have the mark from
 * the beginning where a policy refuses lookups. No program is attached here: those of
 * question.bpf.c, packet.bpf.c and socket.bpf.c call these functions.
 */
#pragma once

#include "slots.bpf.c"

#define SOCK_DGRAM 2
#define UNMARKED_MAX 16384

/* The mark. Its value has no meaning: user space looks for the sockets that have one. */
BPF_SK_STORAGE(kept_back, u32);
/*
 * The cookies of the connections without room for the mark. The value has no meaning. Nobody takes
 * an entry away: where there is no more room, user space says so at the end.
 */
BPF_F_TABLE("hash", u64, u32, without_mark, UNMARKED_MAX, BPF_F_NO_PREALLOC);

static inline int has_connections(u32 type)
{
	return type != SOCK_RAW && type != SOCK_DGRAM;
}

/*
 * Mark a connection of which TCP keeps data that a policy refuses, or may come to keep such data.
 * Return whether there was room: a process can fill the memory that its socket may take.
 */
static inline int mark(struct bpf_sock *sk)
{
	count(KIND_FLOW, COUNT_KEPT_BACK);
	return kept_back.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE) != 0;
}

static inline int is_marked(struct bpf_sock *sk)
{
	return kept_back.sk_storage_get((void *)sk, 0, 0) != 0;
}

static inline void keep_back(struct __sk_buff *skb, struct bpf_sock *sk)
{
	u64 cookie;
	u32 value = 0;

	if (mark(sk))
		return;
	cookie = cookie_of(skb);
	if (without_mark.update(&cookie, &value))
		count(KIND_FLOW, COUNT_UNTRACKED);
}

/* Whether a packet of the connection was dropped, or may come to be. */
static inline int is_kept_back(struct __sk_buff *skb, struct bpf_sock *sk)
{
	u64 cookie = cookie_of(skb);

	return is_marked(sk) || without_mark.lookup(&cookie) != 0;
}

/* Return the value with which a program drops a packet of a whole socket (bpf_sk_fullsock). */
static inline int drop(struct __sk_buff *skb, struct bpf_sock *sk)
{
	if (has_connections(sk->type))
		keep_back(skb, sk);
	return DENY;
}
