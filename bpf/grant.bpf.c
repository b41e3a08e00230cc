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
#define RECORD_STEPS 96 /* labels of owners' names, and records */
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
	/* Here, where the verifier doesn't follow what they are. */
	struct granted_key granted;
	struct granted_value fresh;
	u64 made;
	u64 ended;
	u32 at;
	u32 left; /* records */
	u32 label_at;
	u32 is_for_next; /* 1: it is gone through again, for the policy to come */
};
BPF_PERCPU_ARRAY(grantings, struct granting, 1);
BPF_PROG_ARRAY(later, 1); /* on_grant: with on_answer it is more than the verifier can follow */

static inline struct granting *current_granting(void)
{
	u32 zero = 0;

	return grantings.lookup(&zero);
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

/* The rule set that the question's name has in the policy; NO_SET for none. */
static inline u32 find_set(struct __sk_buff *skb, const struct answer *answer, u32 policy,
			   struct granting *granting)
{
	/*
	 * Without the last byte, so that one comparison says that there is something to read and
	 * that there is room for it: of two, LLVM makes one of a difference, from which the
	 * verifiers up to Linux 6.17 don't learn the size.
	 */
	u64 last = answer->asked_at - HEADER_SIZE - answer->at - 1;
	u32 size, *set;

	asm volatile("" : "+r"(last));
	if (last >= sizeof(granting->wire) ||
	    bpf_skb_load_bytes(skb, answer->at + HEADER_SIZE, granting->wire, last + 1))
		return NO_SET;
	size = reverse_name(granting, last + 1);
	if (!size)
		return NO_SET;
	granting->key.prefix_bits = NAME_KEY_HEAD_BITS + 8 * (size + 1);
	granting->key.policy = policy;
	set = names.lookup(&granting->key);
	return set ? *set : NO_SET;
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
static inline s64 grants_of(u32 scope, struct granting *granting)
{
	volatile u64 *all = &granting->made, *over = &granting->ended;

	*all = number_of(grants_made.lookup(&scope));
	*over = number_of(grants_ended.lookup(&scope));
	return *all - *over;
}

static inline int has_room_for_grant(struct granting *granting)
{
	s64 own = grants_of(granting->granted.scope, granting);

	return own < GRANTS_KEPT ||
	       (own < GRANTS_MOST && grants_of(ALL_SCOPES, granting) < GRANTED_MAX / 2);
}

static inline void grant(struct granting *granting)
{
	const struct granted_value *fresh = &granting->fresh;
	struct granted_value *there = granted.lookup(&granting->granted);

	if (!there && has_room_for_grant(granting)) {
		if (!granted.insert(&granting->granted, &granting->fresh)) {
			add_one(granting->granted.scope);
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

static inline void grant_record(struct __sk_buff *skb, struct granting *granting, u64 now_ns,
				u32 at, const u8 *record)
{
	u32 type = record[0] << 8 | record[1], class = record[2] << 8 | record[3];
	u32 ttl_s = record[4] << 24 | record[5] << 16 | record[6] << 8 | record[7];
	u32 size = record[8] << 8 | record[9];

	if (class != INTERNET ||
	    !read_answer_address(skb, at, type, size, (union address *)granting->granted.address))
		return;
	granting->fresh.until_ns = now_ns + lifetime_ns(ttl_s);
	grant(granting);
}

/* A step takes a label of a record's owner, or the end of that name and the record behind it. */
static inline void grant_records(struct __sk_buff *skb, u32 end, struct granting *granting)
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
		if (*cursor > end)
			break;
		*left = *left - 1;
		grant_record(skb, granting, now_ns, at, record);
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

static inline void grant_answer(struct __sk_buff *skb, const struct answer *answer, u32 policy,
				struct granting *granting)
{
	u8 records[2];
	u32 set;

	if (!policy || bpf_skb_load_bytes(skb, answer->at + 6, records, 2))
		return;
	granting->left = records[0] << 8 | records[1];
	granting->at = answer->asked_at + 4;
	if (!granting->left)
		return;
	set = find_set(skb, answer, policy, granting);
	if (set == NO_SET)
		return;
	granting->granted.scope = answer->scope;
	granting->granted.policy = policy;
	granting->fresh.sets_low = set < 64 ? 1ULL << set : 0;
	granting->fresh.sets_high = set < 64 ? 0 : 1ULL << (set & 63);
	granting->fresh.used = 0;
	grant_records(skb, answer->end, granting);
}

/* Of one answer for one policy; then it begins again with the next. */
int on_grant(struct __sk_buff *skb)
{
	struct granting *granting = current_granting();

	if (!granting)
		return ALLOW;

	u64 which = granting->next;
	u32 is_for_next = granting->is_for_next;

	asm volatile("" : "+r"(which));
	if (which >= MESSAGES_MAX || which >= granting->number)
		return ALLOW;

	struct answer answer = granting->answers[which];
	struct mode_value *mode = modes.lookup(&answer.scope);

	if (!mode)
		return ALLOW;
	granting->is_for_next = !is_for_next && mode->next_policy;
	granting->next = which + !granting->is_for_next;
	grant_answer(skb, &answer, is_for_next ? mode->next_policy : mode->policy, granting);
	if (granting->next < granting->number)
		later.call(skb, 0);
	return ALLOW;
}
