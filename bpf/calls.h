/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Recognises the system call that a process makes, on each architecture: the numbers of calls,
 * where their arguments stand, and how to recognise 32-bit calls, which have numbers and registers
 * of their own.
 */
#pragma once

#include "maps.h"

#define ERRNO_MAX 133

enum call { CALL_NONE, CALL_SOCKET, CALL_SOCKETCALL, CALL_BPF, CALL_PTRACE, CALL_MEMORY };

#if defined(__x86_64__)
#define COMPAT_CALL 2 /* TS_COMPAT, in thread_info.status */

static inline enum call call_of(u64 number)
{
	number &= ~0x40000000ULL; /* x32 */
	if (number == 41)
		return CALL_SOCKET;
	if (number == 321)
		return CALL_BPF;
	if (number == 101 || number == 521)
		return CALL_PTRACE;
	if (number == 310 || number == 539) /* process_vm_readv */
		return CALL_MEMORY;
	return number == 311 || number == 540 ? CALL_MEMORY : CALL_NONE;
}

static inline enum call call_of_32_bits(u64 number)
{
	if (number == 359)
		return CALL_SOCKET;
	if (number == 102)
		return CALL_SOCKETCALL;
	if (number == 357)
		return CALL_BPF;
	if (number == 26)
		return CALL_PTRACE;
	return number == 347 || number == 348 ? CALL_MEMORY : CALL_NONE;
}

/* Return the number of the system call that returns: the registers still have it. */
static inline u64 number_at_exit(u64 registers)
{
	return pointer_in(registers + 120) & ~0x40000000ULL;
}

static inline int is_connect(u64 number, int is_32_bits)
{
	return number == (is_32_bits ? 362 : 42);
}

static inline u32 first_argument_at_exit(u64 registers, int is_32_bits)
{
	return number_in(registers + (is_32_bits ? 40 : 112));
}

static inline u32 argument(u64 registers, u32 index, int is_32_bits)
{
	const u32 at = is_32_bits ? (index == 0	  ? 40
				     : index == 1 ? 88
						  : 96)
				  : (index == 0	  ? 112
				     : index == 1 ? 104
						  : 96);

	return number_in(registers + at);
}
#else
#define COMPAT_CALL (1 << 22) /* TIF_32BIT, in thread_info.flags */

static inline enum call call_of(u64 number)
{
	if (number == 198)
		return CALL_SOCKET;
	if (number == 280)
		return CALL_BPF;
	if (number == 117)
		return CALL_PTRACE;
	return number == 270 || number == 271 ? CALL_MEMORY : CALL_NONE;
}

static inline enum call call_of_32_bits(u64 number)
{
	if (number == 281)
		return CALL_SOCKET;
	if (number == 386)
		return CALL_BPF;
	if (number == 26)
		return CALL_PTRACE;
	return number == 376 || number == 377 ? CALL_MEMORY : CALL_NONE;
}

/*
 * Return the number of the system call that returns: the registers still have it. The first
 * register has the result by then.
 */
static inline u64 number_at_exit(u64 registers)
{
	return number_in(registers + 280);
}

static inline int is_connect(u64 number, int is_32_bits)
{
	return number == (is_32_bits ? 283 : 203);
}

static inline u32 first_argument_at_exit(u64 registers, int is_32_bits)
{
	return number_in(registers + 272);
}

static inline u32 argument(u64 registers, u32 index, int is_32_bits)
{
	return number_in(registers + 8 * index);
}
#endif
