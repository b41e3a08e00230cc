#define _GNU_SOURCE
#include "act.h"
#include "uring.h"

#include <errno.h>
#include <linux/ipv6.h>
#include <linux/seg6.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define ECHO_BYTES 8
#define SCTP_BYTES 16
#define PACKET_MAX 256
#define UDPLITE IPPROTO_UDPLITE

static int is_v6(const struct peer *peer)
{
	return peer->any.sa_family == AF_INET6;
}

/* A raw IPv6 socket takes no port but 0. */
static struct peer without_port(const struct peer *peer)
{
	struct peer bare = *peer;

	if (is_v6(peer))
		bare.v6.sin6_port = 0;
	else
		bare.v4.sin_port = 0;
	return bare;
}

/* The kernel fills in checksum and, for a ping socket, identifier. */
static void fill_echo(const struct peer *peer, unsigned char *echo)
{
	unsigned int sum;

	memset(echo, 0, ECHO_BYTES);
	echo[0] = is_v6(peer) ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
	echo[7] = 1;
	sum = 0xffff & ~((echo[0] << 8) + 1);
	if (!is_v6(peer)) {
		echo[2] = sum >> 8;
		echo[3] = sum;
	}
}

static int echo_socket(const struct peer *peer, int type)
{
	return open_socket(peer, type, is_v6(peer) ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static void send_echoes(int fd, const struct peer *peer, long count)
{
	unsigned char echo[ECHO_BYTES];
	struct peer to = without_port(peer);

	fill_echo(peer, echo);
	while (count--)
		check(sendto(fd, echo, sizeof(echo), 0, &to.any, to.size));
}

static void send_connected_echoes(int fd, const struct peer *peer, long count)
{
	unsigned char echo[ECHO_BYTES];
	struct peer to = without_port(peer);

	fill_echo(peer, echo);
	connect_to(fd, &to);
	while (count--)
		check(send(fd, echo, sizeof(echo), 0));
}

void raw_echo(const struct plan *plan)
{
	send_echoes(echo_socket(&plan->peers[0], SOCK_RAW), &plan->peers[0], plan->count);
}

void raw_echo_connected(const struct plan *plan)
{
	send_connected_echoes(echo_socket(&plan->peers[0], SOCK_RAW), &plan->peers[0], plan->count);
}

/* Sent by a kernel thread that polls for the process. */
void raw_echo_sqpoll(const struct plan *plan)
{
	unsigned char echo[ECHO_BYTES];
	struct peer to = without_port(&plan->peers[0]);
	struct iovec vector = { .iov_base = echo, .iov_len = sizeof(echo) };
	struct msghdr message = {
		.msg_name = &to.any,
		.msg_namelen = to.size,
		.msg_iov = &vector,
		.msg_iovlen = 1,
	};
	struct io_uring_sqe entry = {
		.opcode = IORING_OP_SENDMSG,
		.fd = echo_socket(&to, SOCK_RAW),
		.addr = (uintptr_t)&message,
		.len = 1,
	};

	fill_echo(&to, echo);
	check_error(uring_perform(&entry, IORING_SETUP_SQPOLL));
}

void ping(const struct plan *plan)
{
	send_echoes(echo_socket(&plan->peers[0], SOCK_DGRAM), &plan->peers[0], plan->count);
}

void ping_connected(const struct plan *plan)
{
	send_connected_echoes(echo_socket(&plan->peers[0], SOCK_DGRAM), &plan->peers[0],
			      plan->count);
}

/* A header with the peer's port, as SCTP's INIT has it. */
void raw_sctp(const struct plan *plan)
{
	const struct peer *peer = &plan->peers[0];
	struct peer to = without_port(peer);
	unsigned char packet[SCTP_BYTES] = { [12] = 1, [15] = 4 };
	in_port_t port = is_v6(peer) ? peer->v6.sin6_port : peer->v4.sin_port;

	memcpy(packet + 2, &port, sizeof(port));
	check(sendto(open_socket(peer, SOCK_RAW, IPPROTO_SCTP), packet, sizeof(packet), 0, &to.any,
		     to.size));
}

/* A protocol of nobody's. */
void raw_253(const struct plan *plan)
{
	struct peer to = without_port(&plan->peers[0]);

	check(sendto(open_socket(&to, SOCK_RAW, 253), payload, payload_size, 0, &to.any, to.size));
}

static size_t fill_udp(unsigned char *at, in_port_t port)
{
	struct udphdr *udp = (void *)at;

	*udp = (struct udphdr){
		.source = htons(9),
		.dest = port,
		.len = htons(sizeof(*udp) + payload_size),
	};
	memcpy(udp + 1, payload, payload_size);
	return sizeof(*udp) + payload_size;
}

static size_t fill_packet(const struct peer *peer, unsigned char *packet)
{
	if (is_v6(peer)) {
		struct ip6_hdr *header = (void *)packet;
		size_t size = fill_udp(packet + sizeof(*header), peer->v6.sin6_port);

		*header = (struct ip6_hdr){ .ip6_dst = peer->v6.sin6_addr };
		header->ip6_flow = htonl(6U << 28);
		header->ip6_plen = htons(size);
		header->ip6_nxt = IPPROTO_UDP;
		header->ip6_hlim = 64;
		return sizeof(*header) + size;
	}

	struct iphdr *header = (void *)packet;
	size_t size = sizeof(*header) + fill_udp(packet + sizeof(*header), peer->v4.sin_port);

	*header = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.daddr = peer->v4.sin_addr.s_addr,
	};
	return size;
}

/* UDP to the first peer in a header of our own; the call names the last one. */
void raw_header(const struct plan *plan)
{
	const struct peer *peer = &plan->peers[0];
	struct peer named = without_port(&plan->peers[plan->n_peers - 1]);
	unsigned char packet[PACKET_MAX] = { 0 };
	size_t size = fill_packet(peer, packet);

	check(sendto(open_socket(peer, SOCK_RAW, IPPROTO_RAW), packet, size, 0, &named.any,
		     named.size));
}

/* To the first peer by way of the second: its address is the packet's. */
static void set_route(int fd, const struct plan *plan)
{
	const struct peer *hop = &plan->peers[plan->n_peers - 1];

	if (is_v6(hop)) {
		struct {
			struct ipv6_sr_hdr header;
			struct in6_addr segments[2];
		} route = {
			.header = { .hdrlen = 4,
				    .type = 4,
				    .segments_left = 1,
				    .first_segment = 1 },
			.segments = { plan->peers[0].v6.sin6_addr, hop->v6.sin6_addr },
		};

		check(setsockopt(fd, IPPROTO_IPV6, IPV6_RTHDR, &route, sizeof(route)));
		return;
	}

	unsigned char option[] = { IPOPT_NOP, IPOPT_LSRR, 7, 4, 0, 0, 0, 0 };

	memcpy(option + 4, &hop->v4.sin_addr, 4);
	check(setsockopt(fd, IPPROTO_IP, IP_OPTIONS, option, sizeof(option)));
}

void routed_udp(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_DGRAM, 0);

	set_route(fd, plan);
	send_to(fd, &plan->peers[0], 0);
}

