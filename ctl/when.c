/* SPDX-License-Identifier: Apache-2.0 */
#include "when.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define S_NS  1000000000ll
#define DAY_S 86400

/* ---- spans -------------------------------------------------------------------------------------
 */

static const struct unit {
	const char *name;
	double seconds;
} units[] = {
	{ "ms", 0.001 },
	{ "s", 1 },
	{ "sec", 1 },
	{ "second", 1 },
	{ "seconds", 1 },
	{ "m", 60 },
	{ "min", 60 },
	{ "minute", 60 },
	{ "minutes", 60 },
	{ "h", 3600 },
	{ "hour", 3600 },
	{ "hours", 3600 },
	{ "d", DAY_S },
	{ "day", DAY_S },
	{ "days", DAY_S },
	{ "w", 7 * DAY_S },
	{ "week", 7 * DAY_S },
	{ "weeks", 7 * DAY_S },
};

static const struct unit *
unit_find(const char *text, size_t len)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strlen(units[i].name) == len && memcmp(units[i].name, text, len) == 0)
			return &units[i];
	}
	return NULL;
}

static const char *
blanks_skip(const char *text)
{
	while (*text == ' ')
		text++;
	return text;
}

/* "1h 30min"; *rest is what stands behind. False when nothing of the kind is there. */
static bool
span_parse(const char *text, double *seconds, const char **rest)
{
	bool any = false;

	*seconds = 0;
	for (text = blanks_skip(text); isdigit((unsigned char)*text); text = blanks_skip(text)) {
		const struct unit *unit;
		size_t len = 0;
		char *end;
		double n = strtod(text, &end);

		text = blanks_skip(end);
		while (isalpha((unsigned char)text[len]))
			len++;
		unit = unit_find(text, len);
		if (unit == NULL)
			return false;
		*seconds += n * unit->seconds;
		text += len;
		any = true;
	}
	*rest = text;
	return any && *seconds < 1e9;
}

/* "-2h", "+5m", "3 days ago" */
static bool
relative_parse(const char *text, when_ns now, when_ns *when)
{
	char sign = '\0';
	const char *rest;
	double seconds;

	if (*text == '-' || *text == '+')
		sign = *text++;
	if (!span_parse(text, &seconds, &rest))
		return false;
	if (sign == 0 && strcmp(rest, "ago") != 0)
		return false;
	if (sign != 0 && *rest != '\0')
		return false;
	*when = now + (when_ns)((sign == '+' ? seconds : -seconds) * (double)S_NS);
	return true;
}

/* ---- dates -------------------------------------------------------------------------------------
 */

static when_ns
midnight(when_ns now, int days)
{
	time_t seconds = (time_t)(now / S_NS);
	struct tm tm;

	localtime_r(&seconds, &tm);
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	tm.tm_mday += days;
	tm.tm_isdst = -1;
	return (when_ns)mktime(&tm) * S_NS;
}

static bool
word_parse(const char *text, when_ns now, when_ns *when)
{
	static const struct {
		const char *name;
		int days;
	} words[] = { { "yesterday", -1 }, { "today", 0 }, { "tomorrow", 1 } };

	if (strcmp(text, "now") == 0) {
		*when = now;
		return true;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(text, words[i].name) == 0) {
			*when = midnight(now, words[i].days);
			return true;
		}
	}
	return false;
}

static bool
epoch_parse(const char *text, when_ns *when)
{
	char *end;
	double seconds;

	if (text[0] != '@' || !isdigit((unsigned char)text[1]))
		return false;
	seconds = strtod(text + 1, &end);
	*when = (when_ns)(seconds * (double)S_NS);
	return *end == '\0' && seconds < 1e10;
}

/* mktime() takes the 31st of February for some day in March. */
static bool
same_day(const struct tm *asked, const struct tm *got)
{
	return asked->tm_mday == got->tm_mday && asked->tm_mon == got->tm_mon &&
	       asked->tm_year == got->tm_year;
}

static bool
fraction_parse(const char **text, when_ns *ns)
{
	when_ns unit = S_NS;

	*ns = 0;
	if (**text != '.')
		return true;
	(*text)++;
	if (!isdigit((unsigned char)**text))
		return false;
	for (; isdigit((unsigned char)**text); (*text)++) {
		unit /= 10;
		*ns += (**text - '0') * unit;
	}
	return true;
}

static bool
date_parse(const char *text, when_ns now, when_ns *when)
{
	static const char *const formats[] = { "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S",
		"%Y-%m-%d %H:%M", "%Y-%m-%d", "%H:%M:%S", "%H:%M" };
	time_t today = (time_t)(now / S_NS), seconds;
	when_ns fraction = 0;

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct tm tm, asked;
		const char *rest;
		bool utc;

		localtime_r(&today, &tm);
		tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
		rest = strptime(text, formats[i], &tm);
		if (rest == NULL || !fraction_parse(&rest, &fraction))
			continue;
		utc = strcmp(rest, "Z") == 0;
		if (*rest != '\0' && !utc)
			continue;
		tm.tm_isdst = utc ? 0 : -1;
		asked = tm;
		seconds = utc ? timegm(&tm) : mktime(&tm);
		*when = (when_ns)seconds * S_NS + fraction;
		return same_day(&asked, &tm);
	}
	return false;
}

bool
when_parse(const char *text, when_ns now, when_ns *when)
{
	return word_parse(text, now, when) || epoch_parse(text, when) ||
	       date_parse(text, now, when) || relative_parse(text, now, when);
}

bool
when_parse_record(const char *text, when_ns *when)
{
	struct tm tm = { 0 };
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	when_ns fraction;

	if (rest == NULL || !fraction_parse(&rest, &fraction) || strcmp(rest, "Z") != 0)
		return false;
	*when = (when_ns)timegm(&tm) * S_NS + fraction;
	return true;
}

void
when_print(when_ns when, char *out, size_t size)
{
	time_t seconds = (time_t)(when / S_NS);
	char text[32];
	struct tm tm;

	localtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%b %d %H:%M:%S", &tm);
	snprintf(out, size, "%s.%03d", text, (int)(when % S_NS / 1000000));
}
