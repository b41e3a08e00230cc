// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Recognises the executables that policies name; each has a bit. An exec adds a program's bits to
 * the process's, and a fork hands them down: so a process's bits show which executables are in its
 * chain. No program is attached here: after_exec (exec.bpf.c) and note_program (missed.bpf.c) call
 * executables_in.
 */
#pragma once

#include "process.bpf.c"

#define CTIME_QUERIED 0x80000000U /* a flag of the kernel's, kept among the nanoseconds */

/*
 * Return the bits of the executable that runs in `mm`. It is known by its inode: a path depends on
 * the mount namespace, and anybody can have one.
 */
static inline u64 executables_in(u64 mm)
{
	struct config_value *config = settings();

	if (!config || !config->has_executables)
		return 0;

	u64 inode = pointer_at(pointer_at(mm, MM_EXE_FILE), FILE_INODE);
	struct exe_key key = {
		.inode = pointer_at(inode, INODE_NUMBER),
		.device = number_at(pointer_at(inode, INODE_SUPER), SUPER_DEVICE),
	};
	struct exe_value *found = exe_bits.lookup(&key);

	/* Root can change the file, but not without a trace: its ctime is another one then. */
	if (!found || found->ctime_sec != pointer_at(inode, INODE_CTIME_SEC) ||
	    found->ctime_nsec != (number_at(inode, INODE_CTIME_NSEC) & ~CTIME_QUERIED))
		return 0;
	return found->bits;
}
