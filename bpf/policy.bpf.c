// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Judges an act by the policy of its scope: by the act's address, and by the names that led there.
 * exporter/policy/compile.py describes the lookup. No program is attached here: those of
 * socket.bpf.c, packet.bpf.c and join.bpf.c call judge.
 */
#pragma once

#include "header.bpf.c"
#include "listener.bpf.c"
#include "message.bpf.c"
#include "missed.bpf.c"
#include "process.bpf.c"
#include "slots.bpf.c"

#define IPPROTO_MPTCP 262
#define NEXT_NONE 59 /* the protocol of an IPv6 packet without a payload */
#define EPERM 1
#define IPPROTO_RAW 255
#define FOR_GOOD 0xffffffffffffffffULL /* until_ns of a grant that no answer made */
#define POLICY_KEY_BITS (8 * sizeof(struct policy_key) - 32)

/*
 * Return the protocol as policies have it: they don't tell the versions of IP apart. A number that
 * stands for something else in policies is no packet's.
 */
static inline u32 policy_protocol(u32 protocol)
{
	if (protocol == POLICY_UNIX)
		return NEXT_NONE;
	if (protocol == IPPROTO_ICMPV6)
		return IPPROTO_ICMP;
	return protocol == IPPROTO_MPTCP ? IPPROTO_TCP : protocol;
}

/*
 * Return the choice of one class: the longest match, or the first of its alternatives that holds;
 * null if none holds.
 */
static inline struct choice_value *choice_of(struct policy_key *key, u64 held)
{
	struct choice_value *choice = policy.lookup(key);
	u32 step;

#pragma clang loop unroll(disable)
	for (step = 1; step < ALTERNATIVES_MAX; step++) {
		if (!choice || (held & choice->needed) == choice->needed)
			return choice;

		u32 following = choice->following;

		if (!following)
			return 0;
		choice = alternatives.lookup(&following);
	}
	return choice && (held & choice->needed) == choice->needed ? choice : 0;
}

/* Find the best choice that holds, in all classes. Return its rank, 0 if none holds. */
static inline u32 look_up(struct policy_key *key, u64 held, u32 *verdict, u32 *rule)
{
	u32 best = 0, class;

	BLUR(best, held);
	BLUR(*verdict, held);
	BLUR(*rule, held);
#pragma clang loop unroll(disable)
	for (class = 0; class < CLASSES; class++) {
		struct choice_value *choice = choice_of(key, held);

		if (choice && choice->rank > best) {
			best = choice->rank;
			*verdict = choice->verdict;
			*rule = choice->rule;
		}
		if (class)
			key->protocol = 0;
		key->port = 0;
	}
	return best;
}

/* Return the first step of the narrowest class that has any; null if none has. */
static inline struct step_value *first_step(struct port_key *key)
{
	struct step_value *step = 0;
	u32 class;

#pragma clang loop unroll(disable)
	for (class = 0; class < CLASSES; class++) {
		step = rule_ports.lookup(key);
		if (step)
			break;
		if (class)
			key->protocol = 0;
		key->port = 0;
	}
	FORGET(*key);
	return step;
}

/* Return the verdict of the names that led to an address; VERDICT_NONE: no rule of theirs holds. */
static inline u32 by_names(struct port_key *key, u64 low, u64 high, u64 held)
{
	struct step_value *step = first_step(key);
	u64 denied = 0, allowed = 0;
	u32 number;

	BLUR(denied, held);
	BLUR(allowed, held);
#pragma clang loop unroll(disable)
	for (number = 1; number <= STEPS_MAX; number++) {
		if (!step)
			break;
		if ((held & step->needed) == step->needed) {
			denied |= (low & step->deny_low) | (high & step->deny_high);
			allowed |= (low & step->allow_low) | (high & step->allow_high);
			low &= ~(step->deny_low | step->allow_low);
			high &= ~(step->deny_high | step->allow_high);
		}
		if (!step->more)
			break;
		key->step = number;
		step = rule_ports.lookup(key);
	}
	if (denied)
		return VERDICT_DENY;
	return allowed ? VERDICT_ALLOW : VERDICT_NONE;
}

