// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Reads DNS messages in packets: where they are and what they ask; and sends their records.
 *
 * A question's name is known by its hash: nothing more of a message is read here. No program is
 * attached here: those of dns.bpf.c and question.bpf.c call these functions.
 */
#pragma once

#include "header.bpf.c"
#include "process.bpf.c"
#include "slots.bpf.c"

#define DNS_PORT 53
#define HEADER_SIZE 12
#define QUESTION_LEAST (HEADER_SIZE + 5)
#define NAME_WORDS 32
#define SMALL_ROOM 128
#define MIDDLE_ROOM 512
#define EACH_BYTE 0x0101010101010101ULL
#define IS_ANSWER 0x80 /* in the first byte of the header's flags */
#define TCP_URGENT 0x20

/* A packet, and the message in it that is being read. */
struct dns_packet {
	union address peer;
	u64 cookie;
	u32 payload; /* where the payload begins */
	u32 sequence;
	u32 at;	      /* where the message begins */
	u32 size;     /* the message's */
	u32 here;     /* bytes of the message in this packet */
	u32 asked_at; /* where the question's type stands, behind the name */
	u16 peer_port;
	u8 protocol;
	u8 is_syn;
	u16 length; /* in network order; in a segment it stands in front of the message */
};

/* IPv6 extension headers are not followed: no resolver sends any. */
static inline u32 read_addresses(struct __sk_buff *skb, u32 is_query, struct dns_packet *packet)
{
	union address peer = { .words = { 0, 0, bpf_htonl(0xffff) } };
	u8 header[8];
	u32 size = 40;

	if (skb->protocol == bpf_htons(0x86dd)) {
		if (bpf_skb_load_bytes(skb, 0, header, 8) ||
		    bpf_skb_load_bytes(skb, is_query ? 24 : 8, &peer, 16))
			return 0;
		packet->protocol = header[6];
	} else {
		if (bpf_skb_load_bytes(skb, 0, header, 1) ||
		    bpf_skb_load_bytes(skb, 9, &packet->protocol, 1) ||
		    bpf_skb_load_bytes(skb, is_query ? 16 : 12, &peer.words[3], 4))
			return 0;
		size = (header[0] & 15) * 4;
	}
	packet->peer = peer;
	return size;
}

static inline int read_dns_packet(struct __sk_buff *skb, u32 is_query, struct dns_packet *packet)
{
	u32 at = read_addresses(skb, is_query, packet);
	u8 header[14];
	u8 *port = header + (is_query ? 2 : 0);

	if (!at || bpf_skb_load_bytes(skb, at, header, 8))
		return 0;
	packet->peer_port = port[0] << 8 | port[1];
	packet->cookie = cookie_of(skb);
	packet->payload = at + 8;
	if (packet->protocol == IPPROTO_UDP)
		return 1;
	if (packet->protocol != IPPROTO_TCP || bpf_skb_load_bytes(skb, at, header, 14))
		return 0;
	/* The reader of a stream doesn't get its urgent byte, and so reads another message. */
	if (is_query && header[13] & TCP_URGENT)
		return 0;
	packet->payload = at + (header[12] >> 4) * 4;
	packet->is_syn = header[13] >> 1 & 1;
	packet->sequence = header[4] << 24 | header[5] << 16 | header[6] << 8 | header[7];
	return 1;
}

/*
 * Put A to Z into lower case, eight bytes at once. The lengths of labels stay the same: they are
 * below the letters.
 */
static inline u64 lower(u64 word)
{
	u64 low = word & 0x7f * EACH_BYTE;
	u64 upper = (low + 0x3f * EACH_BYTE) ^ (low + 0x25 * EACH_BYTE);

	return word | (upper & ~word & 0x80 * EACH_BYTE) >> 2;
}

/*
 * Fill in the key. Return the header's flags, or 0 if this is no message with one question. The
 * name is read eight bytes at once, or four at the end of the packet, up to the first 0, which ends
 * it: type and class, four bytes, stand behind it, so that no read goes beyond a whole message.
 */
static inline u32 read_question(struct __sk_buff *skb, struct dns_packet *packet,
				struct query_key *key)
{
	u8 header[HEADER_SIZE];
	u32 at = packet->at, step;
	u64 hash = 0xcbf29ce484222325ULL, word, end = 0;

