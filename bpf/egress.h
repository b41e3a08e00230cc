/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Declares the records that go to user space, and the keys and values of the maps: the single
 * source of truth for their layout. `make wire` generates exporter/events/wire.py from this file;
 * the exporter appends that layout to the programs as static assertions, so a difference can't be
 * compiled.
 *
 * Only fixed-width types, every gap spelled out as `pad`, no record larger than it needs to be.
 */
#ifndef EGRESS_H
#define EGRESS_H

#include <linux/types.h>

enum limits {
	ARGUMENTS_PIECE = 4096, /* bytes of argv in one record */
	ARGUMENTS_MAX = 8 * ARGUMENTS_PIECE,
	ENVIRONMENT_MAX = 64 *
		ARGUMENTS_PIECE, /* bytes of a step's environment: one variable may take half */
	PATH_ROOM = 1024,	 /* bytes for the components of an executable's path */
	CGROUP_ROOM = 96,	 /* bytes of a cgroup's own name: enough for a container's */
	MESSAGE_ROOM = 2048,	 /* bytes of a DNS message in one record */
	AGENT_NAME_ROOM = 56,
	MARK_ROOM = 28,
	FILE_NAMES_MAX = 4,	/* names that policies have for a Unix socket's file */
	SOCKET_NAME_ROOM = 108, /* bytes of a Unix socket's name */
	UNIT_ROOM = 64		/* bytes of a systemd service's name, and its NUL */
};

enum record_kind {
	KIND_FORK = 1,
	KIND_EXEC = 2,
	KIND_ARGUMENTS = 3,
	KIND_EXIT = 4,
	KIND_ACT = 5,
	KIND_FLOW = 6,
	KIND_AGGREGATE = 7,
	KIND_DNS = 8,
	KIND_TAMPER = 9,
	KIND_ENVIRONMENT = 10,
	KIND_BYTES = 11,
	KINDS
};

enum act_kind {
	ACT_CONNECT = 1,
	ACT_SEND = 2,
	ACT_CREATE = 3, /* the creation of a raw or ping socket was denied: there is no peer */
	ACTS
};

/* The outcome of a connect. */
enum outcome {
	OUTCOME_NONE = 0, /* nothing is known, or there is nothing to know */
	OUTCOME_ESTABLISHED = 1,
	OUTCOME_REFUSED = 2,
	OUTCOME_TIMEOUT = 3,
	OUTCOME_RESET = 4,
	OUTCOME_UNREACHABLE = 5,
	OUTCOME_ABORTED = 6, /* given up by the process itself */
	OUTCOME_OPEN = 7
};

/* The policy's verdict on an act; an entry of the policy has one of the first three. */
enum verdict {
	VERDICT_NONE = 0, /* of an act: its scope has no policy; of an entry: it decides nothing */
	VERDICT_ALLOW = 1,
	VERDICT_DENY = 2,
	VERDICT_AUDIT = 3, /* it would be denied, were the policy enforced */
	VERDICTS
};

enum policy_limits {
	ALTERNATIVES_MAX = 16, /* choices of one entry of `policy`, its own included */
	STEPS_MAX = 64,	       /* steps of one port and protocol in `rule_ports` */
	CLASSES = 3,	       /* (protocol, port), (protocol, any), (any, any) */
	HOST_NAME_ROOM = 252   /* bytes of a name in rules, and its NUL */
};

/* The least rank of an entry that no name overrides: a deny. */
enum rank { FINAL = 0x80000000 };

/* Values in place of a rule's number, where no rule decided or it isn't known which. */
enum rule {
	RULE_OF_LOOKUPS = 0xfffffffc,	   /* no rule allows the name that was to be asked for */
	RULE_OF_NOTHING_SENT = 0xfffffffd, /* a connect: its socket's packets are judged */
	RULE_OF_ANSWERS = 0xfffffffe,	   /* a listener answered a peer that had asked it */
	RULE_OF_NAMES = 0xffffffff	   /* rules for names: user space knows which one */
};

/*
 * The value of a name in the map `names`: the number of its rule set, or NAMED_WITHOUT_RULES where
 * the name is there for questions alone. The bit NAMED_MAY_BE_ASKED says that the name may be asked
 * for where lookups are refused.
 */
