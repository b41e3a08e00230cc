// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Counts the payload bytes of datagrams for the act that they belong to: the latest act of their
 * socket. Most datagrams are matched with the act by the peer in their header. Behind NAT the
 * header has another address; then a datagram belongs to the act if the thread that sends it is the
 * one that acted. A datagram that can't be matched is counted for other peers, never guessed. No
 * program is attached here: on_egress and on_packet (packet.bpf.c), on_answer (dns.bpf.c) and
 * on_sock_release (flow.bpf.c) call these functions.
 */
#pragma once

#include "header.bpf.c"
#include "slots.bpf.c"

#define NO_THREAD (~0U)

/* The far end of a datagram, and how much it carries. */
struct datagram {
	union address end;
	u64 bytes;
	u32 tid; /* 0: it arrived; else the sending thread, or NO_THREAD if the peer matches */
	u16 port;
};

static inline int is_metered(const struct bpf_sock *sk)
{
	return sk->protocol == IPPROTO_UDP && sk->type != SOCK_RAW;
}

/* Return a datagram socket's latest act; null: no process of a job acted on it. */
static inline struct last_peer *latest(struct bpf_sock *sk)
{
	return is_metered(sk) ? lasts.sk_storage_get((void *)sk, 0, 0) : 0;
}

static inline int is_same_peer(const struct flow_key *key, const struct flow_key *other)
{
	const u64 *peer = (const void *)key->peer, *other_peer = (const void *)other->peer;

	return peer[0] == other_peer[0] && peer[1] == other_peer[1] &&
	       key->peer_port == other->peer_port;
}

/*
 * Whether datagrams without an act of their own may from now on go to several peers: such a
 * datagram goes to the peer that the socket is connected to.
 */
static inline u32 gets_mixed(const struct flow_key *before, const struct flow_key *key)
{
	if (!before->act)
		return 0;
	return before->act != key->act || (key->act == ACT_CONNECT && !is_same_peer(before, key));
}

/* Count datagrams for *act from now on, or for no act. Called under the lock. */
static inline void set_act(struct last_peer *last, const struct act_value *act, u32 metering,
			   u32 window, u32 slot)
{
	last->bytes_sent = last->bytes_received = 0;
	last->metering = metering;
	last->window = window - 1; /* not the current one while the act is being written */
	asm volatile("" ::: "memory");
	if (act) {
		last->is_mixed |= gets_mixed(&last->act.key, &act->key);
		last->act = *act;
	} else {
		last->act.key.act = 0;
	}
	last->slot = slot;
	asm volatile("" ::: "memory");
	last->window = window;
}

/*
 * Change the act, and report the bytes of the one before: from then on nobody can add to them. No
 * helper may be called under the lock, so the record is reserved before; if another thread was
 * quicker, it is discarded. Return 0, and change nothing, if there is no room for the record.
 *
 * The record is compared with null only once: at each such comparison the verifier, up to 6.1, also
 * follows the way on which the record is null, even where that can't be, and finds there that the
 * record was never given back.
 */
