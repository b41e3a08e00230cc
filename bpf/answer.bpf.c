// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Reads the records of a DNS answer, and finds those of the name that was asked for, or of a name
 * that its CNAMEs lead to. Names are compared where they stand in the message, label by label,
 * wherever their pointers lead. Nothing in the message is believed, and a record that is malformed
 * ends the reading. No program is attached here: on_grant (grant.bpf.c) reads by these functions.
 */
#pragma once

#include "header.bpf.c"
#include "message.bpf.c"
#include "slots.bpf.c"

#define A_TYPE 1
#define CNAME_TYPE 5
#define AAAA_TYPE 28
#define INTERNET 1 /* the class */
#define CODE 15	   /* mask of the response code in the header's second byte of flags; 0: no error */
#define LABEL_MAX 63
#define POINTER 0xc0
#define RECORD_HEAD 10
#define READING_STEPS 16 /* in one run of on_grant, which then calls itself again */

/*
 * How far an answer has been read. The owner of each record is compared with the name: at first the
 * question's, after a CNAME of the name its target. A server may put records in any order, so after
 * a CNAME all others are compared with the new name: the first record follows the last one, until a
 * whole round had no CNAME of the name. If CNAMEs lead in a circle, the limit on steps ends the
 * reading.
 */
struct reading {
	/* Places in the packet, in bytes. */
	u32 begin;    /* where the message begins */
	u32 end;      /* where the message ends */
	u32 first;    /* where the first record begins */
	u32 name;     /* where the name begins */
	u32 name_at;  /* how far the name is compared with the owner; once they differ: owner_at */
	u32 owner_at; /* how far the record's owner, its own name, is read */
	u32 behind;   /* where the owner ends in the record itself; 0: not known yet */
	/* About the record that is being read. */
	u32 is_other; /* 1: its owner isn't the name */
	u32 number;   /* the record's number, from 0 */
	u32 records;  /* the number of records in the answer */
	u32 left;     /* records still to be compared with the name; 0: the reading is over */
};

struct record {
	u32 type;
	u32 class;
	u32 ttl_s;
	u32 size; /* of the data, in bytes */
	u32 at;	  /* where the data begin in the packet */
};

static inline void begin_record(volatile struct reading *reading, u32 at)
{
	reading->owner_at = at;
	reading->name_at = reading->name;
	reading->behind = 0;
	reading->is_other = 0;
}

/* Begin to read the answer at `at`, whose question's name ends before `asked_at`. */
static inline void begin_reading(struct __sk_buff *skb, u32 at, u32 asked_at, u32 end,
				 volatile struct reading *reading)
{
	u32 is_sound = half_at(skb, asked_at + 2) == INTERNET && !(byte_at(skb, at + 3) & CODE);

	reading->begin = at;
	reading->end = end;
	reading->first = asked_at + 4;
	reading->name = at + HEADER_SIZE;
	reading->number = 0;
	reading->records = is_sound ? half_at(skb, at + 6) : 0;
	reading->left = reading->records;
	begin_record(reading, reading->first);
}

static inline void end_unread(volatile struct reading *reading)
{
	reading->left = 0;
	count(KIND_DNS, COUNT_UNREAD);
}

/* Return where the name at `at` goes on: at `at`, or at the target of a pointer there. */
static inline u32 followed(struct __sk_buff *skb, const volatile struct reading *reading, u32 at)
{
	u32 start = half_at(skb, at);

	return start >= POINTER << 8 ? reading->begin + (start & 0x3fff) : at;
}

/* Whether two labels of `size` bytes are the same; upper and lower case don't differ. */
static inline int is_same_label(struct __sk_buff *skb, u32 one_at, u32 other_at, u64 size)
{
	u64 one[8] = {}, other[8] = {}, differing = 0;
	u32 word;

	OPAQUE(size);
	size = (size & LABEL_MAX) + 1; /* with the length byte in front of the label */
	if (bpf_skb_load_bytes(skb, one_at, one, size) ||
	    bpf_skb_load_bytes(skb, other_at, other, size))
		return 0;
#pragma unroll
	for (word = 0; word < 8; word++) {
		u64 small = one[word] | 0x20 * EACH_BYTE, low = small & 0x7f * EACH_BYTE;
		u64 letters = ((low + 0x1f * EACH_BYTE) ^ (low + 5 * EACH_BYTE)) & ~small;

		differing |= (one[word] ^ other[word]) & ~((letters & 0x80 * EACH_BYTE) >> 2);
	}
	return !differing;
}

/*
 * Go a step further in the record's owner: along a pointer, if one stands there, and one label on.
 * Returns whether the owner has been read.
 */
static inline int read_owner(struct __sk_buff *skb, volatile struct reading *reading)
{
	u32 at = reading->owner_at;
	u32 owner = followed(skb, reading, at), name = followed(skb, reading, reading->name_at);
	u32 size = byte_at(skb, owner);

	if (owner != at && !reading->behind)
		reading->behind = at + 2;
	reading->owner_at = owner;
	reading->name_at = name;
	if (owner >= reading->end || (size > LABEL_MAX && size < POINTER)) {
		end_unread(reading);
		return 0;
	}
	if (owner == name && reading->behind)
		return 1;
	if (size >= POINTER || byte_at(skb, name) >= POINTER)
		return 0;
	if (!is_same_label(skb, owner, name, size)) {
		reading->is_other = 1;
		name = owner;
	}
	if (!size && !reading->behind)
		reading->behind = owner + 1;
	if (reading->behind && (!size || reading->is_other))
		return 1;
	reading->owner_at = owner + 1 + size;
	reading->name_at = name + 1 + size;
	return 0;
}

/* Read the fields behind the owner. Returns whether the record is whole. */
static inline int read_record(struct __sk_buff *skb, volatile struct reading *reading,
			      struct record *record)
{
	u32 at = reading->behind;
	u8 head[RECORD_HEAD] = {};

	if (!bpf_skb_load_bytes(skb, at, head, sizeof(head))) {
		record->type = head[0] << 8 | head[1];
		record->class = head[2] << 8 | head[3];
		record->ttl_s = head[4] << 24 | head[5] << 16 | head[6] << 8 | head[7];
		record->size = head[8] << 8 | head[9];
		record->at = at + sizeof(head);
		if (record->at + record->size <= reading->end)
			return 1;
	}
	end_unread(reading);
	return 0;
}

static inline int is_of_name(const volatile struct reading *reading, const struct record *record)
{
	return !reading->is_other && record->class == INTERNET;
}

/* Go on from this record to the next one. */
static inline void go_on(volatile struct reading *reading, const struct record *record)
{
	u32 number = reading->number + 1, at = record->at + record->size;

	if (record->type == CNAME_TYPE && is_of_name(reading, record)) {
		reading->name = record->at;
		reading->left = reading->records;
	}
	reading->left--;
	if (number == reading->records) {
		number = 0;
		at = reading->first;
	}
	reading->number = number;
	begin_record(reading, at);
}

/* Read the address of an A or AAAA record. Returns whether the record has one. */
static inline int read_record_address(struct __sk_buff *skb, const struct record *record,
				      union address *address)
{
	address->words[0] = 0;
	address->words[1] = 0;
	address->words[2] = bpf_htonl(0xffff);
	if (record->type == A_TYPE && record->size == 4)
		return !bpf_skb_load_bytes(skb, record->at, &address->words[3], 4);
	if (record->type == AAAA_TYPE && record->size == 16)
		return !bpf_skb_load_bytes(skb, record->at, address, 16);
	return 0;
}
