/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libbpf explains failures only through its log: keep the tail of it for error messages. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

#define LOG_ROOM 4096

static _Thread_local char text[LOG_ROOM];

/* The verifier's whole log comes as one message, and its end is what tells. */
void omr_log_add(const char *message)
{
	size_t used = strlen(text), length = strlen(message), drop;

	if (length >= LOG_ROOM) {
		message += length - (LOG_ROOM - 1);
		length = LOG_ROOM - 1;
	}
	drop = used + length >= LOG_ROOM ? used + length - (LOG_ROOM - 1) : 0;
	memmove(text, text + drop, used - drop);
	memcpy(text + used - drop, message, length + 1);
}

static int keep(enum libbpf_print_level level, const char *format, va_list args)
{
	char *message;

	if (level == LIBBPF_DEBUG || vasprintf(&message, format, args) < 0)
		return 0;
	omr_log_add(message);
	free(message);
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
