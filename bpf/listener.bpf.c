// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Lets a job's own UDP servers answer those who asked them. A socket that its owner bound is a
 * listener. Who sends to it is noted when the datagram arrives, before the owner can see it, and
 * may be answered for a while: exactly that address and port, from that port, in that network
 * namespace. No program is attached here: on_bind4 and on_bind6 (socket.bpf.c) note listeners,
 * on_answer (dns.bpf.c) notes who asked, and judge (policy.bpf.c) lets answers go.
 */
#pragma once

#include "process.bpf.c"
#include "share.bpf.c"
#include "slots.bpf.c"

#define ANSWERED_NS 30000000000ULL
#define HEARD_MAX 32768
#define HEARD_SHARE 2048 /* the most peers of one scope that are noted in that time */
#define LOOPED_BACK 5	 /* PACKET_LOOPBACK: the machine's own packet, to a group that it is in */
#define ETHERTYPE_IPV6 0x86dd

/*
 * The value of a listener's storage. It has the network namespace, since a namespace of a job's own
 * is no way into another one.
 */
struct listener {
	u64 namespace;
	u32 scope;
	u32 pad;
};
BPF_SK_STORAGE(listeners, struct listener);

struct heard_key {
	u64 namespace;
	u32 scope;
	u16 local_port;
	u16 peer_port;
	u8 peer[16];
	u8 protocol;
	u8 pad[7];
};

/* When a peer last sent to a listener. */
BPF_TABLE("lru_hash", struct heard_key, u64, heard, HEARD_MAX);

static u64 (*namespace_of)(void *) = (void *)BPF_FUNC_get_netns_cookie;

static inline int can_listen(u32 protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE;
}

static inline void set_heard(struct heard_key *key, struct bpf_sock *sk,
			     const struct listener *listener)
{
	key->namespace = listener->namespace;
	key->scope = listener->scope;
	key->local_port = sk->src_port;
	key->protocol = sk->protocol;
}

/*
 * Note a listener. Called where a socket is bound by its owner, not where the kernel finds a port
 * for a socket that sends first.
 */
static inline void note_listener(struct bpf_sock *sk, const struct proc_value *proc)
{
	struct listener *listener;

	if (!can_listen(sk->protocol))
		return;
	listener = listeners.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!listener)
		return;
	listener->namespace = namespace_of(sk);
	listener->scope = noted_as(proc);
}

/*
 * Whether the packet may be from a process of this machine that has no privilege and sends under
 * another's address: such a packet doesn't show that the owner of the address asked. Whoever binds
 * an IPv6 socket to an address that isn't the machine's (IPV6_FREEBIND) sends under it, to the
 * machine itself (by lo) or to a group that it is in.
 */
static inline int is_made_here(struct __sk_buff *skb, const union address *from,
			       const union address *to)
{
	if (skb->pkt_type == LOOPED_BACK)
		return 1;
	return skb->ifindex == LOOPBACK &&
	       (from->words[0] != to->words[0] || from->words[1] != to->words[1] ||
		from->words[2] != to->words[2] || from->words[3] != to->words[3]);
}

/*
 * Read a datagram's addresses. Returns where its ports are; 0: the datagram isn't understood, and
 * nobody may be answered for it.
 */
static inline u32 read_ends(struct __sk_buff *skb, u32 protocol, union address *from,
			    union address *to)
{
	u8 next = 0, start = 0;

	if (skb->protocol == bpf_htons(ETHERTYPE_IPV6)) {
		if (bpf_skb_load_bytes(skb, 6, &next, 1) || next != protocol ||
		    bpf_skb_load_bytes(skb, 8, from, 16) || bpf_skb_load_bytes(skb, 24, to, 16))
			return 0;
		return 40;
	}
	from->words[2] = to->words[2] = bpf_htonl(0xffff);
	if (bpf_skb_load_bytes(skb, 0, &start, 1) || bpf_skb_load_bytes(skb, 9, &next, 1) ||
	    next != protocol || bpf_skb_load_bytes(skb, 12, &from->words[3], 4) ||
	    bpf_skb_load_bytes(skb, 16, &to->words[3], 4))
		return 0;
	return (start & 15) * 4;
}

/*
 * Note who sent a datagram. Called for each one that arrives at a socket that isn't connected, or
 * whose packets are decided one by one.
 */
static inline void hear(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct listener *listener = listeners.sk_storage_get((void *)sk, 0, 0);

	if (!listener)
		return;

	struct config_value *config = settings();
	union address from = {}, to = {};
	u16 port = 0;

	sk = bpf_sk_fullsock(sk);
	if (!sk || !holds_jobs(config))
		return;

	u32 at = read_ends(skb, sk->protocol, &from, &to);

	if (!at || is_made_here(skb, &from, &to) || bpf_skb_load_bytes(skb, at, &port, 2))
		return;

	struct heard_key key;
	u64 now_ns = bpf_ktime_get_boot_ns();

	CLEAR(key);
	set_heard(&key, sk, listener);
	key.peer_port = bpf_ntohs(port);
	__builtin_memcpy(key.peer, from.bytes, sizeof(key.peer));

	u64 *at_ns = heard.lookup(&key);

	if (at_ns)
		*at_ns = now_ns;
	else if (take_share(listener->scope, SHARE_HEARD, HEARD_SHARE, ANSWERED_NS))
		heard.update(&key, &now_ns);
}

/* Whether the peer of an act on this socket sent to it in the last ANSWERED_NS. */
static inline int is_answer(const struct act_value *act, struct bpf_sock *sk)
{
	if (!sk || !can_listen(act->key.protocol))
		return 0;

	struct listener *listener = listeners.sk_storage_get((void *)sk, 0, 0);

	if (!listener)
		return 0;

	struct heard_key key;

	CLEAR(key);
	set_heard(&key, sk, listener);
	key.peer_port = act->key.peer_port;
	__builtin_memcpy(key.peer, act->key.peer, sizeof(key.peer));

	u64 *at_ns = heard.lookup(&key);

	return at_ns && bpf_ktime_get_boot_ns() - *at_ns < ANSWERED_NS;
}
