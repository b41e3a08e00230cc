/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* BCC sizes nothing of ours by it. */
#define PAGE_SIZE 4096UL
