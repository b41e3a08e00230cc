// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * What a process does: connects, and datagrams sent without one. Always lets it through.
 */
#define AF_INET6 10
#define TCP_ESTABLISHED 1 /* for a datagram socket: connected */
#define IPPROTO_UDPLITE 136
#define ALLOW 1

/* BCC declares this helper u32, and cookies would collide. */
static u64 (*cookie_of)(void *) = (void *)BPF_FUNC_get_socket_cookie;

union address {
	u8 bytes[16];
	u32 words[4];
};

static inline void fill_local(struct act_record *record, struct bpf_sock *sk)
{
	union address local = {};

	if (sk && sk->src_port) {
		record->local_port = sk->src_port;
		if (sk->family == AF_INET6) {
			local.words[0] = sk->src_ip6[0];
			local.words[1] = sk->src_ip6[1];
			local.words[2] = sk->src_ip6[2];
			local.words[3] = sk->src_ip6[3];
		} else {
			local.words[2] = bpf_htonl(0xffff);
			local.words[3] = sk->src_ip4;
		}
	} else {
		record->local_port = 0;
	}
	__builtin_memcpy(record->local, local.bytes, sizeof(local));
}

static inline int report(struct bpf_sock_addr *ctx, struct bpf_sock *sk, u32 act,
			 const union address *peer, u32 pid, const struct proc_value *proc)
{
	count(KIND_ACT, COUNT_SEEN);

	struct act_record *record = events.ringbuf_reserve(sizeof(*record));

	if (!record) {
		count(KIND_ACT, COUNT_LOST);
		return ALLOW;
	}
	fill_header(&record->header, KIND_ACT, pid, proc);
	record->cookie = cookie_of(ctx);
	record->tid = bpf_get_current_pid_tgid();
	record->parent_pid = parent_of(bpf_get_current_task());
	record->uid = bpf_get_current_uid_gid();
	record->scope = proc->scope;
	__builtin_memcpy(record->peer, peer->bytes, sizeof(*peer));
	record->peer_port = bpf_ntohs(ctx->user_port);
	record->protocol = ctx->protocol;
	record->act = act;
	fill_local(record, sk);
	events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return ALLOW;
}

/* The address by the hook, never by user_family: that is whatever the caller wrote there. */
static inline int act4(struct bpf_sock_addr *ctx, struct bpf_sock *sk, u32 act)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *proc = procs.lookup(&pid);

	if (!proc)
		return ALLOW;

	union address peer = { .words = { 0, 0, bpf_htonl(0xffff), ctx->user_ip4 } };

	return report(ctx, sk, act, &peer, pid, proc);
}

static inline int act6(struct bpf_sock_addr *ctx, struct bpf_sock *sk, u32 act)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct proc_value *proc = procs.lookup(&pid);

	if (!proc)
		return ALLOW;

	union address peer;

	peer.words[0] = ctx->user_ip6[0];
	peer.words[1] = ctx->user_ip6[1];
	peer.words[2] = ctx->user_ip6[2];
	peer.words[3] = ctx->user_ip6[3];
	return report(ctx, sk, act, &peer, pid, proc);
}

/*
 * An IPv6 socket connected to ::ffff:a.b.c.d comes here at every send, although its connect was
 * reported: one act, one record. UDP-Lite's connects have no hook, so its sends are reported.
 */
static inline int repeats_its_connect(struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	return sk && ctx->protocol != IPPROTO_UDPLITE && sk->family == AF_INET6 &&
	       sk->state == TCP_ESTABLISHED && sk->dst_ip6[3] == ctx->user_ip4 &&
	       sk->dst_ip6[2] == bpf_htonl(0xffff) && !sk->dst_ip6[0] && !sk->dst_ip6[1] &&
	       sk->dst_port == ctx->user_port;
}

int on_connect4(struct bpf_sock_addr *ctx)
{
	return act4(ctx, ctx->sk, ACT_CONNECT);
}

int on_connect6(struct bpf_sock_addr *ctx)
{
	return act6(ctx, ctx->sk, ACT_CONNECT);
}

int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (repeats_its_connect(ctx, sk))
		return ALLOW;
	return act4(ctx, sk, ACT_SEND);
}

int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	return act6(ctx, ctx->sk, ACT_SEND);
}
