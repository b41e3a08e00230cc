#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int peer_parse(struct peer *peer, const char *address, const char *port)
{
	in_port_t number = htons(strtoul(port, NULL, 10));

	memset(peer, 0, sizeof(*peer));
	if (inet_pton(AF_INET, address, &peer->v4.sin_addr) == 1) {
		peer->v4.sin_family = AF_INET;
		peer->v4.sin_port = number;
		peer->size = sizeof(peer->v4);
		return 0;
	}
	if (inet_pton(AF_INET6, address, &peer->v6.sin6_addr) == 1) {
		peer->v6.sin6_family = AF_INET6;
		peer->v6.sin6_port = number;
		peer->size = sizeof(peer->v6);
		return 0;
	}
	return -EINVAL;
}

struct peer peer_mapped(const struct peer *peer)
{
	struct peer mapped = { .v6 = { .sin6_family = AF_INET6 }, .size = sizeof(mapped.v6) };
	unsigned char *bytes = mapped.v6.sin6_addr.s6_addr;

	if (peer->any.sa_family == AF_INET6)
		return *peer;
	memset(bytes + 10, 0xff, 2);
	memcpy(bytes + 12, &peer->v4.sin_addr, 4);
	mapped.v6.sin6_port = peer->v4.sin_port;
	return mapped;
}

int peer_connect(const struct peer *peer, int protocol)
{
	int fd = socket(peer->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, protocol);
	int result;

	if (fd < 0)
		return -errno;
	result = connect(fd, &peer->any, peer->size) ? -errno : 0;
	close(fd);
	return result;
}
