// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Judges and reports the acts of a process on sockets: connects, datagrams sent without one, and
 * the making of raw and ping sockets; notes binds, too. The programs are attached to
 * `cgroup/connect4`, `cgroup/connect6`, `cgroup/sendmsg4`, `cgroup/sendmsg6`, `cgroup/post_bind4`,
 * `cgroup/post_bind6` and `cgroup/sock_create`. A process gets EPERM for acts that the policy of
 * its job denies: the verdict comes before anything else, so no full ring or table changes it.
 */
#pragma once

#include "acts.bpf.c"
#include "header.bpf.c"
#include "kept.bpf.c"
#include "listener.bpf.c"
#include "lookup.bpf.c"
#include "message.bpf.c"
#include "missed.bpf.c"
#include "peers.bpf.c"
#include "policy.bpf.c"
#include "process.bpf.c"
#include "resolver.bpf.c"
#include "slots.bpf.c"

#define LOCALHOST 0x7f000001
#define DOCKERS_RESOLVER 0x7f00000b /* 127.0.0.11 */
#define MPTCP_NAME 0x706374706dULL  /* "mptcp", with the NUL behind it */
#define MPTCP_NAME_MASK 0xffffffffffffULL

/*
 * Whether packet.bpf.c reports the socket's acts, by its packets: those of raw and ping sockets and
 * of UDP-Lite. Some of their connects and sends come here, depending on the kernel's version, but
 * none of them comes here always.
 */
static inline int is_told_by_its_packets(struct bpf_sock_addr *ctx)
{
	return !has_ports(ctx->type, ctx->protocol) || ctx->protocol == IPPROTO_UDPLITE;
}

/*
 * Whether a socket is connected to this port only to learn which address of its own it gets: by
 * glibc, Go, later versions of Go, ping, or musl, in the order of the ports below.
 */
static inline int is_for_order(u16 port)
{
	return port == 0 || port == 9 || port == 53 || port == 1025 || port == 65535;
}

/*
 * Judge an act. A datagram socket that connects sends nothing, and C libraries connect one to each
 * address of a name, to put the addresses in order. So a UDP connect that the policy denies is let
 * through if the policy lets TCP go there, or if it is to a port for that order; the socket's
 * packets are decided one by one from then on, whatever it connects to: another thread may connect
 * it at the same time. Return the verdict without this exception.
 */
static inline u32 judge_kind(struct act_value *act, const struct proc_value *proc,
			     struct bpf_sock *sk)
{
	u32 protocol = act->key.protocol, verdict, rule;
	u32 is_udp_connect = act->key.act == ACT_CONNECT && protocol == IPPROTO_UDP;

	/*
	 * Twice in a row, not in a loop: LLVM lets a loop's end fall into its beginning, where the
	 * verifiers of 5.15 and 6.1 take only a jump.
	 */
	judge(act, proc, sk);
	verdict = act->key.verdict;
	rule = act->rule;
	if (!is_udp_connect || verdict == VERDICT_NONE || verdict == VERDICT_ALLOW)
		return verdict;
	act->key.protocol = IPPROTO_TCP;
	judge(act, proc, sk);
	act->key.protocol = protocol;
	if ((act->key.verdict == VERDICT_ALLOW || is_for_order(act->key.peer_port)) &&
	    set_undecided(sk, verdict, held_as(proc))) {
		act->key.verdict = VERDICT_ALLOW;
		act->rule = RULE_OF_NOTHING_SENT;
	} else {
		act->key.verdict = verdict;
		act->rule = rule;
	}
	return verdict;
}

/* Return how long an act is kept with its socket; nothing leaves by one that was denied. */
static inline enum care care_for(const struct act_value *act, u32 is_denied)
{
	if (act->key.protocol == IPPROTO_UDP && !is_denied)
		return CARE_METERED;
	return act->key.act == ACT_SEND ? CARE_REPEATED : CARE_ONCE;
}

/*
 * Return the policy if it lets the peer be a resolver, else 0. This needs a rule for the peer: one
 * that may only be answered, since it sent a datagram, is no resolver.
 */
