/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything that the packet programs and userspace share, and nothing else.
 *
 * This file is read three times: by clang for the BPF object, by the C compiler for the shim, and
 * by cffi's cdef(). The last one understands only constants, enums and structs: no include, no
 * guard, no attribute, no expression in a #define. abi.h adds the guard and the assertions.
 *
 * Byte order: members named *_be hold network order; everything else is host order.
 * Clocks: *_ns is CLOCK_MONOTONIC in nanoseconds (bpf_ktime_get_ns); *_j is jiffies64.
 * Padding is explicit and zero, because padding bytes are part of a hash key.
 */

/* Bumped whenever a struct or the meaning of a member changes; pins of another version are
 * replaced. */
#define OMR_ABI_VERSION 3

#define OMR_MAX_PATHS 32
/* omr_links is indexed by ifindex; a larger ifindex is not measured (attach refuses it). */
#define OMR_MAX_IFINDEX 65536
#define OMR_DEFAULT_FLOWS 65536

/*
 * RTT histogram, log-linear in microseconds: values below 16 have a bucket each, above that every
 * octave is cut into 16, so that a bucket is at most 1/16 wide; 16 + 21 * 16 buckets reach 33.5 s,
 * the last one takes whatever is longer.
 */
#define OMR_HIST_SUB_BITS 4
#define OMR_HIST_BUCKETS 352

/* The windowed minimum RTT is kept per window of 2^13 jiffies (32.8 s at 250 Hz) and the one
 * before. */
#define OMR_MIN_RTT_WINDOW_SHIFT 13

/* How a device frames its packets; from ARPHRD_*, never guessed. */
enum omr_l2 {
	OMR_L2_ETHERNET = 0,
	OMR_L2_NONE = 1,
};

/* omr_links[ifindex]: which path a device belongs to. path is index + 1; 0 means "not ours". */
struct omr_link {
	__u8 path;
	__u8 l2;
	__u16 zero;
};

/* omr_config[0]: who made the pins. Written once by the loader. */
struct omr_config {
	__u32 abi_version;
	__u32 hz;     /* jiffies per second */
	__u32 loader; /* enum omr_loader */
	__u32 zero;
	__u8 build_id[32]; /* SHA-256 of the data-path sources */
};

enum omr_loader {
	OMR_LOADER_PREBUILT = 1,
	OMR_LOADER_BCC = 2,
};

/* Result of the omr_clock program: both clocks read at one moment. */
struct omr_clock {
	__u64 now_j;
	__u64 now_ns;
};

struct omr_flow_key4 {
	__u32 local_be;
	__u32 remote_be;
	__u16 local_port_be;
	__u16 remote_port_be;
};

struct omr_flow_key6 {
	__u32 local_be[4];
	__u32 remote_be[4];
	__u16 local_port_be;
	__u16 remote_port_be;
};

/*
 * Times of samples: CLOCK_MONOTONIC nanoseconds >> OMR_STAMP_SHIFT, low 32 bits (128 ns units,
 * comparable over nine minutes), the lowest bit set: times are exact to 256 ns, and 0 means none.
 */
#define OMR_STAMP_SHIFT 7

/* omr_flow_tx.flags, set by packets that leave. */
enum omr_flow_tx_flag {
	OMR_TX_SYN = 1, /* the entry began with a SYN, or with a SYN-ACK together with
	                 * OMR_TX_SERVER; without it the flow was met in mid-life */
	OMR_TX_FIN = 2,
	OMR_TX_RST = 4,
	OMR_TX_SERVER = 8,      /* our first packet was a SYN-ACK */
	OMR_TX_MPTCP = 16,      /* any MPTCP option seen outbound */
	OMR_TX_JOIN = 32,       /* MP_JOIN: an additional subflow */
	OMR_TX_BACKUP = 64,     /* we announced backup (MP_JOIN's B or the last MP_PRIO sent) */
	OMR_TX_CAPABLE = 128,   /* our SYN or SYN-ACK carried MP_CAPABLE */
	OMR_TX_FASTCLOSE = 256, /* seen outbound, as the next four */
	OMR_TX_ADD_ADDR = 512,  /* echoes included */
	OMR_TX_REMOVE_ADDR = 1024,
	OMR_TX_FAIL = 2048,       /* MP_FAIL */
	OMR_TX_INFINITE = 4096,   /* a DSS mapping of length 0: from then on plain TCP */
	OMR_TX_V0 = 8192,         /* our handshake option said version 0 (RFC 6824) */
	OMR_TX_DATA_SEQ = 16384,  /* data_word (if valid) is of our sequence numbers, not of our
	                           * data ACKs */
	OMR_TX_CAUGHT_UP = 32768, /* our last ACK covered all that had arrived */
};

