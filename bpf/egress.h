/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The records that travel to user space: the single source of truth for their layout.
 * `make wire` generates exporter/wire.py from this file; the exporter appends that layout to the
 * programs as static assertions, so a difference can't be compiled.
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
		ARGUMENTS_PIECE, /* of what may be a job's: a variable may take half */
	PATH_ROOM = 1024,	 /* bytes for the components of an executable's path */
	CGROUP_ROOM = 96,	 /* bytes of a cgroup's own name: enough for a container's */
	MESSAGE_ROOM = 2048,	 /* bytes of a DNS message in one record */
	AGENT_NAME_ROOM = 56,
	MARK_ROOM = 28,
	UNIT_ROOM = 64 /* bytes of a systemd service's name, and its NUL */
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
	ACT_CREATE = 3, /* of a raw or ping socket, which was denied: there is no peer */
	ACTS
};

/* What became of a connect. */
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

/* What the policy says to an act; an entry of it says one of the first three. */
enum verdict {
	VERDICT_NONE = 0, /* of an act: its scope has no policy */
	VERDICT_ALLOW = 1,
	VERDICT_DENY = 2,
	VERDICT_AUDIT = 3, /* it would be denied, were the policy enforced */
	VERDICTS
};

enum policy_limits {
	ALTERNATIVES_MAX = 16, /* choices of one entry of `policy`, its own included */
	STEPS_MAX = 64,	       /* of one entry of `rule_ports` */
	CLASSES = 3,	       /* (protocol, port), (protocol, any), (any, any) */
	HOST_NAME_ROOM = 252   /* of a name that rules name, and its NUL */
};

/*
 * What the map `names` says of a name: the number of a rule set, or that it has none and is there
 * for questions alone; and whether it may be asked for where lookups are refused.
 */
enum named { NAMED_WITHOUT_RULES = 0x7fffffff, NAMED_MAY_BE_ASKED = 0x80000000 };

/* A rule allows a protocol that has sockets without ports, to some address or name. */
enum portless { PORTLESS_ICMP = 1, PORTLESS_TCP = 2, PORTLESS_UDP = 4, PORTLESS_OTHER = 8 };

/* What a process did that no honest build needs: to get around the tracing, or at it. */
enum tampering {
	TAMPER_PACKET_SOCKET = 1, /* AF_PACKET: frames that no cgroup hook sees */
	TAMPER_BPF = 2,
	TAMPER_SIGNAL = 3, /* at the exporter, like the next two */
	TAMPER_PTRACE = 4,
	TAMPER_MEMORY = 5,
	TAMPER_XDP_SOCKET = 6, /* as 1, past the kernel's network stack */
	TAMPER_FRAMES = 7,     /* told by user space: what 1 sends isn't stopped */
	TAMPER_MARKS = 8       /* likewise: a step says what its agent doesn't */
};

enum job_limits { JOB_NAME_ROOM = 256, RUN_ID_ROOM = 128 };

enum job_mode {
	JOB_MODE_NONE = 0, /* there is no policy, or nobody chose */
	JOB_MODE_AUDIT = 1,
	JOB_MODE_ENFORCE = 2,
	JOB_MODE_STOPPED = 3 /* only chosen: `ci-egress stop` detached the programs */
};

enum flow_stage {
	FLOW_ESTABLISHED = 1,
	FLOW_ENDED = 2,
	FLOW_NEVER_SENT = 3,
	FLOW_FAILED = 4 /* what connect(2) returned; how it ended is told by itself */
};

/* What a process is to the jobs of a host, as long as it is of none. */
enum standing {
	STANDING_NONE = 0,
	STANDING_AGENT = 1,	 /* it starts jobs: what it makes is a step */
	STANDING_STEP = 2,	 /* made below an agent: a job's, whatever it says */
	STANDING_MARKED = 3,	 /* executed with a job's variables, as far as could be read */
	STANDING_MARKED_STEP = 4 /* both */
};

/* Scopes that are no job's; the host is 0. */
enum scopes {
	SCOPE_WITHOUT_ROOM = 1,	 /* of jobs for which there is none, and as which steps are held */
	SCOPE_EARLY = 0x80000000 /* in what a step asks, and is granted, before its job is known */
};

