/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_AUDITLOG_H
#define BROKER_AUDITLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

/*
 * The file of record. Records are collected in memory and written by auditlog_flush(), whole ones
 * in one write(2), as many as one turn of the loop made. What could not be written stays in memory
 * and goes first next time: nothing recorded is lost, and nothing is acted on before it is written
 * (I3).
 */
struct auditlog {
	int fd, dir;
	const char *path; /* for messages; its last component is opened in dir */
	char *buffer;
	size_t used, size;
	size_t partial;	   /* bytes at the buffer's begin, of its first record, that the file has
			      already */
	uint64_t sequence; /* of the last record made */
	bool failing;	   /* the last flush did not write everything */
};

/* fd, dir and path stay the caller's. Fatal when out of memory. A file that ends in mid-line (a
 * crash) gets the missing newline with the first flush. */
void auditlog_open(struct auditlog *log, int fd, int dir, const char *path);

/* Room for one record of RECORD_MAX bytes, and its head filled in. auditlog_made() takes the length
 * of what was written there. Fatal when out of memory or when a record came out empty (a bug). */
char *auditlog_room(struct auditlog *log, struct record_head *head);
void auditlog_made(struct auditlog *log, size_t len);

/* Writes all. True when nothing is left in memory. Says so, once, when writing fails and when it
 * works again. */
bool auditlog_flush(struct auditlog *log);

/* After a rotation: opens the file now at path and puts it in place of the old one, which gets
 * `log-close`. No new file there: nothing changes. Returns false, having said why, when the file
 * cannot be opened or is no regular file with one name; the old one then stays in use. */
bool auditlog_reopen(struct auditlog *log);

#endif