enum named { NAMED_WITHOUT_RULES = 0x7fffffff, NAMED_MAY_BE_ASKED = 0x80000000 };

/* Protocols of sockets without ports (raw, ping) that some rule allows, to some address or name. */
enum portless { PORTLESS_ICMP = 1, PORTLESS_TCP = 2, PORTLESS_UDP = 4, PORTLESS_OTHER = 8 };

/* Acts by which a process evades the tracing or attacks it; no honest build needs them. */
enum tampering {
	TAMPER_PACKET_SOCKET = 1, /* AF_PACKET: frames that no cgroup hook sees */
	TAMPER_BPF = 2,
	TAMPER_SIGNAL = 3, /* to the exporter, like the next two */
	TAMPER_PTRACE = 4,
	TAMPER_MEMORY = 5,
	TAMPER_XDP_SOCKET = 6,	 /* AF_XDP: as 1, past the kernel's network stack */
	TAMPER_FRAMES = 7,	 /* found by user space: the frames of 1 can't be stopped */
	TAMPER_MARKS = 8,	 /* likewise: variables that the step's agent doesn't set */
	TAMPER_VSOCK_SOCKET = 9, /* AF_VSOCK: to the host of a virtual machine, past its network */
	TAMPER_OTHER_MEMORY = 10 /* of a process that neither it nor a process it made has made */
};

/*
 * The protocol of acts on Unix sockets, larger than any of IP's; and the same in keys of policies,
 * which have a byte for it.
 */
enum unix_protocol { PROTOCOL_UNIX = 0x1000, POLICY_UNIX = 0xff };

enum job_limits { JOB_NAME_ROOM = 256, RUN_ID_ROOM = 128 };

enum job_mode {
	JOB_MODE_NONE = 0, /* there is no policy, or nobody chose */
	JOB_MODE_AUDIT = 1,
	JOB_MODE_ENFORCE = 2,
	JOB_MODE_STOPPED = 3 /* chosen, never requested: `ci-egress stop` detached the programs */
};

enum flow_stage {
	FLOW_ESTABLISHED = 1,
	FLOW_ENDED = 2,
	FLOW_NEVER_SENT = 3,
	FLOW_FAILED = 4 /* connect(2) returned an error; a record of its own says how it ended */
};

/* How a process that is in no job relates to the jobs of the host. */
enum standing {
	STANDING_NONE = 0,
	STANDING_AGENT = 1,  /* it starts jobs: its children are steps */
	STANDING_STEP = 2,   /* made below an agent: it is a job's, whatever its variables say */
	STANDING_MARKED = 3, /* executed with a job's variables, or with more than can be read */
	STANDING_MARKED_STEP = 4 /* both */
};

/* Which of the programs at an exec have run: the kernel may leave out any of them. */
enum noticed {
	NOTICED_START = 1,     /* before_exec */
	NOTICED_PROGRAM = 2,   /* on_exec */
	NOTICED_VARIABLES = 4, /* after_exec */
	NOTICED_ALL = 7,
	NOTICED_NOTHING = 8
};

/* Scopes that are no job's; the host is 0. */
enum scopes {
	SCOPE_WITHOUT_ROOM = 1,	 /* of jobs that find no room; steps are held as this scope, too */
	SCOPE_EARLY = 0x80000000 /* bit of questions and grants of a step without a known job */
};

/* How an agent is recognised. */
enum agent_kind {
	AGENT_PROGRAM = 1, /* by its executable's own name */
	AGENT_UNIT = 2,	   /* by its cgroup's name */
	AGENT_USER = 3
};

enum dns_stage { DNS_QUERY = 1, DNS_ANSWER = 2 };

/* The counters of each kind of record: the index is kind * COUNTS + one of these. */
enum count_of {
	COUNT_SEEN = 0,
	COUNT_LOST = 1,
	COUNT_UNTRACKED = 2, /* too many of them: not noted, or not reported */
	COUNT_UNREAD = 3,    /* messages that aren't whole, or malformed */
	COUNT_UNASKED = 4,   /* answers without a question */
	COUNT_UNGRANTED = 5, /* addresses of names in rules, for which there was no room */
	COUNT_KEPT_BACK = 6, /* marks of connections with data that a policy refuses, or may */
	COUNTS
};

