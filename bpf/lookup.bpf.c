// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Matches DNS answers with questions: notes which process asks what, and finds the question that an
 * answer belongs to. An answer counts once, and only for a question that waits on the same socket
 * and was put to the resolver that the answer comes from. No program is attached here: on_query and
 * on_answer (dns.bpf.c) call on_question and on_reply.
 */
#pragma once

#include "grant.bpf.c"
#include "header.bpf.c"
#include "message.bpf.c"
#include "meter.bpf.c"
#include "process.bpf.c"
#include "resolver.bpf.c"
#include "share.bpf.c"
#include "slots.bpf.c"

#define SHARE_MAX 196608 /* bytes of one process's records in a second */
/*
 * Waiting questions for which each scope has room in any case: for 256 scopes, that is half of
 * `queries`. The other half is for all.
 */
#define WAITING_KEPT 64
#define WAITING_MAX 8192 /* waiting questions of one scope */
#define UNTOLD_MAX 2048	 /* the same, where the next question gets no record */
#define EARLY_MAX 4096	 /* waiting questions of all steps whose job isn't known */
#define EARLY_SHARE 256	 /* questions of one such step within WAITED_FOR_NS */
#define WAITED_FOR_NS 16000000000ULL

/* Values of skb->cb[4] of a leaving packet, in place of a policy's number: see question.bpf.c. */
#define REFUSED 0xffffffffU
#define FREE 0xfffffffeU

enum stream_state { STREAM_NEW, STREAM_FOLLOWED, STREAM_LOST, STREAM_REFUSED, STREAM_DROPPED };

/* One direction of a TCP connection, and where in it the next message begins. */
struct stream {
	u32 next;
	u16 size; /* the message's, if its length came in an earlier segment; else 0 */
	u16 state;
};

/*
 * Kept with a socket by which a process of a job connected or sent to port 53. Packets of other
 * sockets are left alone, unless they go to port 53. For a segment that leaves in softirq, it shows
 * whose the segment is.
 */
struct asker {
	u64 started_ns;
	u32 pid;
	u32 scope; /* held_as() of the process; like is_guest, for when it has ended */
	u32 is_guest;
	u32 policy; /* by which `allowed` is allowed */
	union address resolver;
	union address allowed; /* the latest allowed by the policy; threads may write it at once */
	struct stream out;
	struct stream in;
};
BPF_SK_STORAGE(askers, struct asker);

/* Whether the address is 0.0.0.0 or ::, which stand for this machine. */
static inline int is_any(const union address *address)
{
	return !address->words[0] && !address->words[1] && !address->words[3];
}

static inline int is_connected_to(struct bpf_sock *sk, const union address *peer)
{
	u32 differing = peer->words[3];

	if (sk->family != AF_INET6) {
		u32 address = sk->dst_ip4;

		LOAD_HERE(address);
		return !(differing ^ address) && peer->words[2] == bpf_htonl(0xffff);
	}
	differing ^= sk->dst_ip6[3];
	differing |= peer->words[0] ^ sk->dst_ip6[0];
	differing |= peer->words[1] ^ sk->dst_ip6[1];
	differing |= peer->words[2] ^ sk->dst_ip6[2];
	return !differing;
}

/*
 * Whether a datagram goes to the peer of its socket's latest call or connect. Called under the
 * lock: without it, one peer's address could be read with another's port.
 */
static inline int is_called(const struct last_peer *last, const struct dns_packet *packet)
{
	const u64 *called = (const void *)last->called, *peer = (const void *)packet->peer.bytes;
	const u64 *connected = (const void *)last->connected;
	u64 to_called = (called[0] ^ peer[0]) | (called[1] ^ peer[1]) |
			(last->called_port ^ packet->peer_port);
	u64 to_connected = (connected[0] ^ peer[0]) | (connected[1] ^ peer[1]) |
			   (last->connected_port ^ packet->peer_port);

	return !to_called || !to_connected;
}

/*
 * Whether a packet of a socket that asked goes where the socket's owner sent it: a segment to the
 * peer that the socket is connected to, a datagram to the peer of the latest connect or the latest
 * send. If not, NAT has put another resolver in the place of the one that was asked. The latest act
 * isn't compared: it may be one that was denied.
 */
static inline int goes_as_it_says(struct __sk_buff *skb, const struct dns_packet *packet)
{
	struct bpf_sock *sk = skb->sk;
	struct last_peer *last;
	u32 is_same;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	if (!sk)
		return 0;
	if (packet->protocol != IPPROTO_UDP)
		return skb->remote_port == bpf_htonl(packet->peer_port) &&
		       is_connected_to(sk, &packet->peer);
	last = latest(sk);
	if (!last)
		return 0;
	bpf_spin_lock((void *)&last->lock);
	is_same = is_called(last, packet);
	bpf_spin_unlock((void *)&last->lock);
	return is_same;
}

