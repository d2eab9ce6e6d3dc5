/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the shim offers to Python. Read by the C compiler (through shim.h) and by cffi's cdef(),
 * hence as plain as bpf/abi_types.h: no include, no guard, no attribute.
 *
 * Functions return 0 (or a count, or a file descriptor) and a negative errno on failure, unless
 * said otherwise. None of them keeps state, except the event ring and the text of libbpf's log,
 * which belongs to the calling thread.
 */

/* --- log.c -------------------------------------------------------------------------------- */

/* From now on libbpf's messages are kept instead of printed. */
void omr_log_capture(void);
/* The last messages of this thread, newest last; valid until the next libbpf call. */
const char *omr_log_text(void);
void omr_log_clear(void);
void omr_log_add(const char *message);

/* --- object.c ----------------------------------------------------------------------------- */

struct omr_load {
	const char *object;   /* path of the ELF file */
	const char *pin_dir;  /* an existing directory of a bpffs */
	const char *optional; /* a program to do without if the kernel refuses the whole; or NULL */
	__u32 hz;             /* .rodata omr_hz */
	__u32 replay;         /* .rodata omr_replay */
	__u32 flows;          /* max_entries of omr_flows4 and omr_flows6 */
};

/* Load all maps and programs and pin them by name; on failure nothing stays pinned. */
int omr_load_object(const struct omr_load *order);

/* Load one program from raw instructions (map references already resolved); returns its fd. */
int omr_load_program(__u32 type, const char *name, const void *insns, __u32 insn_count);

struct omr_map_info {
	__u32 type;
	__u32 id;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
	char name[16];
};

struct omr_prog_info {
	__u32 type;
	__u32 id;
	__u8 tag[8];
	char name[16];
};

struct omr_link_info {
	__u32 type;
	__u32 id;
	__u32 prog_id;
	__u32 ifindex; /* 0: the interface is gone */
	__u32 attach_type;
	__u32 zero;
};

int omr_map_info(int fd, struct omr_map_info *info);
int omr_prog_info(int fd, struct omr_prog_info *info);
int omr_link_info(int fd, struct omr_link_info *info);

/* --- link.c ------------------------------------------------------------------------------- */

enum omr_hook {
	OMR_HOOK_TCX_INGRESS = 46, /* BPF_TCX_INGRESS, missing in older headers */
	OMR_HOOK_TCX_EGRESS = 47,
	OMR_HOOK_XDP = 37, /* BPF_XDP */
};

/* bpf_link_create; flags: XDP_FLAGS_* for XDP, 0 for TCX. Returns the link's fd. */
int omr_link_create(int prog_fd, __u32 ifindex, __u32 hook, __u32 flags);
/* Put another program in the place of the link's, without a gap. */
int omr_link_update(int link_fd, int prog_fd);

struct omr_attached {
	__u32 prog_id;
	__u32 link_id; /* 0: attached without a link */
};

/* What is attached by TCX to a device of this network namespace; -EINVAL: no TCX here.
 * Returns how many were written. */
int omr_tcx_query(__u32 ifindex, __u32 hook, struct omr_attached *out, __u32 room);

/* Remove a program that was attached by TCX without a link. */
int omr_tcx_detach(__u32 ifindex, __u32 hook, __u32 prog_id);

/* Name of the device's driver (ethtool), empty if it tells none. */
int omr_driver(const char *ifname, char *out, __u32 room);

/* --- mount.c ------------------------------------------------------------------------------ */

/*
 * Mount a new bpffs on dir, so that it outlives this process: in a private mount namespace (as
 * `ip netns exec` makes) the outermost one gets it too, if it has the same directory.
 */
int omr_mount_bpffs(const char *dir);
/* Is dir the root of a bpffs? */
int omr_is_bpffs(const char *dir);
/* Unmount dir here and in the outermost mount namespace. */
int omr_unmount_bpffs(const char *dir);

/* --- read.c ------------------------------------------------------------------------------- */

struct omr_clock_source {
	int program_fd; /* omr_clock_read */
	int replay_fd;  /* omr_replay_packet, or -1: the kernel's clocks count */
};

int omr_clock_now(const struct omr_clock_source *source, struct omr_clock *now);

struct omr_path_row {
	struct omr_path_counters sum; /* over all possible CPUs; min_rtt members merged */
	__u64 asked_j;
	__u64 last_tx_j;
	__u64 last_rx_j;
};

