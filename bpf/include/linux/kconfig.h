/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* BCC refuses to compile without it; the kernel that loads the programs has it by definition. */
#define CONFIG_BPF_SYSCALL 1
