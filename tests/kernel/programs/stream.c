#define _GNU_SOURCE
#include "act.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define ECHO_LIMIT_S 30

/* Read our payload back, so that closing is orderly and "ok" means that it arrived. */
static void await_echo(int fd)
{
	struct timeval limit = { .tv_sec = ECHO_LIMIT_S };
	char echo[sizeof(payload)];

	check(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	check(recv(fd, echo, payload_size, MSG_WAITALL));
}

void connect_blocking(const struct plan *plan)
{
	for (long i = 0; i < plan->count; i++)
		check_error(peer_connect(&plan->peers[0], 0));
}

void connect_nonblock(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct pollfd writable = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t size = sizeof(error);

	if (connect(fd, &plan->peers[0].any, plan->peers[0].size) == 0)
		return;
	if (errno != EINPROGRESS)
		finish(errno);
	check(poll(&writable, 1, -1));
	check(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
	check_error(-error);
}

static void *connect_in_thread(void *plan)
{
	connect_blocking(plan);
	return NULL;
}

void thread_connect(const struct plan *plan)
{
	pthread_t thread;

	check_error(-pthread_create(&thread, NULL, connect_in_thread, (void *)plan));
	pthread_join(thread, NULL);
}

void mptcp_connect(const struct plan *plan)
{
	check_error(peer_connect(&plan->peers[0], IPPROTO_MPTCP));
}

void tfo_sendto(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_STREAM, 0);

	send_to(fd, &plan->peers[0], MSG_FASTOPEN);
	await_echo(fd);
}

void tfo_connect(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_STREAM, 0);
	int on = 1;

	check(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)));
	connect_to(fd, &plan->peers[0]);
	check(write(fd, payload, payload_size));
	await_echo(fd);
}

void mapped_tcp(const struct plan *plan)
{
	struct peer mapped = peer_mapped(&plan->peers[0]);

	check_error(peer_connect(&mapped, 0));
}
