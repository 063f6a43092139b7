/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_LOGFILE_H
#define CTL_LOGFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

/*
 * An audit log file, line by line, as it is or compressed by gzip(1). What it holds is nobody's
 * word: lines may be anything and of any length.
 */

/* No record is as long. Of a longer line the beginning is returned, and the rest passed over. */
#define LOGFILE_LINE_MAX (256u << 10)

struct logfile {
	const char *path;
	gzFile file;
	char *buffer;
	size_t begin, end; /* what is read and not returned */
	uint64_t line;	   /* of the last line returned, from 1 */
	uint64_t offset;   /* of the line after it */
	bool at_end;
};

enum logfile_event {
	LOGFILE_LINE,
	LOGFILE_TORN, /* the last one, without a newline */
	LOGFILE_END,
	LOGFILE_ERROR, /* a line on standard error says what */
};

/* Returns 0, or -1 after a line on standard error. path must stay. */
int logfile_open(struct logfile *f, const char *path);

/* *line is not zero-terminated, has no newline, and holds until the next call. */
enum logfile_event logfile_next(struct logfile *f, const char **line, size_t *len);

void logfile_close(struct logfile *f);

/* Opens each, reads the number of its first record and puts the files in the order of these, as
 * logs are written: however a shell has sorted them. A file without a record keeps its place behind
 * the one before it. The state of seals, which AUDIT* names as well, is left out. Returns 0, or -1
 * after a line on standard error. */
int logfile_sort(const char **paths, size_t *count);

#endif