/* omr_flow_rx.flags, set by packets that arrive. */
enum omr_flow_rx_flag {
	OMR_RX_SYN = 1,
	OMR_RX_FIN = 2,
	OMR_RX_RST = 4,
	OMR_RX_HOLE = 8, /* hole_j is valid: something was overtaken or lost */
	OMR_RX_MPTCP = 16,
	OMR_RX_JOIN = 32,
	OMR_RX_BACKUP = 64,        /* the peer asked for backup */
	OMR_RX_KEY = 128,          /* tx.connection.key_be is valid, join is not */
	OMR_RX_FASTCLOSE = 256,    /* seen inbound, as the last four */
	OMR_RX_SEQ = 512,          /* rcv_nxt is valid */
	OMR_RX_ACK = 1024,         /* an acknowledgement that we could accept has arrived */
	OMR_RX_ZERO_WINDOW = 2048, /* the last one closed the peer's window */
	OMR_RX_ADD_ADDR = 4096,
	OMR_RX_REMOVE_ADDR = 8192,
	OMR_RX_FAIL = 16384,
	OMR_RX_INFINITE = 32768,
};

/*
 * What tells the MPTCP connection of a subflow. Of a joined one the token that its SYN carried,
 * and, as of one met in mid-life, the upper half of the connection's data sequence numbers.
 */
struct omr_flow_join {
	__u32 token_be;  /* receiver's token of the MP_JOIN SYN; 0: unknown */
	__u32 data_word; /* upper half of the last 64-bit data ACK that we sent or, as long as there
	                  * was none, data sequence number (OMR_TX_DATA_SEQ); 0: unknown */
};

/* Which of the two is valid says OMR_RX_KEY. */
union omr_connection {
	__u64 key_be; /* from ingress: MP_CAPABLE key of the end that accepted the connection
	               * (SYN-ACK, or second key of the third ACK) */
	struct omr_flow_join join;
};

/* What omr_flow_tx.tsecho_no and omr_flow_rx.tsecho_done consist of. */
enum omr_echo {
	OMR_ECHO_NUMBER = 63, /* mask of the number: the echo is open while the two differ */
	OMR_ECHO_LATE = 64,   /* done: the last one came too late to tell anything */
	OMR_ECHO_PASSED = 64, /* no: since then, one newer TSval was passed over */
};

/* Half a flow entry, one cache line: egress writes it, but for the three members that say so. */
struct omr_flow_tx {
	__u64 tx_bytes; /* bytes on the wire, link header included */
	union omr_connection connection;
	__u32 sample_stamp; /* when sample_ack was armed; 0: none or cancelled (Karn); even:
	                     * only a SACK can complete it */
	__u32 tsecho_stamp; /* when tsecho_val first left; 0: none */
	__u32 sample_ack;   /* acknowledgement number that completes the sample */
	__u32 tsecho_val;   /* TSval whose echo completes the sample */
	__u32 tsval_max;    /* newest TSval sent */
	__u32 snd_nxt;      /* end of the highest sequence sent (SYN and FIN count one) */
	__u32 tx_segments;  /* wire segments that carry payload, repeats included */
	__u32 retransmitted_segments; /* sent again below snd_nxt; SYNs not included */
	__u32 spurious_segments; /* from ingress: those that the peer's DSACK reveals as needless */
	__u32 unacked_since_j; /* jiffies, low 32 bits: when the oldest unacknowledged data left */
	__u8 sample_no;        /* the armed sample is open while sample_no != sample_done */
	__u8 tsecho_no;        /* OMR_ECHO_NUMBER of it, and OMR_ECHO_PASSED */
	__u16 flags;           /* enum omr_flow_tx_flag */
	__u8 path;             /* path index + 1 of the last packet that left */
	__u8 local_id;         /* MPTCP address id */
	__u8 remote_id;        /* from ingress or, of a join that we accepted, from omr_knocks */
	__u8 segment_64b; /* most payload of one wire segment sent, in units of 64 bytes, rounded up
	                   */
};

