// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * In which networks an answer is its resolver's: anybody can answer under any address in a network
 * that he made, and over loopback who takes port 53 of an address.
 */
#define UNIT_LEVEL 2				  /* of a cgroup: /system.slice/NAME.service */
#define SYSTEM_SLICE_BEGINS 0x732e6d6574737973ULL /* "system.s" */
#define SYSTEM_SLICE_ENDS 0x6563696cULL		  /* "lice" */

static inline u64 network_of(u64 socket)
{
	return pointer_at(socket, SOCK_NETWORK);
}

/* Whoever makes a user namespace can make a network in it, and answer there under any address. */
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
 * In its own network a process of the job could have taken the resolver's place, and any other
 * process could do so for the job: who had port 53 before has it still, or is late.
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
 * A process of a job answers on loopback, or has the means to; which address it took is no matter,
 * since it can send under each of the network's (IP_PKTINFO). Returns whether it is known to be of
 * one.
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
 * Whether the current task is of a service that resolves names for the machine: only systemd, and
 * who is root, can put anybody into /system.slice/NAME.service.
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

/* Of somebody of no job: it speaks for the address that it took, from now on, or for all. */
static inline void note_late_resolver(u64 network, const union address *taken)
{
	struct candidate_key by_anybody = {};

	if (is_of_the_host(network) && !is_of_a_resolver_unit())
		note_late(network, taken, &by_anybody);
}

/* Called where a process takes port 53 of an address, or of all: then that is zeros. */
static inline void note_resolver(struct bpf_sock *sk, const struct proc_value *proc,
				 const union address *taken)
{
	u64 network = network_of(address_of(sk));

	if (!proc || !note_own_resolver(network, proc))
		note_late_resolver(network, taken);
}
