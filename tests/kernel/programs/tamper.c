/*
 * tamper VERB [PID] [COUNT]
 *
 * What no build should do, COUNT times; PID is the process it is aimed at. Prints "ok" or the error
 * of the last call and exits with 0: whether it works is not the point.
 */
#define _GNU_SOURCE
#include "uring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_S 60
#define X86_SOCKETCALL 102
#define X86_SOCKET 359

static long result_of(long result)
{
	return result < 0 ? errno : 0;
}

static long packet_socket(pid_t pid)
{
	(void)pid;
	return result_of(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
}

/* By its old name, and with a flag. */
static long old_packet_socket(pid_t pid)
{
	(void)pid;
	return result_of(socket(AF_INET, SOCK_PACKET | SOCK_CLOEXEC, htons(ETH_P_IP)));
}

static long xdp_socket(pid_t pid)
{
	(void)pid;
	return result_of(socket(AF_XDP, SOCK_RAW, 0));
}

static long vsock_socket(pid_t pid)
{
	(void)pid;
	return result_of(socket(AF_VSOCK, SOCK_STREAM, 0));
}

static long uring_socket(int family, int type, int protocol)
{
	struct io_uring_sqe entry = {
		.opcode = IORING_OP_SOCKET,
		.fd = family,
		.off = type,
		.len = protocol,
	};
	int result = uring_perform(&entry, 0);

	return result < 0 ? -result : 0;
}

static long uring_packet_socket(pid_t pid)
{
	(void)pid;
	return uring_socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
}

/* A frame for experiments, which a worker of the io_uring sends. */
static long uring_frame(pid_t pid)
{
	static const char frame[64] = "\x02\0\0\0\0\2\x02\0\0\0\0\1\x88\xb5";
	struct sockaddr_ll by = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(0x88b5),
		.sll_ifindex = if_nametoindex("build0"),
	};
	struct io_uring_sqe entry = {
		.opcode = IORING_OP_SEND,
		.flags = IOSQE_ASYNC,
		.fd = socket(AF_PACKET, SOCK_RAW, 0),
		.addr = (uintptr_t)frame,
		.len = sizeof(frame),
	};
	int result;

	(void)pid;
	if (bind(entry.fd, (struct sockaddr *)&by, sizeof(by)))
		return errno;
	result = uring_perform(&entry, 0);
	return result < 0 ? -result : 0;
}

static long uring_old_packet_socket(pid_t pid)
{
	(void)pid;
	return uring_socket(AF_INET, SOCK_PACKET, htons(ETH_P_ARP));
}

static long uring_inet_socket(pid_t pid)
{
	(void)pid;
	return uring_socket(AF_INET, SOCK_DGRAM, 0);
}

static long uring_raw_socket(pid_t pid)
{
	(void)pid;
	return uring_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

#if defined(__x86_64__)
static long call_of_32_bits(long number, long one, long two, long three)
{
	long result;

	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(number), "b"(one), "c"(two), "d"(three)
		     : "memory", "r8", "r9", "r10", "r11");
	return result < 0 ? -result : 0;
}

static long compat_packet_socket(pid_t pid)
{
	(void)pid;
	return call_of_32_bits(X86_SOCKET, AF_PACKET, SOCK_DGRAM, htons(ETH_P_ARP));
}

static long socketcall(const uint32_t *of)
{
	uint32_t *arguments = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (arguments == MAP_FAILED)
		return errno;
	memcpy(arguments, of, 12);
	return call_of_32_bits(X86_SOCKETCALL, 1, (long)arguments, 0);
}

static long compat_socketcall(pid_t pid)
{
	(void)pid;
	return socketcall((uint32_t[]){ AF_PACKET, SOCK_RAW, htons(ETH_P_IPV6) });
}

static long compat_old_socketcall(pid_t pid)
{
	(void)pid;
	return socketcall((uint32_t[]){ AF_INET, SOCK_PACKET, htons(ETH_P_ALL) });
}
#endif

static long map_of_bpf(pid_t pid)
{
	union bpf_attr attributes = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = 4,
		.value_size = 4,
		.max_entries = 1,
	};

	(void)pid;
	return result_of(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes)));
}

static long send_signal(pid_t pid)
{
	return result_of(kill(pid, SIGURG));
}

static long send_thread_signal(pid_t pid)
{
	return result_of(syscall(SYS_tgkill, pid, pid, SIGWINCH));
}

