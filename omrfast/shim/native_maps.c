/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A plane's life, and its tables as maps. */
#include <stdlib.h>
#include <string.h>

#include "native.h"

struct omr_plane *omr_plane_new(__u32 flows, __u32 hz)
{
	struct omr_plane *of = calloc(1, sizeof(*of));

	if (!of)
		return NULL;
	of->hz = hz;
	omr_table_init(&of->flows4, sizeof(struct omr_flow_key4), sizeof(struct omr_flow), flows);
	omr_table_init(&of->flows6, sizeof(struct omr_flow_key6), sizeof(struct omr_flow), flows);
	return of;
}

void omr_plane_reset(struct omr_plane *of)
{
	omr_table_clear(&of->flows4);
	omr_table_clear(&of->flows6);
	memset(of->counters, 0, sizeof(of->counters));
	memset(of->rtt, 0, sizeof(of->rtt));
	memset(of->live, 0, sizeof(of->live));
	memset(of->gates, 0, sizeof(of->gates));
	memset(of->knocks, 0, sizeof(of->knocks));
	memset(&of->replay, 0, sizeof(of->replay));
	of->event_count = 0;
}

void omr_plane_free(struct omr_plane *of)
{
	if (!of)
		return;
	omr_table_clear(&of->flows4);
	omr_table_clear(&of->flows6);
	free(of);
}

/* --- tables ------------------------------------------------------------------------------- */

static struct omr_table *hash_of(struct omr_plane *of, __u32 map)
{
	if (map == OMR_NATIVE_FLOWS4)
		return &of->flows4;
	return map == OMR_NATIVE_FLOWS6 ? &of->flows6 : NULL;
}

struct array {
	void *at;
	__u32 size;
	__u32 count;
};

#define ARRAY(member)                                                                              \
	((struct array){(member), sizeof((member)[0]), sizeof(member) / sizeof((member)[0])})

static struct array array_of(struct omr_plane *of, __u32 map)
{
	switch (map) {
	case OMR_NATIVE_LINKS:
		return ARRAY(of->links);
	case OMR_NATIVE_COUNTERS:
		return ARRAY(of->counters);
	case OMR_NATIVE_RTT:
		return ARRAY(of->rtt);
	case OMR_NATIVE_LIVE:
		return ARRAY(of->live);
	case OMR_NATIVE_GATES:
		return ARRAY(of->gates);
	case OMR_NATIVE_KNOCKS:
		return ARRAY(of->knocks);
	case OMR_NATIVE_REPLAY:
		return (struct array){&of->replay, sizeof(of->replay), 1};
	default:
		return (struct array){0};
	}
}

int omr_plane_sizes(struct omr_plane *of, __u32 map, struct omr_map_info *info)
{
	struct omr_table *table = hash_of(of, map);
	struct array array = array_of(of, map);

	if (!table && !array.at)
		return -EINVAL;
	memset(info, 0, sizeof(*info));
	info->key_size = table ? table->key_size : sizeof(__u32);
	info->value_size = table ? table->value_size : array.size;
	info->max_entries = table ? table->most : array.count;
	return 0;
}

static void *element(struct omr_plane *of, __u32 map, const void *key)
{
	struct omr_table *table = hash_of(of, map);
	struct array array = array_of(of, map);
	__u32 index;

	if (table)
		return omr_table_find(table, key);
	memcpy(&index, key, sizeof(index));
	return index < array.count ? (__u8 *)array.at + (size_t)index * array.size : NULL;
}

int omr_plane_lookup(struct omr_plane *of, __u32 map, const void *key, void *value)
{
	const void *found = element(of, map, key);
	struct omr_map_info info;

	if (!found || omr_plane_sizes(of, map, &info))
		return -ENOENT;
	memcpy(value, found, info.value_size);
	return 0;
}

int omr_plane_update(struct omr_plane *of, __u32 map, const void *key, const void *value)
{
	struct omr_table *table = hash_of(of, map);
	void *found = table ? NULL : element(of, map, key);
	struct omr_map_info info;

	if (table)
		return omr_table_put(table, key, value);
	if (!found || omr_plane_sizes(of, map, &info))
		return -E2BIG;
	memcpy(found, value, info.value_size);
	return 0;
}

int omr_plane_delete(struct omr_plane *of, __u32 map, const void *key)
{
	struct omr_table *table = hash_of(of, map);

	return table ? omr_table_drop(table, key) : -EINVAL;
}

int omr_plane_next_key(struct omr_plane *of, __u32 map, const void *key, void *next)
{
	struct omr_table *table = hash_of(of, map);
	struct array array = array_of(of, map);
	__u32 index = 0;

	if (table)
		return omr_table_after(table, key, next);
	if (key) {
		memcpy(&index, key, sizeof(index));
		index++;
	}
	if (index >= array.count)
		return -ENOENT;
	memcpy(next, &index, sizeof(index));
	return 0;
}
