/*
 * lineage SHAPE [ARGUMENT] [COMMAND...]
 *
 * Makes processes come about in one of the ways that confuse whoever follows them, then lets the
 * last one become COMMAND. Shapes nest: COMMAND may be another lineage. Ends by itself, or by
 * SIGALRM after LIMIT_S.
 */
#define _GNU_SOURCE
#include "lineage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_S 600

static const struct shape {
	const char *name;
	int (*make)(char **argv);
	const char *arguments;
} shapes[] = {
	{ "double-fork", double_fork, "COMMAND...    its parent has ended before it starts" },
	{ "setsid-fork", setsid_fork, "COMMAND...    in a session of its own" },
	{ "clone-parent", clone_parent, "COMMAND...    a sibling of the process that made it" },
	{ "leave-sibling", leave_sibling, "COMMAND...    a child of our own parent's; we end" },
	{ "vfork", vfork_exec, "COMMAND..." },
	{ "fork-noexec", fork_noexec, "ADDRESS PORT  a child connects without exec" },
	{ "memfd-exec", memfd_exec, "COMMAND...    its file has no name; COMMAND is a path" },
	{ "exec-chain", exec_chain, "N COMMAND...  N times itself, in the same process" },
	{ "exit", exit_with, "STATUS" },
	{ "kill-self", kill_self, "SIGNAL        its number" },
	{ "thread-exec", thread_exec, "COMMAND...    exec by another thread than the leader" },
	{ "leader-exits", leader_exits, "COMMAND...    forked after the leader thread ended" },
	{ "burst", burst, "N COMMAND...  N children, a few at a time" },
	{ "at-once", at_once, "N COMMAND...  N children that exec at the same moment" },
	{ "hop", hop, "SECONDS ADDRESS PORT  is another process all the time, and connects" },
	{ "reap", reap, "COMMAND...    waits for its orphans too: init may not keep up" },
	{ "pid-reuse", pid_reuse, "N COMMAND...  N children, one by one, with the same pid" },
	{ "argv", argv_long, "SIZE COMMAND...  one argument of SIZE bytes more" },
	{ "argv-bytes", argv_bytes, "COMMAND...    hostile arguments more" },
	{ NULL, NULL, NULL },
};

static _Noreturn void usage(void)
{
	fputs("usage: lineage SHAPE [ARGUMENT] [COMMAND...]\n", stderr);
	for (const struct shape *shape = shapes; shape->name; shape++)
		fprintf(stderr, "  %-14s%s\n", shape->name, shape->arguments);
	exit(EXIT_FAILURE);
}

long must(long result)
{
	if (result >= 0)
		return result;
	fprintf(stderr, "lineage: %s\n", strerrorname_np(errno));
	exit(errno);
}

void require(char **argv, int n)
{
	for (int i = 0; i < n; i++)
		if (!argv[i])
			usage();
}

long number(const char *text)
{
	if (!text)
		usage();
	return strtol(text, NULL, 10);
}

_Noreturn void become(char **command)
{
	require(command, 1);
	execvp(command[0], command);
	_exit(errno == ENOENT ? 127 : 126);
}

pid_t spawn(char **command)
{
	pid_t pid = must(fork());

	if (pid == 0)
		become(command);
	return pid;
}

int wait_for(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	alarm(LIMIT_S);
	for (const struct shape *shape = shapes; argc > 1 && shape->name; shape++)
		if (strcmp(shape->name, argv[1]) == 0)
			return shape->make(argv + 2);
	usage();
}
