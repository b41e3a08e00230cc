// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Judges packets whose destination the address hooks (socket.bpf.c) can't know. on_egress is
 * attached to `cgroup_skb/egress`; on_packet isn't attached, on_egress tail-calls it. The packets
 * are those of sockets without an address hook: raw and ping sockets, UDP-Lite, SCTP; those with a
 * source route, whose first hop these hooks can't know; and those of the datagram sockets that
 * peers.bpf.c finds. Here the packet is the act, and its header says where it goes: the header of a
 * raw socket's packet may say something else than its owner's call. What the policy denies is
 * dropped, with EPERM for the caller.
 */
#pragma once

#include "acts.bpf.c"
#include "header.bpf.c"
#include "kept.bpf.c"
#include "message.bpf.c"
#include "meter.bpf.c"
#include "peers.bpf.c"
#include "policy.bpf.c"
#include "process.bpf.c"
#include "resolver.bpf.c"
#include "slots.bpf.c"

#define NO_OPTIONS 0x45 /* the first byte of an IPv4 header without options */
#define SCTP_CHUNK_AT 12
#define SCTP_INIT 1
#define DCCP_TYPE_AT 8
#define DCCP_TYPE 0x1e
#define DCCP_REQUEST 0
#define TCP_FLAGS_AT 13
#define TCP_SYN 2
#define VRF_KIND 0x667276U /* "vrf" */
#define PF_EXITING 0x4
#define PF_KTHREAD 0x200000

BPF_PROG_ARRAY(packets, 1); /* on_packet */

static inline int has_hooks(u32 type, u32 protocol)
{
	return type != SOCK_RAW && (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP);
}

/*
 * Whether the packet is TCP or UDP, without IP options or extension headers: nearly every packet
 * is.
 */
static inline int is_ordinary(struct __sk_buff *skb, u32 type, u32 protocol)
{
	const u8 *header = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (!has_hooks(type, protocol) || header + IPV4_BYTES > end)
		return 0;
	return header[0] == NO_OPTIONS || (header[0] >> 4 == 6 && header[6] == protocol);
}

/* Whether the source or the destination is a loopback address: in 127.0.0.0/8, or ::1. */
static inline int is_for_loopback(const u32 *header, u32 version)
{
	const u32 net = bpf_htonl(0xff000000), loopback = bpf_htonl(0x7f000000);

	if (version == 4)
		return (header[3] & net) == loopback || (header[4] & net) == loopback;
	return (!(header[2] | header[3] | header[4]) && header[5] == bpf_htonl(1)) ||
	       (!(header[6] | header[7] | header[8]) && header[9] == bpf_htonl(1));
}

/*
 * Whether the packet is at a VRF device, which also takes in packets for the VRF's own loopback. A
 * packet that leaves the VRF comes to this hook again.
 */
static inline int is_at_a_vrf(u64 packet)
{
	u64 kind =
		pointer_at(pointer_at(pointer_at(packet, SKB_DEVICE), DEVICE_LINK_OPS), LINK_KIND);

	return number_at(kind, 0) == VRF_KIND;
}

/*
 * Whether a packet from or to a loopback address leaves by another interface, where such packets
 * have no business: an answer to a packet from ::1, or a packet of a socket that is bound to an
 * interface.
 */
static inline int leaves_loopback(struct __sk_buff *skb)
{
	const u32 *header = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (skb->ifindex == LOOPBACK || header + IPV4_BYTES / sizeof(u32) > end)
		return 0;

	u32 version = *(const u8 *)header >> 4;

	if (version != 4 && header + IPV6_BYTES / sizeof(u32) > end)
		return 0;
	return is_for_loopback(header, version) && !is_at_a_vrf(address_of(skb));
}

/*
 * Whether the socket is a process's. The kernel's own sockets, by which it answers whatever task
 * runs, have no file.
 */
static inline int is_of_a_process(u64 socket)
{
	return pointer_at(pointer_at(socket, SOCK_SOCKET), SOCKET_FILE) != 0;
}

/*
 * Keep with a connection's socket the address that its packets go to first, as by a source route,
 * and the verdict on it.
 */
static inline void note_route(struct bpf_sock *sk, const struct packet *packet, u32 verdict)
{
	struct last_peer *last = lasts.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!last)
		return;
	__builtin_memcpy(last->act.key.peer, packet->to.bytes, sizeof(last->act.key.peer));
	last->act.key.verdict = verdict;
}

static inline int is_known_route(struct bpf_sock *sk, const struct packet *packet)
{
	struct last_peer *last = lasts.sk_storage_get((void *)sk, 0, 0);
	union address hop;

	if (!last || last->act.key.verdict == VERDICT_NONE)
		return 0;
	__builtin_memcpy(hop.bytes, last->act.key.peer, sizeof(hop.bytes));
	return is_same_address(&hop, &packet->to);
}

