// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Finds out where an answer is certainly its resolver's. The maker of a network can answer there
 * from any address; over loopback, the process that takes port 53 of an address can. No program is
 * attached here: on_bind4 and on_bind6 (socket.bpf.c), on_packet (packet.bpf.c) and on_answer
 * (dns.bpf.c) call these functions.
 */
#pragma once

#include "exec.bpf.c"
#include "process.bpf.c"
#include "slots.bpf.c"

#define UNIT_LEVEL 2				  /* a cgroup's level: /system.slice/NAME.service */
#define SYSTEM_SLICE_BEGINS 0x732e6d6574737973ULL /* "system.s" */
#define SYSTEM_SLICE_ENDS 0x6563696cULL		  /* "lice" */

static inline u64 network_of(u64 socket)
{
	return pointer_at(socket, SOCK_NETWORK);
}

/*
 * Whether the network was made in the host's user namespace. Whoever makes a user namespace can
 * make a network in it, and answer there from any address.
 */
static inline int is_of_the_host(u64 network)
{
	return number_at(pointer_at(network, NETWORK_USERS), USERS_LEVEL) == 0;
}

static inline int is_late(u64 network, const union address *resolver)
{
	struct late_key key = { .network = pointer_at(network, NETWORK_COOKIE) };
	struct candidate_key *found;

	u32 *scope;

	__builtin_memcpy(key.address, resolver->bytes, sizeof(key.address));
	found = late_resolvers.lookup(&key);
	if (!found || !found->tgid)
		return found != 0;
	scope = candidates.lookup(found);
	return scope && *scope;
}

/*
 * Whether an answer is its resolver's. In a network of its own a process of the job could have
 * taken the resolver's place. Over loopback any other process could do so for the job; but where no
 * address was noted as late, port 53 still belongs to the process that had it before the programs
 * were attached.
 */
static inline int is_trusted(u64 socket, u32 on_loopback, const union address *resolver)
{
	u64 network = network_of(socket);
	union address any = {};

	if (!is_of_the_host(network))
		return 0;
	return !on_loopback || (!is_late(network, &any) && !is_late(network, resolver));
}

static inline void note_late(u64 network, const union address *address,
			     const struct candidate_key *by)
{
	struct late_key key = { .network = pointer_at(network, NETWORK_COOKIE) };

	__builtin_memcpy(key.address, address->bytes, sizeof(key.address));
	late_resolvers.update(&key, (void *)by);
}

/*
 * Note that a process of a job, or one that may be a job's, answers on loopback, or has the means
 * to. It doesn't matter which address it took, since it can send from each of the network's
 * addresses (IP_PKTINFO). Return whether the process is known to be a job's.
 */
static inline int note_own_resolver(u64 network, const struct proc_value *proc)
{
	struct candidate_key of_a_job = {};
	union address any = {};
	u32 is_known = held_as(proc) != 0;

	if (is_of_the_host(network) && !is_late(network, &any) &&
	    (is_known || proc->candidate.tgid))
		note_late(network, &any, is_known ? &of_a_job : &proc->candidate);
	return is_known;
}

/*
 * Whether the current task belongs to a service that resolves names for the machine: only systemd,
 * and whoever is root, can put a process into /system.slice/NAME.service.
 */
static inline int is_of_a_resolver_unit(void)
{
	u64 cgroup = pointer_at(pointer_at(bpf_get_current_task(), TASK_CGROUPS), CSS_SET_CGROUP);
	u64 above = pointer_at(pointer_at(cgroup, CGROUP_PARENT), CSS_CGROUP);
	u64 slice[2] = {};
	struct unit_key unit = {};

	if (number_at(cgroup, CGROUP_LEVEL) != UNIT_LEVEL)
		return 0;
	read_kernel_text(slice, sizeof(slice), (void *)name_of_cgroup(above));
	read_kernel_text(unit.name, sizeof(unit.name), (void *)name_of_cgroup(cgroup));
	return slice[0] == SYSTEM_SLICE_BEGINS && slice[1] == SYSTEM_SLICE_ENDS &&
	       resolver_units.lookup(&unit);
}

/*
 * Note that a process of no job took port 53: from now on it may answer for the address that it
 * took, or for all.
 */
static inline void note_late_resolver(u64 network, const union address *taken)
{
	struct candidate_key by_anybody = {};

	if (is_of_the_host(network) && !is_of_a_resolver_unit())
		note_late(network, taken, &by_anybody);
}

/*
 * Called where a process takes port 53 of an address, or of all addresses: then `taken` is zeros.
 */
static inline void note_resolver(struct bpf_sock *sk, const struct proc_value *proc,
				 const union address *taken)
{
	u64 network = network_of(address_of(sk));

	if (!proc || !note_own_resolver(network, proc))
		note_late_resolver(network, taken);
}
