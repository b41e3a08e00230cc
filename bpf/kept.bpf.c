// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Drops packets, and marks the connections that they are of: TCP keeps the data in them, and sends
 * it again once no program drops it. So user space aborts these connections before the programs are
 * detached (exporter/kernel/dropped_connections.py). No program is attached here: those of
 * question.bpf.c and packet.bpf.c call these functions.
 */
#pragma once

#include "slots.bpf.c"

#define SOCK_DGRAM 2

/* The mark. Its value has no meaning: user space looks for the sockets that have one. */
BPF_SK_STORAGE(kept_back, u32);

static inline int has_connections(u32 type)
{
	return type != SOCK_RAW && type != SOCK_DGRAM;
}

static inline void keep_back(struct bpf_sock *sk)
{
	count(KIND_FLOW, COUNT_KEPT_BACK);
	kept_back.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

/* Return the value with which a program drops a packet of a whole socket (bpf_sk_fullsock). */
static inline int drop(struct bpf_sock *sk)
{
	if (has_connections(sk->type))
		keep_back(sk);
	return DENY;
}
