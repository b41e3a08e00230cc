// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * What an answer grants: where the question's name is one that the policy names, the addresses in
 * it, before the process that asked gets to see them. docs/policy.md says which answers count.
 */
#define A_TYPE 1
#define AAAA_TYPE 28
#define INTERNET 1 /* the class */
#define NAME_STEPS 254
#define LABEL_MAX 63
#define COMPRESSED 0xc0
#define RECORD_STEPS 192 /* labels of owners' names, and records */
#define NAME_KEY_HEAD_BITS 32
#define TTL_LEAST_S 600 /* clients go on using the addresses that they have */
#define TTL_MOST_S 86400
#define NS_PER_S 1000000000ULL
#define NO_SET 0xffffffffU
#define ALL_SCOPES 0xffffffffU
#define GRANTS_KEPT 512	  /* a scope's own, for 256 of them; the other half is for who needs more */
#define GRANTS_MOST 16384 /* of a scope */

#define MESSAGES_MAX 4 /* in a segment */

/* A message that answers, in a packet. */
struct answer {
	u32 at;
	u32 asked_at;
	u32 end;
	u32 scope;
};

/* Those of a packet while they are gone through. Nothing takes the CPU from a program at ingress.
 */
struct granting {
	struct answer answers[MESSAGES_MAX];
	u32 number;
	u32 next;
	struct name_key key;
	u8 wire[256]; /* the question's name */
	union address address;
	u32 at;
	u32 left; /* records */
	u32 label_at;
	u32 policies[2];
	u32 sets[2];
};
BPF_PERCPU_ARRAY(grantings, struct granting, 1);
BPF_PROG_ARRAY(later, 1); /* on_grant: with on_answer it is more than the verifier can follow */

static inline struct granting *current_granting(void)
{
	u32 zero = 0;

	return grantings.lookup(&zero);
}

static inline u64 network_of(u64 socket)
{
	return pointer_at(socket, SOCK_NETWORK);
}

/* Whoever makes a user namespace can make a network in it, and answer there under any address. */
static inline int is_of_the_host(u64 network)
{
	return number_at(pointer_at(network, NETWORK_USERS), USERS_LEVEL) == 0;
}

static inline int has_own_resolver(u64 network)
{
	u64 cookie = pointer_at(network, NETWORK_COOKIE);
	struct candidate_key *found = own_resolvers.lookup(&cookie);

	return found && (!found->tgid || candidates.lookup(found));
}

/*
 * In its own network a process of the job could have taken the resolver's place; one that has not
 * taken it by now had no means to answer.
 */
static inline int is_trusted(u64 socket, u32 on_loopback)
{
	u64 network = network_of(socket);

	if (!is_of_the_host(network))
		return 0;
	return !on_loopback || !has_own_resolver(network);
}

/* The process answers on loopback, or has the means to. */
static inline void note_own_resolver(struct bpf_sock *sk, struct proc_value *proc)
{
	u64 network = network_of(address_of(sk)), cookie = pointer_at(network, NETWORK_COOKIE);
	struct candidate_key of_a_job = {};

	if (!is_of_the_host(network) || has_own_resolver(network))
		return;
	if (scope_of(proc))
		own_resolvers.update(&cookie, &of_a_job);
	else if (proc->candidate.tgid)
		own_resolvers.update(&cookie, &proc->candidate);
}

static inline int is_of_host_names(u32 byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
	       byte == '_';
}

/*
 * Fills in the key's name from `size` bytes on the wire, which end with the root's label; 0 where
 * it is not a host's name: a dot within a label would make another name of it.
 */
