// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Datagram sockets whose connect decides nothing: each packet of them is decided, by packet.bpf.c.
 * Those that connected because that sends nothing; and those that have several peers. Of whom a
 * socket is connected to, the kernel reads the address and the port one after the other, and
 * without its lock, while another thread connects it elsewhere, or begins a datagram to somebody
 * else: what leaves may have one's address and another's port, and over IPv6 half of an address.
 */
#define TCP_ESTABLISHED 1 /* for a datagram socket: connected */

/* Of the address hooks, which have the socket's lock. Returns 0 without room. */
static inline int set_undecided(struct bpf_sock *sk, u32 verdict, u32 held_as)
{
	struct last_peer *last = sk ? place_for(sk) : 0;

	if (!last)
		return 0;
	last->undecided = verdict;
	last->held_as = held_as;
	return 1;
}

/* VERDICT_NONE: its packets go where was decided. */
static inline u32 undecided(struct bpf_sock *sk)
{
	struct last_peer *last = sk ? latest(sk) : 0;

	return last ? last->undecided : VERDICT_NONE;
}

static inline int is_first_peer(const struct last_peer *last, const struct flow_key *key)
{
	const u64 *first = (const void *)last->first, *peer = (const void *)key->peer;

	return first[0] == peer[0] && first[1] == peer[1] && last->first_port == key->peer_port;
}

/*
 * Whether it sends what was begun when it was connected: since nobody decided where that goes, it
 * may have the peer's port alone, and go to this machine. What is begun later has an act of its
 * own.
 */
static inline int lost_its_peer(const struct last_peer *last, const struct bpf_sock *sk)
{
	return last->peers & PEERS_CONNECTED && sk->state != TCP_ESTABLISHED;
}

/*
 * Returns whether it may be read in halves. To disconnect is to take away address and port, one
 * after the other, too.
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

/* By the lock, since who compares with it hasn't the socket's, and must not read it in halves. */
static inline void set_called(struct last_peer *last, const struct flow_key *key)
{
	/* Who writes has the socket's, so what is there already needs none. */
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

/* What becomes of an act that the policy lets go. */
enum noted { NOTED_NOTHING, NOTED, NOTED_UNDECIDED };

/*
 * For the address hooks of datagram sockets. What can't be noted is denied where the policy is
 * enforced: who fills what the socket has memory for is to gain nothing by it.
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
