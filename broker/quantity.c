/* SPDX-License-Identifier: Apache-2.0 */
#include "quantity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/scalars.h"

#define DURATION_MAX_NS (366ull * 86400 * NS_PER_S)
#define RATE_MAX	1000000000ull

static const struct unit {
	const char *name;
	uint64_t ns;
} units[] = {
	/* Longest first: printing takes the first that divides. */
	{ "d", 86400 * NS_PER_S },
	{ "h", 3600 * NS_PER_S },
	{ "min", 60 * NS_PER_S },
	{ "s", NS_PER_S },
	{ "ms", NS_PER_MS },
};
#define UNITS (sizeof(units) / sizeof(units[0]))

/* Digits at *text up to max; moves *text behind them. No sign, no space, no base but ten. */
static bool
digits_parse(const char **text, uint64_t max, uint64_t *value)
{
	const char *p = *text;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > max)
			return false;
	}
	if (p == *text)
		return false;
	*text = p;
	*value = v;
	return true;
}

static const struct unit *
unit_find(const char *name)
{
	for (size_t i = 0; i < UNITS; i++) {
		if (strcmp(units[i].name, name) == 0)
			return &units[i];
	}
	return NULL;
}

bool
duration_parse(const char *text, uint64_t *ns)
{
	const struct unit *unit;
	uint64_t n;

	if (!digits_parse(&text, DURATION_MAX_NS, &n))
		return false;
	unit = unit_find(text);
	if (unit == NULL || n > DURATION_MAX_NS / unit->ns)
		return false;
	*ns = n * unit->ns;
	return true;
}

void
duration_print(uint64_t ns, char out[QUANTITY_TEXT])
{
	size_t i = 0;

	if (ns == 0) {
		strcpy(out, "0s");
		return;
	}
	while (i + 1 < UNITS && ns % units[i].ns != 0)
		i++;
	snprintf(out, QUANTITY_TEXT, "%" PRIu64 "%s", ns / units[i].ns, units[i].name);
}

static const char *const rate_units[] = { "s", "min", "h" };

bool
rate_parse(const char *text, struct rate *rate)
{
	uint64_t n;

	if (!digits_parse(&text, RATE_MAX, &n) || n == 0 || *text != '/')
		return false;
	for (size_t i = 0; i < sizeof(rate_units) / sizeof(rate_units[0]); i++) {
		if (strcmp(text + 1, rate_units[i]) == 0) {
			*rate = (struct rate){ .count = n, .per_ns = unit_find(rate_units[i])->ns };
			return true;
		}
	}
	return false;
}

void
rate_print(const struct rate *rate, char out[QUANTITY_TEXT])
{
	for (size_t i = 0; i < UNITS; i++) {
		if (units[i].ns == rate->per_ns)
			snprintf(out, QUANTITY_TEXT, "%" PRIu64 "/%s", rate->count, units[i].name);
	}
}

uint64_t
rate_per_second(const struct rate *rate)
{
	uint64_t n = rate->count / (rate->per_ns / NS_PER_S);

	return n == 0 ? 1 : n;
}