static inline int is_syn(struct __sk_buff *skb, const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP &&
	       (byte_at(skb, packet->payload_at + TCP_FLAGS_AT) & TCP_SYN);
}

/* Whether the packet opens a connection of a protocol without address hooks. */
static inline int is_first(struct __sk_buff *skb, const struct packet *packet)
{
	u32 at = packet->payload_at;

	if (packet->protocol == IPPROTO_DCCP)
		return (byte_at(skb, at + DCCP_TYPE_AT) & DCCP_TYPE) == DCCP_REQUEST;
	return packet->protocol == IPPROTO_SCTP && byte_at(skb, at + SCTP_CHUNK_AT) == SCTP_INIT;
}

/*
 * Whether a packet of a connection is an act: one that opens it, or the first one that goes by
 * another source route, which can be set at any time. Connections also send by timer and in answer
 * to packets, while the current task is a stranger: then no process owns the socket's lock, and the
 * packet is no act.
 */
static inline int opens(struct __sk_buff *skb, const struct packet *packet, struct bpf_sock *sk)
{
	if (!number_at(address_of(sk), SOCK_OWNED))
		return 0;
	if (packet->is_routed)
		return is_syn(skb, packet) || !is_known_route(sk, packet);
	return is_first(skb, packet);
}

/* Whether no address hook has reported this socket's sends, so that they are reported here. */
static inline int is_told_here(struct bpf_sock *sk)
{
	return !has_hooks(sk->type, sk->protocol) || undecided(sk);
}

/*
 * Whether the socket itself has IP options, unlike a route that a network puts into all packets
 * that go through it.
 */
static inline int has_own_route(u64 socket)
{
	return pointer_at(socket, INET_OPTIONS) ||
	       pointer_at(pointer_at(socket, INET_IPV6), IPV6_OPTIONS);
}

/*
 * Whether to drop a packet of a connection that isn't an act, but opens the connection or goes by a
 * source route. A packet that had to wait, so that no process is sending it now, was decided when
 * its owner sent it: the verdict is kept with the socket. If no verdict is kept, nobody knows whose
 * the socket is; where there are policies, the packet is dropped until the owner sends. Two kinds
 * of packets are dropped as well. Those of a socket without a file, while a process of a job runs:
 * the kernel made that socket behind another one, with its options. And those that a socket sends
 * as it is closed by a process that ends, or by the kernel: their owner isn't known any more.
 */
static inline int is_stray(struct __sk_buff *skb, struct bpf_sock *sk, const struct packet *packet,
			   int is_followed, int is_closing)
{
	u64 socket = address_of(sk);
	int opens_one = is_first(skb, packet);

	if (!has_connections(sk->type) || (!packet->is_routed && !opens_one) ||
	    is_known_route(sk, packet))
		return 0;
	if (!is_followed && !is_closing && number_at(socket, SOCK_OWNED)) {
		note_route(sk, packet, VERDICT_ALLOW);
		return 0;
	}
	return has_policies() && (opens_one || has_own_route(socket));
}

static inline int is_act(struct __sk_buff *skb, const struct packet *packet, struct bpf_sock *sk)
{
	if (!is_of_a_process(address_of(sk)))
		return 0;
	if (has_connections(sk->type))
		return opens(skb, packet, sk);
	return is_told_here(sk) || packet->is_routed;
}

/*
 * Whether the connection was denied when the socket's owner sent: a timer may send the packet
 * again, and user space resets the connection at the end. There may be no room to keep the verdict.
 */
static inline int is_denied_connection(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct last_peer *last;

	if (!has_connections(sk->type))
		return 0;
	last = lasts.sk_storage_get((void *)sk, 0, 0);
	return (last && last->act.key.verdict == VERDICT_DENY) || is_kept_back(skb, sk);
}

/*
 * Whether a raw socket sends from port 53 by lo: whoever may open one can answer without having the
 * port.
 */
static inline int is_own_answer(struct __sk_buff *skb, const struct packet *packet, u32 type)
{
	u32 protocol = packet->protocol;

	return type == SOCK_RAW && skb->ifindex == LOOPBACK && !packet->is_fragment &&
	       (protocol == IPPROTO_UDP || protocol == IPPROTO_TCP) &&
	       half_at(skb, packet->payload_at) == DNS_PORT;
}

/* Whether the policy of the scope for which the socket became undecided is still enforced. */
static inline int is_still_held(const struct last_peer *last)
{
	struct mode_value *mode = mode_for(last->held_as);

	return mode && mode->is_enforcing;
}

