/*
 * One connected socket: a thread keeps changing where it goes, while another sends without an
 * address. The kernel reads address and port one after the other, and without the socket's lock.
 */
#define _GNU_SOURCE
#include "act.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define LEAST_ROUNDS 1000

struct torn {
	const struct plan *plan;
	int fd;
	atomic_int is_over;
};

static void *connect_in_turn(void *argument)
{
	struct torn *torn = argument;
	const struct plan *plan = torn->plan;

	for (int i = 0; !torn->is_over; i = (i + 1) % plan->n_peers)
		connect_to(torn->fd, &plan->peers[i]);
	return NULL;
}

/* The address of a datagram that is still being written stands where that of the connect does. */
static void *cork_in_turn(void *argument)
{
	struct torn *torn = argument;
	const struct plan *plan = torn->plan;

	for (int i = 0; !torn->is_over; i = (i + 1) % plan->n_peers)
		sendto(torn->fd, payload, 1, MSG_MORE, &plan->peers[i].any, plan->peers[i].size);
	return NULL;
}

/* Each of many sockets in turn: connected once, and disconnected. */
static void *disconnect_each(void *argument)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	struct torn *torn = argument;

	while (!torn->is_over) {
		int fd = open_socket(&torn->plan->peers[0], SOCK_DGRAM, 0);

		connect_to(fd, &torn->plan->peers[0]);
		check(dup2(fd, torn->fd));
		check(close(fd));
		check(connect(torn->fd, &nobody, sizeof(nobody)));
	}
	return NULL;
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*
 * For as many milliseconds as the plan's count, and LEAST_ROUNDS however busy the machine is; what
 * a send comes to is the kernel's matter.
 */
static void send_meanwhile(const struct plan *plan, const struct msghdr *message,
			   void *(*change)(void *))
{
	struct torn torn = { .plan = plan, .fd = open_socket(&plan->peers[0], SOCK_DGRAM, 0) };
	long end_ms = now_ms() + plan->count;
	pthread_t other;

	connect_to(torn.fd, &plan->peers[0]);
	check_error(-pthread_create(&other, NULL, change, &torn));
	for (int round = 0; round < LEAST_ROUNDS || now_ms() < end_ms; round++)
		for (int i = 0; i < 64; i++)
			sendmsg(torn.fd, message, MSG_NOSIGNAL);
	torn.is_over = 1;
	pthread_join(other, NULL);
}

static struct iovec one_byte = { .iov_base = (void *)payload, .iov_len = 1 };

static const struct msghdr plain = { .msg_iov = &one_byte, .msg_iovlen = 1 };

void udp_torn(const struct plan *plan)
{
	send_meanwhile(plan, &plain, connect_in_turn);
}

void udp_torn_corked(const struct plan *plan)
{
	send_meanwhile(plan, &plain, cork_in_turn);
}

void udp_torn_disconnected(const struct plan *plan)
{
	send_meanwhile(plan, &plain, disconnect_each);
}

/* With a type of service: such a send has no address at its hook, either. */
void udp_torn_control(const struct plan *plan)
{
	int is_v6 = plan->peers[0].any.sa_family == AF_INET6;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .header = {
			      .cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = is_v6 ? IPPROTO_IPV6 : IPPROTO_IP,
			      .cmsg_type = is_v6 ? IPV6_TCLASS : IP_TOS,
		      } };
	struct msghdr message = {
		.msg_iov = &one_byte,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	send_meanwhile(plan, &message, connect_in_turn);
}