/*
 * If the packet's destination was replaced by NAT, put the resolver that was asked in its place:
 * the answer comes from that address. If 0.0.0.0 was asked, the kernel itself has replaced it, and
 * the packet's destination stays. Return whether it was replaced.
 */
static inline int see_through_nat(struct __sk_buff *skb, struct dns_packet *packet,
				  const struct asker *asker)
{
	if (goes_as_it_says(skb, packet))
		return 0;
	if (!is_any(&asker->resolver))
		packet->peer = asker->resolver;
	return 1;
}

/*
 * Stop following the stream until its socket connects again: text within a message could be taken
 * for the beginning of one.
 */
static inline void lose(struct stream *stream)
{
	stream->state = STREAM_LOST;
	count(KIND_DNS, COUNT_UNREAD);
}

/*
 * Note who asks by this socket. `policy` is the one that allows the resolver, 0 for none. Return
 * whether there was room: a process can keep it from being noted by filling the memory that its
 * socket may take.
 */
static inline int note_asker(struct bpf_sock *sk, u32 pid, const struct proc_value *proc,
			     const union address *resolver, u32 policy)
{
	struct asker *asker;

	if (!sk)
		return 0;
	asker = askers.sk_storage_get((void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!asker) {
		count(KIND_DNS, COUNT_UNTRACKED);
		return 0;
	}
	asker->started_ns = proc->started_ns;
	asker->pid = pid;
	asker->scope = held_as(proc);
	asker->is_guest = proc->is_guest;
	asker->resolver = *resolver;
	if (policy) {
		asker->allowed = *resolver;
		asker->policy = policy;
	}
	asker->out.state = STREAM_NEW;
	asker->in.state = STREAM_NEW;
	return 1;
}

/*
 * Whether the process may have another record in this second; if so, take it from its share. Twice
 * the share, which a process may use up around a second's end, fits into the ring: no process alone
 * can fill it.
 */
static inline u32 has_share(struct proc_value *proc, u32 here)
{
	u16 second = bpf_ktime_get_boot_ns() >> 30;

	if (proc->lookup_second != second) {
		proc->lookup_second = second;
		proc->lookup_bytes = 0;
	}
	if (proc->lookup_bytes >= SHARE_MAX)
		return 0;
	__sync_fetch_and_add(&proc->lookup_bytes, sizeof(struct dns_record) + room_for(here));
	return 1;
}

/* Do as has_share for the process that asked; if it has ended, nobody needs the answer. */
static inline u32 has_share_left(const struct query_value *query, u32 here)
{
	struct proc_value *proc = entry_of(query->pid);

	if (!proc || proc->started_ns != query->started_ns)
		return 0;
	return has_share(proc, here);
}

static inline struct quota_value *quota_of(u32 scope)
{
	struct quota_value none = {}, *quota = queries_noted.lookup(&scope);

	if (quota)
		return quota;
	queries_noted.insert(&scope, &none);
	return queries_noted.lookup(&scope);
}

/*
 * Return how many questions of the scope wait. Signed, since the parts are read one by one while
 * other CPUs count.
 */
static inline s64 waiting_of(const struct quota_value *quota, u32 scope)
{
	return quota->noted - quota->answered - number_of(queries_expired.lookup(&scope));
}

static inline int has_room_for_query(const struct query_value *query, const struct quota_value *own,
				     const struct quota_value *all)
{
	s64 waiting = waiting_of(own, counted_as(query->scope));

	if (query->scope & SCOPE_EARLY)
		return waiting < EARLY_MAX &&
		       take_share(query->scope, SHARE_ASKED, EARLY_SHARE, WAITED_FOR_NS);
	if (waiting >= (query->told ? WAITING_MAX : UNTOLD_MAX))
		return 0;
	return waiting < WAITING_KEPT || waiting_of(all, ALL_SCOPES) < QUERIES_MAX / 2;
}

/*
 * Replace a question that waits already; it stays counted in the scope where it was. Return 0 where
 * none waits: either the map is full, or the question was answered or given up just now. Then a new
 * one would wait uncounted, but be counted when it is answered or given up.
 */
static inline int note_again(const struct query_key *key, const struct query_value *query)
{
	struct query_value *there = queries.lookup((void *)key), again = *query;

	if (!there)
		return 0;
	again.scope = there->scope;
	return !queries.update((void *)key, &again);
}

/* Return whether the question now waits for its answer. */
static inline int note_query(struct query_key *key, struct query_value *query)
{
	u32 scope = counted_as(query->scope);
	struct quota_value *own = quota_of(scope), *all = quota_of(ALL_SCOPES);

	if (!own || !all || !has_room_for_query(query, own, all))
		return 0;
	if (queries.insert(key, query))
		return note_again(key, query);
	__sync_fetch_and_add(&own->noted, 1);
	__sync_fetch_and_add(&all->noted, 1);
	return 1;
}

/*
 * Set the question's scope to the one that the process that asked has by now: an answer is for the
 * job that is known by now, and the question may be older than the job's policy. Return the
 * process's `held`, 0 if the process is gone.
 */
static inline u64 look_again(struct query_value *query)
{
	struct proc_value proc;

	if (!read_process(entry_of(query->pid), &proc) || proc.started_ns != query->started_ns)
		return 0;
	query->scope = noted_as(&proc);
	return proc.held;
}

static inline void tell_question(struct __sk_buff *skb, struct dns_packet *packet,
				 const struct asker *asker, struct query_key *key)
{
	u32 pid = current_pid();
	struct proc_value proc;

	if (packet->protocol == IPPROTO_TCP) {
		pid = asker->pid;
		if (!read_process(entry_of(pid), &proc) || proc.started_ns != asker->started_ns)
			return;
	} else if (!read_current(pid, &proc)) {
		return;
	}
	count(KIND_DNS, COUNT_SEEN);

	struct query_value query = {
		.at_ns = bpf_ktime_get_boot_ns(),
		.started_ns = proc.started_ns,
		.pid = pid,
		.exec_id = proc.exec_id,
		.scope = noted_as(&proc),
		.on_loopback = skb->ifindex == LOOPBACK,
		.policy = is_same_address(&packet->peer, &asker->allowed) ? asker->policy : 0,
	};

	query.told = has_share_left(&query, packet->here);
	if (note_query(key, &query) && query.told)
		tell_message(skb, packet, key, &query, DNS_QUERY);
	else
		count(KIND_DNS, COUNT_UNTRACKED);
}

/*
 * Write skb->cb[number] in assembly: LLVM would keep the member's address for the next time, but
 * the verifier accepts only the context's own address.
 */
#define SET_CONTROL(skb, number, value)                                                            \
	asm volatile("*(u32 *)(%0 + %1) = %2"                                                      \
		     :                                                                             \
		     : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, cb[number])),            \
		       "r"((u32)(value))                                                           \
		     : "memory")

