/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attaching by bpf_link and asking what is attached; all of it in the caller's network namespace.
 */
#include <string.h>
#include <unistd.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>

#include "shim.h"

#define QUERY_ROOM 64

/* union bpf_attr of BPF_PROG_QUERY and of BPF_PROG_DETACH as of Linux 6.6; libbpf and the headers
 * of older distributions end before the members for TCX. */
struct query_attr {
	__u32 target_ifindex;
	__u32 attach_type;
	__u32 query_flags;
	__u32 attach_flags;
	__u64 prog_ids;
	__u32 count;
	__u32 zero;
	__u64 prog_attach_flags;
	__u64 link_ids;
	__u64 link_attach_flags;
	__u64 revision;
};

struct detach_attr {
	__u32 target_ifindex;
	__u32 attach_bpf_fd;
	__u32 attach_type;
	__u32 attach_flags;
	__u32 replace_bpf_fd;
	__u32 relative_fd;
	__u64 expected_revision;
};

int omr_link_create(int prog_fd, __u32 ifindex, __u32 hook, __u32 flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);

	return bpf_link_create(prog_fd, (int)ifindex, (enum bpf_attach_type)hook, &opts);
}

int omr_link_update(int link_fd, int prog_fd)
{
	return bpf_link_update(link_fd, prog_fd, NULL);
}

int omr_tcx_query(__u32 ifindex, __u32 hook, struct omr_attached *out, __u32 room)
{
	__u32 programs[QUERY_ROOM] = {0};
	__u32 links[QUERY_ROOM] = {0};
	struct query_attr attr = {
	        .target_ifindex = ifindex,
	        .attach_type = hook,
	        .prog_ids = (__u64)(uintptr_t)programs,
	        .count = QUERY_ROOM,
	        .link_ids = (__u64)(uintptr_t)links,
	};

	if (syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)))
		/* E2BIG: a kernel whose union ends before link_ids has no TCX either. */
		return errno == E2BIG ? -EINVAL : -errno;
	if (attr.count < room)
		room = attr.count;
	for (__u32 i = 0; i < room; i++) {
		out[i].prog_id = programs[i];
		out[i].link_id = links[i];
	}
	return (int)room;
}

int omr_tcx_detach(__u32 ifindex, __u32 hook, __u32 prog_id)
{
	struct detach_attr attr = {.target_ifindex = ifindex, .attach_type = hook};
	int fd = bpf_prog_get_fd_by_id(prog_id);
	int error = 0;

	if (fd < 0)
		return fd;
	attr.attach_bpf_fd = (__u32)fd;
	if (syscall(SYS_bpf, BPF_PROG_DETACH, &attr, sizeof(attr)))
		error = -errno;
	close(fd);
	return error;
}

int omr_driver(const char *ifname, char *out, __u32 room)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {.ifr_data = (char *)&info};
	int fd;

	if (!room || strlen(ifname) >= sizeof(request.ifr_name))
		return -EINVAL;
	out[0] = 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	strcpy(request.ifr_name, ifname);
	if (!ioctl(fd, SIOCETHTOOL, &request)) {
		strncpy(out, info.driver, room - 1);
		out[room - 1] = 0;
	}
	close(fd);
	return 0;
}
