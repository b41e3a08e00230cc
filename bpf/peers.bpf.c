// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Finds the datagram sockets whose packets are decided one by one, by packet.bpf.c, since their
 * connect decides nothing: those that were let connect only because a connect sends nothing, and
 * those with several peers. The kernel reads the address and the port of a socket's peer one after
 * the other, and without the socket's lock, while another thread may connect the socket elsewhere,
 * or begin a datagram to another peer: a packet may leave with the address of one peer and the port
 * of another, and over IPv6 half of an address. No program is attached here: those of socket.bpf.c
 * and packet.bpf.c call these functions.
 */
#pragma once

#include "acts.bpf.c"
#include "meter.bpf.c"
#include "policy.bpf.c"
#include "process.bpf.c"

#define TCP_ESTABLISHED 1 /* for a datagram socket: connected */

/*
 * Note that the socket's packets are to be decided one by one. Called by the address hooks, which
 * hold the socket's lock. Return 0 if there is no room.
 */
static inline int set_undecided(struct bpf_sock *sk, u32 verdict, u32 held_as)
{
	struct last_peer *last = sk ? place_for(sk) : 0;

	if (!last)
		return 0;
	last->undecided = verdict;
	last->held_as = held_as;
	return 1;
}

/*
 * Return VERDICT_NONE if the socket's packets go where its acts were judged. Otherwise its packets
 * are decided one by one; return the verdict on packets of a sender without a policy.
 */
static inline u32 undecided(struct bpf_sock *sk)
{
	struct last_peer *last = sk ? latest(sk) : 0;

	return last && is_for(USE_POLICIES) ? last->undecided : VERDICT_NONE;
}

static inline int is_first_peer(const struct last_peer *last, const struct flow_key *key)
{
	const u64 *first = (const void *)last->first, *peer = (const void *)key->peer;

	return first[0] == peer[0] && first[1] == peer[1] && last->first_port == key->peer_port;
}

/*
 * Whether the socket was connected, and isn't any more. A datagram that leaves now may have been
 * begun while it was connected: it may have the peer's port alone, and go to this machine, which
 * nobody decided. One that is begun later has an act of its own.
 */
static inline int lost_its_peer(const struct last_peer *last, const struct bpf_sock *sk)
{
	return last->peers & PEERS_CONNECTED && sk->state != TCP_ESTABLISHED;
}

/*
 * Note a peer of the socket. Return whether the kernel may read the peer in halves. A disconnect,
 * too, takes away the address and the port one after the other.
 */
static inline int add_peer(struct last_peer *last, struct bpf_sock *sk, const struct flow_key *key)
{
	u32 peers = last->peers, connects = key->act == ACT_CONNECT;

	if (!peers) {
		__builtin_memcpy(last->first, key->peer, sizeof(last->first));
		last->first_port = key->peer_port;
	} else if (!is_first_peer(last, key) || lost_its_peer(last, sk)) {
		peers |= PEERS_SEVERAL;
	}
	peers |= PEERS_ANY | (connects ? PEERS_CONNECTED : 0);
	last->peers = peers;
	return (peers & PEERS_SEVERAL) && (peers & PEERS_CONNECTED);
}

static inline int is_peer_called(const struct last_peer *last, const struct flow_key *key)
{
	const u64 *called = (const void *)last->called, *peer = (const void *)key->peer;

	return called[0] == peer[0] && called[1] == peer[1] && last->called_port == key->peer_port;
}

/*
 * Note the peer of a call that is let through, under the lock of *last: is_called, which compares
 * with it, runs without the socket's lock, and must not read it in halves.
 */
static inline void set_called(struct last_peer *last, const struct flow_key *key)
{
	/* All writers have the socket's lock, so that this comparison needs no other. */
	if (key->act == ACT_SEND && is_peer_called(last, key))
		return;
	bpf_spin_lock((void *)&last->lock);
	__builtin_memcpy(last->called, key->peer, sizeof(last->called));
	last->called_port = key->peer_port;
	if (key->act == ACT_CONNECT) {
		__builtin_memcpy(last->connected, key->peer, sizeof(last->connected));
		last->connected_port = key->peer_port;
	}
	bpf_spin_unlock((void *)&last->lock);
}

/* The result of note_peer for an act that the policy lets go. */
enum noted { NOTED_NOTHING, NOTED, NOTED_UNDECIDED };

/*
 * Note the peer of an act on a datagram socket, for the address hooks. NOTED_NOTHING: there is no
 * room, and the policy is enforced, so the act is to be denied. A process that fills the memory
 * that its socket may take is to gain nothing by it.
 */
static inline enum noted note_peer(struct bpf_sock *sk, const struct act_value *act,
				   const struct proc_value *proc)
{
	struct last_peer *last = sk ? place_for(sk) : 0;
	u32 may_be_torn = last && add_peer(last, sk, &act->key), is_enforcing;
	struct mode_value *mode;

	if (last)
		set_called(last, &act->key);
	if (act->key.verdict != VERDICT_NONE && (!last || may_be_torn)) {
		mode = mode_of(proc);
		is_enforcing = mode && mode->is_enforcing;
		if (!last)
			return is_enforcing ? NOTED_NOTHING : NOTED;
		if (last->undecided != VERDICT_DENY) {
			last->undecided = is_enforcing ? VERDICT_DENY : VERDICT_AUDIT;
			last->held_as = held_as(proc);
		}
	}
	return last && last->undecided ? NOTED_UNDECIDED : NOTED;
}
