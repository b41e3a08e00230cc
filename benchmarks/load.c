// SPDX-License-Identifier: Apache-2.0
/*
 * A load with a meter. For each number on stdin it does that many acts and prints how many
 * nanoseconds they took; before that, the moment at which it was started (CLOCK_MONOTONIC).
 *
 *   load connect            TCP over loopback: socket, connect, accept, close
 *   load send               UDP over loopback: an unconnected sendto, and its receipt
 *   load spawn COMMAND...   COMMAND from fork to exit, its output thrown away
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

struct load {
	int peer; /* a socket that takes what comes */
	int sender;
	struct sockaddr_in address; /* of peer */
	char **command;
	posix_spawn_file_actions_t silence;
};

static int check(int result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void open_peer(struct load *load, int type)
{
	socklen_t size = sizeof(load->address);

	load->address.sin_family = AF_INET;
	load->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	load->peer = check(socket(AF_INET, type, 0), "socket");
	check(bind(load->peer, (struct sockaddr *)&load->address, size), "bind");
	check(getsockname(load->peer, (struct sockaddr *)&load->address, &size), "getsockname");
}

static void prepare_connect(struct load *load)
{
	open_peer(load, SOCK_STREAM);
	check(listen(load->peer, 1), "listen");
}

static void do_connect(struct load *load)
{
	/* Closed by a reset: ports in TIME_WAIT would run out, and the search for one get longer.
	 */
	static const struct linger at_once = { .l_onoff = 1 };
	int client = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
	int server;

	setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	check(connect(client, (struct sockaddr *)&load->address, sizeof(load->address)), "connect");
	server = check(accept(load->peer, NULL, NULL), "accept");
	close(client);
	close(server);
}

static void prepare_send(struct load *load)
{
	open_peer(load, SOCK_DGRAM);
	load->sender = check(socket(AF_INET, SOCK_DGRAM, 0), "socket");
}

static void do_send(struct load *load)
{
	char byte = 0;

	check(sendto(load->sender, &byte, 1, 0, (struct sockaddr *)&load->address,
		     sizeof(load->address)),
	      "sendto");
	check(recv(load->peer, &byte, 1, 0), "recv");
}

static void prepare_spawn(struct load *load)
{
	/* stdin is the meter's */
	posix_spawn_file_actions_init(&load->silence);
	posix_spawn_file_actions_addopen(&load->silence, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&load->silence, 1, "/dev/null", O_WRONLY, 0);
}

static void do_spawn(struct load *load)
{
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, load->command[0], &load->silence, NULL, load->command, environ))
		errx(1, "can't run %s", load->command[0]);
	check(waitpid(pid, &status, 0), "waitpid");
	if (status)
		errx(1, "%s failed", load->command[0]);
}

static const struct kind {
	const char *name;
	void (*prepare)(struct load *load);
	void (*act)(struct load *load);
} kinds[] = {
	{ "connect", prepare_connect, do_connect },
	{ "send", prepare_send, do_send },
	{ "spawn", prepare_spawn, do_spawn },
};

static const struct kind *find_kind(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	errx(2, "unknown load %s", name);
}

int main(int argc, char **argv)
{
	struct load load = { .command = argv + 2 };
	const struct kind *kind;
	int acts, i;

	printf("%lld\n", now_ns());
	if (argc < 2)
		errx(2, "usage: load connect | send | spawn COMMAND...");
	kind = find_kind(argv[1]);
	kind->prepare(&load);
	fflush(stdout);
	while (scanf("%d", &acts) == 1) {
		long long began_ns = now_ns();

		for (i = 0; i < acts; i++)
			kind->act(&load);
		printf("%lld\n", now_ns() - began_ns);
		fflush(stdout);
	}
	return 0;
}
