// SPDX-License-Identifier: Apache-2.0
/*
 * A load with a meter. First it prints the moment at which it was started (CLOCK_MONOTONIC). For
 * each number on stdin it does that many acts and prints how many nanoseconds they took.
 *
 *   load connect [NETWORK]  TCP over loopback: socket, connect, accept, close
 *   load send [NETWORK]     UDP over loopback: an unconnected sendto, and its receipt
 *   load unix               a Unix socket of its own: socket, connect, accept, close
 *   load scan               UDP to another destination each time; none of it leaves the machine
 *   load bulk               16 MiB, received over loopback by TCP
 *   load spawn COMMAND...   COMMAND from fork to exit, its output thrown away
 *   load cpu COMMAND...     as spawn, but the meter is COMMAND's CPU time
 *   load hits [NETWORK]     a new process of this program, with a number of its own as argument,
 *                           which connects and ends
 *
 * With NETWORK, the path of a network namespace, the peer is there and not here, at the address
 * in $LOAD_ADDRESS. Its port is the one in $LOAD_PORT, if there is one.
 *
 * Without a meter, once:
 *
 *   load first ADDRESS PORT   prints how many nanoseconds its first TCP connect takes, with the
 *                             socket's making and closing, and its errno
 *   load until ADDRESS PORT   prints how many nanoseconds it connects in vain, and the last errno
 *
 * Without a meter, until it is killed:
 *
 *   load flood              sends as fast as it can, within the machine: over loopback, or to the
 *                           network in $LOAD_FLOOD_NETWORK, if there is one, as with NETWORK
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNTIL_MOST_NS 10000000000LL

extern char **environ;

struct load {
	int peer; /* the socket that receives */
	int sender;
	struct sockaddr_in address; /* of peer */
	struct sockaddr_un name;    /* of peer, if it is a Unix socket */
	socklen_t name_size;
	char **command;
	int is_across; /* command is the network that the peer is in */
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

/* A socket stays in the network in which it was made. */
static int socket_in(const char *network, int type)
{
	int home = check(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "/proc/self/ns/net");
	int other = check(open(network, O_RDONLY | O_CLOEXEC), network);
	int made;

	check(setns(other, CLONE_NEWNET), "setns");
	made = check(socket(AF_INET, type, 0), "socket");
	check(setns(home, CLONE_NEWNET), "setns");
	close(other);
	close(home);
	return made;
}

static void open_peer(struct load *load, int type)
{
	const char *port = getenv("LOAD_PORT"), *address = getenv("LOAD_ADDRESS");
	socklen_t size = sizeof(load->address);

	load->address.sin_family = AF_INET;
	load->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	load->address.sin_port = htons(port ? atoi(port) : 0);
	if (load->is_across && (!address || !inet_aton(address, &load->address.sin_addr)))
		errx(2, "LOAD_ADDRESS is no IPv4 address");
	load->peer = load->is_across ? socket_in(load->command[0], type)
				     : check(socket(AF_INET, type, 0), "socket");
	check(bind(load->peer, (struct sockaddr *)&load->address, size), "bind");
	check(getsockname(load->peer, (struct sockaddr *)&load->address, &size), "getsockname");
}

static void prepare_connect(struct load *load)
{
	load->is_across = load->command[0] != NULL;
	open_peer(load, SOCK_STREAM);
	check(listen(load->peer, 1), "listen");
}

static void do_connect(struct load *load)
{
	/*
	 * The client closes by a reset: else ports in TIME_WAIT would run out, and the search for
	 * a free one would take longer.
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

static void prepare_unix(struct load *load)
{
	load->name.sun_family = AF_UNIX;
	load->name_size = sizeof(load->name);
	load->peer = check(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	/* Without a name, the kernel gives it an abstract one. */
	check(bind(load->peer, (struct sockaddr *)&load->name, sizeof(sa_family_t)), "bind");
	check(getsockname(load->peer, (struct sockaddr *)&load->name, &load->name_size),
	      "getsockname");
	check(listen(load->peer, 1), "listen");
}

