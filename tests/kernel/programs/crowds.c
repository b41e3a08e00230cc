#define _GNU_SOURCE
#include "lineage.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BURST_WIDTH 8
#define REUSE_TRIES 1000
#define RETRY_US 1000
#define HOPS_PER_TRY 32

int burst(char **argv)
{
	long n = number(argv[0]);
	int failed = 0;

	for (long i = 0; i < n; i++) {
		spawn(argv + 1);
		if (i >= BURST_WIDTH)
			failed |= wait_for(-1);
	}
	for (long i = 0; i < (n < BURST_WIDTH ? n : BURST_WIDTH); i++)
		failed |= wait_for(-1);
	return failed;
}

/* The children read from a pipe that nobody writes to: closing it lets all of them go. */
int at_once(char **argv)
{
	long n = number(argv[0]);
	int gate[2], failed = 0;
	char none;

	must(pipe2(gate, O_CLOEXEC));
	for (long i = 0; i < n; i++) {
		if (must(fork()) > 0)
			continue;
		close(gate[1]);
		must(read(gate[0], &none, 1));
		become(argv + 1);
	}
	close(gate[1]);
	for (long i = 0; i < n; i++)
		failed |= wait_for(-1);
	return failed;
}

static void try_to_connect(const struct peer *peer)
{
	int fd = socket(peer->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd >= 0)
		connect(fd, &peer->any, peer->size); /* what comes of it shows where it arrives */
	close(fd);
}

/* Returns at once. What it leaves behind ends by itself, whoever is after it. */
int hop(char **argv)
{
	time_t until = time(NULL) + number(argv[0]);
	struct peer peer;

	require(argv, 3);
	if (peer_parse(&peer, argv[1], argv[2]))
		return EXIT_FAILURE;
	if (must(fork()) > 0)
		return 0;
	closefrom(0);
	for (unsigned int n = 1; time(NULL) < until; n++) {
		if (fork() > 0)
			_exit(0);
		if (n % HOPS_PER_TRY == 0)
			try_to_connect(&peer);
	}
	return 0;
}

/* Ends after all of them, with COMMAND's status. */
int reap(char **argv)
{
	int status, result = EXIT_FAILURE;
	pid_t ended, command;

	must(prctl(PR_SET_CHILD_SUBREAPER, 1));
	command = spawn(argv);
	closefrom(0);
	while ((ended = wait(&status)) > 0)
		if (ended == command && WIFEXITED(status))
			result = WEXITSTATUS(status);
	return result;
}

/*
 * Fork with a certain pid, or any when it is 0. Needs CAP_CHECKPOINT_RESTORE; the number counts in
 * our own pid namespace.
 */
static pid_t fork_as(pid_t pid)
{
	struct clone_args arguments = {
		.exit_signal = SIGCHLD,
		.set_tid = pid ? (uintptr_t)&pid : 0,
		.set_tid_size = pid ? 1 : 0,
	};

	return syscall(SYS_clone3, &arguments, sizeof(arguments));
}

/* Somebody else may have the number for a moment. */
static pid_t fork_as_patiently(pid_t pid)
{
	pid_t child = fork_as(pid);

	for (int i = 0; i < REUSE_TRIES && child < 0 && errno == EEXIST; i++) {
		usleep(RETRY_US);
		child = fork_as(pid);
	}
	return must(child);
}

int pid_reuse(char **argv)
{
	long n = number(argv[0]);
	pid_t pid = 0;
	int failed = 0;

	for (long i = 0; i < n; i++) {
		pid_t child = fork_as_patiently(pid);

		if (child == 0)
			become(argv + 1);
		failed |= wait_for(child);
		pid = child;
	}
	return failed;
}

static _Noreturn void become_with(char **command, char *const *more, size_t n_more)
{
	size_t n = 0;
	char **argv;

	while (command[n])
		n++;
	argv = calloc(n + n_more + 1, sizeof(*argv));
	memcpy(argv, command, n * sizeof(*argv));
	memcpy(argv + n, more, n_more * sizeof(*argv));
	become(argv);
}

int argv_long(char **argv)
{
	long size = number(argv[0]);
	char *argument = calloc(size + 1, 1);

	memset(argument, 'a', size);
	become_with(argv + 1, &argument, 1);
}

/* tests/kernel/lab.py has the same list. */
static char *const hostile[] = {
	"\xff\xfe\x80",	      "two\nlines", "\x1b[31mred\x1b[0m", "",
	"<script>x</script>", "|`md`|",	    "\xed\xa0\x80",	  "\xe2\x80\xaertl",
};

int argv_bytes(char **argv)
{
	become_with(argv, hostile, sizeof(hostile) / sizeof(*hostile));
}