static inline u32 resolver_by(const struct act_value *act, u32 said)
{
	return said == VERDICT_ALLOW && act->rule != RULE_OF_ANSWERS ? act->policy : 0;
}

/*
 * Whether the act goes to Docker's resolver past port 53. In a container that resolver is behind
 * port 53 only by the kernel's translation, which comes after this hook: at its own port, which
 * anybody can see, it takes questions, too.
 */
static inline int is_past_translation(const union address *peer)
{
	return !peer->words[0] && !peer->words[1] && peer->words[2] == bpf_htonl(0xffff) &&
	       peer->words[3] == bpf_htonl(DOCKERS_RESOLVER);
}

/*
 * Note who asks, if the act is for names. Return whether questions that the policy refuses might
 * leave without being read, or after the policy has ended: then the act is to be denied. `policy`
 * is the one that allows the resolver, 0 for none. A connection is marked when it is opened: TCP
 * may hold questions back for as long as their owner likes, and then there may be no room any more.
 */
static inline int may_ask_unread(struct bpf_sock_addr *ctx, struct bpf_sock *sk,
				 const struct proc_value *proc, u32 pid, const union address *peer,
				 u32 policy)
{
	struct mode_value *mode;
	u32 is_noted = 0;

	if (ctx->user_port == bpf_htons(DNS_PORT))
		is_noted = note_asker(sk, pid, proc, peer, policy);
	else if (!is_past_translation(peer))
		return 0;
	if (is_noted && ctx->protocol != IPPROTO_TCP)
		return 0;
	mode = mode_of(proc);
	if (!mode || (is_noted && sk && mark(sk, held_as(proc))))
		return 0;
	return mode->refuses_lookups && mode->is_enforcing;
}

/*
 * Whether the packets of a connect would go to another address. An IPv6 socket of TCP that was
 * connected to ::ffff:a.b.c.d goes on by IPv4: whatever it connects to next, its packets go to
 * a.b.c.d, at the new port.
 */
static inline int goes_to_its_old_peer(struct bpf_sock_addr *ctx, struct bpf_sock *sk, u32 kind,
				       const union address *peer)
{
	if (kind != ACT_CONNECT || !sk || sk->family != AF_INET6 || ctx->protocol == IPPROTO_UDP)
		return 0;
	return sk->dst_ip4 &&
	       (peer->words[0] || peer->words[1] || peer->words[2] != bpf_htonl(0xffff));
}

static inline int act_on(struct bpf_sock_addr *ctx, struct bpf_sock *sk, u32 kind,
			 const union address *peer)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u32 pid = pid_tgid >> 32;
	struct proc_value proc;
	struct act_value act = {};

	if (!read_actor(pid, &proc))
		return ALLOW;

	__builtin_memcpy(act.key.peer, peer->bytes, sizeof(act.key.peer));
	if (has_ports(ctx->type, ctx->protocol))
		act.key.peer_port = bpf_ntohs(ctx->user_port);
	act.key.protocol = ctx->protocol;
	act.key.act = kind;

	u32 said = judge_kind(&act, &proc, sk);
	u32 is_denied = act.key.verdict == VERDICT_DENY;

	if (!is_denied && is_told_by_its_packets(ctx))
		return ALLOW;
	if (!is_denied && goes_to_its_old_peer(ctx, sk, kind, peer) && is_held(&proc)) {
		act.key.verdict = VERDICT_DENY;
		act.rule = 0;
		is_denied = 1;
	}

	if (said != VERDICT_DENY &&
	    may_ask_unread(ctx, sk, &proc, pid, peer, resolver_by(&act, said))) {
		act.key.verdict = VERDICT_DENY;
		act.rule = RULE_OF_LOOKUPS;
		is_denied = 1;
	}
	if (!is_denied && act.key.protocol == IPPROTO_UDP) {
		enum noted noted = note_peer(sk, &act, &proc);

		if (noted == NOTED_UNDECIDED && kind == ACT_SEND)
			return ALLOW; /* on_packet judges its packet */
		if (noted == NOTED_NOTHING) {
			act.key.verdict = VERDICT_DENY;
			act.rule = 0;
			is_denied = 1;
		}
	}
	u32 care = care_for(&act, is_denied), verdict = act.key.verdict;

	BLUR(care, pid);
	BLUR(verdict, pid);
	BLUR(is_denied, pid);
	act.key.verdict = verdict;
	act.cookie = cookie_of(ctx);
	act.tid = pid_tgid;
	act.uid = bpf_get_current_uid_gid();
	report(&act, pid, bpf_get_current_task(), &proc, sk, care);
	return is_denied ? DENY : ALLOW;
}

