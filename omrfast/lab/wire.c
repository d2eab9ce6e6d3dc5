// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * wire: a link emulator in userspace, for kernels without netem.
 *
 *     wire CONTROL_SOCKET SEED NAME:IFACE_A:IFACE_B...
 *
 * Every Ethernet frame that arrives on IFACE_A leaves by IFACE_B ("up") and the other way round
 * ("down"), after what wire_model.h does to it. Runs in the namespace that holds the interfaces,
 * says "ready" on stdout, and ends when its standard input is closed, which is what happens when
 * the process that started it dies, however it dies.
 */

#define _GNU_SOURCE
#include "wire_model.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINKS_MAX 16
#define BATCH 64
#define VLAN_HLEN 4
#define SOCKET_BUFFER (8 << 20)
/* Departures this close are sent together. */
#define COALESCE_NS 50000ULL

struct link {
	char name[32];
	int fd[2];               /* packet sockets on IFACE_A, IFACE_B */
	struct direction way[2]; /* up: A to B; down: B to A */
};

static struct link links[LINKS_MAX];
static int links_count;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static void die(const char *what, const char *object)
{
	fprintf(stderr, "wire: %s %s: %s\n", what, object, strerror(errno));
	exit(1);
}

#include "wire_control.h"

static int open_device(const char *name)
{
	struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int one = 1, size = SOCKET_BUFFER;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		die("packet socket for", name);
	where.sll_ifindex = if_nametoindex(name);
	if (!where.sll_ifindex)
		die("interface", name);
	if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		die("socket options for", name);
	if (bind(fd, (struct sockaddr *)&where, sizeof(where)))
		die("binding to", name);
	return fd;
}

static void add_link(char *spec, uint64_t seed)
{
	struct link *link = &links[links_count];
	char *rest = NULL, *name = strtok_r(spec, ":", &rest);
	char *a = strtok_r(NULL, ":", &rest), *b = strtok_r(NULL, ":", &rest);

	errno = EINVAL;
	if (links_count == LINKS_MAX || !name || !a || !b)
		die("expected NAME:IFACE_A:IFACE_B, got", spec);
	snprintf(link->name, sizeof(link->name), "%s", name);
	link->fd[0] = open_device(a);
	link->fd[1] = open_device(b);
	direction_init(&link->way[0], seed * 1000003 + links_count * 2);
	direction_init(&link->way[1], seed * 1000003 + links_count * 2 + 1);
	links_count++;
}

/* Puts the VLAN tag, which the kernel hands over beside the frame, back into it. */
static void restore_tag(struct packet *p, struct msghdr *hdr)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		struct tpacket_auxdata aux;
		uint16_t tag[2];

		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
			return;
		memmove(p->data, p->data + VLAN_HLEN, 2 * ETH_ALEN);
		tag[0] = htons(aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid
		                                                         : ETH_P_8021Q);
		tag[1] = htons(aux.tp_vlan_tci);
		memcpy(p->data + 2 * ETH_ALEN, tag, sizeof(tag));
		p->start = 0;
		p->len += VLAN_HLEN;
	}
}