/* By what an agent is known. */
enum agent_kind {
	AGENT_PROGRAM = 1, /* its executable's own name */
	AGENT_UNIT = 2,	   /* its cgroup's */
	AGENT_USER = 3
};

enum dns_stage { DNS_QUERY = 1, DNS_ANSWER = 2 };

/* What is counted for each kind of record: the index is kind * COUNTS + one of these. */
enum count_of {
	COUNT_SEEN = 0,
	COUNT_LOST = 1,
	COUNT_UNTRACKED = 2, /* too many of them: not noted, or not told */
	COUNT_UNREAD = 3,    /* not whole, or not what it should be */
	COUNT_UNASKED = 4,   /* answers to nothing that was asked */
	COUNT_UNGRANTED = 5, /* addresses of names that rules name, for which there was no room */
	COUNTS
};

struct record_header {
	u32 layout; /* which edition of this file wrote it */
	u16 kind;
	u16 pad;
	u64 at_ns;	/* CLOCK_BOOTTIME */
	u64 started_ns; /* with pid: the process, for good */
	u32 pid;
	u32 exec_id; /* which of the process's programs: 0 before its first exec in the job */
};

struct fork_record {
	struct record_header header;
	u64 creator_started_ns;
	u32 creator_pid;
	u32 creator_exec_id;
	u32 parent_pid;
	u32 scope;
};

/* Behind it stand the first arguments_here bytes of argv. */
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

/* Behind it stand arguments_here bytes, at most ARGUMENTS_PIECE. */
struct arguments_record {
	struct record_header header;
	u32 offset;
	u32 arguments_here;
};