/*
 * Return the address that the act goes to. For 0.0.0.0 the kernel takes the sender's own address,
 * the one that it bound or its device's, and from there the host's rules may lead further. A
 * process that is held to a policy may only go where the policy allows: it gets 127.0.0.1.
 */
static inline u32 meant(struct bpf_sock_addr *ctx, u32 address)
{
	u32 port = ctx->user_port;

	if (!address && is_enforced()) {
		address = bpf_htonl(LOCALHOST);
		ctx->user_ip4 = address;
	}
	BLUR(address, port);
	return address;
}

/*
 * The hook shows the address's family. user_family doesn't: it has whatever the caller wrote there.
 */
static inline int act4(struct bpf_sock_addr *ctx, struct bpf_sock *sk, u32 kind, u32 address)
{
	union address peer = { .words = { 0, 0, bpf_htonl(0xffff), address } };

	return act_on(ctx, sk, kind, &peer);
}

/*
 * `from` is the source address. A packet to this machine from another's address is judged by that
 * address, which gets the answer.
 */
static inline int act6(struct bpf_sock_addr *ctx, struct bpf_sock *sk, u32 kind,
		       const union address *from)
{
	union address peer;

	peer.words[0] = ctx->user_ip6[0];
	peer.words[1] = ctx->user_ip6[1];
	peer.words[2] = ctx->user_ip6[2];
	peer.words[3] = ctx->user_ip6[3];

	u32 is_detour = is_this_machine(&peer) & !is_this_machine(from);

	if (is_detour)
		peer = *from;
	return act_on(ctx, sk, kind, &peer);
}

/*
 * Whether an IPv6 socket that is connected to ::ffff:a.b.c.d sends to its peer: it comes to
 * on_sendmsg4 at every send, although its connect was reported. One act, one record.
 */
static inline int repeats_its_connect(struct bpf_sock_addr *ctx, struct bpf_sock *sk, u32 address)
{
	return sk && sk->family == AF_INET6 && sk->state == TCP_ESTABLISHED &&
	       sk->dst_ip6[3] == address && sk->dst_ip6[2] == bpf_htonl(0xffff) &&
	       !sk->dst_ip6[0] && !sk->dst_ip6[1] && sk->dst_port == ctx->user_port;
}

/*
 * Whether a connected datagram socket sends to its peer, with a control message such as a type of
 * service: then it comes here at each send, and without an address. Its connect was reported, and
 * its datagrams go there; nothing can be sent to port 0.
 */
static inline int sends_where_connected(struct bpf_sock_addr *ctx, struct bpf_sock *sk, u32 address)
{
	return sk && sk->state == TCP_ESTABLISHED && !ctx->user_port && !address;
}

/*
 * Whether the socket is connected to this machine, and `from` is another's address: then the answer
 * goes to `from`.
 */
static inline int is_detour_of(struct bpf_sock *sk, const union address *from)
{
	union address to = { .words = { sk->dst_ip6[0], sk->dst_ip6[1], sk->dst_ip6[2],
					sk->dst_ip6[3] } };

	return is_this_machine(&to) & !is_this_machine(from);
}

/*
 * Whether this is a further socket of an MPTCP connection. The kernel itself connects such sockets,
 * in nobody's name, to addresses that the peer announced: it may announce any. Without them the
 * connection goes on.
 */
