/*
 * Many acts of one kind.
 *
 *   flood sends COUNT ADDRESS PORT [ADDRESS PORT]...   one socket, the peers in turn
 *   flood crowd PROCESSES MILLISECONDS ADDRESS PORT    each sends until it is killed; prints how
 * often flood spray COUNT PORT                             127.0.0.0/8, each time another address
 *   flood sprays PROCESSES PEERS ROUNDS PORT           each connects and sends to PEERS
 * addresses of 127.0.0.0/8, in turn
 *   flood scan ADDRESS                                 one datagram to each port
 *   flood connects COUNT BYTES ADDRESS PORT CLOSED     talk, say nothing, be refused, abort, in
 * turn; prints established, refused, sent, received, denied
 *   flood orphans MILLISECONDS ADDRESS PORT            see orphans.c
 */
#define _GNU_SOURCE
#include "orphans.h"
#include "peer.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PEERS_MAX 16
#define PORTS 65535
#define BYTES_MAX 65536

static long number(const char *text)
{
	return strtol(text, NULL, 10);
}

static struct peer peer_of(char **argv)
{
	struct peer peer;

	if (!argv[0] || !argv[1] || peer_parse(&peer, argv[0], argv[1]))
		errx(2, "what address is that?");
	return peer;
}

static int datagram_socket(const struct peer *peer)
{
	int fd = socket(peer->any.sa_family, SOCK_DGRAM, 0);

	if (fd < 0)
		err(1, "socket");
	return fd;
}

/* Whether it gets there doesn't matter, and what comes back is somebody else's port being closed.
 */
static void send_one(int fd, const struct peer *peer)
{
	while (sendto(fd, "x", 1, MSG_NOSIGNAL, &peer->any, peer->size) < 0 &&
	       errno == ECONNREFUSED)
		;
}

static int sends(char **argv)
{
	struct peer peers[PEERS_MAX];
	long count = number(argv[0]), n = 0;

	for (argv++; *argv && n < PEERS_MAX; argv += 2)
		peers[n++] = peer_of(argv);

	int fd = datagram_socket(&peers[0]);

	for (long i = 0; i < count; i++)
		sendto(fd, "x", 1, 0, &peers[i % n].any, peers[i % n].size);
	return 0;
}

/* Counted after the call: a process killed in between has sent one more than it says. */
static int crowd(char **argv)
{
	long processes = number(argv[0]), total = 0;
	struct peer peer = peer_of(argv + 2);
	volatile uint64_t *counts = mmap(NULL, processes * sizeof(*counts), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t children[processes];

	for (long i = 0; i < processes; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			int fd = datagram_socket(&peer);

			for (;;) {
				sendto(fd, "x", 1, 0, &peer.any, peer.size);
				counts[i]++;
			}
		}
	}
	usleep(number(argv[1]) * 1000);
	for (long i = 0; i < processes; i++) {
		kill(children[i], SIGKILL);
		waitpid(children[i], NULL, 0);
		total += counts[i];
	}
	printf("%ld\n", total);
	return 0;
}

static int spray(char **argv)
{
	long count = number(argv[0]);
	struct peer peer = { .v4 = { .sin_family = AF_INET, .sin_port = htons(number(argv[1])) },
			     .size = sizeof(peer.v4) };
	int fd = datagram_socket(&peer);

	for (long i = 0; i < count; i++) {
		peer.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i);
		send_one(fd, &peer);
	}
	return 0;
}

static void spray_round(long peers, struct peer *peer, int datagrams)
{
	for (long i = 0; i < peers; i++) {
		peer->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i);

		int stream = socket(AF_INET, SOCK_STREAM, 0);

		if (stream < 0)
			err(1, "socket");
		if (connect(stream, &peer->any, peer->size) && errno != ECONNREFUSED)
			err(1, "connect");
		close(stream);
		send_one(datagrams, peer);
	}
}

/* All at once, and each does the same. */
static int sprays(char **argv)
{
	long processes = number(argv[0]), peers = number(argv[1]), rounds = number(argv[2]);
	struct peer peer = { .v4 = { .sin_family = AF_INET, .sin_port = htons(number(argv[3])) },
			     .size = sizeof(peer.v4) };
	int gate[2], status, failed = 0;
	char go;

	if (pipe(gate))
		err(1, "pipe");
	for (long i = 0; i < processes; i++) {
		pid_t child = fork();

		if (child < 0)
			err(1, "fork");
		if (child == 0) {
			int datagrams = socket(AF_INET, SOCK_DGRAM, 0);

			close(gate[1]);
			if (read(gate[0], &go, 1)) /* the end of the pipe: all are there */
				err(1, "read");
			while (rounds-- > 0)
				spray_round(peers, &peer, datagrams);
			exit(0);
		}
	}
	close(gate[1]);
	while (wait(&status) > 0)
		failed |= status;
	return failed != 0;
}

static int scan(char **argv)
{
	char *any[] = { argv[0], "1" };
	struct peer peer = peer_of(any);
	int fd = datagram_socket(&peer);

	for (long port = 1; port <= PORTS; port++) {
		peer.v4.sin_port = htons(port); /* at the same place in both */
		send_one(fd, &peer);
	}
	return 0;
}

struct tally {
	long established, refused, sent, received, denied;
};

static void talk(int fd, long bytes, struct tally *tally)
{
	static char data[BYTES_MAX];
	long got = 0, n;

	if (write(fd, data, bytes) != bytes)
		err(1, "write");
	tally->sent += bytes;
	while (got < bytes && (n = read(fd, data, sizeof(data))) > 0)
		got += n;
	tally->received += got;
}

static int connects(char **argv)
{
	long count = number(argv[0]), bytes = number(argv[1]);
	struct peer peer = peer_of(argv + 2);
	char *closed_at[] = { argv[2], argv[4] };
	struct peer closed = peer_of(closed_at);
	struct linger abort = { .l_onoff = 1 };
	struct tally tally = {};

	for (long i = 0; i < count; i++) {
		const struct peer *to = i % 4 == 2 ? &closed : &peer;
		int fd = socket(to->any.sa_family, SOCK_STREAM, 0);

		if (fd < 0)
			err(1, "socket");
		int error = connect(fd, &to->any, to->size) ? errno : 0;

		if (error == 0)
			tally.established++;
		else if (error == ECONNREFUSED)
			tally.refused++;
		else if (error == EPERM)
			tally.denied++;
		else
			errx(1, "connect: %s", strerror(error));
		if (i % 4 == 0 && error == 0)
			talk(fd, bytes, &tally);
		if (i % 4 == 3)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		close(fd);
	}
	printf("%ld %ld %ld %ld %ld\n", tally.established, tally.refused, tally.sent,
	       tally.received, tally.denied);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int arguments;
		int (*run)(char **argv);
	} verbs[] = { { "sends", 3, sends },	{ "crowd", 4, crowd }, { "spray", 2, spray },
		      { "sprays", 4, sprays },	{ "scan", 1, scan },   { "connects", 5, connects },
		      { "orphans", 3, orphans } };

	for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(*verbs); i++)
		if (!strcmp(argv[1], verbs[i].name) && argc >= verbs[i].arguments + 2)
			return verbs[i].run(argv + 2);
	errx(2, "see the top of flood.c");
}
