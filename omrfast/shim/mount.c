/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bpffs of our own. Pins live as long as the mount, and a mount lives as long as its mount
 * namespace: `ip netns exec` gives every command a private one, so a mount made there would take
 * all pins with it when the agent ends. Hence the mount is made in the namespace of process 1 and
 * the same file system is brought into ours, if the two look at the same directory.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
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

/* Run one of the two above if process 1 has another mount namespace; 1: nothing was done. */
static int outside(int (*work)(const char *, int, int), const char *dir)
{
	int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int first = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
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
