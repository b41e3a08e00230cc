// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Judges DNS questions where a policy refuses lookups: names that a rule allows may be asked for,
 * and names that their CNAMEs lead to; any other packet to port 53 is dropped, also one that can't
 * be read. So nothing gets out through an allowed resolver in the names that it is asked for.
 * on_query (dns.bpf.c), attached to `cgroup_skb/egress`, finds the questions of a packet. The
 * programs here, on_lookup and on_name, aren't attached: on_query tail-calls them, and they judge
 * the questions one by one.
 *
 * In skb->cb each program leaves the facts that the next one needs. cb[0] to cb[3] have a question
 * each: the message's place in the lower 16 bits, its size in the upper ones. cb[4] has the
 * policy's number, REFUSED, or FREE where nothing is refused. Per-CPU memory won't do: programs at
 * egress may be preempted, and then it would be another packet's.
 */
#pragma once

#include "acts.bpf.c"
#include "grant.bpf.c"
#include "header.bpf.c"
#include "kept.bpf.c"
#include "lookup.bpf.c"
#include "message.bpf.c"
#include "meter.bpf.c"
#include "policy.bpf.c"
#include "process.bpf.c"
#include "slots.bpf.c"

#define ON_LOOKUP 0
#define ON_NAME 1
#define ON_QUERY 2
#define LABELS_MAX 128
/* Flags that stand in skb->cb[4] with the policy's number. */
#define IS_STREAM 0x80000000U
#define IS_ENFORCED 0x40000000U
#define OPT_TYPE 41
#define OPT_HEAD 11
#define OPTIONS_OF_A_QUESTION 8
#define OPTION_SERVER_ID 3
#define OPTION_COOKIE 10
#define OPTION_KEEPALIVE 11
#define OPTION_PADDING 12
#define COOKIE_MAX 40
#define KEEPALIVE_MAX 2

BPF_PROG_ARRAY(questions, 3);

/*
 * Return the place of the 0 that ends the name at `at`, which begins with a label's length; 0 if it
 * is no name.
 */
static inline u32 end_of_name(struct __sk_buff *skb, u32 at)
{
	u32 step;

#pragma clang loop unroll(disable)
	for (step = 0; step < LABELS_MAX; step++) {
		u32 size = byte_at(skb, at);

		if (!size)
			return at;
		if (size > LABEL_MAX)
			return 0;
		at += size + 1;
	}
	return 0;
}

/*
 * Fill in the key with a host's name, as `names` has it. Return how many bytes it has in the
 * message, 0 if it is no host's name. It is read four bytes at once: behind the name there are as
 * many, type and class.
 */
static inline int read_asked_name(struct __sk_buff *skb, u32 at, struct name_key *key)
{
	u64 length = end_of_name(skb, at) - at - 1, any = skb->len;
	struct spelling name = {};
	u32 step;

	FORGET(length);
	BLUR(name.is_other, any);
	if (length - 1 >= HOST_NAME_ROOM - 1)
		return 0;
#pragma clang loop unroll(disable)
	for (step = 0; step < HOST_NAME_ROOM / 4; step++) {
		u32 word = 0;

		bpf_skb_load_bytes(skb, at + 4 * step, &word, sizeof(word));
		if (!reverse_word(&name, word, length - 4 * step, key->name))
			break;
	}
	FORGET(length);
	if (name.is_other || length >= HOST_NAME_ROOM)
		return 0;
	key->name[length] = 0;
	key->prefix_bits = NAME_KEY_HEAD_BITS + 8 * (length + 1);
	return length + 2;
}

/* Whether the option is for nobody but the server that the client asks. */
static inline int is_between_them(u32 option, u32 size)
{
	return (option == OPTION_SERVER_ID && !size) ||
	       (option == OPTION_COOKIE && size <= COOKIE_MAX) ||
	       (option == OPTION_KEEPALIVE && size <= KEEPALIVE_MAX) || option == OPTION_PADDING;
}

/* Whether from `at` to `end` there is one OPT record, with options for the server alone. */
static inline int has_options_alone(struct __sk_buff *skb, u32 at, u32 end)
{
	u32 step;

	if (byte_at(skb, at) || half_at(skb, at + 1) != OPT_TYPE ||
	    at + OPT_HEAD + half_at(skb, at + OPT_HEAD - 2) != end)
		return 0;
	at += OPT_HEAD;
#pragma clang loop unroll(disable)
	for (step = 0; step < OPTIONS_OF_A_QUESTION; step++) {
		u32 size = half_at(skb, at + 2);

		if (at >= end || !is_between_them(half_at(skb, at), size))
			break;
		at += 4 + size;
	}
	return at == end;
}

/*
 * Whether the message at `at` has nothing behind its question that the server might pass on to
 * others.
 */