/* A piece of the environment that a process of no job executed with; it stands behind. */
struct environment_record {
	struct record_header header;
	u32 size; /* of the whole block, all of its bytes */
	u32 offset;
	u32 here;
	u16 standing; /* of who executed with it, like the next */
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

struct act_record {
	struct record_header header;
	u64 cookie;
	u32 tid;
	u32 parent_pid;
	u32 uid;
	u32 scope;
	u8 peer[16]; /* network order, IPv4 as ::ffff:a.b.c.d */
	u8 local[16];
	u16 peer_port;	/* host order, like local_port */
	u16 local_port; /* 0: not bound yet */
	u16 protocol;
	u16 act;
	u32 rule; /* the policy's that decided: 0 is none of them */
	u32 verdict;
	u64 held; /* executables in the chain of processes, as the policy numbers them */
	u32 policy;
	u32 is_metered; /* 1: its bytes come in a record of their own, when they are all there */
};

/* What the kernel saw of a connection whose connect had a record of its own: cookie ties them. */
struct flow_record {
	struct record_header header; /* of no process: the current one is a stranger here */
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

/* Payload of the datagrams of an act that had a record of its own, until its socket's next act. */
struct bytes_record {
	struct record_header header; /* of no process */
	u64 cookie;
	u64 acted_ns; /* the act's at_ns: the two tie them */
	u64 bytes_sent;
	u64 bytes_received;
};

/*
 * Acts that were only counted, and the value of the map that counts them: those of one program with
 * one peer and one outcome inside a window. at_ns is the first one's. Without attempts: these were
 * counted before, and more of their bytes came.
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
	u8 other; /* 1: peers beyond those told apart: peer, peer_port and rule say nothing */
	u8 verdict;
	u32 window;
	u32 rule; /* the first one's, like the next two */
	u32 policy;
	u64 held;
};

/* Behind it stand the message's first message_here bytes. */
struct dns_record {
	struct record_header header; /* of the process that asked, also on an answer */
	u64 cookie;
	u8 resolver[16];
	u32 scope;
	u16 resolver_port;
	u16 message_size; /* of the whole */
	u16 message_here;
	u8 protocol;
	u8 stage;
	u16 counts;   /* of an answer: 1 where it may grant what the policy says of names */
	u16 doubtful; /* of an answer: 1 where somebody else than the resolver may have made it */
};

/* Told for the first times, then each time the number has doubled: times says how often it was. */
struct tamper_record {
	struct record_header header;
	u32 scope;
	u32 uid;
	u32 parent_pid;
	u32 times;  /* by this process within a second */
	u32 detail; /* by what: protocol of the frames, bpf(2) command, signal, ptrace(2) request */
	u32 network; /* number of its network namespace */
	u32 what;
	u32 pad;
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

/* A question that waits for its answer: on this socket, from this resolver. */
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
	u8 told;	/* whether it got a record, as its answer then does */
	u8 on_loopback; /* whether it left by lo, as its answer must come */
	u8 counts;	/* whether the policy allows its resolver, and so its answer may grant */
	u8 doubtful;	/* whether somebody else than its resolver may have made its answer */
};

/* By scope; those that wait are what was noted, less what was answered, less what expired. */
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

/* An act while it is counted; of a connect that is only counted, until its outcome is known. */
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

/* How the bytes of a datagram socket's latest act are counted. */
enum metering {
	METERING_NONE = 0,
	METERING_TOLD = 1,   /* here, until there is another act */
	METERING_COUNTED = 2 /* where the act is */
};

/* What is known of whom a socket was given as its peers, by the calls that were let through. */
enum peers { PEERS_ANY = 1, PEERS_CONNECTED = 2, PEERS_SEVERAL = 4 };

/* Stands with a socket: its latest act, and what becomes of its packets. */
struct last_peer {
	struct act_value act;
	u64 bytes_sent;
	u64 bytes_received;
	u32 window;
	u32 slot;
	u32 metering;
	u32 is_mixed; /* 1: it had several peers that packets without an act of theirs may go to */
	u32 lock;     /* struct bpf_spin_lock: of what is above; what follows has the socket's */
	u8 undecided; /* 0: packets aren't judged; else VERDICT_*, of who has no policy */
	u8 peers;     /* PEERS_* */
	u16 first_port; /* of the first peer, like the next */
	u8 first[16];
	u8 called[16];	  /* the latest peer of a call that was let through, by the lock */
	u8 connected[16]; /* the same of a connect */
	u16 called_port;  /* their ports */
	u16 connected_port;
	u32 held_as; /* the scope that it became undecided for */
};

/* The policies: docs/policy.md says what they mean, exporter/policy/compile.py how they are asked.
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
	u64 needed; /* executables that must be in the chain of processes */
	u32 rule;
	u32 rank;      /* the larger one decides */
	u32 following; /* the alternative for when this one doesn't hold; 0: there is none */
	u32 verdict;
};

/* As long as LPM tries take them. The name is reversed, with a NUL behind it. */
struct name_key {
	u32 prefix_bits; /* of all that follows: 32 before the name */
	u32 policy;
	u8 name[HOST_NAME_ROOM];
};

/* The sets of rules that names granted to an address, a bit each: they are one policy's. */
struct granted_key {
	u32 scope;
	u32 policy;
	u8 address[16];
};

struct granted_value {
	u64 sets_low;
	u64 sets_high;
	u64 until_ns; /* CLOCK_BOOTTIME; all bits set: for good */
	u32 used;     /* the window when it was last asked for */
	u32 pad;
};

/* What is said to such sets: the steps of a class are gone through in order. */
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
	u32 more; /* 1: there is a next one */
	u32 pad;
};

/* Of a scope that has a policy; several scopes may have the same one. */
struct mode_value {
	u32 policy;
	u32 next_policy; /* what names grant is kept for this one, too: it is about to take over */
	u32 is_enforcing;
	u32 has_names;	     /* 1: one of the two has rules for names */
	u32 portless;	     /* what raw and ping sockets of an enforced job may be made for */
	u32 refuses_lookups; /* 1: what no rule allows isn't asked for, either */
};

/* A file that policies name as an executable: what is executed, whatever its path. */
struct exe_key {
	u64 inode;
	u32 device; /* as the kernel has it: major << 20 | minor */
	u32 pad;
};

struct exe_value {
	u64 bits;      /* of the executables that it is */
	u64 ctime_sec; /* of the inode, when the policy was loaded: it is what it was then */
	u32 ctime_nsec;
	u32 pad;
};

