// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Where a policy refuses lookups: may be asked what a rule allows, and what that leads to; all else
 * that is on its way to port 53 is dropped, what can't be read, too. So an allowed resolver takes
 * nothing out in the names that it is asked for. on_query (dns.bpf.c) finds the questions of a
 * packet, and these two programs judge them one by one.
 *
 * What isn't on the stack stands in skb->cb: 0 to 3, where the messages are that ask; 4, the
 * policy's number, or REFUSED. Programs at egress may be preempted, so that memory of the
 * processor's would be another packet's.
 */
#define ON_LOOKUP 0
#define ON_NAME 1
#define LABELS_MAX 128

BPF_PROG_ARRAY(questions, 2); /* on_lookup, on_name */

/* Where the text of a name ends, which begins with a label's length; 0: it is none. */
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
 * Fills in a host's name, as `names` has it; returns 0 for what isn't one. What is left of a label
 * is counted down: compared with the step, each of its values would be one to be verified.
 */
static inline int read_asked_name(struct __sk_buff *skb, u32 at, struct name_key *key)
{
	u64 length = end_of_name(skb, at) - at - 1, any = skb->len;
	u32 left = byte_at(skb, at), step;

	at++;
	BLUR(length, any);
	if (length - 1 >= HOST_NAME_ROOM - 1)
		return 0;
#pragma clang loop unroll(disable)
	for (step = 0; step < HOST_NAME_ROOM - 1; step++) {
		u32 byte = lower(byte_at(skb, at + step)) & 255;
		u64 to = length - 1 - step;

		if (step >= length)
			break;
		if (!left--) {
			left = byte;
			byte = '.';
		} else if (!is_of_host_names(byte)) {
			return 0;
		}
		asm volatile("" : "+r"(to));
		if (to >= HOST_NAME_ROOM)
			return 0;
		key->name[to] = byte;
	}
	key->prefix_bits = NAME_KEY_HEAD_BITS + 8 * (length + 1);
	return 1;
}

static inline int may_be_asked(struct name_key *key)
{
	u32 *named = names.lookup(key);

	return (named && *named & NAMED_MAY_BE_ASKED) || further_names.lookup(key);
}

/* A question; then it calls itself for the next one. */
int on_name(struct __sk_buff *skb)
{
	struct name_key key = { .policy = skb->cb[4] };

	if (!read_asked_name(skb, skb->cb[0] + HEADER_SIZE, &key) || !may_be_asked(&key)) {
		skb->cb[4] = REFUSED;
		questions.call(skb, ON_LOOKUP);
		return DENY;
	}
	skb->cb[0] = skb->cb[1];
	skb->cb[1] = skb->cb[2];
	skb->cb[2] = skb->cb[3];
	skb->cb[3] = 0;
	if (!skb->cb[0])
		return ALLOW;
	questions.call(skb, ON_NAME);
	return DENY;
}

/*
 * Who asks: the current task, unless it is a segment's, which may leave while any task runs. Where
 * the process is gone, what stands with its socket speaks for it. Returns 0 for nobody.
 */
static inline u32 find_asking(struct bpf_sock *sk, const struct asker *asker,
			      struct proc_value *proc)
{
	u32 pid = current_pid();

	if (sk->protocol != IPPROTO_TCP)
		return read_current(pid, proc) ? pid : 0;
	if (!asker)
		return number_at(address_of(sk), SOCK_OWNED) && read_current(pid, proc) ? pid : 0;
	pid = asker->pid;
	if (!read_process(entry_of(pid), proc) || proc->started_ns != asker->started_ns) {
		__builtin_memset(proc, 0, sizeof(*proc));
		proc->started_ns = asker->started_ns;
		proc->scope = asker->scope;
		proc->is_guest = asker->is_guest;
	}
	return pid;
}

/*
 * Whether it may become something else after it was read: pages that are still their owner's, or a
 * file's, are sent without being copied. Where a datagram is whole, it was copied; one that is to
 * be cut into several is several messages.
 */
static inline int may_change(struct __sk_buff *skb, u32 protocol)
{
	u64 packet = address_of(skb), size = skb->data_end - skb->data;

	if (protocol != IPPROTO_TCP)
		return size < skb->len || skb->gso_size;
	return number_at(pointer_at(packet, SKB_HEAD) + number_at(packet, SKB_END), SHARED_FLAGS) &
	       255;
}

/* What was refused wasn't sent; on_egress took it for sent. */
static inline void take_back(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct last_peer *last = latest(sk);
	struct datagram datagram = { .tid = NO_THREAD };
	u32 slot, is_told;

	if (!last || !read_datagram(skb, 1, &datagram))
		return;
	bpf_spin_lock((void *)&last->lock);
	is_told = last->metering == METERING_TOLD;
	slot = last->metering == METERING_COUNTED ? last->slot : 0;
	if (is_told && last->bytes_sent >= datagram.bytes)
		last->bytes_sent -= datagram.bytes;
	bpf_spin_unlock((void *)&last->lock);

	struct aggregate_record *record = slot ? slots.lookup(&slot) : 0;

	if (record && record->bytes_sent >= datagram.bytes)
		__sync_fetch_and_add(&record->bytes_sent, -datagram.bytes);
}

/* Tells that what is asked is refused, and for good where it is part of a stream. */
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

	if (!read_dns_packet(skb, 1, &packet) || packet.peer_port != DNS_PORT) {
		if (asker)
			packet.peer = asker->resolver;
	}
	__builtin_memcpy(act.key.peer, &packet.peer, sizeof(act.key.peer));
	FORGET(act);
	act.cookie = cookie_of(skb);
	act.uid = bpf_get_socket_uid(skb);
	if (task)
		act.tid = number_at(task, TASK_PID);
	report(&act, pid, task, proc, sk, CARE_ONCE);
}

/* Whether the policy of who asks refuses lookups; then on_name judges them, and comes back. */
int on_lookup(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct proc_value proc;
	u32 pid;

	if (!sk)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return ALLOW;

	struct asker *asker = askers.sk_storage_get((void *)sk, 0, 0);

	pid = find_asking(sk, asker, &proc);

	struct mode_value *mode = pid ? mode_of(&proc) : 0;

	if (!mode || !mode->refuses_lookups)
		return ALLOW;

	u32 is_enforcing = mode->is_enforcing;

	if (!skb->cb[4] && !may_change(skb, sk->protocol)) {
		if (!skb->cb[0])
			return ALLOW;
		skb->cb[4] = mode->policy;
		questions.call(skb, ON_NAME);
		return is_enforcing ? DENY : ALLOW;
	}
	if (sk->protocol != IPPROTO_TCP) {
		refuse(skb, sk, asker, &proc, pid, mode);
		if (is_enforcing)
			take_back(skb, sk);
	} else if (!asker || asker->out.state != STREAM_REFUSED) {
		refuse(skb, sk, asker, &proc, pid, mode);
		if (asker && (is_enforcing || asker->out.state != STREAM_FOLLOWED))
			asker->out.state = STREAM_REFUSED;
	}
	return is_enforcing ? DENY : ALLOW;
}