void routed_udp_connected(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_DGRAM, 0);

	set_route(fd, plan);
	connect_to(fd, &plan->peers[0]);
	check(send(fd, payload, payload_size, 0));
}

static int connect_routed(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_STREAM | SOCK_NONBLOCK, 0);

	set_route(fd, plan);
	if (connect(fd, &plan->peers[0].any, plan->peers[0].size) && errno != EINPROGRESS)
		finish(errno);
	return fd;
}

/* The SYN is sent, and nothing answers. */
void routed_tcp(const struct plan *plan)
{
	connect_routed(plan);
}

static int was_sent_again(int fd)
{
	struct tcp_info info = {};
	socklen_t size = sizeof(info);

	check(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size));
	return info.tcpi_retransmits > 0;
}

/*
 * Running when the kernel's timer sends the SYN again. It asks for that once a second alone: while
 * a call has the socket, the timer leaves its work to the caller.
 */
void routed_tcp_busy(const struct plan *plan)
{
	int fd = connect_routed(plan);
	struct timespec now;
	time_t second, end;

	check(clock_gettime(CLOCK_MONOTONIC, &now));
	end = now.tv_sec + 30;
	do {
		second = now.tv_sec;
		while (now.tv_sec == second)
			check(clock_gettime(CLOCK_MONOTONIC, &now));
	} while (!was_sent_again(fd) && now.tv_sec < end);
}

void routed_raw(const struct plan *plan)
{
	int fd = echo_socket(&plan->peers[0], SOCK_RAW);

	set_route(fd, plan);
	send_echoes(fd, &plan->peers[0], 1);
}

void udplite_connected(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_DGRAM, UDPLITE);

	connect_to(fd, &plan->peers[0]);
	for (long i = 0; i < plan->count; i++)
		check(send(fd, payload, payload_size, 0));
}

/* Once to the peer that it is connected to, then to another one. */
void udplite_connected_sendto(const struct plan *plan)
{
	int fd = open_socket(&plan->peers[0], SOCK_DGRAM, UDPLITE);

	connect_to(fd, &plan->peers[0]);
	for (int i = 0; i < plan->n_peers; i++)
		send_to(fd, &plan->peers[i], 0);
}

void udplite_mapped_connected(const struct plan *plan)
{
	struct peer mapped = peer_mapped(&plan->peers[0]);
	int fd = open_socket(&mapped, SOCK_DGRAM, UDPLITE);

	connect_to(fd, &mapped);
	for (long i = 0; i < plan->count; i++)
		check(send(fd, payload, payload_size, 0));
}