	if (packet->here < HEADER_SIZE || bpf_skb_load_bytes(skb, at, header, HEADER_SIZE))
		return 0;
	/* Only one question, and only operation 0, a query. */
	if (header[2] & 0x78 || header[4] || header[5] != 1)
		return 0;
	at += HEADER_SIZE;
	for (step = 0; step < NAME_WORDS; step++) {
		if (bpf_skb_load_bytes(skb, at, &word, 8) && bpf_skb_load_bytes(skb, at, &word, 4))
			return 0;
		end = (word - EACH_BYTE) & ~word & 0x80 * EACH_BYTE;
		word &= ((end & -end) >> 7) - 1; /* keeps the bytes before the first 0, or all */
		hash = (hash ^ lower(word)) * 0x100000001b3ULL;
		hash ^= hash >> 29;
		if (end)
			break;
		at += 8;
	}
	/*
	 * The end is computed neither from `step` nor from what LLVM knows of it: else the verifier
	 * would follow each of its values.
	 */
	OPAQUE(end);
	if (!end)
		return 0;
	end = ((end & -end) >> 7) - 1;
	at += ((end & EACH_BYTE) * EACH_BYTE >> 56) + 1;
	if (at + 4 > packet->at + packet->here ||
	    bpf_skb_load_bytes(skb, at, &key->type, sizeof(key->type)))
		return 0;
	packet->asked_at = at;
	key->cookie = packet->cookie;
	key->hash = hash;
	__builtin_memcpy(key->resolver, &packet->peer, sizeof(key->resolver));
	key->id = header[0] << 8 | header[1];
	key->type = bpf_ntohs(key->type);
	return 1 << 8 | header[2];
}

/* `room` is a constant in each call: a ring reservation can't have a size that varies. */
static inline __attribute__((always_inline)) void
send_message(struct __sk_buff *skb, const struct dns_packet *packet, const struct query_key *key,
	     const struct query_value *query, u32 stage, u64 room)
{
	u64 at_ns = bpf_ktime_get_boot_ns(); /* before the record is reserved: readers rely on it */
	struct dns_record *record = lookups.ringbuf_reserve(sizeof(*record) + room);
	/* At least 1, without a comparison: from one with 0, 5.15 and 6.1 don't learn it. */
	u64 here = at_most(packet->here - 1, room - 1) + 1;

	if (!record) {
		count(KIND_DNS, COUNT_LOST);
		return;
	}
	record->header.layout = LAYOUT;
	record->header.kind = KIND_DNS;
	record->header.pad = 0;
	record->header.at_ns = at_ns;
	record->header.started_ns = query->started_ns;
	record->header.pid = query->pid;
	record->header.exec_id = query->exec_id;
	record->cookie = key->cookie;
	__builtin_memcpy(record->resolver, key->resolver, sizeof(record->resolver));
	record->scope = governing(query->scope);
	record->resolver_port = DNS_PORT;
	record->message_size = packet->size;
	record->message_here = here;
	record->protocol = packet->protocol;
	record->stage = stage;
	record->counts = stage == DNS_ANSWER && query->policy;
	record->doubtful = stage == DNS_ANSWER && query->doubtful;
	if (bpf_skb_load_bytes(skb, packet->at, record + 1, here)) {
		lookups.ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		count(KIND_DNS, COUNT_UNREAD);
		return;
	}
	lookups.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* Return the room for a message of `here` bytes: reservations have constant sizes. */
static inline u32 room_for(u32 here)
{
	return here <= SMALL_ROOM ? SMALL_ROOM : here <= MIDDLE_ROOM ? MIDDLE_ROOM : MESSAGE_ROOM;
}

static inline void tell_message(struct __sk_buff *skb, const struct dns_packet *packet,
				const struct query_key *key, const struct query_value *query,
				u32 stage)
{
	if (packet->here <= SMALL_ROOM)
		send_message(skb, packet, key, query, stage, SMALL_ROOM);
	else if (packet->here <= MIDDLE_ROOM)
		send_message(skb, packet, key, query, stage, MIDDLE_ROOM);
	else
		send_message(skb, packet, key, query, stage, MESSAGE_ROOM);
}
