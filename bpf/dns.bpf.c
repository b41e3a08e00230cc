// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Finds the DNS messages that leave and arrive, in datagrams and in TCP segments. Its programs are
 * on_query, at cgroup_skb/egress, and on_answer, at cgroup_skb/ingress. Both begin with a test of
 * the port of the socket's peer, which shows for nearly every packet that there is no message.
 */
#pragma once

#include "grant.bpf.c"
#include "header.bpf.c"
#include "listener.bpf.c"
#include "lookup.bpf.c"
#include "message.bpf.c"
#include "meter.bpf.c"
#include "peers.bpf.c"
#include "process.bpf.c"
#include "question.bpf.c"
#include "slots.bpf.c"

#define PASS 1

/* Begin to follow a stream with the segment that opens the connection. */
static inline void begin_stream(struct dns_packet *packet, struct stream *stream)
{
	packet->sequence += packet->is_syn;
	if (packet->is_syn && stream->state == STREAM_NEW) {
		stream->next = packet->sequence;
		stream->size = 0;
		stream->state = STREAM_FOLLOWED;
	}
}

/*
 * Whether a segment can be read: it begins where the stream goes on, or before that. Messages stand
 * one behind the other, each behind its length, and a segment may end anywhere in them. Bytes that
 * it repeats were read before; a segment that comes too early is never read. TCP itself hasn't
 * looked at it yet, so whoever knows the sequence number may have sent it.
 */
static inline int follow_segment(const struct dns_packet *packet, const struct stream *stream)
{
	if (stream->state != STREAM_FOLLOWED)
		return 0;
	if ((s32)(stream->next - packet->sequence) >= 0)
		return 1;
	count(KIND_DNS, COUNT_UNREAD);
	return 0;
}

/*
 * Find the message with which the stream goes on, and move the stream behind it. Returns 0 if there
 * is none. With `is_one_more` any further message is too many: the stream is lost.
 */
static inline int next_in_segment(struct __sk_buff *skb, struct dns_packet *packet,
				  struct stream *stream, u32 is_query, u32 is_one_more)
{
	u32 end = skb->len, past = *(volatile u32 *)&stream->next - packet->sequence;

	if (past >= end - packet->payload)
		return 0;
	if (is_one_more) {
		lose(stream);
		return 0;
	}
	packet->at = packet->payload + past;
	packet->size = stream->size;
	stream->size = 0;
	if (!packet->size) {
		if (bpf_skb_load_bytes(skb, packet->at, &packet->length, sizeof(packet->length))) {
			lose(stream);
			return 0;
		}
		packet->size = bpf_ntohs(packet->length);
		if (is_query && packet->size < QUESTION_LEAST) {
			lose(stream);
			return 0;
		}
		packet->at += 2;
		past += 2;
	}
	if (packet->at >= end) {
		stream->next = packet->sequence + past;
		stream->size = packet->size;
		return 0;
	}
	stream->next = packet->sequence + past + packet->size;
	packet->here = packet->size;
	if (packet->here > end - packet->at)
		packet->here = end - packet->at;
	return 1;
}

/*
 * Make the verifier forget what it knows of the packet: else it follows each way to these numbers
 * separately.
 */
static inline void forget(struct dns_packet *packet)
{
	read_kernel(packet, sizeof(*packet), packet);
}

/*
 * Mark a packet that can't be read, if it leaves: where lookups are refused, it is refused, too.
 * Returns whether it leaves.
 */
static inline int unread(struct __sk_buff *skb, u32 is_query)
{
	if (is_query)
		mark_refused(skb);
	return is_query;
}

/*
 * Whether a packet's far end is a resolver, by the port. TARGET_UNKNOWN: the port doesn't show it,
 * since NAT may have given a packet for a resolver another one.
 */
enum target { TARGET_OTHER, TARGET_UNKNOWN, TARGET_RESOLVER };

/*
 * Find out by the port what the far end is. A segment goes to its socket's peer, so that bulk
 * traffic is decided by the peer's port; a socket without a peer has port 0. A datagram may go
 * anywhere, whatever its socket is connected to, and so its own port is read.
 */