/*
 * What a process of no job executed with is told under this: by it, what was made of the process
 * since then is known, too, should user space find that it is a job's.
 */
struct candidate_key {
	u64 born_ns;
	u32 tgid;
	u32 program; /* its exec_id then */
};

/* An address in a network namespace, zeros for all of its addresses. */
struct late_key {
	u64 network; /* the namespace's cookie */
	u8 address[16];
};

/* A systemd service, by its whole name, with NULs behind it. */
struct unit_key {
	u8 name[UNIT_ROOM];
};

/* What an instance tells other processes of a scope: of a job, with or without a policy. */
struct job_value {
	u64 trace_high;
	u64 trace_low;
	u64 span;     /* the job's */
	u64 run_hash; /* the first 8 bytes of its run id's SHA-256 */
	u64 identity; /* the span that it has by what it is; with run_hash, the job */
	u64 parent;   /* the span above the job's; 0: there is none */
	u64 below;    /* what ids below its span are derived from; 0: from its own */
	u64 began_ns; /* CLOCK_BOOTTIME, like told_ns */
	u64 told_ns;  /* when its span was; 0: it wasn't yet */
	u64 who_high; /* 128 bits of whom it was taken for; 0: for nobody for sure */
	u64 who_low;
	u32 rules;		    /* of the policy, as its file has them */
	u32 requested;		    /* the mode that was asked for: enum job_mode */
	u32 switched;		    /* that which somebody chose since; it goes before */
	u32 switched_by;	    /* the user who did */
	u8 pipeline[JOB_NAME_ROOM]; /* UTF-8, cut where it is longer, NUL behind it where shorter */
	u8 task[JOB_NAME_ROOM];
	u8 run[RUN_ID_ROOM]; /* its id, likewise */
};

/* Map values that user space reads or writes. */
struct proc_value {
	u64 started_ns;
	u32 scope;
	u32 exec_id;
	u32 window;
	u32 firsts; /* peers told apart within that window */
	u32 lookup_second;
	u32 lookup_bytes; /* of records within that second */
	u64 held;	  /* of the executables that policies name, those in its chain */
	struct candidate_key candidate; /* while scope is 0: what its job may be known by */
	u8 is_guest; /* 1: it executed something in a container, since all this began */
	u8 standing; /* while scope is 0; afterwards what it was until then */
	u16 agent;   /* which kind of agent it is, or is below; 0: of one that nobody knows */
	u32 early;   /* of the step that it is part of: SCOPE_EARLY and a number; 0: of none */
};

struct config_value {
	u32 layout;
	u32 window;		/* user space counts it up */
	u32 self_pid;		/* the exporter's, whose tampering is told */
	u32 is_host;		/* 1: processes of no job are followed too, as scope 0 */
	u32 reads_environments; /* 1: what these executed with is told, to find jobs by */
	u32 has_policies;	/* 1: some scope has one */
	u32 has_executables;	/* 1: and it names some */
	u32 edition;		/* of the programs: a part of a hash of their sources */
	u32 undecided; /* the scope that steps are held as until it is known whose they are; 0: as
			  none */
};

/* Zeros where the kind has no use for it. */
struct agent_key {
	u32 kind;
	u32 user;
	char name[AGENT_NAME_ROOM]; /* cut where it is longer, and then the last byte is 0 */
};

/* How a variable begins that a job is known by: its name and `=`, and for some the value. */
struct mark_key {
	u32 prefix_bits; /* of what follows */
	char text[MARK_ROOM];
};

/* What was written as the policy of a number. */
struct policy_value {
	u8 fingerprint[32]; /* of its entries; zero while they aren't all there */
	u32 base;	    /* of its alternatives, like their number */
	u32 alternatives;
};

/* An executable's name in policies, which may be long. */
struct exe_name_key {
	u8 digest[32]; /* SHA-256 */
};

/* Of the attempts that were counted, those that exporters have settled: told, or given up. */
struct account_value {
	u64 settled;
	u64 lost; /* besides, by the rings */
};

#endif
