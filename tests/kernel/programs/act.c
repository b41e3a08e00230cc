/*
 * act VERB ADDRESS PORT [ADDRESS PORT]... [COUNT] [-- IGNORED...]
 *
 * One network act a run, for tests to watch. ADDRESS is IPv4 or IPv6 as inet_pton(3) reads it.
 * Prints "ok" or the name of the error, and exits with errno. Arguments from "--" on are there for
 * a caller that needs an odd command line. Ends by itself, or by SIGALRM after LIMIT_S.
 */
#define _GNU_SOURCE
#include "act.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_S 60

_Noreturn void finish(int error)
{
	puts(error ? strerrorname_np(error) : "ok");
	exit(error);
}

long check(long result)
{
	if (result < 0)
		finish(errno);
	return result;
}

void check_error(int negative_errno)
{
	if (negative_errno < 0)
		finish(-negative_errno);
}

int open_socket(const struct peer *peer, int type, int protocol)
{
	return check(socket(peer->any.sa_family, type | SOCK_CLOEXEC, protocol));
}

void connect_to(int fd, const struct peer *peer)
{
	check(connect(fd, &peer->any, peer->size));
}

void send_to(int fd, const struct peer *peer, int flags)
{
	check(sendto(fd, payload, payload_size, flags, &peer->any, peer->size));
}

static struct iovec payload_vector = {
	.iov_base = (void *)payload,
	.iov_len = sizeof(payload) - 1,
};

struct msghdr message_to(const struct peer *peer)
{
	return (struct msghdr){
		.msg_name = (void *)&peer->any,
		.msg_namelen = peer->size,
		.msg_iov = &payload_vector,
		.msg_iovlen = 1,
	};
}

static const struct verb {
	const char *name;
	void (*perform)(const struct plan *plan);
} verbs[] = {
	{ "connect", connect_blocking },
	{ "connect-nonblock", connect_nonblock },
	{ "thread-connect", thread_connect },
	{ "mptcp-connect", mptcp_connect },
	{ "tfo-sendto", tfo_sendto },
	{ "tfo-connect", tfo_connect },
	{ "mapped-tcp", mapped_tcp },
	{ "udp-connect-send", udp_connect_send },
	{ "connect-udp-twice", connect_udp_twice },
	{ "udp-sendto", udp_sendto },
	{ "udp-sendmsg", udp_sendmsg },
	{ "udp-sendmmsg", udp_sendmmsg },
	{ "udplite-sendto", udplite_sendto },
	{ "mapped-udp-sendto", mapped_udp_sendto },
	{ "mapped-udp-connected", mapped_udp_connected },
	{ "sendto-unspec", sendto_unspec },
	{ "freebind", freebind },
	{ "v6sock-v4addr", v6sock_v4addr },
	{ "udp-corked", udp_corked },
	{ "udp-torn", udp_torn },
	{ "udp-torn-corked", udp_torn_corked },
	{ "udp-torn-control", udp_torn_control },
	{ "udp-torn-disconnected", udp_torn_disconnected },
	{ "raw-echo", raw_echo },
	{ "raw-echo-connected", raw_echo_connected },
	{ "raw-echo-sqpoll", raw_echo_sqpoll },
	{ "ping", ping },
	{ "ping-connected", ping_connected },
	{ "raw-sctp", raw_sctp },
	{ "raw-253", raw_253 },
	{ "raw-header", raw_header },
	{ "routed-udp", routed_udp },
	{ "routed-udp-connected", routed_udp_connected },
	{ "routed-tcp", routed_tcp },
	{ "routed-tcp-busy", routed_tcp_busy },
	{ "routed-raw", routed_raw },
	{ "udplite-connected", udplite_connected },
	{ "udplite-connected-sendto", udplite_connected_sendto },
	{ "udplite-mapped-connected", udplite_mapped_connected },
	{ "uring-connect", uring_connect },
	{ "uring-connect-sqpoll", uring_connect_sqpoll },
	{ "uring-sendmsg", uring_sendmsg },
	{ NULL, NULL },
};

static _Noreturn void usage(void)
{
	fputs("usage: act VERB ADDRESS PORT [ADDRESS PORT]... [COUNT] [-- IGNORED...]\n", stderr);
	for (const struct verb *verb = verbs; verb->name; verb++)
		fprintf(stderr, "  %s\n", verb->name);
	exit(EXIT_FAILURE);
}

static const struct verb *find_verb(const char *name)
{
	for (const struct verb *verb = verbs; verb->name; verb++)
		if (strcmp(verb->name, name) == 0)
			return verb;
	usage();
}

static int count_arguments(char **argv)
{
	int n = 0;

	while (argv[n] && strcmp(argv[n], "--") != 0)
		n++;
	return n;
}

static void parse(struct plan *plan, char **argv)
{
	int n = count_arguments(argv);

	if (n < 2 || n / 2 > PEERS_MAX)
		usage();
	plan->n_peers = n / 2;
	plan->count = n % 2 ? atol(argv[n - 1]) : 1;
	for (int i = 0; i < plan->n_peers; i++)
		check_error(peer_parse(&plan->peers[i], argv[2 * i], argv[2 * i + 1]));
}

int main(int argc, char **argv)
{
	static struct plan plan;
	const struct verb *verb;

	alarm(LIMIT_S);
	if (argc < 2)
		usage();
	verb = find_verb(argv[1]);
	parse(&plan, argv + 2);
	verb->perform(&plan);
	finish(0);
}
