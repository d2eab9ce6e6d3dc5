/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control protocol: one command a line over a unix stream socket, one line in answer.
 *
 *     set LINK up|down|both KEY=VALUE...   keys: delay_us jitter_us loss_ppm rate_bps queue_bytes
 *                                                queue_us reorder_ppm reorder_us blackhole
 *     stats LINK up|down                   answer: ok KEY=VALUE...
 *
 * The answer is "ok", "ok KEY=VALUE..." or "error TEXT".
 */

#include <stddef.h>
#include <stdio.h>

#define ANSWER_MAX 512
#define CLIENTS_MAX 16
#define LINE_MAX_LEN 512

struct member {
	const char *name;
	size_t offset;
};

static const struct member setting_members[] = {
        {"delay_us", offsetof(struct settings, delay_us)},
        {"jitter_us", offsetof(struct settings, jitter_us)},
        {"loss_ppm", offsetof(struct settings, loss_ppm)},
        {"rate_bps", offsetof(struct settings, rate_bps)},
        {"queue_bytes", offsetof(struct settings, queue_bytes)},
        {"queue_us", offsetof(struct settings, queue_us)},
        {"reorder_ppm", offsetof(struct settings, reorder_ppm)},
        {"reorder_us", offsetof(struct settings, reorder_us)},
        {"blackhole", offsetof(struct settings, blackhole)},
        {NULL, 0},
};

static const struct member stats_members[] = {
        {"forwarded", offsetof(struct stats, forwarded)},
        {"bytes", offsetof(struct stats, bytes)},
        {"lost", offsetof(struct stats, lost)},
        {"held_back", offsetof(struct stats, held_back)},
        {"overflow", offsetof(struct stats, overflow)},
        {"blackholed", offsetof(struct stats, blackholed)},
        {"oversize", offsetof(struct stats, oversize)},
        {"refused", offsetof(struct stats, refused)},
        {"nomem", offsetof(struct stats, nomem)},
        {NULL, 0},
};

static struct link *find_link(const char *name)
{
	for (int i = 0; i < links_count; i++)
		if (name && !strcmp(links[i].name, name))
			return &links[i];
	return NULL;
}

/* "key=number" into the settings; 0 or an error text. */
static const char *assign(struct settings *set, char *word)
{
	char *value = strchr(word, '='), *end;
	uint64_t number;

	if (!value)
		return "expected KEY=VALUE";
	*value++ = 0;
	number = strtoull(value, &end, 10);
	if (*value < '0' || *value > '9' || *end)
		return "a value must be a non-negative whole number";
	for (const struct member *m = setting_members; m->name; m++) {
		if (strcmp(m->name, word))
			continue;
		memcpy((char *)set + m->offset, &number, sizeof(number));
		return NULL;
	}
	return "unknown key";
}

static void apply(struct direction *d, const struct settings *set)
{
	serve(d, now_ns());
	d->set = *set;
	if (d->set.blackhole)
		swallow(d);
}

static const char *command_set(struct link *link, const char *where, char **rest)
{
	int both = !strcmp(where, "both");
	int first = both || !strcmp(where, "up") ? 0 : 1, last = both || first ? 1 : 0;
	struct settings new[2] = {link->way[0].set, link->way[1].set};
	const char *error;
	char *word;

	while ((word = strtok_r(NULL, " \r", rest))) {
		char copy[64];

		for (int i = first; i <= last; i++) {
			snprintf(copy, sizeof(copy), "%s", word);
			error = assign(&new[i], copy);
			if (error)
				return error;
		}
	}
	for (int i = first; i <= last; i++)
		apply(&link->way[i], &new[i]);
	return NULL;
}

static void command_stats(struct direction *d, char *answer)
{
	int used;

	serve(d, now_ns());
	used = snprintf(answer, ANSWER_MAX, "ok backlog_bytes=%llu under_way=%zu",
	                (unsigned long long)d->queued_bytes, d->heap_len);

	for (const struct member *m = stats_members; m->name; m++) {
		uint64_t number;

		memcpy(&number, (const char *)&d->stats + m->offset, sizeof(number));
		used += snprintf(answer + used, ANSWER_MAX - used, " %s=%llu", m->name,
		                 (unsigned long long)number);
	}
}

/* Carries out one line (without its newline) and writes the answer (without a newline). */
static void command(char *line, char *answer)
{
	char *rest = NULL, *verb = strtok_r(line, " \r", &rest);
	struct link *link = find_link(strtok_r(NULL, " \r", &rest));
	char *where = strtok_r(NULL, " \r", &rest);
	const char *error = NULL;

	snprintf(answer, ANSWER_MAX, "ok");
	if (!verb || (strcmp(verb, "set") && strcmp(verb, "stats")))
		error = "unknown command; there are: set, stats";
	else if (!link)
		error = "unknown link";
	else if (!where || (strcmp(where, "up") && strcmp(where, "down") && strcmp(where, "both")))
		error = "expected up, down or both after the link";
	else if (!strcmp(verb, "set"))
		error = command_set(link, where, &rest);
	else if (!strcmp(where, "both"))
		error = "stats wants up or down";
	else
		command_stats(&link->way[!strcmp(where, "down")], answer);
	if (error)
		snprintf(answer, ANSWER_MAX, "error %s", error);
}

struct client {
	int fd; /* -1: free */
	size_t used;
	char line[LINE_MAX_LEN];
};

static struct client clients[CLIENTS_MAX];

static int open_control(const char *path)
{
	struct sockaddr_un where = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	errno = ENAMETOOLONG;
	if (strlen(path) >= sizeof(where.sun_path))
		die("control socket", path);
	memcpy(where.sun_path, path, strlen(path));
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&where, sizeof(where)) || listen(fd, 4))
		die("control socket", path);
	return fd;
}

static void accept_client(int control)
{
	int fd = accept4(control, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (int i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
		if (clients[i].fd >= 0)
			continue;
		clients[i].fd = fd;
		clients[i].used = 0;
		return;
	}
	if (fd >= 0)
		close(fd);
}

static void answer_lines(struct client *c)
{
	char answer[ANSWER_MAX + 1], *end;

	while ((end = memchr(c->line, '\n', c->used))) {
		size_t taken = end + 1 - c->line;

		*end = 0;
		command(c->line, answer);
		strcat(answer, "\n");
		if (send(c->fd, answer, strlen(answer), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			return;
		c->used -= taken;
		memmove(c->line, c->line + taken, c->used);
	}
}

static void serve_client(struct client *c)
{
	ssize_t got = recv(c->fd, c->line + c->used, sizeof(c->line) - c->used, 0);

	if (got > 0) {
		c->used += got;
		answer_lines(c);
		if (c->used < sizeof(c->line))
			return;
	}
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close(c->fd);
	c->fd = -1;
}
