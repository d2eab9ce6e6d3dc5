/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event ring: records into an array. */
#include <stdlib.h>
#include <string.h>

#include "shim.h"

struct omr_ring {
	struct ring_buffer *buffer;
	struct omr_event *out;
	__u32 room;
	__u32 used;
};

/* libbpf counts a record as consumed even if the callback fails: stop after the last that fits,
 * not before the first that does not. */
static int take(void *context, void *data, size_t size)
{
	struct omr_ring *ring = context;

	if (size >= sizeof(*ring->out))
		memcpy(&ring->out[ring->used++], data, sizeof(*ring->out));
	return ring->used == ring->room ? -ENOBUFS : 0;
}

struct omr_ring *omr_ring_open(int map_fd, int *error)
{
	struct omr_ring *ring = calloc(1, sizeof(*ring));

	*error = -ENOMEM;
	if (!ring)
		return NULL;
	ring->buffer = ring_buffer__new(map_fd, take, ring, NULL);
	if (ring->buffer) {
		*error = 0;
		return ring;
	}
	*error = -errno;
	free(ring);
	return NULL;
}

int omr_ring_fd(struct omr_ring *ring)
{
	return ring_buffer__epoll_fd(ring->buffer);
}

int omr_ring_read(struct omr_ring *ring, struct omr_event *out, __u32 room)
{
	int error;

	if (!room)
		return 0;
	ring->out = out;
	ring->room = room;
	ring->used = 0;
	error = ring_buffer__consume(ring->buffer);
	if (error < 0 && error != -ENOBUFS)
		return error;
	return (int)ring->used;
}

void omr_ring_close(struct omr_ring *ring)
{
	ring_buffer__free(ring->buffer);
	free(ring);
}
