/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bpffs of our own. Pins live as long as the mount, and a mount lives as long as its mount
 * namespace: `ip netns exec` gives every command a private one, so a mount made there would take
 * all pins with it when the agent ends. Hence the mount is made in the namespace of process 1 or,
 * where that may not be entered or has another root (we are in a chroot), of our oldest ancestor
 * that may and has ours; and the same file system is brought into our namespace, if the two look
 * at the same directory.
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

/* A mount namespace, and in it the root directory of a process: setns() goes to the namespace's
 * own root, which in a chroot is another. */
struct view {
	int ns;
	int root;
};

static void close_view(struct view *view)
{
	if (view->ns >= 0)
		close(view->ns);
	if (view->root >= 0)
		close(view->root);
	view->ns = view->root = -1;
}

/* The view of a process; an empty one if it may not be had. */
static struct view open_view(pid_t pid)
{
	struct view view;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	view.ns = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	view.root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (view.ns < 0 || view.root < 0)
		close_view(&view);
	return view;
}

static int same_file(int one, int other)
{
	struct stat a, b;

	return !fstat(one, &a) && !fstat(other, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int go(const struct view *view)
{
	return setns(view->ns, CLONE_NEWNS) || fchdir(view->root) || chroot(".");
}

/* Enter the other mount namespace, if the directory that holds dir is the same one there. */
static int enter(const char *dir, const struct view *first)
{
	struct stat here, there;

	if (stat_parent(dir, &here) || go(first) || stat_parent(dir, &there))
		return 1;
	return here.st_dev != there.st_dev || here.st_ino != there.st_ino;
}

/* In a child, because a process with threads may not change its mount namespace. 0: done. */
static int mount_outside(const char *dir, const struct view *own, const struct view *first)
{
	int tree;

	if (enter(dir, first) || (omr_is_bpffs(dir) != 1 && mount_here(dir)))
		return 1;
	tree = (int)syscall(SYS_open_tree, AT_FDCWD, dir, OPEN_TREE_FLAGS);
	if (tree < 0 || go(own))
		return 1;
	if (omr_is_bpffs(dir) == 1) /* propagated by itself */
		return 0;
	return syscall(SYS_move_mount, tree, "", AT_FDCWD, dir, MOVE_FROM_EMPTY_PATH) ? 1 : 0;
}

static int unmount_outside(const char *dir, const struct view *own, const struct view *first)
{
	(void)own;
	if (enter(dir, first) || omr_is_bpffs(dir) != 1)
		return 1;
	return umount2(dir, MNT_DETACH) ? 1 : 0;
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

/* The outermost process that sees our root: process 1, else our oldest ancestor. */
static struct view open_outermost(const struct view *own)
{
	struct view found = open_view(1), candidate;

	if (found.ns >= 0 && same_file(found.root, own->root))
		return found;
	close_view(&found);
	for (pid_t pid = getppid(); pid > 1; pid = parent_of(pid)) {
		candidate = open_view(pid);
		if (candidate.ns < 0 || !same_file(candidate.root, own->root)) {
			close_view(&candidate);
			continue;
		}
		close_view(&found);
		found = candidate;
	}
	return found;
}

/* Run one of the two above if there is another mount namespace outside; 1: nothing was done. */
static int outside(int (*work)(const char *, const struct view *, const struct view *),
                   const char *dir)
{
	struct view own = open_view(getpid()), first = {-1, -1};
	int status = 1;
	pid_t child;

	if (own.ns >= 0)
		first = open_outermost(&own);
	if (first.ns >= 0 && !same_file(own.ns, first.ns)) {
		child = fork();
		if (!child)
			_exit(work(dir, &own, &first));
		if (child < 0 || waitpid(child, &status, 0) != child)
			status = 1;
	}
	close_view(&own);
	close_view(&first);
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
