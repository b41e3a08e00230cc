// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Grants the addresses in a DNS answer to the scope that asked, if its policy names the question's
 * name, before the process that asked gets to see them. docs/policy.md says which answers count.
 * Its programs are on_next, on_grant and on_alias: on_answer, at cgroup_skb/ingress, tail-calls
 * on_next through the map `later`, and the three call each other.
 */
#pragma once

#include "answer.bpf.c"
#include "header.bpf.c"
#include "message.bpf.c"
#include "policy.bpf.c"
#include "process.bpf.c"
#include "share.bpf.c"
#include "slots.bpf.c"

#define NAME_KEY_HEAD_BITS 32
#define TTL_LEAST_S 600 /* clients go on using the addresses that they have */
#define TTL_MOST_S 86400
#define NO_SET 0xffffffffU
#define ALL_SCOPES 0xffffffffU
#define GRANTS_KEPT 512	  /* a scope's own, for 256 scopes; the other half is for who needs more */
#define GRANTS_MOST 16384 /* the most of one scope */
#define GRANTS_EARLY 256  /* the most of a step in TTL_LEAST_S, before its job is known */

#define MESSAGES_MAX 4	/* messages of a segment that one run reads */
#define ALIAS_STEPS 160 /* the most labels and pointers of a name */
#define NAME_ON_WIRE 256
#define ON_NEXT 0
#define ON_GRANT 1
#define ON_ALIAS 2

/* A DNS answer: its places in the packet, who asked, and whom. */
struct answer {
	union address resolver;
	u64 held; /* bits of the executables in the chain of the process that asked */
	u32 at;
	u32 asked_at;
	u32 end;
	u32 scope;
	u32 policy; /* the one that allowed the resolver when it was asked */
	u32 protocol;
};

/*
 * The answers of a packet while they are read. There is one of these per CPU: nothing takes the CPU
 * from a program at ingress.
 */
struct granting {
	struct answer answers[MESSAGES_MAX];
	u32 number;
	u32 next;
	struct reading reading; /* of the next answer, once it has begun */
	struct name_key key;
	u32 wire[(NAME_ON_WIRE + LABEL_MAX + 1) / 4]; /* a name, and room for a label more */
	/* These stand here, where the verifier doesn't follow their values. */
	struct granted_key granted;
	struct granted_value fresh;
	u64 made;
	u64 ended;
	u32 size;	 /* bytes in `wire` */
	u32 alias_at;	 /* where the name that a CNAME leads to stands; 0: there is none to note */
	u32 is_for_next; /* 1: it is read once more, for the policy about to take over */
	u32 has_aliases; /* 1: lookups are refused, but not of targets of CNAMEs */
};
BPF_PERCPU_ARRAY(grantings, struct granting, 1);
BPF_PROG_ARRAY(later, 3); /* with on_answer they'd be more than the verifier can follow */

/* Targets of the CNAMEs of names that a policy names: they may be asked for, too. */
BPF_TABLE("lru_hash", struct name_key, u32, further_names, FURTHER_NAMES_MAX);

static inline struct granting *current_granting(void)
{
	u32 zero = 0;

	return grantings.lookup(&zero);
}

/*
 * Only for ingress: at egress another packet's program may take the CPU. Returns 0 without memory.
 */
static inline int begin_granting(void)
{
	struct granting *granting = current_granting();

	if (!granting)
		return 0;
	granting->number = 0;
	granting->is_for_next = 0;
	granting->next = 0;
	granting->reading.left = 0;
	return 1;
}

/* Set the top bit of each byte of `word` that is `character` or more; all are below 0x80. */
#define FROM(word, character) ((word) + (0x80 - (character)) * EACH_BYTE)

/*
 * Return 0x80 for each byte that may stand in a label of a host's name in lower case, 0 for others.
 */
static inline u64 are_of_host_names(u64 word)
{
	u64 low = word & 0x7f * EACH_BYTE;
	u64 are = FROM(low, 'a') & ~FROM(low, 'z' + 1);

	are |= FROM(low, '0') & ~FROM(low, '9' + 1);
	are |= FROM(low, '-') & ~FROM(low, '-' + 1);
	are |= FROM(low, '_') & ~FROM(low, '_' + 1);
	return are & ~word & 0x80 * EACH_BYTE;
}

/* How far a name on the wire has been read. */
struct spelling {
	u64 left;     /* bytes of the label to come; 0: the next byte is a label's length */
	u64 is_other; /* not 0: it is no host's name */
};

/*
 * Write the name's next four bytes in lower case, the first one at `to` and the others in front of
 * it: a dot for a label's length. Without comparisons, since the verifier would follow both ways
 * for each byte. Returns 0 once there is nothing in front.
 */