/* The other half: only ingress writes it, but that our acknowledgements correct rcv_nxt. */
struct omr_flow_rx {
	__u64 rx_bytes;
	__u32 srtt_us8;    /* RFC 6298 SRTT, microseconds * 8; 0: no sample yet */
	__u32 rttvar_us4;  /* RTTVAR, microseconds * 4 */
	__u32 jitter_us16; /* RFC 3550 section 6.4.1 over successive samples, microseconds * 16 */
	__u32 last_rtt_us;
	__u32 min_rtt_us;
	__u32 rtt_samples;
	__u32 snd_una;            /* highest acknowledgement that arrived */
	__u32 rcv_nxt;            /* end of the highest sequence that arrived */
	__u32 rx_segments;        /* wire segments that carry payload */
	__u32 refilled_segments;  /* inbound below rcv_nxt: holes filled late, or repeats */
	__u32 reordered_segments; /* inbound below rcv_nxt, too soon to have been sent again */
	__u32 last_rx_j;          /* low 32 bits of jiffies */
	__u8 sample_done;
	__u8 tsecho_done;  /* OMR_ECHO_NUMBER of it, and OMR_ECHO_LATE */
	__u16 flags;       /* enum omr_flow_rx_flag */
	__u16 hole_j;      /* low 16 bits of jiffies: when the oldest hole was seen to open */
	__u8 since_sample; /* packets that arrived since the last RTT sample; saturates */
	__u8 echo_gap_j;   /* longest gap between arrivals since the echo was armed; saturates */
};

struct omr_flow {
	struct omr_flow_tx tx;
	struct omr_flow_rx rx;
};

/* Why a packet or an option was not used; also the index into omr_path_counters.unparsed. */
enum omr_unparsed {
	OMR_UNPARSED_TRUNCATED = 0, /* a header reaches beyond the packet */
	OMR_UNPARSED_MALFORMED =
	        1, /* a length field contradicts itself (IHL, data offset, option) */
	OMR_UNPARSED_FRAGMENT = 2,   /* not the first, or a first one with more to come */
	OMR_UNPARSED_EXTENSIONS = 3, /* more IPv6 extension headers than are followed */
	OMR_UNPARSED_VLANS = 4,      /* more than two tags */
	OMR_UNPARSED_OPTIONS = 5, /* an option of a wrong length was left out; the rest was used */
	OMR_UNPARSED_REASONS = 8, /* size of the array */
};

/* omr_path_counters[path], per CPU: sums, except the min_rtt members. */
struct omr_path_counters {
	/* egress */
	__u64 tx_bytes;    /* on the wire, link header included, GSO headers counted */
	__u64 tx_packets;  /* wire packets: a super-packet counts its segments */
	__u64 tx_segments; /* TCP wire segments with payload, repeats included */
	__u64 retransmitted_segments;
	__u64 syn_retransmissions; /* SYN and SYN-ACK sent again */
	__u64 flows_opened;
	__u64 flows_refused;     /* no room in the flow table */
	__u64 events_suppressed; /* by the rate limit or a full ring, both directions */
	/* ingress */
	__u64 rx_bytes;
	__u64 rx_packets;
	__u64 rx_segments;
	__u64 spurious_segments;
	__u64 refilled_segments;
	__u64 reordered_segments;
	__u64 icmp_errors; /* ICMP errors that arrived (RFC 792, RFC 4443) */
	__u64 rtt_samples;
	__u64 rtt_sum_us;
	__u64 rtt_dev_sum_us;  /* sum of |sample - srtt of its flow| */
	__u64 rtt_step_sum_us; /* sum of |sample - sample before it of its flow| */
	__u32 min_rtt_epoch;   /* jiffies >> OMR_MIN_RTT_WINDOW_SHIFT of min_rtt_us */
	__u32 min_rtt_us;      /* 0: none in this window */
	__u32 min_rtt_prev_us; /* of the window before; 0: none */
	__u32 zero;
	__u64 unparsed[OMR_UNPARSED_REASONS]; /* both directions */
};

/* omr_path_rtt[path], per CPU. */
struct omr_path_rtt {
	__u32 bucket[OMR_HIST_BUCKETS];
};

/*
 * omr_path_live[path], one for all CPUs; plain stores, last writer wins, exact to one jiffy.
 * Two lines again, so that the directions do not fight.
 */
struct omr_path_live_tx {
	__u64 asked_j; /* first TCP packet since the last arrival that wants an answer; 0: never */
	__u64 last_tx_j;
	__u64 zero[6];
};

struct omr_path_live_rx {
	__u64 last_rx_j; /* last IP packet that arrived (unicast, no neighbour discovery); 0: never
	                  */
	__u64 zero[7];
};

struct omr_path_live {
	struct omr_path_live_tx tx;
	struct omr_path_live_rx rx;
};

