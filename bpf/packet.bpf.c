// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * What goes out through sockets that have no address hook: raw and ping sockets, UDP-Lite, SCTP;
 * and the first hop of a source route, which those hooks can't know. Here the packet is the act,
 * and its header tells where it goes: that of a raw socket may say something else than its owner's
 * call. Always lets it through.
 */
#define SOCK_DGRAM 2
#define IPPROTO_HOPOPTS 0
#define IPPROTO_UDP 17
#define IPPROTO_DCCP 33
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_AH 51
#define IPPROTO_DSTOPTS 60
#define IPPROTO_SCTP 132
#define IPV4_BYTES 20
#define IPV6_BYTES 40
#define NO_OPTIONS 0x45 /* how such an IPv4 header begins */
#define MORE_FRAGMENTS_AT 0x1fff
#define OPTIONS_MAX 40
#define OPTION_END 0
#define OPTION_NOTHING 1
#define OPTION_LOOSE_ROUTE 131
#define OPTION_STRICT_ROUTE 137
#define HEADERS_MAX 8 /* extension headers that are walked */
#define ROUTE_OLD 0
#define ROUTE_MOBILE 2
#define ROUTE_SEGMENTS 4
#define SCTP_CHUNK_AT 12
#define SCTP_INIT 1
#define TCP_FLAGS_AT 13
#define TCP_SYN 2

/* Of one packet, read once. */
struct packet {
	union address to;    /* where it goes first */
	union address final; /* where the last hop of its source route is to send it */
	u32 payload_at;
	u16 port;
	u8 protocol;
	u8 is_routed;
	u8 is_fragment; /* not the first, so no port stands in it */
};

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

/* The kernel and every sender of such packets put the final destination behind the hops. */
static inline void read_options(struct __sk_buff *skb, struct packet *packet)
{
	u32 at = IPV4_BYTES, step;

	for (step = 0; step < OPTIONS_MAX && at + 3 < packet->payload_at; step++) {
		u32 option = byte_at(skb, at), size = byte_at(skb, at + 1);

		if (option == OPTION_END)
			return;
		if (option == OPTION_NOTHING) {
			at++;
			continue;
		}
		if (option == OPTION_LOOSE_ROUTE || option == OPTION_STRICT_ROUTE) {
			/* Where the pointer stands behind the last hop, the route is over. */
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
	read_options(skb, packet);
}

/* start is how the routing header begins: next header, size, kind, hops left. */
static inline void read_route(struct __sk_buff *skb, u32 at, const u8 *start, struct packet *packet)
{
	u32 last = at + 8;

	if (!start[3])
		return;
	if (start[2] == ROUTE_OLD)
		last = at + start[1] * 8 - 8;
	else if (start[2] != ROUTE_MOBILE && start[2] != ROUTE_SEGMENTS)
		return;
	packet->is_routed = !bpf_skb_load_bytes(skb, last, packet->final.bytes, 16);
}

/* Where a header is cut off, the one before has named its protocol. */
static inline void read_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	u32 at = IPV6_BYTES, next = byte_at(skb, 6), step;

	bpf_skb_load_bytes(skb, 24, packet->to.bytes, 16);
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

static inline int has_hooks(u32 type, u32 protocol)
{
	return type != SOCK_RAW && (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP);
}

/* TCP or UDP without any extra in its header: what nearly every packet is. */
static inline int is_ordinary(struct __sk_buff *skb, u32 type, u32 protocol)
{
	const u8 *header = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (!has_hooks(type, protocol) || header + IPV4_BYTES > end)
		return 0;
	return header[0] == NO_OPTIONS || (header[0] >> 4 == 6 && header[6] == protocol);
}

/* The kernel's own sockets, which answer for it while any task runs, have no file. */
static inline int is_of_a_process(u64 socket)
{
	return pointer_at(pointer_at(socket, SOCK_SOCKET), SOCKET_FILE) != 0;
}

/*
 * Protocols with connections send by timer and in answer to packets, too, when the current task is
 * a stranger: then nobody owns the socket's lock. Of these the packet that opens one is told.
 */
static inline int opens(struct __sk_buff *skb, const struct packet *packet, u64 socket)
{
	if (!number_at(socket, SOCK_OWNED))
		return 0;
	if (packet->protocol == IPPROTO_TCP)
		return packet->is_routed &&
		       (byte_at(skb, packet->payload_at + TCP_FLAGS_AT) & TCP_SYN);
	return packet->protocol == IPPROTO_SCTP &&
	       byte_at(skb, packet->payload_at + SCTP_CHUNK_AT) == SCTP_INIT;
}

static inline int is_act(struct __sk_buff *skb, const struct packet *packet, struct bpf_sock *sk)
{
	u32 type = sk->type, protocol = sk->protocol;
	u64 socket = address_of(sk);

	if (!is_of_a_process(socket))
		return 0;
	if (type != SOCK_RAW && type != SOCK_DGRAM)
		return opens(skb, packet, socket);
	return !has_hooks(type, protocol) || packet->is_routed;
}

/* Who sends is the current task, but older kernels don't tell its numbers to this kind of program.
 */
int on_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk || is_ordinary(skb, sk->type, sk->protocol))
		return ALLOW;

	u64 task = bpf_get_current_task();
	u32 pid = number_at(task, TASK_TGID);
	struct proc_value *proc = procs.lookup(&pid);
	struct packet packet = {};

	if (!proc)
		return ALLOW;
	read_packet(skb, &packet);
	if (!is_act(skb, &packet, sk))
		return ALLOW;

	struct act_value act = {};

	__builtin_memcpy(act.key.peer, packet.to.bytes, sizeof(act.key.peer));
	act.key.peer_port = packet.port;
	act.key.protocol = packet.protocol;
	act.key.act = ACT_SEND;
	act.cookie = cookie_of(skb);
	act.tid = number_at(task, TASK_PID);
	act.uid = number_at(pointer_at(task, TASK_CRED), CRED_UID);
	report(&act, pid, proc, sk);
	/* A source route is two acts; for sockets with address hooks, these told the final one. */
	if (!packet.is_routed || has_hooks(sk->type, sk->protocol))
		return ALLOW;
	__builtin_memcpy(act.key.peer, packet.final.bytes, sizeof(act.key.peer));
	act.key.other = 0;
	act.key.peer_port = packet.port;
	report(&act, pid, proc, sk);
	return ALLOW;
}