static inline int is_question_alone(struct __sk_buff *skb, u32 at, u32 size, u32 asked_at)
{
	u32 end = at + size, rest = asked_at + 4, additional = half_at(skb, at + 10);

	if (half_at(skb, asked_at + 2) != INTERNET || half_at(skb, at + 6) || half_at(skb, at + 8))
		return 0;
	return additional ? additional == 1 && has_options_alone(skb, rest, end) : rest == end;
}

static inline int may_be_asked(struct name_key *key)
{
	u32 *named = names.lookup(key);

	return (named && *named & NAMED_MAY_BE_ASKED) || further_names.lookup(key);
}

/*
 * Return the verdict on a packet whose questions can't be judged further. The kernel lets a program
 * call others 33 times, which is enough for 20 questions in a segment. The stream is lost:
 * questions that were read and not judged must not be taken for known when they are sent again.
 */
static inline int give_up(struct __sk_buff *skb, u32 control)
{
	struct bpf_sock *sk = skb->sk;
	struct asker *asker = sk ? askers.sk_storage_get((void *)sk, 0, 0) : 0;

	if (asker && control & IS_STREAM)
		lose(&asker->out);
	if (!(control & IS_ENFORCED))
		return ALLOW;
	if (sk && control & IS_STREAM)
		keep_back(skb, sk);
	return DENY;
}

/*
 * Tail-called by on_lookup. Judges a question; then calls itself for the next one, or on_query
 * behind the last one of a segment.
 */
TAIL_CALLED("cgroup_skb/egress", questions, 1)
int on_name(struct __sk_buff *skb)
{
	u32 control = skb->cb[4];
	struct name_key key = { .policy = control & ~(IS_STREAM | IS_ENFORCED) };
	u32 at = skb->cb[0] & 0xffff, size = skb->cb[0] >> 16;
	u32 name_size = read_asked_name(skb, at + HEADER_SIZE, &key);

	if (!name_size || !may_be_asked(&key) ||
	    !is_question_alone(skb, at, size, at + HEADER_SIZE + name_size)) {
		skb->cb[4] = REFUSED;
		questions.call(skb, ON_LOOKUP);
		return give_up(skb, control);
	}
	skb->cb[0] = skb->cb[1];
	skb->cb[1] = skb->cb[2];
	skb->cb[2] = skb->cb[3];
	skb->cb[3] = 0;
	if (skb->cb[0])
		questions.call(skb, ON_NAME);
	else if (control & IS_STREAM)
		questions.call(skb, ON_QUERY);
	else
		return ALLOW;
	return give_up(skb, control);
}

/*
 * Find who asks: as a rule the current task. It isn't the current task if that isn't followed or is
 * held to no policy, like a daemon that lets queued packets go on; nor if a segment leaves while
 * nobody has its socket. Then it is the process that connected the socket, or sent by it. If that
 * process is gone, the facts that are kept with the socket are used instead. Return the pid, 0 for
 * nobody.
 */
static inline u32 find_asking(struct bpf_sock *sk, const struct asker *asker,
			      struct proc_value *proc, u32 *is_gone)
{
	u32 pid = current_pid();
	u32 is_senders = sk->protocol != IPPROTO_TCP || number_at(address_of(sk), SOCK_OWNED);

	if (is_senders && read_current(pid, proc) &&
	    (is_governed(proc, held_as(proc)) || !asker || !asker->scope))
		return pid;
	if (!asker)
		return 0;
	pid = asker->pid;
	if (!read_process(entry_of(pid), proc) || proc->started_ns != asker->started_ns) {
		*is_gone = 1;
		__builtin_memset(proc, 0, sizeof(*proc));
		proc->started_ns = asker->started_ns;
		proc->scope = asker->scope;
		proc->is_guest = asker->is_guest;
	}
	return pid;
}

/*
 * Whether the packet's bytes may change after they were read: pages that are still their owner's,
 * or a file's, are sent without being copied. A datagram that is whole was copied; one that is to
 * be cut into several is several messages.
 */
static inline int may_change(struct __sk_buff *skb, u32 protocol)
{
	u64 packet = address_of(skb), size = skb->data_end - skb->data;
	u32 start = byte_at(skb, 0);

	if (start >> 4 == 4 && start != PLAIN_IPV4)
		return 1; /* IP options can have a text, too */
	if (protocol != IPPROTO_TCP)
		return size < skb->len || skb->gso_size;
	return number_at(pointer_at(packet, SKB_HEAD) + number_at(packet, SKB_END), SHARED_FLAGS) &
	       255;
}