enum omr_event_kind {
	OMR_EVENT_FLOW_OPEN = 1,  /* a flow entry was made by a SYN or SYN-ACK that left */
	OMR_EVENT_FLOW_READY = 2, /* its handshake was completed (SYN-ACK or third ACK arrived) */
	OMR_EVENT_FLOW_CLOSE = 3, /* first FIN or RST in either direction; see flags */
	OMR_EVENT_PRIORITY = 4,   /* MP_PRIO sent or received */
	OMR_EVENT_BUSY = 5,       /* first TCP packet that wants an answer after a quiet second */
	OMR_EVENT_MPTCP = 6, /* ADD_ADDR, REMOVE_ADDR, FASTCLOSE, MP_FAIL or an infinite mapping */
	OMR_EVENT_KINDS = 8, /* size of tables indexed by kind */
};

enum omr_direction {
	OMR_EGRESS = 0,
	OMR_INGRESS = 1,
};

/* One record of the ring omr_events. Addresses: IPv4 in the first four bytes. */
struct omr_event {
	__u64 at_ns;
	__u64 key_be; /* as in omr_flow_tx, 0 if unknown */
	__u32 kind;
	__u32 token_be; /* as in omr_flow_tx */
	__u8 path;      /* path index + 1 */
	__u8 family;    /* 4 or 6; 0 for OMR_EVENT_BUSY */
	__u8 direction;
	__u8 backup;     /* the B bit, for OMR_EVENT_PRIORITY and joins */
	__u16 tcp_flags; /* the packet's TCP flag byte */
	__u8 local_id;
	__u8 remote_id;
	__u16 local_port_be;
	__u16 remote_port_be;
	__u16 mptcp; /* enum omr_mptcp_seen, what this packet carries */
	__u16 zero;
	__u8 local_be[16];
	__u8 remote_be[16];
};

/* Which options of RFC 8684 a packet carries. */
enum omr_mptcp_seen {
	OMR_MP_CAPABLE = 1,
	OMR_MP_JOIN = 2,
	OMR_MP_DSS = 4,
	OMR_MP_ADD_ADDR = 8,
	OMR_MP_REMOVE_ADDR = 16,
	OMR_MP_PRIO = 32,
	OMR_MP_FASTCLOSE = 64,
	OMR_MP_FAIL = 128,
	OMR_MP_INFINITE = 256, /* DSS with a mapping of length 0 */
	OMR_MP_RST = 512,      /* MP_TCPRST */
	OMR_MP_OTHER = 1024,   /* a subtype that is not known */
};

/* omr_event_gate[path * OMR_EVENT_KINDS + kind]: at most OMR_EVENTS_PER_SECOND of one kind. */
#define OMR_EVENTS_PER_SECOND 64
struct omr_event_gate {
	__u64 window_j;
	__u64 passed;
};

/*
 * omr_knocks[hash of the key]: what an MP_JOIN SYN that arrived said. It is used by our SYN-ACK to
 * the same addresses and ports, and by nothing else; a stranger can at most overwrite a slot.
 */
#define OMR_KNOCKS 256
struct omr_knock {
	struct omr_flow_key6 key; /* as a packet that arrives has it; IPv4 zero-padded */
	__u32 token_be;           /* ours, as the peer's SYN names it */
	__u8 family;
	__u8 remote_id;
	__u8 backup;
	__u8 zero;
};

/* Where an RTT sample comes from. */
enum omr_sample_source {
	OMR_SAMPLE_NONE = 0,
	OMR_SAMPLE_HANDSHAKE = 1,
	OMR_SAMPLE_DATA = 2,
	OMR_SAMPLE_ECHO = 3,
	OMR_SAMPLE_SACK = 4, /* of data, finished by a SACK block beyond a hole */
};

/*
 * omr_replay[0], used only by programs loaded with omr_replay = 1: the packet's own time instead of
 * the kernel's clocks, and what the programs did with it.
 */
struct omr_replay {
	struct omr_clock now;
	__u32 wire_len; /* length of the packet on the wire; 0: as long as the data handed in */
	/* results, cleared by the programs at each packet of a device that is ours */
	__u32 sample_us;    /* valid unless sample_source is OMR_SAMPLE_NONE */
	__u8 sample_source; /* enum omr_sample_source */
	__u8 began;         /* a flow entry was made */
	__u8 replaced;      /* in the place of `before`, an earlier connection's */
	__u8 unparsed;      /* reason + 1; 0: none */
	__u32 zero;
	struct omr_flow before;
};
