/*
 * flood orphans MILLISECONDS ADDRESS PORT: processes whose parent is gone connect, while others on
 * the same processor preempt whoever makes them; prints how many were denied, and how many weren't.
 */
#define _GNU_SOURCE
#include "orphans.h"
#include "peer.h"

#include <err.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAKERS 6
#define WAKERS 2
#define EACH_MAX 200 /* a clock may nearly stand still where this is emulated beside others */
#define PAUSE_NS 30000
#define BUSY_NS 20000
#define MS 1000000LL

struct tally {
	long denied, through;
};

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 * MS + now.tv_nsec;
}

static _Noreturn void connect_as_orphan(pid_t parent, const struct peer *peer, struct tally *tally)
{
	while (getppid() == parent)
		sched_yield();
	__sync_fetch_and_add(peer_connect(peer, 0) == -EPERM ? &tally->denied : &tally->through, 1);
	_exit(0);
}

static void make_orphan(const struct peer *peer, struct tally *tally)
{
	pid_t parent = fork();

	if (parent < 0)
		err(1, "fork");
	if (parent) {
		waitpid(parent, NULL, 0);
		return;
	}
	parent = getpid();
	if (!fork())
		connect_as_orphan(parent, peer, tally);
	_exit(0);
}

/* One that makes orphans; most of them give way to anybody who wants the processor. */
static _Noreturn void make_orphans(int number, long long until_ns, const struct peer *peer,
				   struct tally *tally)
{
	struct sched_param none = {};
	int made;

	if (number)
		sched_setscheduler(0, SCHED_IDLE, &none);
	for (made = 0; made < EACH_MAX && now_ns() < until_ns; made++)
		make_orphan(peer, tally);
	_exit(0);
}

/* Takes the processor again and again, whoever has it. */
static _Noreturn void wake_up(int number, long long until_ns)
{
	struct timespec pause = { .tv_nsec = (number + 1) * PAUSE_NS };
	long long busy_ns;

	while (now_ns() < until_ns) {
		nanosleep(&pause, NULL);
		busy_ns = now_ns() + BUSY_NS;
		while (now_ns() < busy_ns)
			;
	}
	_exit(0);
}

int orphans(char **argv)
{
	long long until_ns = now_ns() + strtol(argv[0], NULL, 10) * MS;
	struct tally *tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct peer peer;
	int ends[2], number;
	char byte;

	if (peer_parse(&peer, argv[1], argv[2]))
		errx(2, "what address is that?");
	if (pipe(ends))
		err(1, "pipe");
	for (number = 0; number < MAKERS; number++)
		if (!fork())
			make_orphans(number, until_ns, &peer, tally);
	for (number = 0; number < WAKERS; number++)
		if (!fork())
			wake_up(number, until_ns);
	close(ends[1]);
	if (read(ends[0], &byte, 1)) /* nobody writes: it returns when the last one has ended */
		err(1, "read");
	printf("%ld %ld\n", tally->denied, tally->through);
	return 0;
}