static inline int reverse_word(struct spelling *name, u32 word, u64 to, char *reversed)
{
	u64 small = lower(word), are = are_of_host_names(small);
	u32 next;

#pragma unroll
	for (next = 0; next < 4; next++) {
		u64 byte = small >> 8 * next & 255, begins = -((name->left - 1) >> 63);

		OPAQUE(to);
		if (to >= HOST_NAME_ROOM)
			return 0;
		BLUR(begins, byte); /* else 6.18 tries the mask as all bits and as none */
		name->is_other |= (begins & byte >> 6) | (~begins & (~are >> (8 * next + 7) & 1));
		name->left = (begins & byte) | (~begins & (name->left - 1));
		reversed[to--] = (begins & '.') | (~begins & byte);
	}
	return 1;
}

/*
 * Fill in the key's name, reversed, from the `size` bytes in `wire`, the last of which is 0.
 * Returns its length, 0 if it is no host's name. A dot within a label would make another name of
 * it, and so would a 0, behind which a forged name goes on: the last label must end where the name
 * does.
 */
static inline u32 reverse_name(struct granting *granting, u32 size)
{
	u64 length = (u64)size - 2, any = granting->made;
	struct spelling name = {};
	u32 step;

	BLUR(length, any);
	BLUR(name.is_other, any);
	if (length >= HOST_NAME_ROOM)
		return 0;
#pragma clang loop unroll(disable)
	for (step = 0; step < HOST_NAME_ROOM / 4; step++)
		if (!reverse_word(&name, granting->wire[step], length - 4 * step,
				  granting->key.name))
			break;
	BLUR(length, any);
	if (name.left || name.is_other || length >= HOST_NAME_ROOM)
		return 0;
	granting->key.name[length] = 0;
	return length;
}

/* Return the rule set that the question's name has in the policy; NO_SET if there is none. */
static inline u32 find_set(struct __sk_buff *skb, const struct answer *answer, u32 policy,
			   struct granting *granting)
{
	/*
	 * The name's size without its last byte: so one comparison says that there is something to
	 * read and that there is room for it. Of two comparisons, LLVM makes one of a difference,
	 * from which the verifiers up to Linux 6.17 don't learn the size.
	 */
	u64 last = answer->asked_at - HEADER_SIZE - answer->at - 1;
	u32 size, *set;

	OPAQUE(last);
	if (last >= NAME_ON_WIRE ||
	    bpf_skb_load_bytes(skb, answer->at + HEADER_SIZE, granting->wire, last + 1))
		return NO_SET;
	size = reverse_name(granting, last + 1);
	if (!size)
		return NO_SET;
	granting->key.prefix_bits = NAME_KEY_HEAD_BITS + 8 * (size + 1);
	granting->key.policy = policy;
	set = names.lookup(&granting->key);
	if (!set || (*set & NAMED_WITHOUT_RULES) == NAMED_WITHOUT_RULES)
		return NO_SET;
	return *set & ~NAMED_MAY_BE_ASKED;
}

static inline u64 number_of(u64 *value)
{
	return value ? *value : 0;
}

static inline void add_one(u32 scope)
{
	u64 none = 0, *made = grants_made.lookup(&scope);

	if (!made) {
		grants_made.insert(&scope, &none);
		made = grants_made.lookup(&scope);
	}
	if (made)
		__sync_fetch_and_add(made, 1);
}

/*
 * Return how many grants a scope has. The number is signed, since its parts are read one by one
 * while others count.
 */
static inline s64 grants_of(u32 scope, struct granting *granting)
{
	volatile u64 *all = &granting->made, *over = &granting->ended;

	*all = number_of(grants_made.lookup(&scope));
	*over = number_of(grants_ended.lookup(&scope));
	return *all - *over;
}

static inline int has_room_for_grant(struct granting *granting)
{
	u32 scope = granting->granted.scope;
	s64 own = grants_of(counted_as(scope), granting);

	if (scope & SCOPE_EARLY)
		return own < GRANTS_MOST &&
		       take_share(scope, SHARE_GRANTED, GRANTS_EARLY, TTL_LEAST_S * NS_PER_S);
	return own < GRANTS_KEPT ||
	       (own < GRANTS_MOST && grants_of(ALL_SCOPES, granting) < GRANTED_MAX / 2);
}