static inline int tell_and_set_act(struct last_peer *last, const struct act_value *act,
				   u32 metering, u32 window, u32 slot)
{
	u64 at_ns = bpf_ktime_get_boot_ns();
	struct bytes_record *record = events.ringbuf_reserve(sizeof(*record));
	u32 is_told;

	count(KIND_BYTES, COUNT_SEEN);
	if (!record) {
		count(KIND_BYTES, COUNT_LOST);
		return 0;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->header.layout = LAYOUT;
	record->header.kind = KIND_BYTES;
	record->header.at_ns = at_ns;
	bpf_spin_lock((void *)&last->lock);
	is_told = last->metering == METERING_TOLD;
	record->cookie = last->act.cookie;
	record->acted_ns = last->act.at_ns;
	record->bytes_sent = last->bytes_sent;
	record->bytes_received = last->bytes_received;
	set_act(last, act, metering, window, slot);
	bpf_spin_unlock((void *)&last->lock);
	if (is_told)
		events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	else
		events.ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	return 1;
}

/*
 * Count datagrams for *act from now on, or for no act; if another thread's act came first, they are
 * counted for that act.
 */
static inline void change_act(struct last_peer *last, const struct act_value *act, u32 metering,
			      u32 window, u32 slot)
{
	u32 was_told = last->metering == METERING_TOLD;

	if (was_told && tell_and_set_act(last, act, metering, window, slot))
		return;
	bpf_spin_lock((void *)&last->lock);
	if (was_told || last->metering != METERING_TOLD)
		set_act(last, act, metering, window, slot);
	bpf_spin_unlock((void *)&last->lock);
}

/* Called where a socket's last descriptor is closed: nobody reads what arrives from now on. */
static inline void close_meter(struct bpf_sock *sk)
{
	struct last_peer *last = latest(sk);

	if (last)
		change_act(last, 0, METERING_NONE, 0, 0);
}

static inline int is_peer(const struct last_peer *last, const struct datagram *datagram)
{
	const u64 *peer = (const void *)last->act.key.peer;
	const u64 *end = (const void *)datagram->end.bytes;

	return peer[0] == end[0] && peer[1] == end[1] && last->act.key.peer_port == datagram->port;
}

/*
 * Whether a datagram belongs to the latest act. Others are counted for peers that aren't told
 * apart.
 */
static inline int is_of_act(const struct last_peer *last, const struct datagram *datagram)
{
	if (last->act.key.other) /* to a connected socket only its peer can send */
		return datagram->tid || last->act.key.act == ACT_CONNECT;
	if (is_peer(last, datagram))
		return 1;
	if (last->is_mixed)
		return 0;
	return last->act.key.act == ACT_CONNECT || last->act.tid == datagram->tid;
}

/*
 * Count a datagram that belongs to the latest act, but has no slot in this window yet, or one that
 * belongs to other peers. Of the latter, only datagrams that are sent are counted.
 */
static inline void add_elsewhere(struct last_peer *last, const struct datagram *datagram,
				 u32 window, u32 is_of)
{
	u64 sent = datagram->tid ? datagram->bytes : 0, received = datagram->bytes - sent;
	struct act_value act;

	bpf_spin_lock((void *)&last->lock);
	act = last->act;
	bpf_spin_unlock((void *)&last->lock);
	if (!act.key.act)
		return;
	if (!is_of && !sent) {
		if (act.key.other) /* the datagram may be an answer to the act */
			count(KIND_BYTES, COUNT_UNTRACKED);
		return;
	}
	if (!is_of) {
		hide_peer(&act);
		if (act.key.verdict == VERDICT_DENY)
			act.key.verdict = VERDICT_ALLOW; /* it left, so it wasn't denied */
	}
	act.at_ns = bpf_ktime_get_boot_ns();

	u32 slot = count_act(&act, 0, sent, received, window);

	if (!slot)
		count(KIND_BYTES, COUNT_UNTRACKED);
	if (!slot || !is_of)
		return;
	bpf_spin_lock((void *)&last->lock);
	if (last->metering == METERING_COUNTED && is_of_act(last, datagram)) {
		last->slot = slot;
		last->window = window;
	}
	bpf_spin_unlock((void *)&last->lock);
}

static inline void add_datagram(struct last_peer *last, const struct datagram *datagram)
{
	u32 metering, is_of, window = current_window(), is_sent = datagram->tid != 0;
	u32 slot, counted_window;

	bpf_spin_lock((void *)&last->lock);
	metering = last->metering;
	is_of = metering != METERING_NONE && is_of_act(last, datagram);
	slot = last->slot;
	counted_window = last->window;
	if (is_of && metering == METERING_TOLD) {
		if (is_sent)
			last->bytes_sent += datagram->bytes;
		else
			last->bytes_received += datagram->bytes;
	}
	bpf_spin_unlock((void *)&last->lock);
	if (is_of && metering == METERING_TOLD)
		return;

	struct aggregate_record *record = slots.lookup(&slot);

	if (!is_of || counted_window != window || !record) {
		add_elsewhere(last, datagram, window, is_of);
		return;
	}
	if (is_sent)
		__sync_fetch_and_add(&record->bytes_sent, datagram->bytes);
	else
		__sync_fetch_and_add(&record->bytes_received, datagram->bytes);
}

/*
 * Read the header of a datagram without IP options or extension headers; return 0 for all other
 * packets.
 */
static inline int read_datagram(struct __sk_buff *skb, u32 is_sent, struct datagram *datagram)
{
	const u8 *header = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const u32 *address;
	const u8 *ports;

	if (header + IPV4_BYTES + UDP_BYTES > end)
		return 0;
	if (header[0] == PLAIN_IPV4 && header[9] == IPPROTO_UDP) {
		address = (const void *)(header + (is_sent ? 16 : 12));
		datagram->end.words[0] = datagram->end.words[1] = 0;
		datagram->end.words[2] = bpf_htonl(0xffff);
		datagram->end.words[3] = address[0];
		ports = header + IPV4_BYTES;
		datagram->bytes = skb->len - IPV4_BYTES - UDP_BYTES;
	} else {
		if (header + IPV6_BYTES + UDP_BYTES > end || header[0] >> 4 != 6 ||
		    header[6] != IPPROTO_UDP)
			return 0;
		address = (const void *)(header + (is_sent ? 24 : 8));
		datagram->end.words[0] = address[0];
		datagram->end.words[1] = address[1];
		datagram->end.words[2] = address[2];
		datagram->end.words[3] = address[3];
		ports = header + IPV6_BYTES;
		datagram->bytes = skb->len - IPV6_BYTES - UDP_BYTES;
	}
	datagram->port = bpf_ntohs(*(const u16 *)(ports + (is_sent ? 2 : 0)));
	return 1;
}

/*
 * Count a datagram that leaves. Here it has one header, whatever the kernel cuts it into on its
 * way.
 */
static inline void meter_sent(struct __sk_buff *skb, struct last_peer *last)
{
	struct datagram datagram = { .tid = NO_THREAD };

	if (!last->act.key.act || !read_datagram(skb, 1, &datagram))
		return;
	if (!is_peer(last, &datagram))
		datagram.tid = number_at(bpf_get_current_task(), TASK_PID);
	add_datagram(last, &datagram);
}

/* Count a datagram that arrives. If NAT had changed its address, that has been undone by now. */
static inline void meter_received(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct datagram datagram = {};

	if (sk)
		sk = bpf_sk_fullsock(sk);
	struct last_peer *last = sk ? latest(sk) : 0;

	if (last && last->metering != METERING_NONE && read_datagram(skb, 0, &datagram))
		add_datagram(last, &datagram);
}
