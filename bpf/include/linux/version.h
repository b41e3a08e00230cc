/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The oldest kernel the programs are made for: 5.15. */
#define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + (patch))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 15, 0)
