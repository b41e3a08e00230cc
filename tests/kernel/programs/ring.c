#include "act.h"
#include "uring.h"

#include <stdint.h>

static void uring_connect_with(const struct plan *plan, unsigned int setup_flags)
{
	struct io_uring_sqe entry = {
		.opcode = IORING_OP_CONNECT,
		.fd = open_socket(&plan->peers[0], SOCK_STREAM, 0),
		.addr = (uintptr_t)&plan->peers[0].any,
		.off = plan->peers[0].size,
	};

	check_error(uring_perform(&entry, setup_flags));
}

void uring_connect(const struct plan *plan)
{
	uring_connect_with(plan, 0);
}

void uring_connect_sqpoll(const struct plan *plan)
{
	uring_connect_with(plan, IORING_SETUP_SQPOLL);
}

void uring_sendmsg(const struct plan *plan)
{
	struct msghdr message = message_to(&plan->peers[0]);
	struct io_uring_sqe entry = {
		.opcode = IORING_OP_SENDMSG,
		.fd = open_socket(&plan->peers[0], SOCK_DGRAM, 0),
		.addr = (uintptr_t)&message,
		.len = 1,
	};

	check_error(uring_perform(&entry, 0));
}
