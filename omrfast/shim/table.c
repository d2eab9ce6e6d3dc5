/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	ROOM_FIRST = 64,
	KEY_AT = 4, /* behind the link to the next entry of the chain (index + 1) */
};

void omr_table_init(struct omr_table *t, __u32 key_size, __u32 value_size, __u32 most)
{
	memset(t, 0, sizeof(*t));
	t->key_size = key_size;
	t->value_size = value_size;
	t->most = most;
	t->stride = (KEY_AT + key_size + 7) / 8 * 8 + (value_size + 7) / 8 * 8;
}

void omr_table_clear(struct omr_table *t)
{
	free(t->chains);
	free(t->data);
	omr_table_init(t, t->key_size, t->value_size, t->most);
}

static __u8 *entry(const struct omr_table *t, __u32 index)
{
	return t->data + (size_t)index * t->stride;
}

static __u32 *link_of_entry(const struct omr_table *t, __u32 index)
{
	return (__u32 *)entry(t, index);
}

static void *value_of(const struct omr_table *t, __u32 index)
{
	return entry(t, index) + (KEY_AT + t->key_size + 7) / 8 * 8;
}

static __u32 *chain_of(const struct omr_table *t, const void *key)
{
	const __u8 *bytes = key;
	__u64 mix = 0xcbf29ce484222325ULL; /* FNV-1a, 64 bits */
	__u32 i;

	for (i = 0; i < t->key_size; i++)
		mix = (mix ^ bytes[i]) * 0x100000001b3ULL;
	return &t->chains[(mix >> 32 ^ mix) & (t->room - 1)];
}

/* Where the index + 1 of this key's entry is kept; it holds 0 if there is none. */
static __u32 *place_of(const struct omr_table *t, const void *key)
{
	__u32 *place = chain_of(t, key);

	while (*place && memcmp(entry(t, *place - 1) + KEY_AT, key, t->key_size) != 0)
		place = link_of_entry(t, *place - 1);
	return place;
}

void *omr_table_find(const struct omr_table *t, const void *key)
{
	__u32 found = t->entries ? *place_of(t, key) : 0;

	return found ? value_of(t, found - 1) : NULL;
}

static int grow(struct omr_table *t)
{
	__u32 room = t->room ? t->room * 2 : ROOM_FIRST, i, *chain;
	__u32 *chains = calloc(room, sizeof(*chains));
	__u8 *data = chains ? realloc(t->data, (size_t)room * t->stride) : NULL;

	if (!data) {
		free(chains);
		return -ENOMEM;
	}
	free(t->chains);
	t->chains = chains;
	t->data = data;
	t->room = room;
	for (i = 0; i < t->entries; i++) {
		chain = chain_of(t, entry(t, i) + KEY_AT);
		*link_of_entry(t, i) = *chain;
		*chain = i + 1;
	}
	return 0;
}

int omr_table_put(struct omr_table *t, const void *key, const void *value)
{
	void *present = omr_table_find(t, key);
	__u32 *chain;
	int error;

	if (present) {
		memmove(present, value, t->value_size);
		return 0;
	}
	if (t->entries >= t->most)
		return -E2BIG;
	error = t->entries == t->room ? grow(t) : 0;
	if (error)
		return error;
	chain = chain_of(t, key);
	memset(entry(t, t->entries), 0, t->stride);
	*link_of_entry(t, t->entries) = *chain;
	memcpy(entry(t, t->entries) + KEY_AT, key, t->key_size);
	memcpy(value_of(t, t->entries), value, t->value_size);
	*chain = ++t->entries;
	return 0;
}

int omr_table_drop(struct omr_table *t, const void *key)
{
	__u32 *place = t->entries ? place_of(t, key) : NULL, gap, last;

	if (!place || !*place)
		return -ENOENT;
	gap = *place - 1;
	*place = *link_of_entry(t, gap);
	last = --t->entries;
	if (gap != last) {
		place = place_of(t, entry(t, last) + KEY_AT);
		memcpy(entry(t, gap), entry(t, last), t->stride);
		*place = gap + 1;
	}
	return 0;
}

int omr_table_after(const struct omr_table *t, const void *key, void *next)
{
	__u32 found = key && t->entries ? *place_of(t, key) : 0; /* index + 1 is the next one */

	if (found >= t->entries)
		return -ENOENT;
	memcpy(next, entry(t, found) + KEY_AT, t->key_size);
	return 0;
}
