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

static inline int has_own_resolver(u64 network)
{
	u64 cookie = pointer_at(network, NETWORK_COOKIE);
	struct candidate_key *found = own_resolvers.lookup(&cookie);

	u32 *scope;

	if (!found || !found->tgid)
		return found != 0;
	scope = candidates.lookup(found);
	return scope && *scope;
}

/*
 * In its own network a process of the job could have taken the resolver's place; one that has not
 * taken it by now had no means to answer.
 */
static inline int is_trusted(u64 socket, u32 on_loopback)
{
	u64 network = network_of(socket);

	if (!is_of_the_host(network))
		return 0;
	return !on_loopback || !has_own_resolver(network);
}

/* The process answers on loopback, or has the means to. */
static inline void note_own_resolver(struct bpf_sock *sk, struct proc_value *proc)
{
	u64 network = network_of(address_of(sk)), cookie = pointer_at(network, NETWORK_COOKIE);
	struct candidate_key of_a_job = {};

	if (!is_of_the_host(network) || has_own_resolver(network))
		return;
	if (held_as(proc))
		own_resolvers.update(&cookie, &of_a_job);
	else if (proc->candidate.tgid)
		own_resolvers.update(&cookie, &proc->candidate);
}