static inline u32 reverse_name(struct granting *granting, u32 size)
{
	volatile u32 *label_at = &granting->label_at;
	u32 step;

	*label_at = 0;
#pragma clang loop unroll(disable)
	for (step = 0; step < NAME_STEPS; step++) {
		if (step + 1 >= size)
			break;

		u32 byte = lower(granting->wire[step & 255]) & 255;
		u64 to = size - 2 - step;

		if (step == *label_at) {
			if (byte > LABEL_MAX)
				return 0;
			*label_at = step + byte + 1;
			if (!step)
				continue;
			byte = '.';
		} else if (!is_of_host_names(byte)) {
			return 0;
		}
		asm volatile("" : "+r"(to));
		if (to >= HOST_NAME_ROOM)
			return 0;
		granting->key.name[to] = byte;
	}

	u64 length = size - 2;

	asm volatile("" : "+r"(length));
	if (length >= HOST_NAME_ROOM)
		return 0;
	granting->key.name[length] = 0;
	return length;
}

/* Which rule sets the question's name has, in the scope's policy and in the one to come. */
static inline int find_sets(struct __sk_buff *skb, const struct answer *answer,
			    struct granting *granting)
{
	u64 size = answer->asked_at - HEADER_SIZE - answer->at;
	u32 which, found = 0;