struct record_header {
	u32 layout; /* the edition of this file that the writer was compiled with */
	u16 kind;
	u16 pad;
	u64 at_ns;	/* CLOCK_BOOTTIME */
	u64 started_ns; /* with pid, it names the process for good */
	u32 pid;
	u32 exec_id; /* the number of the process's program; 0 before its first traced exec */
};

struct fork_record {
	struct record_header header;
	u64 creator_started_ns;
	u32 creator_pid;
	u32 creator_exec_id;
	u32 parent_pid;
	u32 scope;
};

/* The first arguments_here bytes of argv stand behind it. */
struct exec_record {
	struct record_header header;
	u32 parent_pid;
	u32 scope;
	u32 arguments_size; /* of the whole argv */
	u32 arguments_here;
	u32 path_here;		  /* bytes used of path */
	u32 path_cut;		  /* 1: the components nearest to the root are missing */
	char path[PATH_ROOM];	  /* NUL-terminated components, the file's own name first */
	char cgroup[CGROUP_ROOM]; /* the name of its cgroup (v2), NUL-terminated */
};

/* A further piece of argv: arguments_here bytes stand behind it, at most ARGUMENTS_PIECE. */
struct arguments_record {
	struct record_header header;
	u32 offset;
	u32 arguments_here;
};

/*
 * A piece of the environment that a process of no job executed with; its bytes stand behind the
 * record.
 */
struct environment_record {
	struct record_header header;
	u32 size; /* bytes of the whole environment */
	u32 offset;
	u32 here;
	u16 standing; /* of the process, like the next */
	u16 agent;
	u64 parent_started_ns; /* 0: the parent isn't followed */
	u32 parent_pid;
	u32 pad;
};

struct exit_record {
	struct record_header header;
	u32 wait_status; /* as wait(2) gives it */
	u32 pad;
};

/* Of an act on a Unix socket, the first name_here bytes behind it are the socket's name. */
struct act_record {
	struct record_header header;
	u64 cookie;
	u32 tid;
	u32 parent_pid;
	u32 uid;
	u32 scope;
	u8 peer[16]; /* network order, IPv4 as ::ffff:a.b.c.d; a digest of a Unix socket's name */
	u8 local[16];
	u16 peer_port;	/* host order, like local_port */
	u16 local_port; /* 0: not bound yet */
	u16 protocol;
	u16 act;
	u32 rule; /* the number of the rule that decided; 0: none did */
	u32 verdict;
	u64 held; /* bits of the executables in its chain; all policies share the numbers */
	u32 policy;
	u32 is_metered; /* 1: its bytes get a record of their own, once they are complete */
	u32 name_here;
	u32 pad;
};

/* A stage of a connection whose connect had a record of its own: the cookie ties the two. */
struct flow_record {
	struct record_header header; /* names no process: the current one may be any */
	u64 cookie;
	u64 bytes_sent;
	u64 bytes_received;
	u8 local[16];
	u32 rtt_us; /* smoothed */
	u16 local_port;
	u16 error; /* errno, 0 when it ended as it should */
	u16 stage;
	u16 outcome;
	u32 pad;
};

/*
 * The payload of the datagrams of an act, in bytes, until its socket's next act. The act had a
 * record of its own.
 */
struct bytes_record {
	struct record_header header; /* names no process */
	u64 cookie;
	u64 acted_ns; /* the act's at_ns, which with the cookie names the act */
	u64 bytes_sent;
	u64 bytes_received;
};

/*
 * Acts that were only counted: those of one program with one peer, verdict and outcome inside a
 * window. It is also the value of `slots`, the map that counts them. at_ns is the first act's.
 * Without attempts, it has only bytes, of acts that were counted or reported before.
 */
struct aggregate_record {
	struct record_header header;
	u64 last_ns;
	u64 attempts;
	u64 bytes_sent;
	u64 bytes_received;
	u32 parent_pid;
	u32 uid;
	u32 scope;
	u16 peer_port;
	u16 protocol;
	u8 peer[16];
	u8 act;
	u8 outcome;
	u8 other; /* 1: of peers that aren't told apart: peer, peer_port and rule say nothing */
	u8 verdict;
	u32 window;
	u32 rule; /* the first act's, like the next two */
	u32 policy;
	u64 held;
};

