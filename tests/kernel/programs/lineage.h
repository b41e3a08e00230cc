#pragma once

#include <sys/types.h>

/*
 * A shape gets its own arguments and what follows them, NULL-terminated (a COMMAND, usually), and
 * returns the exit status. Those that turn into COMMAND themselves don't return.
 */

/* shapes.c: processes that fork, exec and end. */
int double_fork(char **argv);
int setsid_fork(char **argv);
int clone_parent(char **argv);
int leave_sibling(char **argv);
int vfork_exec(char **argv);
int fork_noexec(char **argv);
int memfd_exec(char **argv);
int exec_chain(char **argv);
int exit_with(char **argv);
int kill_self(char **argv);

/* threads.c */
int thread_exec(char **argv);
int leader_exits(char **argv);

/* crowds.c: many processes, reused pids, odd argument vectors. */
int burst(char **argv);
int at_once(char **argv);
int hop(char **argv);
int reap(char **argv);
int pid_reuse(char **argv);
int argv_long(char **argv);
int argv_bytes(char **argv);

/* What the shapes are made of (lineage.c). */

/* Go on if the call succeeded, else say which error it was and exit with it. */
long must(long result);

/* Usage unless there are that many arguments. */
void require(char **argv, int n);

/* The argument as a number; without one, usage. */
long number(const char *text);

/* Become COMMAND, or exit like a shell: 127 not found, 126 not executable. */
_Noreturn void become(char **command);

pid_t spawn(char **command);

/* Exit status of a child, 128+n when a signal ended it. */
int wait_for(pid_t pid);
