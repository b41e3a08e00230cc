#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

/* Where an act goes: an IPv4 or IPv6 address with a port. */
struct peer {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};
	socklen_t size;
};

/* Read what inet_pton(3) takes and a decimal port; 0, or -EINVAL. */
int peer_parse(struct peer *peer, const char *address, const char *port);

/* The IPv4 peer as ::ffff:a.b.c.d; an IPv6 one as it is. */
struct peer peer_mapped(const struct peer *peer);

/* Blocking connect and close; 0, or -errno. */
int peer_connect(const struct peer *peer, int protocol);
