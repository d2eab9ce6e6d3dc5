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
#define OMR_ABI_VERSION 1

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

/* omr_flow_tx.flags, set by packets that leave. */
enum omr_flow_tx_flag {
	OMR_TX_SYN = 1, /* we sent a SYN, or a SYN-ACK together with OMR_TX_SERVER */
	OMR_TX_FIN = 2,
	OMR_TX_RST = 4,
	OMR_TX_SERVER = 8,    /* our first packet was a SYN-ACK */
	OMR_TX_MPTCP = 16,    /* any MPTCP option seen outbound */
	OMR_TX_JOIN = 32,     /* MP_JOIN: an additional subflow */
	OMR_TX_BACKUP = 64,   /* we announced backup (MP_JOIN's B or the last MP_PRIO sent) */
	OMR_TX_MIDLIFE = 128, /* first packet seen was neither SYN nor SYN-ACK */
	OMR_TX_FASTCLOSE = 256,
};

/* omr_flow_rx.flags, set by packets that arrive. */
enum omr_flow_rx_flag {
	OMR_RX_SYN = 1,
	OMR_RX_FIN = 2,
	OMR_RX_RST = 4,
	OMR_RX_MPTCP = 16,
	OMR_RX_JOIN = 32,
	OMR_RX_BACKUP = 64, /* the peer asked for backup */
	OMR_RX_KEY = 128,   /* peer_key is valid */
	OMR_RX_FASTCLOSE = 256,
	OMR_RX_SEQ = 512,          /* rcv_nxt is valid */
	OMR_RX_ACK = 1024,         /* an acknowledgement that we could accept has arrived */
	OMR_RX_ZERO_WINDOW = 2048, /* the last one closed the peer's window */
};

/* Half a flow entry, one cache line: only egress writes it. */
struct omr_flow_tx {
	__u64 sample_sent_ns;         /* when sample_ack was armed; 0: none or cancelled (Karn) */
	__u64 tsecho_sent_ns;         /* when tsecho_val first left; 0: none */
	__u64 tx_bytes;               /* bytes on the wire, link header included */
	__u32 sample_ack;             /* acknowledgement number that completes the sample */
	__u32 tsecho_val;             /* TSval whose echo completes the sample */
	__u32 tsval_max;              /* newest TSval sent */
	__u32 snd_nxt;                /* end of the highest sequence sent (SYN and FIN count one) */
	__u32 tx_segments;            /* wire segments that carry payload, repeats included */
	__u32 retransmitted_segments; /* sent again below snd_nxt; SYNs not included */
	__u32 unacked_since_j; /* jiffies, low 32 bits: when the oldest unacknowledged data left */
	__u32 token_be;        /* receiver's token of the MP_JOIN SYN that we sent; 0: unknown */
	__u8 sample_no;        /* the armed sample is open while sample_no != sample_done */
	__u8 tsecho_no;
	__u16 flags;   /* enum omr_flow_tx_flag */
	__u8 path;     /* path index + 1 of the last packet that left */
	__u8 local_id; /* MPTCP address id */
	__u8 syn_sent; /* SYN or SYN-ACK, repeats included; saturates */
	__u8 zero;
};

/* The other half: only ingress writes it. */
struct omr_flow_rx {
	__u64 rx_bytes;
	__u64 peer_key_be; /* MP_CAPABLE key of the other end (SYN-ACK or third ACK) */
	__u32 srtt_us8;    /* RFC 6298 SRTT, microseconds * 8; 0: no sample yet */
	__u32 rttvar_us4;  /* RTTVAR, microseconds * 4 */
	__u32 min_rtt_us;
	__u32 rtt_samples;
	__u32 snd_una;           /* highest acknowledgement that arrived */
	__u32 rcv_nxt;           /* end of the highest sequence that arrived */
	__u32 rx_segments;       /* wire segments that carry payload */
	__u32 spurious_segments; /* our repeats that the peer's DSACK reveals as needless */
	__u32 refilled_segments; /* inbound segments below rcv_nxt: holes filled late, or repeats */
	__u32 last_rx_j;         /* low 32 bits of jiffies */
	__u8 sample_done;
	__u8 tsecho_done;
	__u16 flags; /* enum omr_flow_rx_flag */
	__u8 remote_id;
	__u8 since_sample; /* packets that arrived since the last RTT sample; saturates */
	__u8 echo_gap_j;   /* longest gap between arrivals since the echo was armed; saturates */
	__u8 zero;
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
	OMR_UNPARSED_REASONS = 8,    /* size of the array */
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
	__u64 rtt_samples;
	__u64 rtt_sum_us;
	__u64 rtt_dev_sum_us;  /* sum of |sample - srtt of its flow| */
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
	OMR_EVENT_KINDS = 8,      /* size of tables indexed by kind */
};

enum omr_direction {
	OMR_EGRESS = 0,
	OMR_INGRESS = 1,
};

/* One record of the ring omr_events. Addresses: IPv4 in the first four bytes. */
struct omr_event {
	__u64 at_ns;
	__u64 key_be; /* peer key as in omr_flow_rx, 0 if unknown */
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
	__u32 zero;
	__u8 local_be[16];
	__u8 remote_be[16];
};

/* omr_event_gate[path * OMR_EVENT_KINDS + kind]: at most OMR_EVENTS_PER_SECOND of one kind. */
#define OMR_EVENTS_PER_SECOND 64
struct omr_event_gate {
	__u64 window_j;
	__u64 passed;
};
