/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *log_name = "eghostbuster";
static bool log_verbose;
static bool log_terminal;

void
log_open(const char *name, bool verbose)
{
	log_name = name;
	log_verbose = verbose;
	log_terminal = isatty(STDERR_FILENO) == 1;
}

void
log_plain(void)
{
	log_terminal = true;
}

void
text_escape(const char *text, size_t len, char *out, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	size_t o = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		bool plain = c >= 0x20 && c < 0x7f && c != '\\';

		if (o + (plain ? 1 : 4) >= size)
			break;
		if (plain) {
			out[o++] = (char)c;
			continue;
		}
		out[o++] = '\\';
		out[o++] = 'x';
		out[o++] = hex[c >> 4];
		out[o++] = hex[c & 15];
	}
	out[o] = '\0';
}

static unsigned long lines_dropped;

/* A line is diagnosis, the audit log is the record: when standard error cannot take it at once (a
 * full pipe, a stopped terminal) it is dropped and counted, and nothing waits. */
static bool
stderr_ready(void)
{
	static const struct timespec at_once;
	struct pollfd pfd = { .fd = STDERR_FILENO, .events = POLLOUT };

	return ppoll(&pfd, 1, &at_once, NULL) == 1 && (pfd.revents & POLLOUT) != 0;
}

static void
line_put(enum log_level level, const char *text)
{
	char line[2048];
	int n;

	if (log_terminal)
		n = snprintf(line, sizeof(line), "%s: %s\n", log_name, text);
	else
		n = snprintf(line, sizeof(line), "<%d>%s: %s\n", level, log_name, text);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		lines_dropped++;
}

static void
line_write(enum log_level level, const char *text)
{
	char note[80];

	if (!stderr_ready()) {
		lines_dropped++;
		return;
	}
	if (lines_dropped != 0) {
		snprintf(note, sizeof(note), "%lu lines were not taken by standard error",
			lines_dropped);
		lines_dropped = 0;
		line_put(LOG_LEVEL_WARNING, note);
	}
	line_put(level, text);
}

static void __attribute__((format(printf, 2, 0)))
log_vline(enum log_level level, const char *fmt, va_list ap)
{
	char raw[1024], safe[1900];
	int n = vsnprintf(raw, sizeof(raw), fmt, ap);

	if (n < 0)
		return;
	text_escape(raw, strlen(raw), safe, sizeof(safe));
	line_write(level, safe);
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level == LOG_LEVEL_DEBUG && !log_verbose)
		return;
	va_start(ap, fmt);
	log_vline(level, fmt, ap);
	va_end(ap);
}

static void (*last_words)(void);

void
log_last_words(void (*words)(void))
{
	last_words = words;
}

_Noreturn void
fatal(const char *fmt, ...)
{
	void (*words)(void);
	va_list ap;

	va_start(ap, fmt);
	log_vline(LOG_LEVEL_ERROR, fmt, ap);
	va_end(ap);
	words = last_words;
	last_words = NULL; /* they may fail, too */
	if (words != NULL)
		words();
	_exit(1);
}
