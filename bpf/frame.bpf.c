// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Stops the frames of packet sockets, and of other sockets without IP, as PPPoE's, if a job whose
 * policy is enforced sends them. No cgroup hook sees such frames, nobody knows where they go, and
 * no rule can allow them. on_send refuses them where the kernel asks its security modules, if it
 * lets programs answer. on_frame drops them where they leave, at the egress of interfaces (tcx, or
 * a clsact filter), and on_setsockopt, at cgroup/setsockopt, denies the options by which a socket
 * evades the policy. These two are attached while there is such a job
 * (exporter/kernel/frames/packet_frames.py). Each has an idle program that lets everything pass and
 * stands in its place until its link is pinned (exporter/kernel/frames/late_links.py).
 */
#pragma once

#include "join.bpf.c"
#include "packet.bpf.c"
#include "process.bpf.c"
#include "slots.bpf.c"

#define TCX_NEXT (-1)
#define TCX_DROP 2		     /* the caller gets ENOBUFS */
#define VHOST_NAME 0x2d74736f6876ULL /* "vhost-" */
#define VHOST_NAME_MASK 0xffffffffffffULL
#define ENOBUFS 105
#define AF_PPPOX 24
#define SOL_PACKET 263
#define PACKET_QDISC_BYPASS 20
#define SOL_XDP 283
#define XDP_TX_RING 3
#define IP_FREEBIND 15
#define IP_TRANSPARENT 19
#define IP_OPTIONS 4
#define IP_HDRINCL 3
#define IPV6_FREEBIND 78
#define IPV6_TRANSPARENT 75
#define IPV6_2292RTHDR 5
#define IPV6_2292PKTOPTIONS 6
#define IPV6_HDRINCL 36
#define IPV6_RTHDR 57
#define SOL_RAW 255

/*
 * Called before a message of any socket is sent, wherever the socket was made, and whatever
 * interface it sends by. It runs in the context of the process that sends, which includes its
 * workers of io_uring.
 */
HOOK_IF_THERE("lsm/socket_sendmsg")
int on_send(struct bpf_raw_tracepoint_args *ctx)
{
	u16 family = number_at(pointer_at(ctx->args[0], SOCKET_SOCK), SOCK_FAMILY);

	if (family != AF_PACKET && family != AF_PPPOX)
		return 0;
	return is_enforced_on_actor() ? -ENOBUFS : 0;
}

/*
 * Whether vhost-net sends: it does so by a thread of the kernel, for whoever gave it the socket,
 * and nobody knows who that was.
 */
static inline int is_by_vhost(struct bpf_sock *sk)
{
	u64 task;

	if (sk->family != AF_PACKET || !has_policies())
		return 0;
	task = bpf_get_current_task();
	return number_at(task, TASK_FLAGS) & PF_KTHREAD &&
	       (pointer_at(task, TASK_NAME) & VHOST_NAME_MASK) == VHOST_NAME;
}

/*
 * Attached to the egress of interfaces. A frame leaves in the context of the process that sends it.
 * A frame that came in by an interface before, as from the far end of a veth, may still have its
 * socket, but the current task may be any.
 */
RESERVE("tc")
int on_frame(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk || skb->ingress_ifindex)
		return TCX_NEXT;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->family == AF_INET || sk->family == AF_INET6)
		return TCX_NEXT;
	return is_enforced() || is_by_vhost(sk) ? TCX_DROP : TCX_NEXT;
}

RESERVE("tc")
int idle_frame(struct __sk_buff *skb)
{
	return TCX_NEXT;
}

/*
 * Whether the option lets a socket send under an address that isn't the machine's: the receiver
 * answers to that address, with the beginning of a datagram that no socket takes. FREEBIND does
 * that for an IPv6 socket of any user, TRANSPARENT for every socket of root in a container.
 */
static inline int is_under_any_address(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	s32 level = ctx->level, option = ctx->optname;

	if ((level == SOL_IP && option == IP_TRANSPARENT) ||
	    (level == SOL_IPV6 && option == IPV6_TRANSPARENT))
		return 1;
	return sk && sk->family == AF_INET6 &&
	       ((level == SOL_IP && option == IP_FREEBIND) ||
		(level == SOL_IPV6 && option == IPV6_FREEBIND));
}

/*
 * Whether with the option all packets of a socket go by a source route, also those that the kernel
 * sends when nobody acts any more: answers without a socket, or data left at its owner's end.
 */
static inline int is_route(s32 level, s32 option)
{
	return (level == SOL_IP && option == IP_OPTIONS) ||
	       (level == SOL_IPV6 && (option == IPV6_RTHDR || option == IPV6_2292RTHDR ||
				      option == IPV6_2292PKTOPTIONS));
}

/*
 * Whether with the option a raw socket's packets have headers of their sender's own. They go where
 * the call says, whatever the header says, and answers go to the sender that the header names.
 */
static inline int is_own_header(s32 level, s32 option)
{
	return (level == SOL_IP && option == IP_HDRINCL) ||
	       ((level == SOL_IPV6 || level == SOL_RAW) && option == IPV6_HDRINCL);
}

/*
 * Attached to cgroup/setsockopt. With PACKET_QDISC_BYPASS a packet socket's frames go to the driver
 * directly, past on_frame. The frames of an XDP socket always do; without a ring for frames to send
 * (XDP_TX_RING), it can't send any.
 */
RESERVE("cgroup/setsockopt")
int on_setsockopt(struct bpf_sockopt *ctx)
{
	s32 level = ctx->level, option = ctx->optname, length = ctx->optlen;
	int is_way_past = (level == SOL_PACKET && option == PACKET_QDISC_BYPASS) ||
			  (level == SOL_XDP && option == XDP_TX_RING) ||
			  is_own_header(level, option) || is_route(level, option);

	if (length < 0)
		return ALLOW; /* a program before this one has handled the option */
	ctx->optlen = 0; /* the kernel takes the caller's own value, of any size: it wasn't read */
	if (is_way_past || is_under_any_address(ctx))
		return is_enforced_on_actor() ? DENY : ALLOW;
	return is_denied_join(ctx, length) ? DENY : ALLOW;
}

/*
 * Attached to cgroup/setsockopt, too. Of a value larger than a page the program has no whole copy.
 * Only if the length is set to 0 does the kernel take the caller's own value.
 */
RESERVE("cgroup/setsockopt")
int idle_setsockopt(struct bpf_sockopt *ctx)
{
	if (ctx->optlen > copied_of(ctx))
		ctx->optlen = 0;
	return ALLOW;
}