static inline enum target target_of(struct __sk_buff *skb, u32 is_query)
{
	const u8 *header = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *ports;
	u32 port = skb->remote_port;

	if (port == bpf_htonl(DNS_PORT))
		return TARGET_RESOLVER;
	if (!is_query)
		return port ? TARGET_OTHER : TARGET_UNKNOWN;
	if (header + IPV4_BYTES + UDP_BYTES > end)
		return TARGET_UNKNOWN;
	ports = header + IPV4_BYTES;
	if (header[0] != PLAIN_IPV4) {
		if (header[0] >> 4 != 6 || header + IPV6_BYTES + UDP_BYTES > end)
			return TARGET_UNKNOWN;
		ports = header + IPV6_BYTES;
		if (header[6] != IPPROTO_UDP)
			return port && header[6] == IPPROTO_TCP ? TARGET_OTHER : TARGET_UNKNOWN;
	} else if (header[9] != IPPROTO_UDP) {
		return port && header[9] == IPPROTO_TCP ? TARGET_OTHER : TARGET_UNKNOWN;
	}
	return *(const u16 *)(ports + 2) == bpf_htons(DNS_PORT) ? TARGET_RESOLVER : TARGET_UNKNOWN;
}

/* Read the messages of a packet. Returns whether there may be any. */
static inline int read_messages(struct __sk_buff *skb, u32 is_query)
{
	enum target target = target_of(skb, is_query);
	u32 step;

	if (target == TARGET_OTHER)
		return 0;

	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return 0;

	struct asker *asker = askers.sk_storage_get((void *)sk, 0, 0);

	if (!asker && (!is_query || target != TARGET_RESOLVER))
		return 0;

	struct dns_packet packet = {}; /* 5.15's verifier takes datagrams for segments, too */

	if (!is_query && !begin_granting())
		return 0;
	if (!read_dns_packet(skb, is_query, &packet)) {
		if (asker && is_query && asker->out.state == STREAM_FOLLOWED)
			lose(&asker->out);
		return unread(skb, is_query);
	}
	if (!asker)
		return (packet.payload < skb->len || packet.protocol == IPPROTO_UDP) &&
		       unread(skb, is_query);
	if ((!is_query || !see_through_nat(skb, &packet, asker)) && packet.peer_port != DNS_PORT)
		return 0;

	struct stream *stream = is_query ? &asker->out : &asker->in;
	u64 socket = address_of(sk);

	if (packet.protocol == IPPROTO_TCP)
		begin_stream(&packet, stream);
	if (packet.payload >= skb->len) {
		if (packet.protocol != IPPROTO_UDP)
			return 0;
		count(KIND_DNS, COUNT_UNREAD);
		return unread(skb, is_query);
	}
	if (packet.protocol == IPPROTO_TCP && !follow_segment(&packet, stream))
		return unread(skb, is_query);
	packet.at = packet.payload;
	packet.size = packet.here = skb->len - packet.at;
	for (step = 0; step < MESSAGES_MAX + !is_query; step++) {
		forget(&packet);
		if (packet.protocol == IPPROTO_TCP) {
			if (!next_in_segment(skb, &packet, stream, is_query, step == MESSAGES_MAX))
				break;
		} else if (step) {
			break;
		}
		forget(&packet);
		if (is_query)
			on_question(skb, &packet, asker);
		else
			on_reply(skb, &packet, socket);
	}
	if (is_query && stream->state == STREAM_LOST)
		mark_refused(skb);
	return 1;
}

/*
 * At cgroup_skb/egress. It is called again for the rest of a segment behind the first MESSAGES_MAX
 * messages.
 */
HOOK_AND_TAIL_CALLED("cgroup_skb/egress", questions, 2)
int on_query(struct __sk_buff *skb)
{
	u32 control = skb->cb[4], verdict;

	if (!read_messages(skb, 1) || !has_policies())
		return PASS;
	questions.call(skb, ON_LOOKUP);
	verdict = control == FREE ? PASS : control ? give_up(skb, control) : DENY;
	OPAQUE(verdict); /* else LLVM computes a number without bounds */
	return verdict & PASS;
}

/*
 * Whether the socket's packets are decided one by one (peers.bpf.c): then its answers to the peer
 * that it is connected to are, too.
 */
static inline int is_undecided(struct bpf_sock *sk)
{
	sk = bpf_sk_fullsock(sk);
	return sk && undecided(sk);
}

HOOK("cgroup_skb/ingress")
int on_answer(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct granting *granting;
	int has_messages = read_messages(skb, 0);

	/*
	 * These calls come after read_messages: before it, the verifier would follow read_messages
	 * once more for each way through them.
	 */
	meter_received(skb);
	if (sk && (!skb->remote_port || is_undecided(sk)))
		hear(skb, sk);
	if (!has_messages)
		return PASS;
	granting = current_granting();
	if (granting && granting->number) {
		later.call(skb, ON_NEXT);
		count(KIND_DNS, COUNT_UNGRANTED); /* the call failed */
	}
	return PASS;
}