/* Paths 0..count-1 into rows, and the time they were read at. */
int omr_read_paths(const struct omr_clock_source *source, int counters_fd, int live_fd, __u32 count,
                   struct omr_path_row *rows, struct omr_clock *now);

/* Histograms of paths 0..count-1, OMR_HIST_BUCKETS each, summed over all possible CPUs. */
int omr_read_rtt(int rtt_fd, __u32 count, __u64 *buckets);

struct omr_link_row {
	__u32 ifindex;
	struct omr_link link;
};

/* The used entries of omr_links; returns how many. */
int omr_read_links(int links_fd, struct omr_link_row *out, __u32 room);

/* --- flows.c ------------------------------------------------------------------------------ */

struct omr_scan_result {
	__u64 entries[2]; /* that remain, IPv4 and IPv6 */
	__u64 collected;
	struct omr_flow_sum path[OMR_MAX_PATHS];
	struct omr_flow_sum server[OMR_SCAN_SERVERS];
};

/* Whom to count one by one: at most OMR_SCAN_SERVERS; `next` is filled in here. */
void omr_scan_set_servers(struct omr_scan_order *order, const struct omr_scan_server *servers,
                          __u32 count);

struct omr_scan_place {
	int flows4_fd;
	int flows6_fd;
	int program_fd; /* omr_scan and its omr_scan_state; not used unless order->in_kernel */
	int state_fd;
};

/*
 * Walk both tables once and write order->rows rows at most, those with the most bytes first;
 * returns how many. Whichever tables are walked inside the kernel, the answer is the same. There,
 * one walk at a time, and -E2BIG for more than OMR_SCAN_ROWS rows.
 */
int omr_scan_flows(const struct omr_scan_place *place, const struct omr_scan_order *order,
                   struct omr_scan_result *result, struct omr_flow_row *rows);

/* --- ring.c ------------------------------------------------------------------------------- */

struct omr_ring;

/* Returns NULL on failure, with *error a negative errno. */
struct omr_ring *omr_ring_open(int map_fd, int *error);
/* Becomes readable when there are events. */
int omr_ring_fd(struct omr_ring *ring);
/* Take what is there, without waiting; returns how many were written. */
int omr_ring_read(struct omr_ring *ring, struct omr_event *out, __u32 room);
void omr_ring_close(struct omr_ring *ring);

/* --- run.c -------------------------------------------------------------------------------- */

struct omr_run {
	int prog_fd;
	__u32 repeat; /* 0 counts as 1 */
	const void *data;
	__u32 data_len;
	__u32 ifindex; /* of this network namespace; 0: lo for an skb, none for XDP */
	__u32 gso_segs;
	__u32 gso_size;
	__u64 tstamp;
	__u32 mark;
	/* results */
	__u32 verdict;
	__u32 duration_ns; /* mean of one run */
	__u32 data_out_len;
	void *data_out; /* the packet afterwards; data_out_len is its room before */
};

/* BPF_PROG_TEST_RUN on an Ethernet frame. */
int omr_run_skb(struct omr_run *run);
int omr_run_xdp(struct omr_run *run);
/* On a syscall program: ctx is read and written. */
int omr_run_syscall(int prog_fd, void *ctx, __u32 ctx_len, __u32 *retval);

/* --- native.c, native_maps.c -------------------------------------------------------------- */

/*
 * The packet programs outside the kernel, on tables in memory, in replay mode. One thread at a
 * time may use a plane.
 */
struct omr_plane;

enum omr_native_hook {
	OMR_NATIVE_EGRESS = 0,
	OMR_NATIVE_INGRESS = 1,
	OMR_NATIVE_XDP = 2,
};

/* The maps of the same names; omr_path_counters and omr_path_rtt as of a machine with one CPU. */
enum omr_native_map {
	OMR_NATIVE_LINKS = 0,
	OMR_NATIVE_FLOWS4 = 1,
	OMR_NATIVE_FLOWS6 = 2,
	OMR_NATIVE_COUNTERS = 3,
	OMR_NATIVE_RTT = 4,
	OMR_NATIVE_LIVE = 5,
	OMR_NATIVE_GATES = 6,
	OMR_NATIVE_KNOCKS = 7,
	OMR_NATIVE_REPLAY = 8,
};