static long send_pidfd_signal(pid_t pid)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0);

	return result_of(syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0));
}

static long send_queued_signal(pid_t pid)
{
	return result_of(sigqueue(pid, SIGURG, (union sigval){ 0 }));
}

/* By a pipe that tells its owner of data, with a signal of our choice. */
static long send_through_file(pid_t pid)
{
	int ends[2];

	if (pipe(ends) || fcntl(ends[0], F_SETOWN, pid) || fcntl(ends[0], F_SETSIG, SIGURG) ||
	    fcntl(ends[0], F_SETFL, O_ASYNC))
		return errno;
	return result_of(write(ends[1], "", 1));
}

/* Likewise, with the signal that it has where none was chosen. */
static long send_by_ownership(pid_t pid)
{
	int ends[2];

	if (pipe(ends) || fcntl(ends[0], F_SETOWN, pid) || fcntl(ends[0], F_SETFL, O_ASYNC))
		return errno;
	return result_of(write(ends[1], "", 1));
}

static long attach(pid_t pid)
{
	if (ptrace(PTRACE_ATTACH, pid, NULL, NULL))
		return errno;
	waitpid(pid, NULL, __WALL);
	return result_of(ptrace(PTRACE_DETACH, pid, NULL, NULL));
}

static long seize(pid_t pid)
{
	return result_of(ptrace(PTRACE_SEIZE, pid, NULL, NULL));
}

static long write_memory(pid_t pid)
{
	char byte = 0;
	struct iovec here = { .iov_base = &byte, .iov_len = 1 };
	struct iovec there = { .iov_base = NULL, .iov_len = 1 };

	return result_of(process_vm_writev(pid, &here, 1, &there, 1, 0));
}

/* Of one byte at an address that has nothing: whether it may is asked before. */
static long read_memory(pid_t pid)
{
	char byte = 0;
	struct iovec here = { .iov_base = &byte, .iov_len = 1 };
	struct iovec there = { .iov_base = NULL, .iov_len = 1 };

	return result_of(process_vm_readv(pid, &here, 1, &there, 1, 0));
}

/* What ordinary programs do. */
static long nothing(pid_t pid)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	kill(child, 0);
	ptrace(PTRACE_PEEKDATA, child, NULL, NULL);
	waitpid(child, NULL, 0);
	return result_of(kill(pid, 0)) | result_of(socket(AF_INET, SOCK_STREAM, 0)) |
	       result_of(socket(AF_UNIX, SOCK_STREAM, 0));
}

static const struct verb {
	const char *name;
	long (*perform)(pid_t pid);
} verbs[] = {
	{ "packet-socket", packet_socket },
	{ "old-packet-socket", old_packet_socket },
	{ "uring-old-packet-socket", uring_old_packet_socket },
	{ "xdp-socket", xdp_socket },
	{ "vsock-socket", vsock_socket },
	{ "uring-packet-socket", uring_packet_socket },
	{ "uring-frame", uring_frame },
	{ "uring-inet-socket", uring_inet_socket },
	{ "uring-raw-socket", uring_raw_socket },
#if defined(__x86_64__)
	{ "compat-packet-socket", compat_packet_socket },
	{ "compat-socketcall", compat_socketcall },
	{ "compat-old-socketcall", compat_old_socketcall },
#endif
	{ "bpf", map_of_bpf },
	{ "kill", send_signal },
	{ "tgkill", send_thread_signal },
	{ "pidfd-signal", send_pidfd_signal },
	{ "sigqueue", send_queued_signal },
	{ "file-signal", send_through_file },
	{ "owner-signal", send_by_ownership },
	{ "ptrace-attach", attach },
	{ "ptrace-seize", seize },
	{ "write-memory", write_memory },
	{ "read-memory", read_memory },
	{ "nothing", nothing },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	pid_t pid = argc > 2 ? atoi(argv[2]) : 0;
	long count = argc > 3 ? atol(argv[3]) : 1, result = 0;

	alarm(LIMIT_S);
	for (const struct verb *verb = verbs; argc > 1 && verb->name; verb++) {
		if (strcmp(verb->name, argv[1]) != 0)
			continue;
		while (count--) {
			result = verb->perform(pid);
		}
		puts(result ? strerrorname_np(result) : "ok");
		return 0;
	}
	fputs("usage: tamper VERB [PID] [COUNT]\n", stderr);
	return EXIT_FAILURE;
}