/* Judge or measure each packet that leaves; the current task counts as its sender. */
HOOK("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return ALLOW;
	if (leaves_loopback(skb) && has_policies()) {
		sk = bpf_sk_fullsock(sk);
		return sk ? drop(skb, sk) : DENY;
	}
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return ALLOW;

	struct last_peer *last = latest(sk);
	u32 said = last && is_for(USE_POLICIES) ? last->undecided : VERDICT_NONE;

	if (!said && is_ordinary(skb, sk->type, sk->protocol)) {
		if (!last)
			return ALLOW;
		if (lost_its_peer(last, sk) && is_enforced())
			return DENY;
		meter_sent(skb, last);
		return ALLOW;
	}
	if (is_denied_connection(skb, sk))
		return drop(skb, sk);

	struct proc_value proc;
	int is_followed = read_current(current_pid(), &proc);

	/*
	 * A socket that is handed to a process without a policy is no way around the policy of its
	 * former owner.
	 */
	if (last && said == VERDICT_DENY && (!is_followed || !mode_of(&proc)) &&
	    is_still_held(last))
		return DENY;
	if (!is_followed && !has_connections(sk->type))
		return ALLOW;
	packets.call(skb, 0);
	return is_enforced() ? drop(skb, sk)
			     : ALLOW; /* the call failed, so the packet can't be judged */
}

/* Count a datagram that on_packet lets go. */
static inline void meter_packet(struct __sk_buff *skb, struct bpf_sock *sk,
				const struct packet *packet)
{
	struct last_peer *last = latest(sk);
	u32 header_size = packet->payload_at + UDP_BYTES;

	if (!last || packet->protocol != IPPROTO_UDP || packet->is_fragment ||
	    header_size > skb->len)
		return;

	struct datagram datagram = {
		.end = packet->to,
		.port = packet->port,
		.bytes = skb->len - header_size,
		.tid = number_at(bpf_get_current_task(), TASK_PID),
	};

	add_datagram(last, &datagram);
}

/*
 * Return how long an act is kept with its socket. If a hook has reported where a source route ends,
 * no bytes are counted for the route's first hop.
 */
static inline enum care care_for_packet(struct bpf_sock *sk, const struct act_value *act)
{
	if (!is_metered(sk))
		return CARE_REPEATED;
	if (!is_told_here(sk))
		return CARE_ONCE;
	return act->key.verdict == VERDICT_DENY ? CARE_REPEATED : CARE_METERED;
}

/*
 * Judge and report the packet's act. A source route makes two acts, one for its first hop and one
 * for its end; for sockets with address hooks, these have reported the end. The second act comes by
 * calling on_packet again: both at once take the verifier long.
 */
static inline int act_by_packet(struct __sk_buff *skb, struct bpf_sock *sk, struct packet *packet)
{
	u64 task = bpf_get_current_task();
	u32 pid = number_at(task, TASK_TGID);
	struct proc_value proc;
	struct act_value act = {};

	int is_closing = (number_at(task, TASK_FLAGS) & (PF_EXITING | PF_KTHREAD)) != 0;
	int is_followed = !is_closing && read_current(pid, &proc);

	if (!is_followed || !is_act(skb, packet, sk))
		return is_stray(skb, sk, packet, is_followed, is_closing) ? DENY : ALLOW;

	if (is_own_answer(skb, packet, sk->type))
		note_own_resolver(network_of(address_of(sk)), &proc);
	if (skb->cb[0])
		packet->to = packet->final;
	FORGET(*packet);
	__builtin_memcpy(act.key.peer, packet->to.bytes, sizeof(act.key.peer));
	act.key.peer_port = packet->port;
	act.key.protocol = packet->protocol;
	act.key.act = ACT_SEND;
	judge(&act, &proc, sk);
	FORGET(act);
	act.cookie = cookie_of(skb);
	act.tid = number_at(task, TASK_PID);
	act.uid = number_at(pointer_at(task, TASK_CRED), CRED_UID);
	report(&act, pid, task, &proc, sk, care_for_packet(sk, &act));

	u32 is_denied = skb->cb[1] || act.key.verdict == VERDICT_DENY;

	if (has_connections(sk->type) && (!skb->cb[0] || is_denied))
		note_route(sk, packet, is_denied ? VERDICT_DENY : VERDICT_ALLOW);
	if (!skb->cb[0] && packet->is_routed == ROUTED && is_told_here(sk)) {
		skb->cb[0] = 1;
		skb->cb[1] = is_denied;
		packets.call(skb, 0);
		return DENY;
	}
	return is_denied ? DENY : ALLOW;
}

TAIL_CALLED("cgroup_skb/egress", packets, 0)
int on_packet(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct packet packet = {};

	if (!sk)
		return DENY;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return DENY;
	read_packet(skb, &packet);
	FORGET(packet);
	if (act_by_packet(skb, sk, &packet) == DENY)
		return drop(skb, sk);
	meter_packet(skb, sk, &packet);
	return ALLOW;
}
