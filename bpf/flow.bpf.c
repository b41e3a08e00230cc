// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Reports the outcome of a TCP connect: whether it was established, how it ended, how many bytes
 * went each way. Its programs are on_sock_ops, at sockops, and on_sock_release, at
 * cgroup/sock_release. Most of this runs in softirq, where the current task may be any: the
 * socket's cookie shows whose connection it is.
 */
#pragma once

#include "meter.bpf.c"
#include "peers.bpf.c"
#include "process.bpf.c"
#include "slots.bpf.c"

#define TCP_SYN_SENT 2
#define TCP_FIN_WAIT2 5
#define TCP_CLOSE 7
#define TCP_LAST_ACK 9
#define TCP_LISTEN 10
#define TCP_CLOSING 11
#define SOCK_STREAM 1
#define SOCK_DONE 2 /* bit 1 of sk_flags: the peer's FIN has come */
#define SO_EE_ORIGIN_ICMP 2
#define SO_EE_ORIGIN_ICMP6 3
#define EPIPE 32
#define ECONNRESET 104
#define ETIMEDOUT 110
#define ECONNREFUSED 111

struct ending {
	u64 bytes_sent;
	u64 bytes_received;
	u32 error;
	u32 outcome;
};

static inline u32 outcome_of(u32 old, u32 error)
{
	if (error == ETIMEDOUT)
		return OUTCOME_TIMEOUT;
	if (old != TCP_SYN_SENT)
		return error == ECONNRESET || error == EPIPE ? OUTCOME_RESET : OUTCOME_ESTABLISHED;
	if (error == ECONNREFUSED || error == ECONNRESET)
		return OUTCOME_REFUSED;
	return error ? OUTCOME_UNREACHABLE : OUTCOME_ABORTED;
}

/*
 * Return the error that a router sent while connect() was still running; 0: there is none. It is no
 * error of the socket's, and the SYN goes out again; but a process that polls sees it in the error
 * queue, and gives up for it.
 */
static inline u32 queued_error(u64 socket)
{
	u64 queue = member_of(socket, SOCK_ERROR_QUEUE);
	u64 first = pointer_in(queue);
	u32 origin;

	if (!first || first == queue)
		return 0;
	origin = number_at(member_of(first, SKB_CONTROL), QUEUED_ORIGIN) & 0xff;
	if (origin != SO_EE_ORIGIN_ICMP && origin != SO_EE_ORIGIN_ICMP6)
		return 0;
	return number_at(member_of(first, SKB_CONTROL), QUEUED_ERROR);
}

/*
 * Read how a connection ended. The kernel counts SYN and FIN as a byte each; these are taken off.
 */
static inline void read_ending(struct ending *ending, struct bpf_sock_ops *ctx, u32 old)
{
	u64 socket = address_of(ctx->sk);
	u64 sent = ctx->bytes_acked, received = ctx->bytes_received;

	if (sent)
		sent--;
	if (sent && ctx->snd_una == ctx->snd_nxt &&
	    (old == TCP_FIN_WAIT2 || old == TCP_LAST_ACK || old == TCP_CLOSING))
		sent--;
	if (received && number_at(socket, SOCK_FLAGS) & SOCK_DONE)
		received--;
	ending->bytes_sent = sent;
	ending->bytes_received = received;
	ending->error = number_at(socket, SOCK_ERROR);
	if (!ending->error && old == TCP_SYN_SENT)
		ending->error = queued_error(socket);
	/*
	 * A reset that comes once the process has closed the socket, as in answer to the last
	 * message of TLS, is nobody's failure.
	 */
	if (old != TCP_SYN_SENT && ending->error != ETIMEDOUT && !pointer_at(socket, SOCK_SOCKET))
		ending->error = 0;
	ending->outcome = outcome_of(old, ending->error);
}

static inline void fill_local_end(struct flow_record *record, struct bpf_sock_ops *ctx)
{
	union address local = {};

	if (ctx->family == AF_INET6) {
		local.words[0] = ctx->local_ip6[0];
		local.words[1] = ctx->local_ip6[1];
		local.words[2] = ctx->local_ip6[2];
		local.words[3] = ctx->local_ip6[3];
	} else {
		local.words[3] = ctx->local_ip4;
		LOAD_HERE(local.words[3]);
		local.words[2] = bpf_htonl(0xffff);
	}
	__builtin_memcpy(record->local, local.bytes, sizeof(local));
	record->local_port = ctx->local_port;
}