/* Mark a packet that leaves: something in it can't be judged, or mustn't be asked. */
static inline void mark_refused(struct __sk_buff *skb)
{
	SET_CONTROL(skb, 4, REFUSED);
}

/*
 * Report a question, and put its place into skb->cb, for the programs of question.bpf.c that judge
 * it.
 */
static inline void on_question(struct __sk_buff *skb, struct dns_packet *packet,
			       const struct asker *asker)
{
	struct query_key key = {};
	u32 flags = read_question(skb, packet, &key);

	if (!flags)
		count(KIND_DNS, COUNT_UNREAD);
	if (!flags || flags & IS_ANSWER) {
		mark_refused(skb);
		return;
	}
	if (packet->here < packet->size || packet->at > 0xffff)
		mark_refused(skb);
	skb->cb[3] = skb->cb[2];
	skb->cb[2] = skb->cb[1];
	skb->cb[1] = skb->cb[0];
	skb->cb[0] = packet->size << 16 | packet->at;
	tell_question(skb, packet, asker, &key);
}

static inline void on_reply(struct __sk_buff *skb, struct dns_packet *packet, u64 socket)
{
	struct query_key key = {};
	u32 flags = read_question(skb, packet, &key);

	if (!flags)
		count(KIND_DNS, COUNT_UNREAD);
	if (!(flags & IS_ANSWER))
		return;

	struct query_value *waiting = queries.lookup(&key);
	u32 on_loopback = skb->ifindex == LOOPBACK;

	/* By lo any process can send from any address: it answers only questions by lo. */
	if (!waiting || waiting->on_loopback != on_loopback) {
		count(KIND_DNS, COUNT_UNASKED);
		return;
	}

	struct query_value query = *waiting;
	u32 scope = counted_as(query.scope);
	struct quota_value *own = quota_of(scope), *all = quota_of(ALL_SCOPES);

	if (queries.delete(&key)) { /* another CPU handles the same answer */
		count(KIND_DNS, COUNT_UNASKED);
		return;
	}
	if (own)
		__sync_fetch_and_add(&own->answered, 1);
	if (all)
		__sync_fetch_and_add(&all->answered, 1);
	count(KIND_DNS, COUNT_SEEN);

	u64 held = look_again(&query);

	query.doubtful = !is_trusted(socket, on_loopback, &packet->peer);
	if (query.doubtful)
		query.policy = 0;
	if (query.policy)
		note_answer(packet, &query, held);

	if (query.told && has_share_left(&query, packet->here))
		tell_message(skb, packet, &key, &query, DNS_ANSWER);
	else
		count(KIND_DNS, COUNT_UNTRACKED);
}
