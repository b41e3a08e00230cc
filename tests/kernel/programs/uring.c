#include "uring.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *map_ring(int fd, size_t size, off_t offset)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
}

/* Both rings are one mapping since 5.4 (IORING_FEAT_SINGLE_MMAP): as long as the longer of them. */
static size_t rings_size(const struct io_uring_params *params)
{
	size_t sq = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	size_t cq = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);

	return sq > cq ? sq : cq;
}

static void queue(char *rings, const struct io_uring_params *params)
{
	*(uint32_t *)(rings + params->sq_off.array) = 0;
	__atomic_store_n((uint32_t *)(rings + params->sq_off.tail), 1, __ATOMIC_RELEASE);
}

static int completion(const char *rings, const struct io_uring_params *params)
{
	const uint32_t *tail = (const uint32_t *)(rings + params->cq_off.tail);
	const struct io_uring_cqe *first = (const void *)(rings + params->cq_off.cqes);

	return __atomic_load_n(tail, __ATOMIC_ACQUIRE) ? first->res : -ETIME;
}

int uring_perform(const struct io_uring_sqe *entry, unsigned int setup_flags)
{
	struct io_uring_params params = { .flags = setup_flags };
	int fd = syscall(SYS_io_uring_setup, 1, &params);
	struct io_uring_sqe *entries;
	char *rings;

	if (fd < 0)
		return -errno;
	rings = map_ring(fd, rings_size(&params), IORING_OFF_SQ_RING);
	entries = map_ring(fd, sizeof(*entries), IORING_OFF_SQES);
	if (rings == MAP_FAILED || entries == MAP_FAILED)
		return -errno;
	entries[0] = *entry;
	queue(rings, &params);
	/* A polling kernel thread has seen the entry or is woken now; else the call submits it. */
	if (syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP,
		    NULL, 0) < 0)
		return -errno;
	return completion(rings, &params);
}