static inline int is_further_subflow(struct bpf_sock *sk)
{
	if (!sk || sk->protocol != IPPROTO_TCP)
		return 0;

	u64 socket = address_of(sk), protocol = pointer_at(socket, CONNECTION_PROTOCOL);
	u64 subflow = pointer_at(socket, CONNECTION_DATA);

	if (!protocol || (pointer_at(protocol, UPPER_NAME) & MPTCP_NAME_MASK) != MPTCP_NAME)
		return 0;
	return pointer_at(pointer_at(subflow, SUBFLOW_UPPER), MPTCP_FIRST) != socket;
}

HOOK("cgroup/connect4")
int on_connect4(struct bpf_sock_addr *ctx)
{
	if (is_further_subflow(ctx->sk) && has_policies())
		return DENY;
	return act4(ctx, ctx->sk, ACT_CONNECT, meant(ctx, ctx->user_ip4));
}

HOOK("cgroup/connect6")
int on_connect6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	union address from = {};

	if (is_further_subflow(sk) && has_policies())
		return DENY;
	if (!ctx->user_ip6[0] && !ctx->user_ip6[1] && ctx->user_ip6[2] == bpf_htonl(0xffff) &&
	    !ctx->user_ip6[3] && is_enforced())
		ctx->user_ip6[3] = bpf_htonl(LOCALHOST);
	if (sk) {
		from.words[0] = sk->src_ip6[0];
		from.words[1] = sk->src_ip6[1];
		from.words[2] = sk->src_ip6[2];
		from.words[3] = sk->src_ip6[3];
	}
	return act6(ctx, sk, ACT_CONNECT, &from);
}

HOOK("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	u32 address = ctx->user_ip4;

	if (repeats_its_connect(ctx, sk, address) || sends_where_connected(ctx, sk, address))
		return ALLOW;
	return act4(ctx, sk, ACT_SEND, meant(ctx, address));
}

HOOK("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	union address from = { .words = { ctx->msg_src_ip6[0], ctx->msg_src_ip6[1],
					  ctx->msg_src_ip6[2], ctx->msg_src_ip6[3] } };
	u32 address = ctx->user_ip6[0] | ctx->user_ip6[1] | ctx->user_ip6[2] | ctx->user_ip6[3];

	if (sends_where_connected(ctx, sk, address) && !is_detour_of(sk, &from))
		return ALLOW;
	return act6(ctx, sk, ACT_SEND, &from);
}

static inline int on_bound(struct bpf_sock *sk, const union address *address)
{
	struct proc_value proc;
	int is_followed = read_current(current_pid(), &proc);

	if (sk->src_port == DNS_PORT)
		note_resolver(sk, is_followed ? &proc : 0, address);
	if (is_followed && is_for(USE_POLICIES))
		note_listener(sk, &proc);
	return ALLOW;
}

HOOK("cgroup/post_bind4")
int on_bind4(struct bpf_sock *sk)
{
	union address address = { .words = { 0, 0, 0, sk->src_ip4 } };

	if (address.words[3])
		address.words[2] = bpf_htonl(0xffff);
	return on_bound(sk, &address);
}

HOOK("cgroup/post_bind6")
int on_bind6(struct bpf_sock *sk)
{
	union address address = { .words = { sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2],
					     sk->src_ip6[3] } };

	return on_bound(sk, &address);
}

/*
 * The making of a raw or ping socket fails here if no rule has a use for it: if only its packets
 * were dropped, some callers would see no error. There is no peer yet.
 */
HOOK("cgroup/sock_create")
int on_sock_create(struct bpf_sock *sk)
{
	if (has_ports(sk->type, sk->protocol))
		return ALLOW;

	u64 task = bpf_get_current_task();
	u32 pid = number_at(task, TASK_TGID);
	struct proc_value proc;
	struct act_value act = { .key.protocol = sk->protocol, .key.act = ACT_CREATE };

	if (!read_actor(pid, &proc) || may_create(&act, &proc))
		return ALLOW;
	act.tid = number_at(task, TASK_PID);
	act.uid = number_at(pointer_at(task, TASK_CRED), CRED_UID);
	report(&act, pid, task, &proc, 0, CARE_ONCE);
	return DENY;
}
