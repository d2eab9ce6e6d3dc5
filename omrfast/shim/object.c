/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loading and pinning, and what the kernel tells about what was loaded. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <bpf/btf.h>

#include "shim.h"

static int store(char *at, __u32 size, __u64 value)
{
	const __u8 v8 = (__u8)value;
	const __u32 v32 = (__u32)value;

	if (size == sizeof(v8))
		memcpy(at, &v8, sizeof(v8));
	else if (size == sizeof(v32))
		memcpy(at, &v32, sizeof(v32));
	else if (size == sizeof(value))
		memcpy(at, &value, sizeof(value));
	else
		return -EINVAL;
	return 0;
}

/* Write an integer of .rodata; libbpf has no accessor by name, so BTF gives its place. */
static int set_constant(struct bpf_object *object, const char *name, __u32 value)
{
	struct bpf_map *rodata = bpf_object__find_map_by_name(object, ".rodata");
	const struct btf *btf = bpf_object__btf(object);
	const struct btf_type *section;
	const struct btf_var_secinfo *member;
	size_t size = 0;
	char *image;
	int id;

	if (!rodata || !btf)
		return -ENOENT;
	image = (char *)bpf_map__initial_value(rodata, &size);
	id = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	if (!image || id < 0)
		return -ENOENT;
	section = btf__type_by_id(btf, id);
	member = btf_var_secinfos(section);
	for (int i = 0; i < btf_vlen(section); i++, member++) {
		const struct btf_type *variable = btf__type_by_id(btf, member->type);

		if (strcmp(btf__name_by_offset(btf, variable->name_off), name))
			continue;
		if (member->offset + member->size > size)
			return -EINVAL;
		return store(image + member->offset, member->size, value);
	}
	return -ENOENT;
}

static int configure(struct bpf_object *object, const struct omr_load *load)
{
	static const char *const tables[] = {"omr_flows4", "omr_flows6"};
	int error = set_constant(object, "omr_hz", load->hz);

	if (!error)
		error = set_constant(object, "omr_replay", load->replay);
	for (size_t i = 0; !error && i < sizeof(tables) / sizeof(tables[0]); i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(object, tables[i]);

		error = map ? bpf_map__set_max_entries(map, load->flows) : -ENOENT;
	}
	return error;
}

static int pin_one(int fd, const char *dir, const char *name)
{
	char path[512];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return bpf_obj_pin(fd, path);
}

static void unpin_one(const char *dir, const char *name)
{
	char path[512];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path))
		unlink(path);
}

/* Pins everything that was loaded and counts it in *pinned. */
static int pin_all(struct bpf_object *object, const char *dir, int *pinned)
{
	struct bpf_program *program;
	struct bpf_map *map;
	int error;

	bpf_object__for_each_map(map, object)
	{
		if (bpf_map__is_internal(map))
			continue;
		error = pin_one(bpf_map__fd(map), dir, bpf_map__name(map));
		if (error)
			return error;
		++*pinned;
	}
	bpf_object__for_each_program(program, object)
	{
		if (!bpf_program__autoload(program))
			continue;
		error = pin_one(bpf_program__fd(program), dir, bpf_program__name(program));
		if (error)
			return error;
		++*pinned;
	}
	return 0;
}

/* Takes back the first `pinned` pins of pin_all, in its order: the rest is not ours. */
static void unpin(struct bpf_object *object, const char *dir, int pinned)
{
	struct bpf_program *program;
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		if (!bpf_map__is_internal(map) && pinned-- > 0)
			unpin_one(dir, bpf_map__name(map));
	}
	bpf_object__for_each_program(program, object)
	{
		if (bpf_program__autoload(program) && pinned-- > 0)
			unpin_one(dir, bpf_program__name(program));
	}
}

/* Opens, configures and loads; `without` names a program that is left out, or is NULL. */
static int load(struct bpf_object **object, const struct omr_load *load, const char *without)
{
	struct bpf_program *program;
	int error;

	*object = bpf_object__open_file(load->object, NULL);
	if (!*object)
		return -errno;
	error = configure(*object, load);
	program = without ? bpf_object__find_program_by_name(*object, without) : NULL;
	if (!error && program)
		error = bpf_program__set_autoload(program, false);
	if (!error)
		error = bpf_object__load(*object);
	if (error) {
		bpf_object__close(*object);
		*object = NULL;
	}
	return error;
}

int omr_load_object(const struct omr_load *order)
{
	struct bpf_object *object;
	int error, pinned = 0;

	error = load(&object, order, NULL);
	if (error && order->optional) {
		omr_log_clear();
		error = load(&object, order, order->optional);
	}
	if (error)
		return error;
	error = pin_all(object, order->pin_dir, &pinned);
	if (error)
		unpin(object, order->pin_dir, pinned);
	bpf_object__close(object);
	return error;
}

int omr_load_program(__u32 type, const char *name, const void *insns, __u32 insn_count)
{
	static _Thread_local char log[65536];
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_buf = log, .log_size = sizeof(log));
	int fd;

	if (type == BPF_PROG_TYPE_SYSCALL)
		opts.prog_flags = BPF_F_SLEEPABLE;
	fd = bpf_prog_load(type, name, "GPL", insns, insn_count, &opts);
	if (fd < 0)
		omr_log_add(log);
	return fd;
}

int omr_map_info(int fd, struct omr_map_info *out)
{
	struct bpf_map_info info = {0};
	__u32 length = sizeof(info);
	int error = bpf_obj_get_info_by_fd(fd, &info, &length);

	if (error)
		return error;
	out->type = info.type;
	out->id = info.id;
	out->key_size = info.key_size;
	out->value_size = info.value_size;
	out->max_entries = info.max_entries;
	out->flags = info.map_flags;
	memcpy(out->name, info.name, sizeof(out->name));
	return 0;
}

int omr_prog_info(int fd, struct omr_prog_info *out)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);
	int error = bpf_obj_get_info_by_fd(fd, &info, &length);

	if (error)
		return error;
	out->type = info.type;
	out->id = info.id;
	memcpy(out->tag, info.tag, sizeof(out->tag));
	memcpy(out->name, info.name, sizeof(out->name));
	return 0;
}

int omr_link_info(int fd, struct omr_link_info *out)
{
	struct bpf_link_info info = {0};
	__u32 length = sizeof(info);
	/* For XDP { ifindex }, for TCX { ifindex, attach_type }, both at the start of the union. */
	const __u32 *device = (const __u32 *)&info.xdp;
	int error = bpf_obj_get_info_by_fd(fd, &info, &length);

	if (error)
		return error;
	out->type = info.type;
	out->id = info.id;
	out->prog_id = info.prog_id;
	out->ifindex = device[0];
	out->attach_type = info.type == BPF_LINK_TYPE_XDP ? OMR_HOOK_XDP : device[1];
	out->zero = 0;
	return 0;
}