/* Take a refused datagram's bytes back: it wasn't sent, but on_egress has counted it. */
static inline void take_back(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct last_peer *last = latest(sk);
	struct packet packet = {};
	u32 slot, is_told, header;
	u64 bytes;

	if (!last)
		return;
	read_packet(skb, &packet);
	FORGET(packet);
	header = packet.payload_at + UDP_BYTES;
	if (header > skb->len)
		return;
	bytes = skb->len - header;
	bpf_spin_lock((void *)&last->lock);
	is_told = last->metering == METERING_TOLD;
	slot = last->metering == METERING_COUNTED ? last->slot : 0;
	if (is_told && last->bytes_sent >= bytes)
		last->bytes_sent -= bytes;
	bpf_spin_unlock((void *)&last->lock);

	struct aggregate_record *record = slot ? slots.lookup(&slot) : 0;

	if (record && record->bytes_sent >= bytes)
		__sync_fetch_and_add(&record->bytes_sent, -bytes);
}

/* Report that a question is refused. */
static inline void refuse(struct __sk_buff *skb, struct bpf_sock *sk, struct asker *asker,
			  const struct proc_value *proc, u32 pid, const struct mode_value *mode)
{
	struct act_value act = {
		.key.peer_port = DNS_PORT,
		.key.protocol = sk->protocol,
		.key.act = ACT_SEND,
		.key.verdict = mode->is_enforcing ? VERDICT_DENY : VERDICT_AUDIT,
		.rule = RULE_OF_LOOKUPS,
		.policy = mode->policy,
		.scope = proc->scope,
		.held = proc->held,
		.tid = pid,
	};
	struct dns_packet packet = {};
	u64 task = current_pid() == pid ? bpf_get_current_task() : 0;

	if (asker && !read_dns_packet(skb, 1, &packet))
		packet.peer = asker->resolver;
	else if (asker)
		see_through_nat(skb, &packet, asker);
	__builtin_memcpy(act.key.peer, &packet.peer, sizeof(act.key.peer));
	FORGET(act);
	act.cookie = cookie_of(skb);
	act.uid = bpf_get_socket_uid(skb);
	if (task)
		act.tid = number_at(task, TASK_PID);
	report(&act, pid, task, proc, sk, CARE_ONCE);
}

/*
 * Go on with the rest of a segment, behind the messages that were read. Returns only where the call
 * fails.
 */
static inline void go_on_reading(struct __sk_buff *skb, u32 control)
{
	SET_CONTROL(skb, 0, 0);
	SET_CONTROL(skb, 1, 0);
	SET_CONTROL(skb, 2, 0);
	SET_CONTROL(skb, 3, 0);
	SET_CONTROL(skb, 4, control);
	questions.call(skb, ON_QUERY);
}

/*
 * Whether no policy holds the process that asked any more, but TCP may have questions of the
 * connection that one would have refused. TCP keeps a question that was dropped, to send it again.
 * And questions that it hadn't sent when the process and its job ended were never judged.
 */
static inline int is_left_over(struct bpf_sock *sk, const struct asker *asker, u32 is_gone)
{
	u32 scope;

	if (sk->protocol != IPPROTO_TCP || !asker)
		return 0;
	scope = asker->scope;
	return asker->out.state == STREAM_DROPPED ||
	       (is_gone && refused_to_the_end.lookup(&scope) != 0);
}

/*
 * Find out whether the policy of the process that asks refuses lookups. If so, on_name judges the
 * questions, and calls this program again for one to be refused.
 */
TAIL_CALLED("cgroup_skb/egress", questions, 0)
int on_lookup(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct proc_value proc;
	u32 pid, is_gone = 0;

	if (!sk)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return ALLOW;

	struct asker *asker = askers.sk_storage_get((void *)sk, 0, 0);

	pid = find_asking(sk, asker, &proc, &is_gone);

	struct mode_value *mode = pid ? mode_of(&proc) : 0;

	if (!mode || !mode->refuses_lookups) {
		if (is_left_over(sk, asker, is_gone && !mode))
			return drop(skb, sk);
		if (sk->protocol == IPPROTO_TCP && skb->cb[0])
			go_on_reading(skb, FREE);
		return ALLOW;
	}

	u32 is_enforcing = mode->is_enforcing;
	u32 control = mode->policy | (is_enforcing ? IS_ENFORCED : 0) |
		      (sk->protocol == IPPROTO_TCP ? IS_STREAM : 0);

	if (skb->cb[4] != REFUSED && !may_change(skb, sk->protocol)) {
		if (!skb->cb[0])
			return ALLOW;
		skb->cb[4] = control;
		questions.call(skb, ON_NAME);
		return give_up(skb, control);
	}
	if (sk->protocol != IPPROTO_TCP) {
		refuse(skb, sk, asker, &proc, pid, mode);
		if (is_enforcing)
			take_back(skb, sk);
	} else if (!asker || asker->out.state < STREAM_REFUSED) {
		refuse(skb, sk, asker, &proc, pid, mode);
		if (asker && (is_enforcing || asker->out.state != STREAM_FOLLOWED))
			asker->out.state = is_enforcing ? STREAM_DROPPED : STREAM_REFUSED;
		else
			go_on_reading(skb, control);
	}
	return is_enforcing ? drop(skb, sk) : ALLOW;
}
