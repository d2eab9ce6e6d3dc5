/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libbpf explains failures only through its log: keep the tail of it for error messages. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "shim.h"

#define LOG_ROOM 4096

static _Thread_local char text[LOG_ROOM];

static int keep(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[LOG_ROOM / 2];
	size_t used = strlen(text);
	size_t length;

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), format, args);
	length = strlen(line);
	if (used + length >= LOG_ROOM) {
		size_t drop = used + length - LOG_ROOM + 1;

		if (drop > used)
			drop = used;
		memmove(text, text + drop, used - drop + 1);
		used -= drop;
	}
	memcpy(text + used, line, length + 1);
	return 0;
}

void omr_log_capture(void)
{
	libbpf_set_print(keep);
}

const char *omr_log_text(void)
{
	return text;
}

void omr_log_clear(void)
{
	text[0] = 0;
}