static inline void grant(struct granting *granting)
{
	const struct granted_value *fresh = &granting->fresh;
	struct granted_value *there = granted.lookup(&granting->granted);

	if (!there && has_room_for_grant(granting)) {
		if (!granted.insert(&granting->granted, &granting->fresh)) {
			add_one(counted_as(granting->granted.scope));
			add_one(ALL_SCOPES);
			return;
		}
		there = granted.lookup(&granting->granted); /* another CPU was faster */
	}
	if (!there) {
		count(KIND_DNS, COUNT_UNGRANTED);
		return;
	}
	__sync_fetch_and_or(&there->sets_low, fresh->sets_low);
	__sync_fetch_and_or(&there->sets_high, fresh->sets_high);
	if (there->until_ns < fresh->until_ns)
		there->until_ns = fresh->until_ns;
}

/*
 * Return how long a grant lasts, in ns. A grant to a step before its job was known ends after the
 * least time unless it is used: nothing shows when the step is over.
 */
static inline u64 lifetime_ns(u32 scope, u32 ttl_s)
{
	if (ttl_s < TTL_LEAST_S || scope & SCOPE_EARLY)
		ttl_s = TTL_LEAST_S;
	if (ttl_s > TTL_MOST_S)
		ttl_s = TTL_MOST_S;
	return ttl_s * NS_PER_S;
}

static inline void grant_record(struct __sk_buff *skb, struct granting *granting,
				const struct record *record)
{
	if (!read_record_address(skb, record, (union address *)granting->granted.address))
		return;
	granting->fresh.until_ns =
		bpf_ktime_get_boot_ns() + lifetime_ns(granting->granted.scope, record->ttl_s);
	grant(granting);
}

static inline void grant_records(struct __sk_buff *skb, struct granting *granting)
{
	volatile struct reading *reading = &granting->reading;
	u32 step;

#pragma clang loop unroll(disable)
	for (step = 0; step < READING_STEPS; step++) {
		struct record record = {};

		if (!reading->left)
			return;
		if (!read_owner(skb, reading) || !read_record(skb, reading, &record))
			continue;
		if (is_of_name(reading, &record))
			grant_record(skb, granting, &record);
		go_on(reading, &record);
		if (granting->has_aliases && reading->name == record.at) {
			granting->alias_at = record.at;
			return;
		}
	}
}

/*
 * Note, for on_next, an answer that was asked for, and that counts. `held` is the asking process's.
 */
static inline void note_answer(const struct dns_packet *packet, const struct query_value *query,
			       u64 held)
{
	struct mode_value *mode = mode_for(governing(query->scope));
	struct granting *granting;
	u64 number;

	if (!mode || !mode->has_names)
		return;
	granting = current_granting();
	if (!granting)
		return;
	number = granting->number;
	OPAQUE(number);
	if (number >= MESSAGES_MAX)
		return;
	granting->answers[number].at = packet->at;
	granting->answers[number].asked_at = packet->asked_at;
	granting->answers[number].end = packet->at + packet->here;
	granting->answers[number].resolver = packet->peer;
	granting->answers[number].protocol = packet->protocol;
	granting->answers[number].scope = query->scope;
	granting->answers[number].policy = query->policy;
	granting->answers[number].held = held;
	granting->number = number + 1;
}

/* Return the verdict of the names that led to the resolver. */
static inline u32 look_up_resolver(const struct answer *answer, u32 policy)
{
	struct granted_key key;
	struct port_key port;

	CLEAR(key);
	key.scope = answer->scope;
	key.policy = policy;
	__builtin_memcpy(key.address, answer->resolver.bytes, sizeof(key.address));

	struct sets sets = granted_to(&key, current_window(), 0);

	if (!sets.low && !sets.high)
		return VERDICT_NONE;
	CLEAR(port);
	port.policy = policy;
	port.port = DNS_PORT;
	port.protocol = policy_protocol(answer->protocol);
	return by_names(&port, sets.low, sets.high, answer->held);
}

/*
 * Whether the policy allows the resolver. When it was asked, another one may have been in force: a
 * policy that was read again may not trust the resolvers of the one before.
 */
static inline int may_resolve(const struct answer *answer, u32 policy)
{
	struct policy_key key = {
		.prefix_bits = POLICY_KEY_BITS,
		.policy = policy,
		.port = DNS_PORT,
		.protocol = policy_protocol(answer->protocol),
	};
	u32 verdict = VERDICT_DENY, rule = 0, rank, named;

	if (answer->policy == policy)
		return 1;
	__builtin_memcpy(key.address, answer->resolver.bytes, sizeof(key.address));
	FORGET(key);
	rank = look_up(&key, answer->held, &verdict, &rule);
	FORGET(verdict);
	named = rank < FINAL ? look_up_resolver(answer, policy) : VERDICT_NONE;
	return (named == VERDICT_NONE ? verdict : named) == VERDICT_ALLOW;
}