/* The message's first message_here bytes stand behind it. */
struct dns_record {
	struct record_header header; /* names the process that asked, also for an answer */
	u64 cookie;
	u8 resolver[16];
	u32 scope;
	u16 resolver_port;
	u16 message_size; /* bytes of the whole message */
	u16 message_here;
	u8 protocol;
	u8 stage;
	u16 counts; /* of an answer: 1 where its addresses may be granted to names in the policy */
	u16 doubtful; /* of an answer: 1 where somebody other than the resolver may have made it */
};

/*
 * Written at the first few times, and then each time that the number has doubled: `times` has that
 * number.
 */
struct tamper_record {
	struct record_header header;
	u32 scope;
	u32 uid;
	u32 parent_pid;
	u32 times;   /* by this process within a second; for bpf(2), by its job */
	u32 detail;  /* protocol of the frames, bpf(2) command, signal, ptrace(2) request or pid */
	u32 network; /* number of its network namespace */
	u32 what;
	u32 is_denied;
	char target[16]; /* name of the process that `detail` is the pid of, if it is one's */
};

/* Map keys and values. */
struct tamper_key {
	u64 started_ns;
	u32 pid;
	u32 what;
};

struct tamper_value {
	u64 began_ns;
	u32 times;
	u32 pad;
};

/* A question that waits for its answer, on this socket and from this resolver. */
struct query_key {
	u64 cookie;
	u64 hash; /* of the name, in lower case */
	u8 resolver[16];
	u16 id;
	u16 type;
	u32 pad;
};

struct query_value {
	u64 at_ns;
	u64 started_ns;
	u32 pid;
	u32 exec_id;
	u32 scope;
	u32 policy; /* the one that allows its resolver, so that its answer may grant; 0: none */
	u8 told;    /* whether it has a record: then its answer gets one, too */
	u8 on_loopback; /* whether it left by lo: then its answer must come by lo */
	u16 doubtful;	/* whether somebody other than its resolver may have made its answer */
	u32 pad;
};

/*
 * A scope's questions. The number of those that wait is the number of those noted, less those
 * answered and those expired.
 */
struct quota_value {
	u64 noted;
	u64 answered;
};

struct flow_key {
	u64 started_ns;
	u32 pid;
	u32 exec_id;
	u8 peer[16];
	u16 peer_port;
	u16 protocol;
	u8 act;
	u8 outcome;
	u8 other;
	u8 verdict;
};

struct flow_value {
	u32 told; /* acts that got a record of their own */
	u32 slot; /* where the others are counted; 0: nowhere yet */
};

/* What scopes share in a window: flows and slots, each with one peer or all others, and records. */
enum place { PLACE_FLOW, PLACE_OTHER_FLOW, PLACE_SLOT, PLACE_OTHER_SLOT, PLACE_RECORD, PLACES = 8 };

struct places_value {
	u32 taken[PLACES];
};

/*
 * An act while it is handled. A connect that is only counted is kept as this until its outcome is
 * known.
 */
struct act_value {
	struct flow_key key;
	u64 at_ns;
	u64 cookie;
	u32 parent_pid;
	u32 uid;
	u32 scope;
	u32 tid;
	u32 rule;
	u32 policy;
	u64 held;
};

/* Where the bytes of a datagram socket's latest act are counted. */
enum metering {
	METERING_NONE = 0,
	METERING_TOLD = 1,   /* in last_peer, until the socket's next act */
	METERING_COUNTED = 2 /* in the slot where the act is counted */
};

/* The peers of a socket that its calls named, if the calls were let through. */
enum peers { PEERS_ANY = 1, PEERS_CONNECTED = 2, PEERS_SEVERAL = 4 };

