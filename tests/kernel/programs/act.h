#pragma once

#include "peer.h"

#define PEERS_MAX 64

static const char payload[] = "payload";
static const size_t payload_size = sizeof(payload) - 1;

/* What the command line asks for. */
struct plan {
	struct peer peers[PEERS_MAX];
	int n_peers;
	long count;
};

/* Print "ok" or the name of the error, and exit with it. */
_Noreturn void finish(int error);

/* Go on if the call succeeded: an act ends at its first failure. */
long check(long result);
void check_error(int negative_errno);

int open_socket(const struct peer *peer, int type, int protocol);
void connect_to(int fd, const struct peer *peer);
void send_to(int fd, const struct peer *peer, int flags);
struct msghdr message_to(const struct peer *peer);

/* Stream sockets. */
void connect_blocking(const struct plan *plan);
void connect_nonblock(const struct plan *plan);
void thread_connect(const struct plan *plan);
void mptcp_connect(const struct plan *plan);
void tfo_sendto(const struct plan *plan);
void tfo_connect(const struct plan *plan);
void mapped_tcp(const struct plan *plan);

/* Datagram sockets. */
void udp_connect_send(const struct plan *plan);
void connect_udp_twice(const struct plan *plan);
void udp_sendto(const struct plan *plan);
void udp_sendmsg(const struct plan *plan);
void udp_sendmmsg(const struct plan *plan);
void udplite_sendto(const struct plan *plan);
void mapped_udp_sendto(const struct plan *plan);
void mapped_udp_connected(const struct plan *plan);
void sendto_unspec(const struct plan *plan);
void freebind(const struct plan *plan);
void v6sock_v4addr(const struct plan *plan);
void udp_corked(const struct plan *plan);
void udp_torn(const struct plan *plan);
void udp_torn_corked(const struct plan *plan);
void udp_torn_control(const struct plan *plan);
void udp_torn_disconnected(const struct plan *plan);

/* Raw and ping sockets, source routes, UDP-Lite. */
void raw_echo(const struct plan *plan);
void raw_echo_connected(const struct plan *plan);
void raw_echo_sqpoll(const struct plan *plan);
void ping(const struct plan *plan);
void ping_connected(const struct plan *plan);
void raw_sctp(const struct plan *plan);
void raw_253(const struct plan *plan);
void raw_header(const struct plan *plan);
void routed_udp(const struct plan *plan);
void routed_udp_connected(const struct plan *plan);
void routed_tcp(const struct plan *plan);
void routed_tcp_busy(const struct plan *plan);
void routed_raw(const struct plan *plan);
void udplite_connected(const struct plan *plan);
void udplite_connected_sendto(const struct plan *plan);
void udplite_mapped_connected(const struct plan *plan);

/* io_uring. */
void uring_connect(const struct plan *plan);
void uring_connect_sqpoll(const struct plan *plan);
void uring_sendmsg(const struct plan *plan);
