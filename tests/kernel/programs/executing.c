/*
 * executing FUSE FILE ADDRESS PORT COMMAND [ARG]...
 *
 * Leaves behind a process that is executing COMMAND, and doesn't come to an end: it closes FILE at
 * that, on a file system whose server, left behind, too, doesn't answer. FUSE is the device by
 * which that is served. Before that, the process connects a UDP socket to ADDRESS and PORT. Exits
 * with 0 once it is so.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIMIT_S 100

static void answer(int device, const struct fuse_in_header *asked, int error, const void *body,
		   size_t size)
{
	char buffer[256];
	struct fuse_out_header head = { .len = sizeof(head) + size,
					.error = -error,
					.unique = asked->unique };

	memcpy(buffer, &head, sizeof(head));
	memcpy(buffer + sizeof(head), body, size);
	if (write(device, buffer, head.len) != head.len)
		err(1, "answer");
}

static void execute(char **argv)
{
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[4])) };
	int datagrams = socket(AF_INET, SOCK_DGRAM, 0);

	if (open(argv[2], O_RDWR | O_CLOEXEC) < 0)
		err(1, "%s", argv[2]);
	inet_pton(AF_INET, argv[3], &peer.sin_addr);
	if (connect(datagrams, (void *)&peer, sizeof(peer)))
		err(1, "connect");
	execvp(argv[5], argv + 5);
	err(1, "%s", argv[5]);
}

/* Serve the one file, but for the end of its use; then let the caller go on by a signal. */
static void serve(int device, char **argv, pid_t caller)
{
	static char buffer[FUSE_MIN_READ_BUFFER * 4];
	const struct fuse_in_header *asked = (void *)buffer;
	struct fuse_init_out features = { .major = 7, .minor = 31, .max_write = 4096 };
	struct fuse_attr_out attributes = {
		.attr_valid = 3600, .attr = { .ino = 1, .mode = S_IFREG | 0666, .nlink = 1 }
	};
	struct fuse_open_out opened = { .fh = 1 };

	alarm(LIMIT_S);
	while (read(device, buffer, sizeof(buffer)) > 0 || errno == EINTR || errno == ENOENT) {
		switch (asked->opcode) {
		case FUSE_INIT:
			answer(device, asked, 0, &features, sizeof(features));
			if (!fork())
				execute(argv);
			break;
		case FUSE_GETATTR:
			answer(device, asked, 0, &attributes, sizeof(attributes));
			break;
		case FUSE_OPEN:
			answer(device, asked, 0, &opened, sizeof(opened));
			break;
		case FUSE_FLUSH:
			kill(caller, SIGUSR1);
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			answer(device, asked, ENOSYS, "", 0);
		}
	}
}

int main(int argc, char **argv)
{
	char options[128];
	pid_t caller = getpid();
	sigset_t signals;
	int device, got;

	if (argc < 6)
		errx(2, "usage: executing FUSE FILE ADDRESS PORT COMMAND [ARG]...");
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (fork()) {
		sigwait(&signals, &got);
		return got == SIGUSR1 ? 0 : 1;
	}
	sigprocmask(SIG_UNBLOCK, &signals, NULL);
	setsid();
	device = open(argv[1], O_RDWR | O_CLOEXEC);
	if (device < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		err(1, "%s", argv[1]);
	snprintf(options, sizeof(options), "fd=%d,rootmode=100666,user_id=0,group_id=0", device);
	if (mount("executing", argv[2], "fuse", MS_NOSUID | MS_NODEV, options))
		err(1, "%s", argv[2]);
	serve(device, argv, caller);
	return 1;
}
