#define _GNU_SOURCE
#include "act.h"

#include <errno.h>

static void send_connected(int fd, long count)
{
	while (count--)
		check(send(fd, payload, payload_size, 0));
}

void udp_connect_send(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_DGRAM, 0);

	connect_to(fd, &plan->peers[0]);
	send_connected(fd, plan->count);
}

/* A socket that may have any address afterwards. */
void freebind(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_DGRAM, 0), on = 1;

	check(setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on)));
}

void connect_udp_twice(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_DGRAM, 0);

	for (int i = 0; i < plan->n_peers; i++) {
		connect_to(fd, &plan->peers[i]);
		send_connected(fd, 1);
	}
}

void udp_sendto(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_DGRAM, 0);

	for (long i = 0; i < plan->count; i++)
		send_to(fd, &plan->peers[0], 0);
}

void udp_sendmsg(const struct plan *plan)
{
	struct msghdr message = message_to(&plan->peers[0]);

	check(sendmsg(open_socket(&plan->peers[0], SOCK_DGRAM, 0), &message, 0));
}

/* The call reports an error only for its first message; when a later one fails: ECANCELED. */
void udp_sendmmsg(const struct plan *plan)
{
	struct mmsghdr messages[PEERS_MAX] = { 0 };
	int fd = open_socket(&plan->peers[0], SOCK_DGRAM, 0);

	for (int i = 0; i < plan->n_peers; i++)
		messages[i].msg_hdr = message_to(&plan->peers[i]);
	if (check(sendmmsg(fd, messages, plan->n_peers, 0)) < plan->n_peers)
		finish(ECANCELED);
}

void udplite_sendto(const struct plan *plan)
{
	send_to(open_socket(&plan->peers[0], SOCK_DGRAM, IPPROTO_UDPLITE), &plan->peers[0], 0);
}

void mapped_udp_sendto(const struct plan *plan)
{
	struct peer mapped = peer_mapped(&plan->peers[0]);

	send_to(open_socket(&mapped, SOCK_DGRAM, 0), &mapped, 0);
}

void mapped_udp_connected(const struct plan *plan)
{
	struct peer mapped = peer_mapped(&plan->peers[0]);
	int fd = open_socket(&mapped, SOCK_DGRAM, 0);

	connect_to(fd, &mapped);
	send_connected(fd, plan->count);
}

/* An IPv4 socket takes AF_UNSPEC for AF_INET. */
void sendto_unspec(const struct plan *plan)
{
	struct peer peer = plan->peers[0];
	int fd = open_socket(&peer, SOCK_DGRAM, 0);

	peer.any.sa_family = AF_UNSPEC;
	send_to(fd, &peer, 0);
}

void v6sock_v4addr(const struct plan *plan)
{
	int fd = check(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));

	send_to(fd, &plan->peers[0], 0);
}

/* What is sent elsewhere while a datagram is corked becomes a part of that datagram. */
void udp_corked(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_DGRAM, 0);

	send_to(fd, &plan->peers[0], MSG_MORE);
	send_to(fd, &plan->peers[plan->n_peers - 1], 0);
}