/* flows: capacity of each flow table; hz: jiffies per second. NULL: no memory. */
struct omr_plane *omr_plane_new(__u32 flows, __u32 hz);
void omr_plane_free(struct omr_plane *plane);
/* Back to how it was made, but for omr_links. */
void omr_plane_reset(struct omr_plane *plane);
/* Pass data, data_len, ifindex, gso_segs and gso_size of run; its other members are not used. */
int omr_plane_run(struct omr_plane *plane, __u32 hook, const struct omr_run *run);
/* Take the oldest events; returns how many were written. */
int omr_plane_events(struct omr_plane *plane, struct omr_event *out, __u32 room);
/* key_size, value_size and max_entries of a map. */
int omr_plane_sizes(struct omr_plane *plane, __u32 map, struct omr_map_info *info);
/* As the functions of libbpf. */
int omr_plane_lookup(struct omr_plane *plane, __u32 map, const void *key, void *value);
int omr_plane_update(struct omr_plane *plane, __u32 map, const void *key, const void *value);
int omr_plane_delete(struct omr_plane *plane, __u32 map, const void *key);
int omr_plane_next_key(struct omr_plane *plane, __u32 map, const void *key, void *next);

/* --- replay.c ----------------------------------------------------------------------------- */

enum omr_replay_direction {
	OMR_REPLAY_LEAVE_OUT = 2, /* besides OMR_EGRESS and OMR_INGRESS */
};

/* One packet of a capture. */
struct omr_replay_item {
	__u64 at_ns; /* the programs' clocks at this packet */
	__u64 at_j;
	__u32 offset; /* of its bytes in the batch's data */
	__u32 captured;
	__u32 wire_len;
	__u8 l2;        /* enum omr_l2 */
	__u8 direction; /* enum omr_direction or OMR_REPLAY_LEAVE_OUT */
	/* what omr_replay_look() finds */
	__u8 known;      /* IP, or something that cannot be parsed; 0: another protocol */
	__u8 family;     /* 4 or 6; 0: the addresses are not known */
	__u8 source[16]; /* IPv4 in the first four bytes */
	__u8 destination[16];
	__u16 source_port_be; /* of TCP */
	__u16 destination_port_be;
	__u8 tcp_flags;
	__u8 zero[3];
};

/* What became of a packet of which something is to be told. */
struct omr_replay_note {
	__u32 item;
	__u32 sample_us;
	__u8 sample_source; /* these as in struct omr_replay */
	__u8 began;
	__u8 replaced;
	__u8 unparsed;
	__u32 zero;
	struct omr_flow before;
};

struct omr_replay_target {
	struct omr_plane *plane; /* NULL: the kernel's programs, by the descriptors below */
	int links_fd;
	int replay_fd;
	int egress_fd;
	int ingress_fd;
	__u32 l2; /* framing in force; at first none of enum omr_l2 */
	__u32 zero;
};

/* Fill in what the parser of the programs finds in each packet. */
void omr_replay_look(const void *data, struct omr_replay_item *items, __u32 count);
/* Run them, each at its own time; returns how many notes were written (room for count). */
int omr_replay_pass(struct omr_replay_target *target, const void *data,
                    const struct omr_replay_item *items, __u32 count,
                    struct omr_replay_note *notes);
/* A flow entry and its key (struct omr_flow_key4 or 6) as a row of a scan; idle_j is left 0. */
int omr_replay_row(struct omr_flow_row *row, const void *key, __u32 key_size,
                   const struct omr_flow *flow);

/* --- libbpf, as it is --------------------------------------------------------------------- */

int libbpf_num_possible_cpus(void);
int bpf_map_lookup_elem(int fd, const void *key, void *value);
int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
int bpf_map_delete_elem(int fd, const void *key);
struct bpf_map_batch_opts;
int bpf_map_update_batch(int fd, const void *keys, const void *values, __u32 *count,
                         const struct bpf_map_batch_opts *opts);
int bpf_map_get_next_key(int fd, const void *key, void *next_key);
int bpf_obj_pin(int fd, const char *path);
int bpf_obj_get(const char *path);
int bpf_prog_get_fd_by_id(__u32 id);
int bpf_prog_get_next_id(__u32 id, __u32 *next);
int bpf_link_get_fd_by_id(__u32 id);
int bpf_link_get_next_id(__u32 id, __u32 *next);
int bpf_link_detach(int link_fd);
int bpf_xdp_query_id(int ifindex, int flags, __u32 *prog_id);
