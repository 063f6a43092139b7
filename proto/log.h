/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_LOG_H
#define PROTO_LOG_H

#include <stdbool.h>
#include <stddef.h>

/*
 * One line per call on standard error, by one write(2): no stdio, so that it works behind every
 * role's filter. Never waits: a line that standard error cannot take at once is counted, and the
 * count said later. Where standard error is not a terminal each line starts with "<N>", the syslog
 * priority that service managers read. Bytes that could drive a terminal come out as \xNN.
 */

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

/* name: what each line begins with ("tracker"); kept, not copied. verbose: debug lines, too. */
void log_open(const char *name, bool verbose);

/* Lines without the priority that a service manager reads, wherever they go: a person asked. */
void log_plain(void);

#define LOG_PRINTF(f, a) __attribute__((format(printf, f, a)))

void log_line(enum log_level level, const char *fmt, ...) LOG_PRINTF(2, 3);

#define log_error(...)	 log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* What is still to be done when fatal() ends the process: called once, after its line. */
void log_last_words(void (*words)(void));

/* log_error(), then exit status 1. For anything that cannot be applied, verified or trusted. */
_Noreturn void fatal(const char *fmt, ...) LOG_PRINTF(1, 2);

/* Copies len bytes of text to out (size bytes, always zero-terminated) with control bytes, DEL,
 * backslash and bytes >= 0x80 as \xNN. Stops before the first escape that does not fit. */
void text_escape(const char *text, size_t len, char *out, size_t size);

#endif