/* Rule sets of one policy, a bit each. */
struct sets {
	u64 low;
	u64 high;
};

/*
 * Return the rule sets granted to an address; with `is_for_good` only those of a grant that no
 * answer made, which takes no lookup.
 */
static inline struct sets granted_to(const struct granted_key *key, u32 window, u32 is_for_good)
{
	struct granted_value *found = granted.lookup(key);
	struct sets sets = {};

	if (!found || (is_for_good && found->until_ns != FOR_GOOD))
		return sets;
	if (found->used != window)
		found->used = window;
	sets.low = found->sets_low;
	sets.high = found->sets_high;
	return sets;
}

static inline u32 say_by_names(const struct act_value *act, u32 policy, const struct sets *sets)
{
	struct port_key port;

	if (!sets->low && !sets->high)
		return VERDICT_NONE;
	CLEAR(port);
	port.policy = policy;
	port.port = act->key.peer_port;
	port.protocol = policy_protocol(act->key.protocol);
	return by_names(&port, sets->low, sets->high, act->held);
}

/*
 * Return the verdict of names that a step had looked up before its job was known. Their grants were
 * made under the strictest policy. An act that this policy allows, the job's own allows, too; on an
 * act that it denies, the job's own has to decide.
 */
static inline u32 look_up_early(const struct act_value *act, u32 early, u32 window)
{
	struct granted_key key;
	struct mode_value *mode = mode_for(SCOPE_WITHOUT_ROOM);

	if (!mode)
		return VERDICT_NONE;
	CLEAR(key);
	key.scope = early;
	key.policy = mode->policy;
	__builtin_memcpy(key.address, act->key.peer, sizeof(key.address));

	struct sets sets = granted_to(&key, window, 0);
	u32 verdict = say_by_names(act, key.policy, &sets);

	return verdict == VERDICT_ALLOW ? VERDICT_ALLOW : VERDICT_NONE;
}

static inline u32 look_up_names(const struct act_value *act, const struct proc_value *proc,
				u32 window)
{
	struct granted_key key;
	struct sets sets, for_all = {};
	u32 is_early, verdict;

	CLEAR(key);
	key.scope = noted_as(proc);
	key.policy = act->policy;
	is_early = key.scope & SCOPE_EARLY;
	__builtin_memcpy(key.address, act->key.peer, sizeof(key.address));
	sets = granted_to(&key, window, 0);
	if (is_early) {
		key.scope = governing(key.scope);
		for_all = granted_to(&key, window, 1);
		sets.low |= for_all.low;
		sets.high |= for_all.high;
	}
	BLUR(is_early, act->held);
	verdict = say_by_names(act, key.policy, &sets);
	if (verdict != VERDICT_NONE || is_early || proc->standing < STANDING_STEP)
		return verdict;
	return look_up_early(act, proc->early, window);
}

/* Return the mode of the scope that a process is held as; null if it has no policy. */
static inline struct mode_value *mode_of(const struct proc_value *proc)
{
	u32 scope = held_as(proc);

	return is_governed(proc, scope) ? mode_for(scope) : 0;
}

/* Whether a question of the process is refused if it can't be read. */
static inline u32 must_be_read(const struct proc_value *proc)
{
	struct mode_value *mode = mode_of(proc);

	return mode && mode->refuses_lookups && mode->is_enforcing;
}

/*
 * Whether the act may carry a question that can't be read. Where lookups are refused, resolvers get
 * questions that can be read, and nothing else: none in packets whose headers the sender wrote, and
 * none where the packet's socket isn't the one that connected.
 */
static inline int is_unreadable(const struct act_value *act, struct bpf_sock *sk)
{
	u32 protocol = act->key.protocol;

	if (sk && sk->type == SOCK_RAW && is_extension(protocol))
		return 1; /* so many headers that the one with the port wasn't found */
	if (act->key.peer_port != DNS_PORT)
		return 0;
	return !sk || sk->type == SOCK_RAW || protocol == IPPROTO_MPTCP ||
	       protocol == IPPROTO_UDPLITE;
}

