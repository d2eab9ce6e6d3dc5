/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One direction of a link: a queue that drains at the link's rate, then a delay line.
 *
 *     arrival -> loss, black hole -> queue (bounded) -> serialisation -> delay line -> departure
 *
 * All instants are CLOCK_MONOTONIC in nanoseconds and come from the model, not from when the
 * process was scheduled: a late wake-up delays one burst and leaves no lasting error. What is
 * under way keeps the delay that it was given, so a packet may overtake another after the delay was
 * cut, or one that was held back (reorder_ppm); jitter alone never reorders.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_SEC 1000000000ULL
#define FRAME_ROOM 2032 /* largest frame carried, link header and VLAN tag included */
#define PACKETS_MAX 262144
#define NEVER UINT64_MAX

struct packet {
	struct packet *next;
	uint64_t at;  /* arrival */
	uint64_t due; /* departure, once it is on the delay line */
	uint64_t order;
	uint32_t len;
	uint32_t start; /* offset of the frame in data */
	uint8_t data[FRAME_ROOM];
};

struct settings {
	uint64_t delay_us;
	uint64_t jitter_us;   /* uniform, +- */
	uint64_t loss_ppm;    /* of packets, independent */
	uint64_t reorder_ppm; /* of packets, independent: held back for reorder_us more */
	uint64_t reorder_us;
	uint64_t rate_bps;    /* 0: unlimited, no queue */
	uint64_t queue_bytes; /* 0: unlimited */
	uint64_t queue_us;    /* the queue as time at the rate; goes before queue_bytes */
	uint64_t blackhole;
};

struct stats {
	uint64_t forwarded, bytes;
	uint64_t lost;       /* by loss_ppm */
	uint64_t held_back;  /* by reorder_ppm */
	uint64_t overflow;   /* no room in the queue */
	uint64_t blackholed; /* arrived in, or was under way into, a black hole */
	uint64_t oversize;   /* larger than FRAME_ROOM: an offload was left on */
	uint64_t refused;    /* the device did not take it */
	uint64_t nomem;      /* PACKETS_MAX reached */
};

struct direction {
	struct settings set;
	struct stats stats;
	struct packet *head, **tail; /* the queue */
	uint64_t queued_bytes;
	uint64_t free_at;  /* when the transmitter is free */
	uint64_t last_due; /* of the packet last put on the delay line */
	uint64_t last_delay_ns;
	struct packet **heap; /* the delay line, by (due, order) */
	size_t heap_len, heap_room;
	uint64_t orders;
	uint64_t random;
};

static struct packet *spare;
static size_t packets_alive;

static struct packet *packet_get(void)
{
	struct packet *p = spare;

	if (p) {
		spare = p->next;
		return p;
	}
	if (packets_alive >= PACKETS_MAX)
		return NULL;
	p = malloc(sizeof(*p));
	if (p)
		packets_alive++;
	return p;
}

static void packet_put(struct packet *p)
{
	p->next = spare;
	spare = p;
}

