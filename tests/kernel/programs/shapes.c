#define _GNU_SOURCE
#include "lineage.h"
#include "peer.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

#define POLL_US 200

static void await_orphanhood(pid_t parent)
{
	while (getppid() == parent)
		usleep(POLL_US);
}

/* COMMAND is nobody's child here: its end shows by the pipe, which it holds open. */
int double_fork(char **argv)
{
	int alive[2];
	char none;
	pid_t middle;

	must(pipe(alive));
	middle = must(fork());
	if (middle == 0) {
		pid_t parent = getpid();

		if (must(fork()) > 0)
			_exit(0);
		await_orphanhood(parent);
		become(argv);
	}
	close(alive[1]);
	must(read(alive[0], &none, 1));
	return wait_for(middle);
}

int setsid_fork(char **argv)
{
	pid_t child = must(fork());

	if (child == 0) {
		must(setsid());
		become(argv);
	}
	return wait_for(child);
}

/* The child of a child, but with us as its parent. */
int clone_parent(char **argv)
{
	int made[2];
	pid_t maker, sibling = 0;

	must(pipe2(made, O_CLOEXEC));
	maker = must(fork());
	if (maker == 0) {
		sibling = must(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, 0));
		if (sibling == 0)
			become(argv);
		_exit(write(made[1], &sibling, sizeof(sibling)) != sizeof(sibling));
	}
	must(read(made[0], &sibling, sizeof(sibling)));
	return wait_for(maker) | wait_for(sibling);
}

int leave_sibling(char **argv)
{
	if (must(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, 0)) == 0)
		become(argv);
	return 0;
}

int vfork_exec(char **argv)
{
	pid_t child = must(vfork());

	if (child == 0)
		become(argv);
	return wait_for(child);
}

int fork_noexec(char **argv)
{
	struct peer peer;
	pid_t child;

	require(argv, 2);
	if (peer_parse(&peer, argv[0], argv[1]))
		return EXIT_FAILURE;
	child = must(fork());
	if (child == 0)
		_exit(-peer_connect(&peer, 0));
	return wait_for(child);
}

int memfd_exec(char **argv)
{
	int program, copy;
	struct stat file;

	require(argv, 1);
	program = must(open(argv[0], O_RDONLY | O_CLOEXEC));
	copy = must(memfd_create("program", MFD_CLOEXEC));
	must(fstat(program, &file));
	while (must(sendfile(copy, program, NULL, file.st_size)) > 0)
		;
	return must(fexecve(copy, argv, environ));
}

/* argv[-2] is our own name: the vector that we were called with, one less. */
int exec_chain(char **argv)
{
	long left = number(argv[0]);
	char less[24];

	if (left <= 0)
		become(argv + 1);
	snprintf(less, sizeof(less), "%ld", left - 1);
	argv[0] = less;
	return must(execv("/proc/self/exe", argv - 2));
}

int exit_with(char **argv)
{
	return number(argv[0]);
}

int kill_self(char **argv)
{
	/* No core file is left behind. */
	must(prctl(PR_SET_DUMPABLE, 0));
	must(kill(getpid(), number(argv[0])));
	return 0;
}
