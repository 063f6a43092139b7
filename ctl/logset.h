/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_LOGSET_H
#define CTL_LOGSET_H

#include <stdbool.h>
#include <stddef.h>

#include "record.h"

/*
 * The files of one log, in the order they were written: those that are named, else the installed
 * one with what logrotate(8) has made of it (NAME.1, NAME.2.gz ...).
 */
struct logset {
	const char **paths;
	size_t count;
	char *found[64]; /* made here, to be freed */
	size_t found_count;
	unsigned long foreign; /* lines that were no records */
	uint64_t walked;       /* bytes of whole lines in the last file, when it was walked */
};

/* paths: operands, count 0 for the installed log. Returns 0, or -1 after a line on standard error.
 */
int logset_open(struct logset *set, const char **paths, size_t count);
void logset_close(struct logset *set);

/* Gives take() every record of every file, in order, until it returns false. Lines that are no
 * records are counted and passed over. Returns 0, or -1 after a line on standard error. */
int logset_walk(struct logset *set, bool (*take)(void *context, struct record *r), void *context);

/* After a walk: says on standard error that lines were passed over, when any were. */
void logset_complain(const struct logset *set);

/* Goes on with the last file behind what was walked, and with its successors, for ever or until
 * take() returns false; idle() is called whenever there is no more for the moment. Returns 0, or -1
 * after a line on standard error. */
int logset_follow(struct logset *set, bool (*take)(void *context, struct record *r),
	void (*idle)(void), void *context);

#endif
