/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a walk over the flow tables is told and what it finds; fold.h has the logic. Read by clang
 * for BPF, by the C compiler and by cffi's cdef(): as plain as abi_types.h, whose conventions hold.
 */

/* Servers that are counted one by one. */
#define OMR_SCAN_SERVERS 32
/* Chains of servers by a hash of their address; a power of two. */
#define OMR_SCAN_SLOTS 256
/* Flows that the walk inside the kernel can list; the one in userspace has no such limit. */
#define OMR_SCAN_ROWS 64

enum omr_flow_state {
	OMR_FLOW_HANDSHAKE = 0,
	OMR_FLOW_ESTABLISHED = 1,
	OMR_FLOW_CLOSING = 2, /* FIN in one direction */
	OMR_FLOW_CLOSED = 3,  /* FIN in both, RST or FASTCLOSE */
};

/* The remote address of flows. */
struct omr_scan_server {
	__u32 address_be[4]; /* IPv4 in the first, the others zero */
	__u8 family;         /* 4 or 6 */
	__u8 next;           /* index + 1 of the next server of this chain; 0: none */
	__u16 zero;
};

/* omr_scan_order.in_kernel: which tables to walk there. */
#define OMR_SCAN_FLOWS4 1
#define OMR_SCAN_FLOWS6 2

struct omr_scan_order {
	__u64 now_j;
	__u32 collect;             /* 1: delete what the three limits tell */
	__u32 closed_age_j;        /* closed and silent for longer */
	__u32 half_open_age_j;     /* handshake begun before that and not completed */
	__u32 idle_age_j;          /* silent for longer, whatever the state */
	__u32 rows;                /* flows to list: those with the most bytes */
	__u32 in_kernel;           /* OMR_SCAN_FLOWS*; the other tables are walked by batches */
	__u8 slot[OMR_SCAN_SLOTS]; /* index + 1 of the first server of a chain; 0: none */
	struct omr_scan_server server[OMR_SCAN_SERVERS];
};

/* Flows that remain, of a path, to a server, or both: sums over those that are not closed. */
struct omr_flow_sum {
	__u64 tx_bytes;
	__u64 rx_bytes;
	__u64 retransmitted_segments;
	__u64 spurious_segments;
	__u64 srtt_us8;     /* sum over `sampled` flows */
	__u32 srtt_us8_min; /* 0: none is sampled */
	__u32 sampled;      /* flows with an RTT */
	__u32 open;
	__u32 subflows;   /* those of them that speak MPTCP */
	__u32 handshakes; /* those of them whose SYN or SYN-ACK is not answered */
	__u32 arrived_j;  /* last arrival of any flow, closed ones too; 0: none */
};

/*
 * An entry is added to one sum, so that it costs little: of its server (index + 1; 0: none of
 * them) and path (as in omr_flow_tx; 0: none). Sums per path and per server are made of these.
 */
#define OMR_SCAN_SERVER_CELLS 33
#define OMR_SCAN_PATH_CELLS 33
struct omr_scan_cells {
	__u64 entries[2]; /* that remain, IPv4 and IPv6 */
	__u64 collected;
	struct omr_flow_sum cell[OMR_SCAN_SERVER_CELLS][OMR_SCAN_PATH_CELLS];
};

struct omr_flow_row {
	struct omr_flow flow;
	__u32 local_be[4]; /* IPv4 in the first, the others zero */
	__u32 remote_be[4];
	__u16 local_port_be;
	__u16 remote_port_be;
	__u8 family;
	__u8 state; /* enum omr_flow_state */
	__u16 zero;
	__u32 idle_j;
	__u32 zero2;
};

/* The rows of a walk inside the kernel, in no order. */
struct omr_scan_top {
	__u32 count;
	__u32 least;       /* index of the row that gives way to the next */
	__u64 least_bytes; /* a flow of fewer bytes is not listed */
	__u64 least_tie;   /* nor one of as many bytes and a lower tie */
	__u64 bytes[OMR_SCAN_ROWS];
	__u64 tie[OMR_SCAN_ROWS];
	struct omr_flow_row row[OMR_SCAN_ROWS];
};

/* omr_scan_state[0]: one walk at a time, of whoever holds the lock of the bpffs. */
struct omr_scan_state {
	struct omr_scan_order order;
	struct omr_scan_cells cells;
	struct omr_scan_top top;
};