static void do_unix(struct load *load)
{
	int client = check(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	int server;

	check(connect(client, (struct sockaddr *)&load->name, load->name_size), "connect");
	server = check(accept(load->peer, NULL, NULL), "accept");
	close(client);
	close(server);
}

static void prepare_send(struct load *load)
{
	load->is_across = load->command[0] != NULL;
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

static void prepare_scan(struct load *load)
{
	/* 198.18.0.0/15 is for benchmarks (RFC 2544). */
	load->address.sin_family = AF_INET;
	load->address.sin_port = htons(9);
	load->address.sin_addr.s_addr = htonl(198U << 24 | 18U << 16);
	load->sender = check(socket(AF_INET, SOCK_DGRAM, 0), "socket");
	check(setsockopt(load->sender, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo")),
	      "SO_BINDTODEVICE");
}

static void do_scan(struct load *load)
{
	char byte = 0;

	load->address.sin_addr.s_addr = htonl(ntohl(load->address.sin_addr.s_addr) + 1);
	check(sendto(load->sender, &byte, 1, 0, (struct sockaddr *)&load->address,
		     sizeof(load->address)),
	      "sendto");
}

/* An endless download, of which each act reads a part. */
static void prepare_bulk(struct load *load)
{
	static char data[1 << 20];
	int server;

	open_peer(load, SOCK_STREAM);
	check(listen(load->peer, 1), "listen");
	if (!check(fork(), "fork")) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		server = check(accept(load->peer, NULL, NULL), "accept");
		for (;;)
			check(write(server, data, sizeof(data)), "write");
	}
	load->sender = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
	check(connect(load->sender, (struct sockaddr *)&load->address, sizeof(load->address)),
	      "connect");
}

static void do_bulk(struct load *load)
{
	static char data[1 << 18];
	size_t left = 16 << 20;

	while (left)
		left -= check(read(load->sender, data, left < sizeof(data) ? left : sizeof(data)),
			      "read");
}

static void prepare_spawn(struct load *load)
{
	/* COMMAND must not read the meter's stdin. */
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

static void prepare_hits(struct load *load)
{
	static char *command[] = { "/proc/self/exe", "hit", NULL, NULL };
	static char port[8];

	prepare_spawn(load);
	prepare_connect(load);
	snprintf(port, sizeof(port), "%d", ntohs(load->address.sin_port));
	setenv("LOAD_ADDRESS", inet_ntoa(load->address.sin_addr), 1);
	setenv("LOAD_PORT", port, 1);
	load->command = command;
}

static void do_hits(struct load *load)
{
	static char number[16];
	static int hits;

	snprintf(number, sizeof(number), "%d", hits++);
	load->command[2] = number;
	do_spawn(load);
	close(check(accept(load->peer, NULL, NULL), "accept"));
}

/* The main function of a process that "hits" starts. */
static int hit(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int client = check(socket(AF_INET, SOCK_STREAM, 0), "socket");

	address.sin_addr.s_addr = inet_addr(getenv("LOAD_ADDRESS"));
	address.sin_port = htons(atoi(getenv("LOAD_PORT")));
	check(connect(client, (struct sockaddr *)&address, sizeof(address)), "connect");
	return 0;
}

static _Noreturn void flood(void)
{
	char *network[] = { getenv("LOAD_FLOOD_NETWORK"), NULL }, byte = 0;
	struct load load = { .command = network };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prepare_send(&load);
	for (;;) /* datagrams that don't fit are lost: nobody reads them */
		check(sendto(load.sender, &byte, 1, 0, (struct sockaddr *)&load.address,
			     sizeof(load.address)),
		      "sendto");
}

static long long cpu_of_children_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
}

static const struct kind {
	const char *name;
	void (*prepare)(struct load *load);
	void (*act)(struct load *load);
	long long (*meter_ns)(void);
} kinds[] = {
	{ "connect", prepare_connect, do_connect, now_ns },
	{ "send", prepare_send, do_send, now_ns },
	{ "unix", prepare_unix, do_unix, now_ns },
	{ "scan", prepare_scan, do_scan, now_ns },
	{ "bulk", prepare_bulk, do_bulk, now_ns },
	{ "spawn", prepare_spawn, do_spawn, now_ns },
	{ "cpu", prepare_spawn, do_spawn, cpu_of_children_ns },
	{ "hits", prepare_hits, do_hits, now_ns },
};

static const struct kind *find_kind(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	errx(2, "unknown load %s", name);
}

static int connect_to(const struct sockaddr_in *address)
{
	int client = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
	int error = connect(client, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;

	close(client);
	return error;
}

static int connect_first(const char *address, const char *port, int until)
{
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	long long began_ns = now_ns();
	int error;

	if (inet_pton(AF_INET, address, &peer.sin_addr) != 1)
		errx(2, "%s is no IPv4 address", address);
	do
		error = connect_to(&peer);
	while (until && error && now_ns() - began_ns < UNTIL_MOST_NS);
	printf("%lld %d\n", now_ns() - began_ns, error);
	return 0;
}

int main(int argc, char **argv)
{
	struct load load = { .command = argv + 2 };
	const struct kind *kind;
	int acts, i;

	if (argc < 2)
		errx(2,
		     "usage: load connect | send | unix | scan | bulk | spawn | cpu | hits | flood "
		     "[COMMAND...], or load first | until ADDRESS PORT");
	if (!strcmp(argv[1], "hit"))
		return hit();
	if (!strcmp(argv[1], "flood"))
		flood();
	if (argc == 4 && (!strcmp(argv[1], "first") || !strcmp(argv[1], "until")))
		return connect_first(argv[2], argv[3], *argv[1] == 'u');
	printf("%lld\n", now_ns());
	kind = find_kind(argv[1]);
	kind->prepare(&load);
	fflush(stdout);
	while (scanf("%d", &acts) == 1) {
		long long began_ns = kind->meter_ns();

		for (i = 0; i < acts; i++)
			kind->act(&load);
		printf("%lld\n", kind->meter_ns() - began_ns);
		fflush(stdout);
	}
	return 0;
}
