/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bpffs of our own. Pins live as long as the mount, and a mount lives as long as its mount
 * namespace: `ip netns exec` gives every command a private one, so a mount made there would take
 * all pins with it when the agent ends. Hence the mount is made in the namespace of process 1 (or,
 * where that may not be entered, of our oldest ancestor that may) and the same file system is
 * brought into ours, if the two look at the same directory.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/magic.h>

#include "shim.h"

#define OPEN_TREE_FLAGS (1 | O_CLOEXEC) /* OPEN_TREE_CLONE */
#define MOVE_FROM_EMPTY_PATH 4          /* MOVE_MOUNT_F_EMPTY_PATH */

static int stat_parent(const char *dir, struct stat *out)
{
	char parent[4096];

	if (snprintf(parent, sizeof(parent), "%s/..", dir) >= (int)sizeof(parent))
		return -ENAMETOOLONG;
	return stat(parent, out) ? -errno : 0;
}

int omr_is_bpffs(const char *dir)
{
	struct stat here, above;
	struct statfs fs;

	if (statfs(dir, &fs) || stat(dir, &here) || stat_parent(dir, &above))
		return -errno;
	/* The root of a bpffs is told from its directories by being a mount point. */
	return fs.f_type == BPF_FS_MAGIC && above.st_dev != here.st_dev;
}

static int mount_here(const char *dir)
{
	return mount("omrfast", dir, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") ? -errno
	                                                                                   : 0;
}

static int same_namespace(int own, int first)
{
	struct stat a, b;

	return !fstat(own, &a) && !fstat(first, &b) && a.st_ino == b.st_ino;
}

/* Enter the other mount namespace, if the directory that holds dir is the same one there. */
static int enter(const char *dir, int first)
{
	struct stat here, there;

	if (stat_parent(dir, &here) || setns(first, CLONE_NEWNS) || stat_parent(dir, &there))
		return 1;
	return here.st_dev != there.st_dev || here.st_ino != there.st_ino;
}

/* In a child, because a process with threads may not change its mount namespace. 0: done. */
static int mount_outside(const char *dir, int own, int first)
{
	int tree;

	if (enter(dir, first) || (omr_is_bpffs(dir) != 1 && mount_here(dir)))
		return 1;
	tree = (int)syscall(SYS_open_tree, AT_FDCWD, dir, OPEN_TREE_FLAGS);
	if (tree < 0 || setns(own, CLONE_NEWNS))
		return 1;
	if (omr_is_bpffs(dir) == 1) /* propagated by itself */
		return 0;
	return syscall(SYS_move_mount, tree, "", AT_FDCWD, dir, MOVE_FROM_EMPTY_PATH) ? 1 : 0;
}

static int unmount_outside(const char *dir, int own, int first)
{
	(void)own;
	if (enter(dir, first) || omr_is_bpffs(dir) != 1)
		return 1;
	return umount2(dir, MNT_DETACH) ? 1 : 0;
}

static int open_namespace(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* 0 if there is none to be seen. */
static pid_t parent_of(pid_t pid)
{
	char line[512] = "", *name_end;
	char path[64], state;
	int parent = 0;
	FILE *stat_file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat_file = fopen(path, "re");
	if (!stat_file)
		return 0;
	/* "pid (name) state ppid": the name may hold anything. */
	name_end = fgets(line, sizeof(line), stat_file) ? strrchr(line, ')') : NULL;
	if (!name_end || sscanf(name_end + 1, " %c %d", &state, &parent) != 2)
		parent = 0;
	fclose(stat_file);
	return parent;
}

static int open_outermost(void)
{
	int found = open_namespace(1), fd;

	if (found >= 0)
		return found;
	for (pid_t pid = getppid(); pid > 1; pid = parent_of(pid)) {
		fd = open_namespace(pid);
		if (fd < 0)
			continue;
		if (found >= 0)
			close(found);
		found = fd;
	}
	return found;
}

/* Run one of the two above if there is another mount namespace outside; 1: nothing was done. */
static int outside(int (*work)(const char *, int, int), const char *dir)
{
	int own = open_namespace(getpid());
	int first = open_outermost();
	int status = 1;
	pid_t child;

	if (own >= 0 && first >= 0 && !same_namespace(own, first)) {
		child = fork();
		if (!child)
			_exit(work(dir, own, first));
		if (child < 0 || waitpid(child, &status, 0) != child)
			status = 1;
	}
	if (own >= 0)
		close(own);
	if (first >= 0)
		close(first);
	return status ? 1 : 0;
}

int omr_mount_bpffs(const char *dir)
{
	return outside(mount_outside, dir) ? mount_here(dir) : 0;
}

int omr_unmount_bpffs(const char *dir)
{
	outside(unmount_outside, dir);
	if (omr_is_bpffs(dir) != 1)
		return 0;
	return umount2(dir, MNT_DETACH) ? -errno : 0;
}
