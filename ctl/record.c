/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <stdlib.h>
#include <string.h>

bool
record_parse(struct record *r, const char *text, size_t len)
{
	const char *when;

	*r = (struct record){ .text = text, .len = len };
	r->root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(r->root)) {
		record_free(r);
		return false;
	}
	r->action = record_text(r, "event.action");
	if (r->action == NULL)
		r->action = "";
	when = record_text(r, "@timestamp");
	if (when == NULL || !when_parse_record(when, &r->when))
		r->when = 0;
	return true;
}

void
record_free(struct record *r)
{
	json_decref(r->root);
	r->root = NULL;
}

bool
record_is(const struct record *r, const char *action)
{
	return strcmp(r->action, action) == 0;
}

const char *
record_text(const struct record *r, const char *name)
{
	return json_string_value(json_object_get(r->root, name));
}

bool
record_number(const struct record *r, const char *name, uint64_t *value)
{
	const json_t *member = json_object_get(r->root, name);

	*value = (uint64_t)json_integer_value(member);
	return json_is_integer(member);
}

uint64_t
record_count(const struct record *r, const char *name)
{
	uint64_t value;

	record_number(r, name, &value);
	return value;
}

/* ---- ghosts ------------------------------------------------------------------------------------
 */

uint64_t
record_subject(const struct record *r)
{
	uint64_t number;

	if (record_number(r, "eghostbuster.ghost", &number))
		return number & ~RECORD_BATCH_BIT;
	if (record_number(r, "eghostbuster.batch.id", &number))
		return number | RECORD_BATCH_BIT;
	return 0;
}

/* "17" or "17-42" */
static void
range_read(const char *range, uint64_t *first, uint64_t *last)
{
	char *end;

	*first = strtoull(range, &end, 10);
	*last = *end == '-' ? strtoull(end + 1, NULL, 10) : *first;
}

static bool
ranges_hold(const json_t *ranges, uint64_t number)
{
	for (size_t i = 0; i < json_array_size(ranges); i++) {
		const char *range = json_string_value(json_array_get(ranges, i));
		uint64_t first, last;

		if (range == NULL)
			continue;
		range_read(range, &first, &last);
		if (first <= number && number <= last)
			return true;
	}
	return false;
}

bool
record_about(const struct record *r, uint64_t ghost)
{
	const json_t *ranges = json_object_get(r->root, "eghostbuster.batch.ghosts");
	uint64_t number, first, last;

	if (record_number(r, "eghostbuster.ghost", &number))
		return number == ghost;
	if (ranges_hold(ranges, ghost))
		return true;
	return record_number(r, "eghostbuster.batch.first", &first) &&
	       record_number(r, "eghostbuster.batch.last", &last) && first <= ghost &&
	       ghost <= last;
}

bool
record_has_cookie(const struct record *r, const char *cookie)
{
	const json_t *cookies = json_object_get(r->root, "eghostbuster.batch.cookies");
	const char *own = record_text(r, "eghostbuster.socket.cookie");

	if (own != NULL)
		return strcmp(own, cookie) == 0;
	for (size_t i = 0; i < json_array_size(cookies); i++) {
		const char *text = json_string_value(json_array_get(cookies, i));

		if (text != NULL && strcmp(text, cookie) == 0)
			return true;
	}
	return false;
}

/* The ghost at that place, of those that the ranges name. */
static uint64_t
ranges_at(const json_t *ranges, size_t place)
{
	for (size_t i = 0; i < json_array_size(ranges); i++) {
		const char *range = json_string_value(json_array_get(ranges, i));
		uint64_t first, last;

		if (range == NULL)
			continue;
		range_read(range, &first, &last);
		if (first <= last && place <= last - first)
			return first + place;
		place -= first <= last ? last - first + 1 : 0;
	}
	return 0;
}

uint64_t
record_ghost_of_cookie(const struct record *r, const char *cookie)
{
	const json_t *cookies = json_object_get(r->root, "eghostbuster.batch.cookies");

	for (size_t i = 0; i < json_array_size(cookies); i++) {
		const char *text = json_string_value(json_array_get(cookies, i));

		if (text != NULL && strcmp(text, cookie) == 0)
			return ranges_at(json_object_get(r->root, "eghostbuster.batch.ghosts"), i);
	}
	return 0;
}

const char *
record_result_of(const struct record *r, uint64_t ghost)
{
	const json_t *results = json_object_get(r->root, "eghostbuster.batch.results");

	for (size_t i = 0; i < json_array_size(results); i++) {
		const struct record one = { .root = json_array_get(results, i) };

		if (ranges_hold(json_object_get(one.root, "ghosts"), ghost))
			return record_text(&one, "result");
	}
	return record_count(r, "eghostbuster.batch.left") == 0 ? "destroyed" : NULL;
}

uint64_t
record_ghosts(const struct record *r)
{
	uint64_t count;

	return record_number(r, "eghostbuster.batch.ghosts_count", &count) ? count : 1;
}

uint64_t
record_results(const struct record *r, const char *result)
{
	const json_t *results = json_object_get(r->root, "eghostbuster.batch.results");
	const char *own = record_text(r, "eghostbuster.result");
	uint64_t sum = 0;

	if (own != NULL)
		return strcmp(own, result) == 0;
	for (size_t i = 0; i < json_array_size(results); i++) {
		const struct record one = { .root = json_array_get(results, i) };
		const char *text = record_text(&one, "result");

		if (text != NULL && strcmp(text, result) == 0)
			sum += record_count(&one, "count");
	}
	return sum;
}
