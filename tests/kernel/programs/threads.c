#define _GNU_SOURCE
#include "lineage.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define POLL_US 200

static pthread_t start(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, run, argument);
	must(errno ? -1 : 0);
	return thread;
}

static void *become_in_thread(void *command)
{
	become(command);
}

int thread_exec(char **argv)
{
	pthread_join(start(become_in_thread, argv), NULL);
	return 0;
}

/* State of our leader thread as proc(5) has it: 'Z' once it ended while others run. */
static char leader_state(void)
{
	char path[48], text[256] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	fd = must(open(path, O_RDONLY | O_CLOEXEC));
	must(read(fd, text, sizeof(text) - 1));
	close(fd);
	return strrchr(text, ')')[2];
}

static void *outlive_leader(void *command)
{
	while (leader_state() != 'Z')
		usleep(POLL_US);
	_exit(wait_for(spawn(command)));
}

int leader_exits(char **argv)
{
	start(outlive_leader, argv);
	pthread_exit(NULL);
}
