/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The records that travel to user space: the single source of truth for their layout.
 * `make wire` generates exporter/wire.py from this file; the loader appends that layout to the
 * programs as static assertions, so a difference can't be compiled.
 *
 * Only fixed-width types, every gap spelled out as `pad`, no record larger than it needs to be.
 */
#ifndef EGRESS_H
#define EGRESS_H

#include <linux/types.h>

enum limits {
	ARGUMENTS_PIECE = 4096, /* bytes of argv in one record */
	ARGUMENTS_MAX = 8 * ARGUMENTS_PIECE,
	PATH_ROOM = 1024 /* bytes for the components of an executable's path */
};

enum record_kind {
	KIND_FORK = 1,
	KIND_EXEC = 2,
	KIND_ARGUMENTS = 3,
	KIND_EXIT = 4,
	KIND_ACT = 5,
	KINDS
};

enum act_kind { ACT_CONNECT = 1, ACT_SEND = 2 };

/* What is counted for each kind of record: the index is kind * COUNTS + one of these. */
enum count_of { COUNT_SEEN = 0, COUNT_LOST = 1, COUNT_UNTRACKED = 2, COUNTS };

struct record_header {
	u32 layout; /* which edition of this file wrote it */
	u16 kind;
	u16 pad;
	u64 at_ns;	/* CLOCK_BOOTTIME */
	u64 started_ns; /* with pid: the process, for good */
	u32 pid;
	u32 exec_id; /* which of the process's programs: 0 before its first exec in the job */
};

struct fork_record {
	struct record_header header;
	u64 creator_started_ns;
	u32 creator_pid;
	u32 creator_exec_id;
	u32 parent_pid;
	u32 scope;
};

/* Behind it stand the first arguments_here bytes of argv. */
struct exec_record {
	struct record_header header;
	u32 parent_pid;
	u32 scope;
	u32 arguments_size; /* of the whole argv */
	u32 arguments_here;
	u32 path_here;	      /* bytes used of path */
	u32 path_cut;	      /* 1: the components nearest to the root are missing */
	char path[PATH_ROOM]; /* NUL-terminated components, the file's own name first */
};

/* Behind it stand arguments_here bytes, at most ARGUMENTS_PIECE. */
struct arguments_record {
	struct record_header header;
	u32 offset;
	u32 arguments_here;
};

struct exit_record {
	struct record_header header;
	u32 wait_status; /* as wait(2) gives it */
	u32 pad;
};

struct act_record {
	struct record_header header;
	u64 cookie;
	u32 tid;
	u32 parent_pid;
	u32 uid;
	u32 scope;
	u8 peer[16]; /* network order, IPv4 as ::ffff:a.b.c.d */
	u8 local[16];
	u16 peer_port;	/* host order, like local_port */
	u16 local_port; /* 0: not bound yet */
	u16 protocol;
	u16 act;
};

/* Map values that user space reads or writes. */
struct proc_value {
	u64 started_ns;
	u32 scope;
	u32 exec_id;
};

struct config_value {
	u32 layout;
	u32 enforcing;
};

#endif
