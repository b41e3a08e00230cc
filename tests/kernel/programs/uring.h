#pragma once

#include <linux/io_uring.h>

/*
 * Let a new io_uring made with `setup_flags` (0, IORING_SETUP_SQPOLL) perform one entry.
 * Returns what the completion carries, or -errno of the set-up.
 */
int uring_perform(const struct io_uring_sqe *entry, unsigned int setup_flags);
