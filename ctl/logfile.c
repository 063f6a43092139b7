/* SPDX-License-Identifier: Apache-2.0 */
#include "logfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/chain.h"
#include "broker/seal.h"
#include "proto/log.h"

#define BUFFER_SIZE (4u * LOGFILE_LINE_MAX)

int
logfile_open(struct logfile *f, const char *path)
{
	*f = (struct logfile){ .path = path };
	errno = 0;
	f->file = gzopen(path, "rbe");
	f->buffer = malloc(BUFFER_SIZE);
	if (f->file != NULL && f->buffer != NULL) {
		gzbuffer(f->file, LOGFILE_LINE_MAX);
		return 0;
	}
	log_error("cannot open %s: %s", path, strerror(errno != 0 ? errno : ENOMEM));
	logfile_close(f);
	return -1;
}

void
logfile_close(struct logfile *f)
{
	if (f->file != NULL)
		gzclose(f->file);
	free(f->buffer);
	f->file = NULL;
	f->buffer = NULL;
}

static bool
read_failed(const struct logfile *f)
{
	int code = 0;
	const char *text = gzerror(f->file, &code);

	log_error("cannot read %s: %s", f->path, code == Z_ERRNO ? strerror(errno) : text);
	return false;
}

/* More behind what is there. False when it cannot be read. */
static bool
fill(struct logfile *f)
{
	int n;

	memmove(f->buffer, f->buffer + f->begin, f->end - f->begin);
	f->end -= f->begin;
	f->begin = 0;
	n = gzread(f->file, f->buffer + f->end, (unsigned)(BUFFER_SIZE - f->end));
	if (n < 0)
		return read_failed(f);
	if (n == 0) {
		int code = 0;

		gzerror(f->file, &code); /* a compressed file that ends too early */
		if (code != Z_OK && code != Z_STREAM_END)
			return read_failed(f);
		f->at_end = true;
	}
	f->end += (size_t)n;
	return true;
}

static char *
newline_find(struct logfile *f)
{
	return memchr(f->buffer + f->begin, '\n', f->end - f->begin);
}

/* Passes over what is left of a line that is too long. */
static bool
rest_skip(struct logfile *f)
{
	char *newline;

	while ((newline = newline_find(f)) == NULL && !f->at_end) {
		f->begin = f->end = 0;
		if (!fill(f))
			return false;
	}
	f->begin = newline == NULL ? f->end : (size_t)(newline + 1 - f->buffer);
	return true;
}

static enum logfile_event
long_line(struct logfile *f, const char **line, size_t *len)
{
	static char kept[LOGFILE_LINE_MAX];

	memcpy(kept, f->buffer + f->begin, sizeof(kept));
	if (!rest_skip(f))
		return LOGFILE_ERROR;
	*line = kept;
	*len = sizeof(kept);
	return LOGFILE_LINE;
}

enum logfile_event
logfile_next(struct logfile *f, const char **line, size_t *len)
{
	char *newline;

	while ((newline = newline_find(f)) == NULL && !f->at_end &&
		f->end - f->begin <= LOGFILE_LINE_MAX) {
		if (!fill(f))
			return LOGFILE_ERROR;
	}
	if (newline == NULL && f->begin == f->end)
		return LOGFILE_END;
	f->line++;
	*line = f->buffer + f->begin;
	*len = newline != NULL ? (size_t)(newline - *line) : f->end - f->begin;
	if (*len > LOGFILE_LINE_MAX)
		return long_line(f, line, len);
	f->begin += *len + (newline != NULL);
	f->offset += *len + (newline != NULL);
	return newline != NULL ? LOGFILE_LINE : LOGFILE_TORN;
}

/* ---- the order of files ------------------------------------------------------------------------
 */

#define FIRST_LINES 16 /* a record is among them, or the file's place is where it was given */

struct sorted {
	const char *path;
	uint64_t first; /* its first record's number */
	size_t given;	/* its place */
};

enum { FIRST_ERROR = -1, FIRST_FOUND, FIRST_NONE, FIRST_STATE };

static bool
is_state(const char *line, size_t len)
{
	return len >= SEAL_MAGIC_LEN && memcmp(line, SEAL_MAGIC, SEAL_MAGIC_LEN) == 0;
}

static int
first_sequence(const char *path, uint64_t *sequence)
{
	struct chain_line record;
	enum logfile_event event = LOGFILE_LINE;
	struct logfile f;
	const char *line;
	size_t len;
	int found = FIRST_NONE;

	if (logfile_open(&f, path) < 0)
		return FIRST_ERROR;
	for (int i = 0; i < FIRST_LINES && found == FIRST_NONE && event == LOGFILE_LINE; i++) {
		event = logfile_next(&f, &line, &len);
		if (i == 0 && event <= LOGFILE_TORN && is_state(line, len)) {
			found = FIRST_STATE;
		} else if (event == LOGFILE_LINE && chain_line_read(line, len, &record)) {
			*sequence = record.sequence;
			found = FIRST_FOUND;
		}
	}
	logfile_close(&f);
	return event == LOGFILE_ERROR ? FIRST_ERROR : found;
}

static int
compare(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->given < y->given ? -1 : x->given > y->given;
}

int
logfile_sort(const char **paths, size_t *count)
{
	struct sorted *all = calloc(*count + 1, sizeof(*all));
	int found = all == NULL ? FIRST_ERROR : FIRST_NONE;
	uint64_t last = 0;
	size_t n = 0;

	for (size_t i = 0; i < *count && found != FIRST_ERROR; i++) {
		all[n] = (struct sorted){ .path = paths[i], .first = last, .given = i };
		found = first_sequence(paths[i], &all[n].first);
		last = all[n].first;
		n += found != FIRST_STATE;
	}
	if (found != FIRST_ERROR) {
		qsort(all, n, sizeof(*all), compare);
		for (size_t i = 0; i < n; i++)
			paths[i] = all[i].path;
		*count = n;
	}
	free(all);
	return found == FIRST_ERROR ? -1 : 0;
}
