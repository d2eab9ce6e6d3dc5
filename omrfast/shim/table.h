/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hash table like the kernel's BPF_MAP_TYPE_HASH: keys and values of fixed size, a hard limit of
 * entries, all bytes of a key count. Entries lie in one array that grows; deleting moves the last
 * one into the gap. So a pointer to a value holds until the next insertion or deletion.
 */
#ifndef OMR_TABLE_H
#define OMR_TABLE_H

#include <linux/types.h>

struct omr_table {
	__u32 key_size;
	__u32 value_size;
	__u32 most;    /* entries allowed */
	__u32 entries; /* present */
	__u32 room;    /* entries allocated; a power of two, and the number of chains */
	__u32 stride;  /* bytes of an entry: link, key, value */
	__u32 *chains; /* index + 1 of the first entry with that hash; 0: none */
	__u8 *data;
};

/* No memory is taken before the first insertion. */
void omr_table_init(struct omr_table *t, __u32 key_size, __u32 value_size, __u32 most);
void omr_table_clear(struct omr_table *t);
/* NULL: no such key. */
void *omr_table_find(const struct omr_table *t, const void *key);
/* Insert or replace: 0, -E2BIG (full) or -ENOMEM. */
int omr_table_put(struct omr_table *t, const void *key, const void *value);
/* 0 or -ENOENT. */
int omr_table_drop(struct omr_table *t, const void *key);
/* The key after this one (NULL, or one that is not there: the first); 0 or -ENOENT. */
int omr_table_after(const struct omr_table *t, const void *key, void *next);

#endif
