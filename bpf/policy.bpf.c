// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * What the policy of a scope says to an act, by its address; the lookup is the one that
 * exporter/policy/compile.py describes.
 */
#define IPPROTO_MPTCP 262
#define POLICY_KEY_BITS (8 * sizeof(struct policy_key) - 32)

/* As policies have it: they don't tell the versions of IP apart. */
static inline u32 policy_protocol(u32 protocol)
{
	if (protocol == IPPROTO_ICMPV6)
		return IPPROTO_ICMP;
	return protocol == IPPROTO_MPTCP ? IPPROTO_TCP : protocol;
}

/* The longest match of one class, or what stands behind it and holds; null: nothing does. */
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

/* The best of what holds decides; *rule is left alone where nothing does. */
static inline u32 look_up(struct policy_key *key, u64 held, u32 *rule)
{
	u32 verdict = VERDICT_DENY, best = 0, class;

#pragma clang loop unroll(disable)
	for (class = 0; class < CLASSES; class++) {
		struct choice_value *choice = choice_of(key, held);

		if (choice && choice->rank > best) {
			best = choice->rank;
			verdict = choice->verdict;
			*rule = choice->rule;
		}
		if (class)
			key->protocol = 0;
		key->port = 0;
	}
	return verdict;
}

/* Fills in verdict and rule; an act of a scope without a policy gets none. */
static inline void judge(struct act_value *act, const struct proc_value *proc)
{
	struct config_value *config = settings();
	u32 scope = proc->scope;

	if (!config || !config->has_policies)
		return;

	struct mode_value *mode = modes.lookup(&scope);

	if (!mode)
		return;

	u32 is_enforcing = mode->is_enforcing;
	struct policy_key key = {
		.prefix_bits = POLICY_KEY_BITS,
		.scope = scope,
		.port = act->key.peer_port,
		.protocol = policy_protocol(act->key.protocol),
	};

	__builtin_memcpy(key.address, act->key.peer, sizeof(key.address));

	u32 verdict = look_up(&key, proc->held, &act->rule);

	if (verdict == VERDICT_ALLOW)
		act->key.verdict = VERDICT_ALLOW;
	else
		act->key.verdict = is_enforcing ? VERDICT_DENY : VERDICT_AUDIT;
}