/* Begin to read an answer, if there is anything in it that can be granted. */
static inline void begin_answer(struct __sk_buff *skb, const struct answer *answer, u32 policy,
				struct granting *granting)
{
	u32 set = policy ? find_set(skb, answer, policy, granting) : NO_SET;

	if (set == NO_SET || !may_resolve(answer, policy))
		return;
	granting->granted.scope = answer->scope;
	granting->granted.policy = policy;
	granting->fresh.sets_low = set < 64 ? 1ULL << set : 0;
	granting->fresh.sets_high = set < 64 ? 0 : 1ULL << (set & 63);
	granting->fresh.used = 0;
	begin_reading(skb, answer->at, answer->asked_at, answer->end, &granting->reading);
}

/*
 * Begin the next answer, or the same one for the policy about to take over. Returns 0 if there is
 * none.
 */
static inline int begin_next(struct __sk_buff *skb, struct granting *granting)
{
	u64 which = granting->next;
	u32 is_for_next = granting->is_for_next;

	OPAQUE(which);
	if (which >= MESSAGES_MAX || which >= granting->number)
		return 0;

	struct answer answer = granting->answers[which];
	struct mode_value *mode = mode_for(governing(answer.scope));

	if (!mode)
		return 0;
	granting->has_aliases = !is_for_next && mode->refuses_lookups;
	granting->is_for_next = !is_for_next && mode->next_policy;
	granting->next = which + !granting->is_for_next;
	begin_answer(skb, &answer, is_for_next ? mode->next_policy : mode->policy, granting);
	return 1;
}

/*
 * Tail-called by on_answer, and by on_grant at the end of an answer. Begins the next answer, and
 * calls on_grant, or itself where there is nothing to grant.
 */
TAIL_CALLED("cgroup_skb/ingress", later, 0)
int on_next(struct __sk_buff *skb)
{
	struct granting *granting = current_granting();

	if (!granting || !begin_next(skb, granting))
		return ALLOW;
	later.call(skb, granting->reading.left ? ON_GRANT : ON_NEXT);
	count(KIND_DNS, COUNT_UNREAD);
	return ALLOW;
}

/*
 * Tail-called by on_next. Reads some steps further in an answer, for one policy; then calls itself,
 * as often as the kernel lets it.
 */
TAIL_CALLED("cgroup_skb/ingress", later, 1)
int on_grant(struct __sk_buff *skb)
{
	struct granting *granting = current_granting();
	u32 next = ON_NEXT;

	if (!granting)
		return ALLOW;
	granting->alias_at = 0;
	grant_records(skb, granting);
	if (granting->reading.left)
		next = ON_GRANT;
	if (granting->alias_at)
		next = ON_ALIAS;
	later.call(skb, next);
	count(KIND_DNS, COUNT_UNREAD);
	return ALLOW;
}

/* Copy the name at alias_at into `wire`, along its pointers. Returns whether the name ends. */
static inline int copy_alias(struct __sk_buff *skb, struct granting *granting)
{
	volatile u32 *at = &granting->alias_at, *size = &granting->size;
	u32 step;

	*size = 0;
#pragma clang loop unroll(disable)
	for (step = 0; step < ALIAS_STEPS; step++) {
		u32 start = half_at(skb, *at);
		u64 last = start >> 8, to = *size; /* the label's last byte; its length is byte 0 */

		if (start >= POINTER << 8) {
			*at = granting->reading.begin + (start & 0x3fff);
			continue;
		}
		OPAQUE(last);
		OPAQUE(to);
		if (last > LABEL_MAX || to >= NAME_ON_WIRE ||
		    bpf_skb_load_bytes(skb, *at, (u8 *)granting->wire + to, last + 1))
			return 0;
		*size = to + last + 1;
		*at += last + 1;
		if (!last)
			return 1;
	}
	return 0;
}

/*
 * Tail-called by on_grant. Notes the name that the latest CNAME leads to: it may be asked for from
 * now on.
 */
TAIL_CALLED("cgroup_skb/ingress", later, 2)
int on_alias(struct __sk_buff *skb)
{
	struct granting *granting = current_granting();
	u32 length, is = 1;

	if (!granting)
		return ALLOW;
	if (copy_alias(skb, granting)) {
		__builtin_memset(granting->key.name, 0, sizeof(granting->key.name));
		length = reverse_name(granting, granting->size);
		if (length) {
			granting->key.prefix_bits = NAME_KEY_HEAD_BITS + 8 * (length + 1);
			granting->key.policy = granting->granted.policy;
			further_names.update(&granting->key, &is);
		}
	}
	later.call(skb, ON_GRANT);
	count(KIND_DNS, COUNT_UNREAD);
	return ALLOW;
}
