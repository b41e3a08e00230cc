// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Limits how much of a table each scope, and each step whose job isn't known, can fill within some
 * time, so that none takes the room of another. Nobody has to say when a scope or a step is over.
 * No program is attached here: listener.bpf.c, grant.bpf.c and lookup.bpf.c call take_share.
 */
#pragma once

#include "maps.h"

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