/* splitmix64 */
static uint64_t draw(struct direction *d)
{
	uint64_t z = (d->random += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static void direction_init(struct direction *d, uint64_t seed)
{
	memset(d, 0, sizeof(*d));
	d->tail = &d->head;
	d->random = seed;
}

static int before(const struct packet *a, const struct packet *b)
{
	return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static int heap_push(struct direction *d, struct packet *p)
{
	size_t i = d->heap_len;

	if (i == d->heap_room) {
		size_t room = d->heap_room ? d->heap_room * 2 : 1024;
		struct packet **heap = realloc(d->heap, room * sizeof(*heap));

		if (!heap)
			return -1;
		d->heap = heap;
		d->heap_room = room;
	}
	d->heap_len++;
	for (; i && before(p, d->heap[(i - 1) / 2]); i = (i - 1) / 2)
		d->heap[i] = d->heap[(i - 1) / 2];
	d->heap[i] = p;
	return 0;
}

static struct packet *heap_pop(struct direction *d)
{
	struct packet *top = d->heap[0], *last = d->heap[--d->heap_len];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < d->heap_len) {
		if (child + 1 < d->heap_len && before(d->heap[child + 1], d->heap[child]))
			child++;
		if (!before(d->heap[child], last))
			break;
		d->heap[i] = d->heap[child];
		i = child;
	}
	d->heap[i] = last;
	return top;
}

static uint64_t queue_limit(const struct settings *set)
{
	if (set->queue_us && set->rate_bps)
		return set->rate_bps * set->queue_us / 8000000;
	return set->queue_bytes ? set->queue_bytes : UINT64_MAX;
}

/* The packet leaves the transmitter at `sent`. */
static void put_on_delay_line(struct direction *d, struct packet *p, uint64_t sent)
{
	uint64_t delay = d->set.delay_us * 1000, jitter = d->set.jitter_us * 1000;

	p->due = sent + delay;
	if (jitter) {
		uint64_t shift = draw(d) % (2 * jitter + 1);

		p->due = p->due + shift > jitter ? p->due + shift - jitter : 0;
		if (p->due < sent)
			p->due = sent;
		if (delay == d->last_delay_ns && p->due < d->last_due)
			p->due = d->last_due;
	}
	if (d->set.reorder_ppm && draw(d) % 1000000 < d->set.reorder_ppm) {
		p->due += d->set.reorder_us * 1000;
		d->stats.held_back++;
	} else {
		d->last_due = p->due;
		d->last_delay_ns = delay;
	}
	p->order = d->orders++;
	if (heap_push(d, p) < 0) {
		d->stats.nomem++;
		packet_put(p);
	}
}

/* How long the transmitter needs for the packet. */
static uint64_t serialisation(const struct direction *d, const struct packet *p)
{
	return d->set.rate_bps ? p->len * 8 * NS_PER_SEC / d->set.rate_bps : 0;
}

static uint64_t start_of(const struct direction *d, const struct packet *p)
{
	return d->free_at > p->at ? d->free_at : p->at;
}

/* Puts on the delay line what the transmitter has begun to send by `now`. Nothing wakes up for
 * this alone: it is caught up on before anything depends on it (arrival, departure, change). */
static void serve(struct direction *d, uint64_t now)
{
	while (d->head && start_of(d, d->head) <= now) {
		struct packet *p = d->head;

		d->head = p->next;
		if (!d->head)
			d->tail = &d->head;
		d->queued_bytes -= p->len;
		d->free_at = start_of(d, p) + serialisation(d, p);
		put_on_delay_line(d, p, d->free_at);
	}
}

/* Takes ownership of the packet. */
static void arrive(struct direction *d, struct packet *p, uint64_t now)
{
	uint64_t *reason = NULL;

	serve(d, now);
	if (d->set.blackhole)
		reason = &d->stats.blackholed;
	else if (d->set.loss_ppm && draw(d) % 1000000 < d->set.loss_ppm)
		reason = &d->stats.lost;
	else if (d->set.rate_bps && d->queued_bytes &&
	         d->queued_bytes + p->len > queue_limit(&d->set))
		reason = &d->stats.overflow;
	if (reason) {
		(*reason)++;
		packet_put(p);
		return;
	}
	p->at = now;
	p->next = NULL;
	*d->tail = p;
	d->tail = &p->next;
	d->queued_bytes += p->len;
}

/* Everything under way vanishes: what a black hole does to it. */
static void swallow(struct direction *d)
{
	while (d->head) {
		struct packet *p = d->head;

		d->head = p->next;
		packet_put(p);
		d->stats.blackholed++;
	}
	d->tail = &d->head;
	d->queued_bytes = 0;
	while (d->heap_len) {
		packet_put(heap_pop(d));
		d->stats.blackholed++;
	}
	d->free_at = 0;
}

/* When the next packet departs, at the earliest; the first in the queue may overtake. */
static uint64_t next_departure(const struct direction *d)
{
	uint64_t next = d->heap_len ? d->heap[0]->due : NEVER, least = 0, due;

	if (!d->head)
		return next;
	if (d->set.delay_us > d->set.jitter_us)
		least = (d->set.delay_us - d->set.jitter_us) * 1000;
	due = start_of(d, d->head) + serialisation(d, d->head) + least;
	return due < next ? due : next;
}
