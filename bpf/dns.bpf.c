// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * DNS messages that leave and arrive, in datagrams and in TCP segments. Both programs begin with a
 * test that ends them for nearly every packet: the port of the socket's peer.
 */
#define PASS 1
#define MESSAGES_MAX 8 /* in a segment */

static inline void on_message(struct __sk_buff *skb, const struct packet *packet,
			      const struct asker *asker, u32 is_query)
{
	if (is_query)
		on_question(skb, packet, asker);
	else
		on_reply(skb, packet);
}

/* What can't be followed stays so: the text of a message could be taken for a message. */
static inline void lose(struct stream *stream)
{
	stream->is_followed = 0;
	count(KIND_DNS, COUNT_UNREAD);
}

/*
 * Messages stand one behind the other, each behind its length, and segments end anywhere. What a
 * segment repeats was read before; what it has too early is never read.
 */
static inline void read_segment(struct __sk_buff *skb, struct packet *packet, struct asker *asker,
				struct stream *stream, u32 is_query)
{
	u32 end = skb->len, from = packet->at, sequence = packet->sequence + packet->is_syn, step;
	s32 known = stream->next - sequence;
	u8 length[2];

	if (packet->is_syn) {
		stream->next = sequence;
		stream->size = 0;
		stream->is_followed = 1;
		known = 0;
	}
	if (!stream->is_followed || from >= end)
		return;
	if (known < 0) {
		lose(stream);
		return;
	}
	packet->at = from + known;
	for (step = 0; step < MESSAGES_MAX; step++) {
		if (packet->at >= end)
			return;
		packet->size = stream->size;
		stream->size = 0;
		if (!packet->size) {
			if (bpf_skb_load_bytes(skb, packet->at, length, 2))
				break;
			packet->size = length[0] << 8 | length[1];
			packet->at += 2;
			if (packet->at >= end)
				stream->size = packet->size;
		}
		packet->here = packet->size;
		if (packet->here > end - packet->at)
			packet->here = end - packet->at;
		if (packet->here)
			on_message(skb, packet, asker, is_query);
		if (!stream->size)
			packet->at += packet->size;
		stream->next = sequence + packet->at - from;
	}
	if (packet->at < end)
		lose(stream);
}

/* The first test is the one that bulk traffic meets; a socket without a peer has port 0. */
static inline void read_messages(struct __sk_buff *skb, u32 is_query)
{
	u32 port = skb->remote_port;

	if (port && port != bpf_htonl(DNS_PORT))
		return;

	struct bpf_sock *sk = skb->sk;
	struct packet packet;

	if (!sk)
		return;

	struct asker *asker = askers.sk_storage_get((void *)sk, 0, 0);

	if (!asker || !read_packet(skb, is_query, &packet))
		return;
	if (packet.peer_port != DNS_PORT) {
		if (!is_query || (!port && !asker->sends))
			return;
		packet.peer = asker->resolver;
	}
	if (is_query)
		asker->sends = 0;
	if (packet.protocol == IPPROTO_TCP) {
		read_segment(skb, &packet, asker, is_query ? &asker->out : &asker->in, is_query);
		return;
	}
	packet.size = packet.here = skb->len - packet.at;
	on_message(skb, &packet, asker, is_query);
}

int on_query(struct __sk_buff *skb)
{
	read_messages(skb, 1);
	return PASS;
}

int on_answer(struct __sk_buff *skb)
{
	read_messages(skb, 0);
	return PASS;
}
