// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Limits how much of a table each scope, and each step whose job isn't known, can fill within some
 * time, so that none takes the room of another. Nobody has to say when a scope or a step is over.
 * No program is attached here: listener.bpf.c, grant.bpf.c and lookup.bpf.c call take_share,
 * slots.bpf.c and acts.bpf.c the rest.
 *
 * Where there are places that scopes share, some are kept for each scope; beyond these, a scope
 * gets one as long as all scopes together have less than half of them, or little more. So there is
 * room for what is kept for many scopes, however many places others have taken.
 */
#pragma once

#include "maps.h"

#define FLOWS_KEPT 128 /* of FLOWS_MAX / 2 in each window, with one peer and with others */
#define SLOTS_KEPT 64  /* of SLOTS_MAX / 4, likewise: two windows may have slots at once */
#define RECORDS_KEPT 256
#define RECORDS_COMMON 4096 /* records of first acts in a window: the ring has room for more */
#define OPEN_KEPT 256

enum share_of { SHARE_HEARD, SHARE_ASKED, SHARE_GRANTED };

struct share_key {
	u32 scope;
	u32 of;
};

struct share {
	u64 began_ns;
	u64 taken;
};
BPF_TABLE("lru_hash", struct share_key, struct share, shares, SCOPES_MAX);
/* The steps' shares have a table of their own: somebody may find a way to be many steps. */
BPF_TABLE("lru_hash", struct share_key, struct share, early_shares, 2 * SCOPES_MAX);

/*
 * Take one of the `most` places that the scope may fill within `length_ns`. Return whether there
 * was one left.
 */
static inline int take_share(u32 scope, u32 of, u64 most, u64 length_ns)
{
	struct share_key key = { .scope = scope, .of = of };
	u32 is_early = scope & SCOPE_EARLY;
	struct share *share = is_early ? early_shares.lookup(&key) : shares.lookup(&key);
	u64 now_ns = bpf_ktime_get_boot_ns();

	if (!share || now_ns - share->began_ns > length_ns) {
		struct share begun = { .began_ns = now_ns, .taken = 1 };

		if (is_early)
			early_shares.update(&key, &begun);
		else
			shares.update(&key, &begun);
		return 1;
	}
	if (share->taken >= most)
		return 0;
	__sync_fetch_and_add(&share->taken, 1);
	return 1;
}

static inline struct places_value *places_of(u32 scope, u32 window)
{
	if (window & 1)
		return places_odd.lookup(&scope);
	return places_even.lookup(&scope);
}

/*
 * Take a place for a scope in a window; return whether there was one. `kept` is the number that
 * each scope has for itself, `common` the number up to which all together may take more.
 */
static inline int take_place(u32 scope, enum place place, u32 kept, u32 common, u32 window)
{
	u32 parity = window & 1;
	struct places_value *own = places_of(scope, window), *all = places_of_all.lookup(&parity);

	if (!own || !all || (own->taken[place] >= kept && all->taken[place] >= common))
		return 0;
	__sync_fetch_and_add(&own->taken[place], 1);
	__sync_fetch_and_add(&all->taken[place], 1);
	return 1;
}

/* Let a connect wait for its outcome; return whether there was room. */
static inline int keep_open(struct act_value *act)
{
	u32 zero = 0, one = 1;
	s64 *own = open_noted.lookup(&act->scope), *all = open_of_all.lookup(&zero);
	s64 *removed = open_of_all.lookup(&one);

	if (!own || !all || !removed || (*own >= OPEN_KEPT && *all - *removed >= OPEN_MAX / 2) ||
	    open_connects.insert(&act->cookie, act))
		return 0;
	__sync_fetch_and_add(own, 1);
	__sync_fetch_and_add(all, 1);
	return 1;
}

/*
 * Note that a connect waits no more. Return whether it still waited: another CPU may have been
 * faster.
 */
static inline int forget_open(struct act_value *act)
{
	u32 zero = 0;
	s64 *own = open_noted.lookup(&act->scope), *all = open_of_all.lookup(&zero);

	if (open_connects.delete(&act->cookie))
		return 0;
	if (own)
		__sync_fetch_and_add(own, -1);
	if (all)
		__sync_fetch_and_add(all, -1);
	return 1;
}