/* One batch of frames from a device into its direction; how many there were. */
static int receive(int fd, struct direction *d)
{
	static struct packet *slot[BATCH];
	static char control[BATCH][CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct mmsghdr batch[BATCH];
	struct iovec io[BATCH];
	int room = 0, count;
	uint64_t now;

	for (; room < BATCH; room++) {
		if (!slot[room] && !(slot[room] = packet_get()))
			break;
		io[room].iov_base = slot[room]->data + VLAN_HLEN;
		io[room].iov_len = FRAME_ROOM - VLAN_HLEN;
		batch[room].msg_hdr = (struct msghdr){.msg_iov = &io[room],
		                                      .msg_iovlen = 1,
		                                      .msg_control = control[room],
		                                      .msg_controllen = sizeof(control[room])};
	}
	count = recvmmsg(fd, batch, room, MSG_DONTWAIT, NULL);
	now = now_ns();
	for (int i = 0; i < count; i++) {
		struct packet *p = slot[i];

		if (batch[i].msg_hdr.msg_flags & MSG_TRUNC) {
			d->stats.oversize++;
			continue;
		}
		slot[i] = NULL;
		p->start = VLAN_HLEN;
		p->len = batch[i].msg_len;
		restore_tag(p, &batch[i].msg_hdr);
		arrive(d, p, now);
	}
	return count < 0 ? 0 : count;
}

/* Sends one batch of packets that are due; how many were taken off the delay line. */
static int send_due(int fd, struct direction *d, uint64_t now)
{
	struct mmsghdr batch[BATCH];
	struct iovec io[BATCH];
	struct packet *p[BATCH];
	int count = 0, sent = 0;

	while (count < BATCH && d->heap_len && d->heap[0]->due <= now + COALESCE_NS) {
		p[count] = heap_pop(d);
		io[count] = (struct iovec){p[count]->data + p[count]->start, p[count]->len};
		batch[count].msg_hdr = (struct msghdr){.msg_iov = &io[count], .msg_iovlen = 1};
		count++;
	}
	while (sent < count) {
		int done = sendmmsg(fd, batch + sent, count - sent, MSG_DONTWAIT);

		if (done < 0) { /* the first of the rest was not taken: drop it as a device does */
			d->stats.refused++;
			packet_put(p[sent++]);
			continue;
		}
		for (; done; done--, sent++) {
			d->stats.forwarded++;
			d->stats.bytes += p[sent]->len;
			packet_put(p[sent]);
		}
	}
	return count;
}

/* Sends what is due on every link; when to look again. */
static uint64_t advance(void)
{
	uint64_t next = NEVER, due;

	for (int i = 0; i < links_count * 2; i++) {
		struct link *link = &links[i / 2];
		struct direction *d = &link->way[i % 2];
		uint64_t now = now_ns();

		serve(d, now);
		while (send_due(link->fd[1 - i % 2], d, now) == BATCH)
			now = now_ns();
		due = next_departure(d);
		next = due < next ? due : next;
	}
	return next;
}

static void wait_until(struct pollfd *fds, int count, uint64_t next)
{
	uint64_t now = now_ns(), left = next > now ? next - now : 0;
	struct timespec timeout = {left / NS_PER_SEC, left % NS_PER_SEC};

	if (ppoll(fds, count, next == NEVER ? NULL : &timeout, NULL) < 0 && errno != EINTR)
		die("waiting on", "sockets");
}

/* fds: stdin, control, clients, then two per link. */
static void run(int control)
{
	struct pollfd fds[2 + CLIENTS_MAX + 2 * LINKS_MAX];
	int devices = 2 + CLIENTS_MAX, count = devices + 2 * links_count;
	char ignored[64];

	for (;;) {
		fds[0] = (struct pollfd){0, POLLIN, 0};
		fds[1] = (struct pollfd){control, POLLIN, 0};
		for (int i = 0; i < CLIENTS_MAX; i++)
			fds[2 + i] = (struct pollfd){clients[i].fd, POLLIN, 0};
		for (int i = 0; i < 2 * links_count; i++)
			fds[devices + i] = (struct pollfd){links[i / 2].fd[i % 2], POLLIN, 0};
		wait_until(fds, count, advance());
		if (fds[0].revents && read(0, ignored, sizeof(ignored)) <= 0)
			return;
		if (fds[1].revents)
			accept_client(control);
		for (int i = 0; i < CLIENTS_MAX; i++)
			if (clients[i].fd >= 0 && fds[2 + i].fd >= 0 && fds[2 + i].revents)
				serve_client(&clients[i]);
		for (int i = 0; i < 2 * links_count; i++)
			if (fds[devices + i].revents)
				receive(links[i / 2].fd[i % 2], &links[i / 2].way[i % 2]);
	}
}

int main(int argc, char **argv)
{
	struct sched_param urgent = {.sched_priority = 1};
	int control;

	if (argc < 4) {
		fprintf(stderr, "usage: wire CONTROL_SOCKET SEED NAME:IFACE_A:IFACE_B...\n");
		return 2;
	}
	for (int i = 0; i < CLIENTS_MAX; i++)
		clients[i].fd = -1;
	for (int i = 3; i < argc; i++)
		add_link(argv[i], strtoull(argv[2], NULL, 10));
	control = open_control(argv[1]);
	prctl(PR_SET_TIMERSLACK, 1);
	/* Accuracy under load; where it is refused the emulator works, a little less exactly. */
	if (sched_setscheduler(0, SCHED_FIFO, &urgent))
		fprintf(stderr, "wire: no real-time priority: %s\n", strerror(errno));
	puts("ready");
	fflush(stdout);
	run(control);
	unlink(argv[1]);
	return 0;
}
