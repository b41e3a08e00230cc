// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * What goes out through sockets that have no address hook: raw and ping sockets, UDP-Lite, SCTP;
 * the first hop of a source route, which those hooks can't know; and datagram sockets whose connect
 * was let through because it sends nothing. Here the packet is the act, and its header tells where
 * it goes: that of a raw socket may say something else than its owner's call. What the policy
 * denies is dropped, with EPERM for the caller.
 */
#define SOCK_DGRAM 2
#define NO_OPTIONS 0x45 /* how such an IPv4 header begins */
#define SCTP_CHUNK_AT 12
#define SCTP_INIT 1
#define TCP_FLAGS_AT 13
#define TCP_SYN 2

BPF_PROG_ARRAY(packets, 1); /* on_packet */

static inline int has_hooks(u32 type, u32 protocol)
{
	return type != SOCK_RAW && (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP);
}

static inline int has_connections(u32 type)
{
	return type != SOCK_RAW && type != SOCK_DGRAM;
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

/* Sockets that no address hook told of. */
static inline int is_told_here(struct bpf_sock *sk)
{
	return !has_hooks(sk->type, sk->protocol) || undecided(sk);
}

static inline int is_act(struct __sk_buff *skb, const struct packet *packet, struct bpf_sock *sk)
{
	u64 socket = address_of(sk);

	if (!is_of_a_process(socket))
		return 0;
	if (has_connections(sk->type))
		return opens(skb, packet, socket);
	return is_told_here(sk) || packet->is_routed;
}

/* What a timer sends again was denied when the socket's owner sent it. */
static inline int is_denied_connection(struct bpf_sock *sk)
{
	struct last_peer *last;

	if (!has_connections(sk->type))
		return 0;
	last = lasts.sk_storage_get((void *)sk, 0, 0);
	return last && last->key.verdict == VERDICT_DENY;
}

static inline void deny_connection(struct bpf_sock *sk)
{
	struct last_peer *last = lasts.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (last)
		last->key.verdict = VERDICT_DENY;
}

/* Who sends is the current task, but older kernels don't tell its numbers to this kind of program.
 */
int on_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return ALLOW;

	u32 said = undecided(sk);

	if (!said && is_ordinary(skb, sk->type, sk->protocol))
		return ALLOW;
	if (is_denied_connection(sk))
		return DENY;

	/* A socket that is handed to a process of no job is no way around what was said. */
	if (!process_of(number_at(bpf_get_current_task(), TASK_TGID)))
		return said == VERDICT_DENY ? DENY : ALLOW;
	packets.call(skb, 0);
	return is_enforced() ? DENY : ALLOW; /* what can't be judged doesn't leave */
}

/*
 * The packet's act. A source route is two of them; for sockets with address hooks, these told the
 * final one. The second one comes by calling this again: both at once are long to verify.
 */
int on_packet(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	u64 task = bpf_get_current_task();
	u32 pid = number_at(task, TASK_TGID);
	struct proc_value *proc = process_of(pid);
	struct packet packet = {};
	struct act_value act = {};

	if (!sk || !proc)
		return DENY;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return DENY;
	read_packet(skb, &packet);
	FORGET(packet);
	if (!is_act(skb, &packet, sk))
		return ALLOW;

	if (skb->cb[0])
		packet.to = packet.final;
	FORGET(packet);
	__builtin_memcpy(act.key.peer, packet.to.bytes, sizeof(act.key.peer));
	act.key.peer_port = packet.port;
	act.key.protocol = packet.protocol;
	act.key.act = ACT_SEND;
	judge(&act, proc, sk);
	FORGET(act);
	act.cookie = cookie_of(skb);
	act.tid = number_at(task, TASK_PID);
	act.uid = number_at(pointer_at(task, TASK_CRED), CRED_UID);
	report(&act, pid, proc, sk);

	u32 is_denied = skb->cb[1] || act.key.verdict == VERDICT_DENY;

	if (!skb->cb[0] && packet.is_routed && is_told_here(sk)) {
		skb->cb[0] = 1;
		skb->cb[1] = is_denied;
		packets.call(skb, 0);
		return DENY;
	}
	if (is_denied && has_connections(sk->type))
		deny_connection(sk);
	return is_denied ? DENY : ALLOW;
}