	asm volatile("" : "+r"(size));
	if (size < 2 || size > sizeof(granting->wire) ||
	    bpf_skb_load_bytes(skb, answer->at + HEADER_SIZE, granting->wire, size))
		return 0;
	size = reverse_name(granting, size);
	if (!size)
		return 0;
	granting->key.prefix_bits = NAME_KEY_HEAD_BITS + 8 * (size + 1);
#pragma clang loop unroll(disable)
	for (which = 0; which < 2; which++) {
		u32 *set;

		granting->key.policy = granting->policies[which];
		set = granting->key.policy ? names.lookup(&granting->key) : 0;
		granting->sets[which] = set ? *set : NO_SET;
		found |= set != 0;
	}
	return found;
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

/* Signed, since the parts are read one by one while others count. */
static inline s64 grants_of(u32 scope)
{
	return number_of(grants_made.lookup(&scope)) - number_of(grants_ended.lookup(&scope));
}

static inline int has_room_for_grant(u32 scope)
{
	s64 own = grants_of(scope);

	return own < GRANTS_KEPT || (own < GRANTS_MOST && grants_of(ALL_SCOPES) < GRANTED_MAX / 2);
}

static inline void grant(const struct granted_key *key, u32 set, u64 until_ns)
{
	struct granted_value *there = granted.lookup(key);
	struct granted_value fresh = {
		.sets_low = set < 64 ? 1ULL << set : 0,
		.sets_high = set < 64 ? 0 : 1ULL << (set & 63),
		.until_ns = until_ns,
	};

	if (!there) {
		if (!has_room_for_grant(key->scope)) {
			count(KIND_DNS, COUNT_UNGRANTED);
			return;
		}
		if (!granted.insert((struct granted_key *)key, &fresh)) {
			add_one(key->scope);
			add_one(ALL_SCOPES);
			return;
		}
		there = granted.lookup(key);
		if (!there) {
			count(KIND_DNS, COUNT_UNGRANTED);
			return;
		}
	}
	__sync_fetch_and_or(&there->sets_low, fresh.sets_low);
	__sync_fetch_and_or(&there->sets_high, fresh.sets_high);
	if (there->until_ns < until_ns)
		there->until_ns = until_ns;
}

/* The address of a record of the answer, if it has one; the record's data stand at `at`. */
static inline int read_answer_address(struct __sk_buff *skb, u32 at, u32 type, u32 size,
				      union address *address)
{
	address->words[0] = 0;
	address->words[1] = 0;
	address->words[2] = bpf_htonl(0xffff);
	if (type == A_TYPE && size == 4)
		return !bpf_skb_load_bytes(skb, at, &address->words[3], 4);
	if (type == AAAA_TYPE && size == 16)
		return !bpf_skb_load_bytes(skb, at, address, 16);
	return 0;
}

static inline u64 lifetime_ns(u32 ttl_s)
{
	if (ttl_s < TTL_LEAST_S)
		ttl_s = TTL_LEAST_S;
	if (ttl_s > TTL_MOST_S)
		ttl_s = TTL_MOST_S;
	return ttl_s * NS_PER_S;
}

static inline void grant_record(struct __sk_buff *skb, struct granting *granting, u32 scope,
				u64 now_ns, u32 at, const u8 *record)
{
	u32 type = record[0] << 8 | record[1], class = record[2] << 8 | record[3];
	u32 ttl_s = record[4] << 24 | record[5] << 16 | record[6] << 8 | record[7];
	u32 size = record[8] << 8 | record[9], which;

	if (class != INTERNET || !read_answer_address(skb, at, type, size, &granting->address))
		return;
#pragma clang loop unroll(disable)
	for (which = 0; which < 2; which++) {
		struct granted_key key = { .scope = scope, .policy = granting->policies[which] };

		if (granting->sets[which] == NO_SET)
			continue;
		__builtin_memcpy(key.address, &granting->address, sizeof(key.address));
		grant(&key, granting->sets[which], now_ns + lifetime_ns(ttl_s));
	}
}

/* A step takes a label of a record's owner, or the end of that name and the record behind it. */
static inline void grant_records(struct __sk_buff *skb, const struct answer *answer,
				 struct granting *granting)
{
	volatile u32 *cursor = &granting->at, *left = &granting->left;
	u64 now_ns = bpf_ktime_get_boot_ns();
	u32 step;

#pragma clang loop unroll(disable)
	for (step = 0; step < RECORD_STEPS; step++) {
		u32 at = *cursor;
		u8 record[10];

		if (!*left)
			return;
		if (bpf_skb_load_bytes(skb, at, record, 1))
			break;
		if (record[0] && record[0] <= LABEL_MAX) {
			*cursor = at + 1 + record[0];
			continue;
		}
		at += record[0] >= COMPRESSED ? 2 : 1;
		if (bpf_skb_load_bytes(skb, at, record, sizeof(record)))
			break;
		at += sizeof(record);
		*cursor = at + (record[8] << 8 | record[9]);
		if (*cursor > answer->end)
			break;
		*left = *left - 1;
		grant_record(skb, granting, answer->scope, now_ns, at, record);
	}
	count(KIND_DNS, COUNT_UNREAD);
}

/* For an answer that was asked for, and counts; on_grant comes to it. */
static inline void note_answer(const struct dns_packet *packet, u32 scope)
{
	struct mode_value *mode = modes.lookup(&scope);
	struct granting *granting;
	u64 number;

	if (!mode || !mode->has_names)
		return;
	granting = current_granting();
	if (!granting)
		return;
	number = granting->number;
	asm volatile("" : "+r"(number));
	if (number >= MESSAGES_MAX)
		return;
	granting->answers[number].at = packet->at;
	granting->answers[number].asked_at = packet->asked_at;
	granting->answers[number].end = packet->at + packet->here;
	granting->answers[number].scope = scope;
	granting->number = number + 1;
}

int on_grant(struct __sk_buff *skb)
{
	struct granting *granting = current_granting();
	u8 records[2];

	if (!granting)
		return ALLOW;

	u64 which = granting->next;

	asm volatile("" : "+r"(which));
	if (which >= MESSAGES_MAX || which >= granting->number)
		return ALLOW;

	struct answer answer = granting->answers[which];
	struct mode_value *mode = modes.lookup(&answer.scope);

	granting->next = which + 1;
	if (mode && !bpf_skb_load_bytes(skb, answer.at + 6, records, 2)) {
		granting->policies[0] = mode->policy;
		granting->policies[1] = mode->next_policy;
		granting->left = records[0] << 8 | records[1];
		granting->at = answer.asked_at + 4;
		if (granting->left && find_sets(skb, &answer, granting))
			grant_records(skb, &answer, granting);
	}
	if (granting->next < granting->number)
		later.call(skb, 0);
	return ALLOW;
}
