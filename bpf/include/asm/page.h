/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* BCC computes no size of ours from it. */
#define PAGE_SIZE 4096UL