static inline struct flow_record *new_flow_record(u64 cookie, u32 stage)
{
	u64 at_ns = bpf_ktime_get_boot_ns();
	struct flow_record *record = events.ringbuf_reserve(sizeof(*record));

	count(KIND_FLOW, COUNT_SEEN);
	if (!record) {
		count(KIND_FLOW, COUNT_LOST);
		return 0;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->header.layout = LAYOUT;
	record->header.kind = KIND_FLOW;
	record->header.at_ns = at_ns;
	record->cookie = cookie;
	record->stage = stage;
	return record;
}

/* Whether a connect of the socket has a record of this instance's, and waits for its outcome's. */
static inline int is_told(struct bpf_sock *sk)
{
	u32 *waits = sk ? told_connects.sk_storage_get((void *)sk, 0, 0) : 0;

	return waits && *waits;
}

/* Note that the outcome was told. */
static inline void end_told(struct bpf_sock *sk)
{
	u32 *waits = sk ? told_connects.sk_storage_get((void *)sk, 0, 0) : 0;

	if (waits)
		*waits = 0;
}

/* Tell the outcome of the socket's connect that has a record, if there is one: it sent nothing. */
static inline void tell_never_sent(struct bpf_sock *sk, u64 cookie, u32 outcome)
{
	struct flow_record *record;

	if (!is_told(sk))
		return;
	end_told(sk);
	record = new_flow_record(cookie, FLOW_NEVER_SENT);
	if (!record)
		return;
	record->outcome = outcome;
	events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static inline void on_established(struct bpf_sock_ops *ctx)
{
	u64 cookie = cookie_of(ctx);

	if (open_connects.lookup(&cookie) || !is_told(ctx->sk))
		return;

	struct flow_record *record = new_flow_record(cookie, FLOW_ESTABLISHED);

	if (!record)
		return;
	record->outcome = OUTCOME_ESTABLISHED;
	record->rtt_us = ctx->srtt_us >> 3;
	fill_local_end(record, ctx);
	events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static inline void on_ended(struct bpf_sock_ops *ctx, u32 old)
{
	u64 cookie = cookie_of(ctx);
	struct act_value *counted = open_connects.lookup(&cookie);
	struct ending ending;

	if (!counted && !is_told(ctx->sk))
		return;
	read_ending(&ending, ctx, old);
	if (counted) {
		struct act_value act = *counted;

		if (!forget_open(&act))
			return;
		act.key.outcome = ending.outcome;
		count_act(&act, 1, ending.bytes_sent, ending.bytes_received, current_window());
		/* This connect came after it. */
		tell_never_sent(ctx->sk, cookie, OUTCOME_UNREACHABLE);
		return;
	}
	end_told(ctx->sk);

	struct flow_record *record = new_flow_record(cookie, FLOW_ENDED);

	if (!record)
		return;
	record->outcome = ending.outcome;
	record->error = ending.error;
	record->bytes_sent = ending.bytes_sent;
	record->bytes_received = ending.bytes_received;
	record->rtt_us = ctx->srtt_us >> 3;
	fill_local_end(record, ctx);
	events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

HOOK("sockops")
int on_sock_ops(struct bpf_sock_ops *ctx)
{
	/*
	 * TCP_CONNECT_CB comes in the context of the process that connects, with Fast Open, too.
	 * Sockets of processes that aren't followed are left alone.
	 */
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		if (entry_of(current_pid()))
			bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
	} else if (ctx->op == BPF_SOCK_OPS_STATE_CB) {
		u32 old = ctx->args[0], new = ctx->args[1];

		if (new == TCP_ESTABLISHED && old == TCP_SYN_SENT)
			on_established(ctx);
		else if (new == TCP_CLOSE)
			on_ended(ctx, old);
	}
	return 1;
}

/*
 * Return the outcome of a connect whose socket is closed now, if no program will see an end;
 * OUTCOME_NONE if on_ended will. Without a route, a connect changes no state; the socket may listen
 * after it. And the kernel puts off a connect by Fast Open until something is sent: until then
 * TCP_CONNECT_CB hasn't come. If a process sends that nobody follows, nobody sees what comes of it.
 */
static inline u32 outcome_at_release(struct bpf_sock *sk)
{
	if (sk->state == TCP_CLOSE || sk->state == TCP_LISTEN)
		return OUTCOME_UNREACHABLE;
	if (number_at(address_of(sk), SOCK_CALLBACKS) & BPF_SOCK_OPS_STATE_CB_FLAG)
		return OUTCOME_NONE;
	return sk->state == TCP_SYN_SENT ? OUTCOME_ABORTED : OUTCOME_OPEN;
}

/* That early, only our hooks give sockets a cookie. */
HOOK("cgroup/sock_release")
int on_sock_release(struct bpf_sock *sk)
{
	u32 outcome;
	u64 cookie;

	close_meter(sk);
	if (sk->protocol != IPPROTO_TCP)
		return 1;
	outcome = outcome_at_release(sk);
	if (outcome == OUTCOME_NONE)
		return 1;
	cookie = pointer_at(address_of(sk), SOCK_COOKIE);
	if (!cookie)
		return 1;

	struct act_value *counted = open_connects.lookup(&cookie);

	if (counted) {
		struct act_value act = *counted;

		if (!forget_open(&act))
			return 1;
		act.key.outcome = outcome;
		count_act(&act, 1, 0, 0, current_window());
	}
	tell_never_sent(sk, cookie, outcome);
	return 1;
}
