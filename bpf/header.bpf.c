// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Reads from a packet's header where the packet goes. The owner of a raw socket writes the header,
 * so nothing in it is believed: lengths only move the place that is read next, and bytes outside of
 * the packet read as zeros. No program is attached here: on_packet (packet.bpf.c) and on_lookup
 * (question.bpf.c) call read_packet.
 */
#pragma once

#include "slots.bpf.c"

#define IPV4_BYTES 20
#define IPV6_BYTES 40
#define UDP_BYTES 8
#define PLAIN_IPV4 0x45 /* the first byte of a header without options */
#define IPPROTO_HOPOPTS 0
#define IPPROTO_DCCP 33
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_AH 51
#define IPPROTO_DSTOPTS 60
#define IPPROTO_SCTP 132
#define MORE_FRAGMENTS_AT 0x1fff
#define OPTIONS_MAX 40
#define OPTION_END 0
#define OPTION_NOTHING 1
#define OPTION_LOOSE_ROUTE 131
#define OPTION_STRICT_ROUTE 137
#define HEADERS_MAX 8 /* the most extension headers that are walked */
#define ROUTE_OLD 0
#define ROUTE_MOBILE 2
#define ROUTE_SEGMENTS 4
#define ROUTED 1
#define ROUTED_TO_ITS_END 2 /* it is sent to its end: no hop is left */

/* The facts in a packet's header. */
struct packet {
	union address to;    /* where it goes first */
	union address final; /* where the last hop of its source route is to send it */
	u32 payload_at;
	u16 port;
	u8 protocol;
	u8 is_routed;	/* 0, ROUTED, or ROUTED_TO_ITS_END */
	u8 is_fragment; /* 1: not the first one, so no port stands in it */
};

/*
 * Whether an IPv6 address is ::1, or none (::). A packet to there under another's address, which
 * takes no privilege (IPV6_FREEBIND), makes the kernel answer to that address, with the packet's
 * data in the answer.
 */
static inline int is_this_machine(const union address *address)
{
	u32 other = address->words[0] | address->words[1] | address->words[2] |
		    (address->words[3] & ~bpf_htonl(1));

	/* One comparison: after each of several, the verifier would follow both of its results. */
	OPAQUE(other);
	return !other;
}

static inline u32 byte_at(struct __sk_buff *skb, u32 at)
{
	u8 byte = 0;

	bpf_skb_load_bytes(skb, at, &byte, 1);
	return byte;
}

static inline u32 half_at(struct __sk_buff *skb, u32 at)
{
	u16 half = 0;

	bpf_skb_load_bytes(skb, at, &half, sizeof(half));
	return bpf_ntohs(half);
}

static inline void map_ipv4(struct __sk_buff *skb, u32 at, union address *address)
{
	address->words[0] = 0;
	address->words[1] = 0;
	address->words[2] = bpf_htonl(0xffff);
	bpf_skb_load_bytes(skb, at, &address->words[3], 4);
}

/*
 * Look for a source route in IPv4 options. The kernel and every sender of such packets put the
 * final destination behind the hops.
 */
static inline void read_options(struct __sk_buff *skb, struct packet *packet)
{
	u64 at = IPV4_BYTES, any = skb->len;
	u32 step;

	BLUR(at, any); /* else the verifier follows each place separately */
	for (step = 0; step < OPTIONS_MAX && at + 3 < packet->payload_at; step++) {
		u32 option = byte_at(skb, at), size = byte_at(skb, at + 1);

		if (option == OPTION_END)
			return;
		if (option == OPTION_NOTHING) {
			at++;
			continue;
		}
		if (option == OPTION_LOOSE_ROUTE || option == OPTION_STRICT_ROUTE) {
			/* If the pointer stands behind the last hop, the route is over. */
			packet->is_routed = size >= 7 && byte_at(skb, at + 2) + 3 <= size;
			map_ipv4(skb, at + size - 4, &packet->final);
			return;
		}
		if (size < 2)
			return;
		at += size;
	}
}

static inline void read_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	packet->payload_at = (byte_at(skb, 0) & 15) * 4;
	packet->protocol = byte_at(skb, 9);
	packet->is_fragment = (half_at(skb, 6) & MORE_FRAGMENTS_AT) != 0;
	map_ipv4(skb, 16, &packet->to);
	if (!packet->to.words[3])
		map_ipv4(skb, 12, &packet->to); /* 0.0.0.0: this machine; it answers the source */
	read_options(skb, packet);
}

static inline int is_extension(u32 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_DSTOPTS;
}

/*
 * Read a routing header. `start` has its first bytes: next header, size, kind, hops left. With the
 * newer kinds, the kernel sends a packet to the hop that its owner named, even if none is left
 * behind that.
 */
static inline void read_route(struct __sk_buff *skb, u32 at, const u8 *start, struct packet *packet)
{
	u32 last = at + 8;

	if (start[2] == ROUTE_OLD && start[3])
		last = at + start[1] * 8 - 8;
	else if (start[2] != ROUTE_MOBILE && start[2] != ROUTE_SEGMENTS)
		return;
	if (!bpf_skb_load_bytes(skb, last, packet->final.bytes, 16))
		packet->is_routed = start[3] ? ROUTED : ROUTED_TO_ITS_END;
}

/* If a header is cut off, the one before it has named its protocol. */
static inline void read_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	u64 at = IPV6_BYTES, any = skb->len;
	u32 next = byte_at(skb, 6), step;
	union address from = {};

	BLUR(at, any);
	bpf_skb_load_bytes(skb, 8, from.bytes, 16);
	bpf_skb_load_bytes(skb, 24, packet->to.bytes, 16);
	if (is_this_machine(&packet->to) && !is_this_machine(&from))
		packet->to = from;
	for (step = 0; step < HEADERS_MAX; step++) {
		u8 start[4] = {};

		if (bpf_skb_load_bytes(skb, at, start, sizeof(start)))
			break;

		u32 size = (start[1] + 1) * 8;

		if (next == IPPROTO_ROUTING) {
			read_route(skb, at, start, packet);
		} else if (next == IPPROTO_FRAGMENT) {
			packet->is_fragment = start[2] || start[3] >> 3;
			size = 8;
		} else if (next == IPPROTO_AH) {
			size = (start[1] + 2) * 4;
		} else if (next != IPPROTO_HOPOPTS && next != IPPROTO_DSTOPTS) {
			break;
		}
		next = start[0];
		at += size;
	}
	packet->protocol = next;
	packet->payload_at = at;
}

static inline void read_packet(struct __sk_buff *skb, struct packet *packet)
{
	FORGET(*packet);
	if (byte_at(skb, 0) >> 4 == 6)
		read_ipv6(skb, packet);
	else
		read_ipv4(skb, packet);

	u32 protocol = packet->protocol;

	if (!packet->is_fragment &&
	    (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_DCCP ||
	     protocol == IPPROTO_SCTP || protocol == IPPROTO_UDPLITE))
		packet->port = half_at(skb, packet->payload_at + 2);
}