/* Fill in scope, policy, verdict and rule; an act of a scope without a policy gets no verdict. */
static inline void judge(struct act_value *act, const struct proc_value *proc, struct bpf_sock *sk)
{
	struct config_value *config = settings();
	u32 scope = held_as(proc);

	act->scope = proc->scope;
	if (!holds_jobs(config) || !is_governed(proc, scope))
		return;

	struct mode_value *mode = mode_for(scope);

	if (!mode)
		return;

	u32 is_enforcing = mode->is_enforcing;
	u32 has_names = mode->has_names;
	u32 refuses_lookups = mode->refuses_lookups;

	act->policy = mode->policy;
	act->held = proc->held;

	struct policy_key key = {
		.prefix_bits = POLICY_KEY_BITS,
		.policy = act->policy,
		.port = act->key.peer_port,
		.protocol = policy_protocol(act->key.protocol),
	};

	__builtin_memcpy(key.address, act->key.peer, sizeof(key.address));
	FORGET(key);

	u32 verdict = VERDICT_DENY, rule = 0;
	u32 rank = look_up(&key, act->held, &verdict, &rule);

	BLUR(rank, scope);
	BLUR(verdict, scope);
	BLUR(rule, scope);
	act->rule = rule;
	if (has_names && rank < FINAL) {
		u32 named = look_up_names(act, proc, config->window);

		if (named != VERDICT_NONE) {
			verdict = named;
			act->rule = RULE_OF_NAMES;
		}
	}

	if (verdict != VERDICT_ALLOW && rank < FINAL && is_answer(act, sk)) {
		verdict = VERDICT_ALLOW;
		act->rule = RULE_OF_ANSWERS;
	}
	if (verdict == VERDICT_ALLOW && refuses_lookups && is_unreadable(act, sk)) {
		verdict = VERDICT_DENY;
		act->rule = RULE_OF_LOOKUPS;
	}
	FORGET(act->rule);
	if (verdict == VERDICT_ALLOW)
		act->key.verdict = VERDICT_ALLOW;
	else
		act->key.verdict = is_enforcing ? VERDICT_DENY : VERDICT_AUDIT;
	FORGET(act->key.verdict);
}

/*
 * Whether a socket without ports may be made: where a policy is enforced, only if some rule has a
 * use for it. If it may not, this sets the act's verdict.
 */
static inline int may_create(struct act_value *act, const struct proc_value *proc)
{
	struct config_value *config = settings();
	u32 scope = held_as(proc), protocol = policy_protocol(act->key.protocol);

	act->scope = proc->scope;

	if (!holds_jobs(config) || !is_governed(proc, scope))
		return 1;

	struct mode_value *mode = mode_for(scope);

	if (!mode || !mode->is_enforcing)
		return 1;
	act->policy = mode->policy;
	act->held = proc->held;
	act->key.verdict = VERDICT_DENY;
	if (act->key.protocol == IPPROTO_RAW) /* of the sender's own headers: see is_own_header */
		return 0;
	return (mode->portless & (protocol == IPPROTO_ICMP  ? PORTLESS_ICMP
				  : protocol == IPPROTO_TCP ? PORTLESS_TCP
				  : protocol == IPPROTO_UDP ? PORTLESS_UDP
							    : PORTLESS_OTHER)) != 0;
}

/*
 * Return what a security hook answers. LLVM would calculate it from `is_denied`, and since Linux
 * 6.12 the verifier has to know that it is 0 or an error's number.
 */
static inline s64 answer(u32 is_denied)
{
	s64 refused = -EPERM;

	if (!is_denied)
		return 0;
	OPAQUE(refused);
	return refused;
}

/* Whether the policy that a process is held to is enforced. */
static inline int is_held(const struct proc_value *proc)
{
	struct mode_value *mode = mode_of(proc);

	return mode && mode->is_enforcing;
}

/* Whether the policy of the current task's job is enforced. */
static inline int is_enforced(void)
{
	struct proc_value proc;

	return read_current(current_pid(), &proc) && is_held(&proc);
}

/* Likewise, for hooks that a process calls itself: see read_actor. */
static inline int is_enforced_on_actor(void)
{
	struct proc_value proc;

	return read_actor(current_pid(), &proc) && is_held(&proc);
}