/* The value of a socket's storage: its latest act, and how its packets are judged. */
struct last_peer {
	struct act_value act;
	u64 bytes_sent;
	u64 bytes_received;
	u32 window;
	u32 slot;
	u32 metering;
	u32 is_mixed; /* 1: it had several peers to which a packet without an act may go */
	u32 lock; /* struct bpf_spin_lock, for members above; those below have the socket's lock */
	u8 undecided; /* 0: packets aren't judged; else VERDICT_*, for a sender without a policy */
	u8 peers;     /* PEERS_* */
	u16 first_port; /* the port of the first peer, whose address is next */
	u8 first[16];
	u8 called[16];	  /* the peer of the latest call that was let through; has `lock`, too */
	u8 connected[16]; /* the same for the latest connect */
	u16 called_port;  /* the ports of these two */
	u16 connected_port;
	u32 held_as; /* the scope for which it became undecided */
};

/*
 * The policies. docs/policy.md says what they mean, exporter/policy/compile.py how a verdict is
 * looked up in these maps.
 */
struct policy_key {
	u32 prefix_bits; /* of all that follows: 64 before the address */
	u32 policy;
	u16 port; /* host order; 0: every one */
	u8 protocol;
	u8 pad;
	u8 address[16];
};

struct choice_value {
	u64 needed; /* bits of executables that must all be in the chain of processes */
	u32 rule;
	u32 rank;      /* the choice with the larger rank decides */
	u32 following; /* index of the choice to try when this one doesn't hold; 0: none */
	u32 verdict;
};

/* A name, in a key as long as LPM tries take them: reversed, with a NUL behind it. */
struct name_key {
	u32 prefix_bits; /* of all that follows: 32 before the name */
	u32 policy;
	u8 name[HOST_NAME_ROOM];
};

/* The rule sets that names granted to an address, one bit each: all sets are of the one policy. */
struct granted_key {
	u32 scope;
	u32 policy;
	u8 address[16];
};

struct granted_value {
	u64 sets_low;
	u64 sets_high;
	u64 until_ns; /* CLOCK_BOOTTIME; all bits set: for good */
	u32 used;     /* the window of the latest lookup */
	u32 pad;
};

/*
 * A policy's verdicts on rule sets, by port and protocol, which make a class. The steps of a class
 * are looked up in their order.
 */
struct port_key {
	u32 policy;
	u16 port;
	u8 protocol;
	u8 step;
};

struct step_value {
	u64 needed;
	u64 allow_low;
	u64 allow_high;
	u64 deny_low;
	u64 deny_high;
	u32 more; /* 1: there is a next step */
	u32 pad;
};

/* The policy of a scope, and its mode; several scopes may have the same policy. */
struct mode_value {
	u32 policy;
	u32 next_policy; /* the policy about to take over: grants are made for it, too; 0: none */
	u32 is_enforcing;
	u32 has_names; /* 1: one of these two policies has rules for names */
	u32 portless;  /* PORTLESS_* for which an enforced job may make raw and ping sockets */
	u32 refuses_lookups; /* 1: names that no rule allows may not be asked for, either */
};

/* A file that policies name as an executable; it is known by its inode, not by its path. */
struct exe_key {
	u64 inode;
	u32 device; /* as the kernel has it: major << 20 | minor */
	u32 pad;
};

/*
 * A Unix socket that a policy names: the digest of a name, or its file's inode and device, with a
 * number for each of the names that policies have for that file.
 */
struct socket_key {
	u64 first;
	u64 other;
	u32 number; /* from 1; 0 for a name */
	u32 pad;
};

/* A digest of the name that the policy has for it. */
struct socket_value {
	u64 first;
	u64 other;
};

struct exe_value {
	u64 bits;      /* of the executables that the file counts as */
	u64 ctime_sec; /* of the inode when the policy was loaded; differs once it was changed */
	u32 ctime_nsec;
	u32 pad;
};

/*
 * A program of a process of no job, whose environment user space gets. The processes that it makes
 * carry this key, too: should user space find that the program is a job's, they are put into the
 * job with it.
 */
struct candidate_key {
	u64 born_ns;
	u32 tgid;
	u32 program; /* its exec_id then */
};

/* An address in a network namespace; zeros stand for all of its addresses. */
struct late_key {
	u64 network; /* the namespace's cookie */
	u8 address[16];
};

/* Kept with the socket of a connection that user space may have to abort in the end. */
struct mark_value {
	u32 is_dropped; /* 1: packets of it were dropped */
	u32 scope;	/* else it goes to a resolver, and is of this scope: see kept.bpf.c */
};

