// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * In which networks an answer is its resolver's: anybody can answer under any address in a network
 * that he made.
 */
static inline u64 network_of(u64 socket)
{
	return pointer_at(socket, SOCK_NETWORK);
}

/* Whoever makes a user namespace can make a network in it, and answer there under any address. */
static inline int is_of_the_host(u64 network)
{
	return number_at(pointer_at(network, NETWORK_USERS), USERS_LEVEL) == 0;
}

/*
 * In its own network a process of the job could have taken the resolver's place; one that has not
 * taken it by now had no means to answer.
 */
static inline int is_trusted(u64 socket, u32 on_loopback)
{
	u64 network = network_of(socket), cookie = pointer_at(network, NETWORK_COOKIE);

	if (!is_of_the_host(network))
		return 0;
	return !on_loopback || !own_resolvers.lookup(&cookie);
}

static inline void note_own_resolver(struct bpf_sock *sk, struct proc_value *proc)
{
	u64 network, cookie;
	u32 is = 1;

	if (sk->src_port != DNS_PORT || !is_governed(proc))
		return;
	network = network_of(address_of(sk));
	if (!is_of_the_host(network))
		return;
	cookie = pointer_at(network, NETWORK_COOKIE);
	own_resolvers.update(&cookie, &is);
}
