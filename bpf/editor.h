/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The declarations that BCC brings when it compiles the programs, for an editor (clangd) and for
 * `make lint-c`, which checks that each file includes what it uses. Nothing is compiled with this:
 * compile_flags.txt names it. The forms of BCC's maps and helpers are in its reference guide.
 */
#pragma once

#include <linux/bpf.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

#define bpf_htons(value) __builtin_bswap16(value)
#define bpf_ntohs(value) __builtin_bswap16(value)
#define bpf_htonl(value) __builtin_bswap32(value)
#define bpf_ntohl(value) __builtin_bswap32(value)

#define BPF_F_TABLE(type, key_type, leaf_type, table, size, flags)                                 \
	extern struct table##_table {                                                              \
		leaf_type *(*lookup)(const key_type *);                                            \
		long (*update)(const key_type *, const leaf_type *);                               \
		long (*insert)(const key_type *, const leaf_type *);                               \
		long (*delete)(const key_type *);                                                  \
	} table
#define BPF_TABLE(type, key_type, leaf_type, table, size)                                          \
	BPF_F_TABLE(type, key_type, leaf_type, table, size, 0)
#define BPF_HASH(table, key_type, leaf_type, size)                                                 \
	BPF_TABLE("hash", key_type, leaf_type, table, size)
#define BPF_ARRAY(table, leaf_type, size) BPF_TABLE("array", u32, leaf_type, table, size)
#define BPF_PERCPU_ARRAY(table, leaf_type, size)                                                   \
	BPF_TABLE("percpu_array", u32, leaf_type, table, size)
#define BPF_PROG_ARRAY(table, size)                                                                \
	extern struct table##_table {                                                              \
		void (*call)(void *, u32);                                                         \
	} table
#define BPF_RINGBUF_OUTPUT(table, pages)                                                           \
	extern struct table##_table {                                                              \
		void *(*ringbuf_reserve)(u64);                                                     \
		void (*ringbuf_submit)(void *, u64);                                               \
		void (*ringbuf_discard)(void *, u64);                                              \
	} table
#define BPF_STACK(table, leaf_type, size)                                                          \
	extern struct table##_table {                                                              \
		long (*push)(const leaf_type *, u64);                                              \
		long (*pop)(leaf_type *);                                                          \
	} table
#define BPF_SK_STORAGE(table, leaf_type)                                                           \
	extern struct table##_table {                                                              \
		leaf_type *(*sk_storage_get)(void *, void *, u64);                                 \
	} table

u64 bpf_get_current_pid_tgid(void);
u64 bpf_get_current_task(void);
u64 bpf_get_current_uid_gid(void);
u32 bpf_get_socket_uid(struct __sk_buff *);
u64 bpf_ktime_get_boot_ns(void);
struct bpf_sock *bpf_sk_fullsock(struct bpf_sock *);
long bpf_skb_load_bytes(const struct __sk_buff *, u32, void *, u32);
long bpf_sock_ops_cb_flags_set(struct bpf_sock_ops *, int);
long bpf_spin_lock(struct bpf_spin_lock *);
long bpf_spin_unlock(struct bpf_spin_lock *);