/* A systemd service: its whole name, with NULs behind it. */
struct unit_key {
	u8 name[UNIT_ROOM];
};

/* The facts about a scope's job for other processes, with or without a policy. */
struct job_value {
	u64 trace_high;
	u64 trace_low;
	u64 span;     /* the id of the job's span */
	u64 run_hash; /* the first 8 bytes of its run id's SHA-256 */
	u64 identity; /* the span id by the job's identity; with run_hash, it names the job */
	u64 parent;   /* the id of the span above the job's; 0: there is none */
	u64 below;    /* the id from which ids below the job's span are derived; 0: `span` */
	u64 began_ns; /* CLOCK_BOOTTIME, like told_ns */
	u64 told_ns;  /* when its span was reported; 0: not yet */
	u64 who_high; /* 128 bits of a digest of its identity; 0: its claims are in doubt */
	u64 who_low;
	u32 rules;	 /* the number of its policy's rules */
	u32 requested;	 /* the mode at the beginning: enum job_mode */
	u32 switched;	 /* the mode that somebody chose since; it overrides `requested` */
	u32 switched_by; /* the uid of the user who chose it */
	u8 pipeline[JOB_NAME_ROOM]; /* UTF-8, cut where it is longer, NUL behind it where shorter */
	u8 task[JOB_NAME_ROOM];
	u8 run[RUN_ID_ROOM]; /* the run's id, likewise */
};

/* Map values that user space reads or writes. */
struct proc_value {
	u64 started_ns;
	u32 scope;
	u32 exec_id;
	u16 window; /* the lower half of its number, as that of the second */
	u16 lookup_second;
	u32 firsts;	  /* peers told apart within that window */
	u32 lookup_bytes; /* of records within that second */
	u32 execs;	  /* the kernel's count of its execs, at the one that `noticed` is about */
	u64 held;	  /* bits of the executables in its chain, of those that policies name */
	struct candidate_key candidate; /* while scope is 0: the program that may show its job */
	u8 is_guest; /* 1: it, or its creator, executed in a container since tracing began */
	u8 standing; /* STANDING_*, while scope is 0; afterwards its last value */
	u8 agent;    /* the CI system of the agent that it is, or is below; 0: not known */
	u8 noticed;  /* NOTICED_*, of that exec; 0: its execs aren't compared yet */
	u32 early;   /* SCOPE_EARLY and the number of the step that it is part of; 0: of none */
};

struct config_value {
	u32 layout;
	u32 window;		/* the current one's number; user space counts it up */
	u32 self_pid;		/* the exporter's: tampering with it is reported */
	u32 is_host;		/* 1: processes of no job are followed too, as scope 0 */
	u32 reads_environments; /* 1: their environments are sent, to find jobs by */
	u32 has_policies;	/* 1: some scope has a policy */
	u32 has_executables;	/* 1: some policy names executables */
	u32 edition;		/* of the programs: part of a hash of their sources */
	u32 undecided; /* the scope as which steps are held until their job is known; 0: as none */
	u32 knows_everyone; /* 1: all that ran before the programs were attached are in `procs` */
};

/* A way to recognise an agent. Members that its kind doesn't use are zeros. */
struct agent_key {
	u32 kind;
	u32 user;
	char name[AGENT_NAME_ROOM]; /* cut where it is longer; the last byte is 0 then, too */
};

/* The beginning of a variable that jobs are known by: its name and `=`, and for some the value. */
struct mark_key {
	u32 prefix_bits; /* of what follows */
	char text[MARK_ROOM];
};

/* A policy that was written, by its number. */
struct policy_value {
	u8 fingerprint[32]; /* of its entries; zeros while not all of them are there */
	u32 base;	    /* `alternatives` has its choices from base + 1 on */
	u32 alternatives;
};

/* An executable's name in policies, as a digest, since names may be long. */
struct exe_name_key {
	u8 digest[32]; /* SHA-256 */
};

/* How many of the counted attempts exporters have settled: reported, or given up. */
struct account_value {
	u64 settled;
	u64 lost; /* besides these, the attempts that no record and no counter had room for */
};

#endif
