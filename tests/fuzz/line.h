/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_LINE_H
#define TESTS_FUZZ_LINE_H

/* What every line of the audit log must be, read by another's reader: jansson, at its strictest. */

#include <jansson.h>

#include "fuzz.h"

/* No control byte, DEL or C1 but the newline that ends it. jansson checks that it is UTF-8. */
static inline void
line_bytes_require(const char *line, size_t len)
{
	REQUIRE(len > 1 && line[len - 1] == '\n');
	for (size_t i = 0; i + 1 < len; i++) {
		unsigned char c = (unsigned char)line[i], next = (unsigned char)line[i + 1];

		REQUIRE(c >= 0x20 && c != 0x7f);
		REQUIRE(c != 0xc2 || next < 0x80 || next >= 0xa0);
	}
}

/* One whole record of len bytes. The caller gives it back by json_decref(). */
static inline json_t *
line_read(const char *line, size_t len)
{
	json_error_t error;
	json_t *record;

	line_bytes_require(line, len);
	record = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	if (record == NULL)
		fprintf(stderr, "%.*s%s\n", (int)len, line, error.text);
	REQUIRE(json_is_object(record));
	REQUIRE(json_string_value(json_object_get(record, "event.action")) != NULL);
	REQUIRE(json_is_integer(json_object_get(record, "event.sequence")));
	return record;
}

static inline void
hex_require(const char *hex, const char *bytes, size_t len)
{
	REQUIRE(strlen(hex) == 2 * len);
	for (size_t i = 0; i < len; i++) {
		char two[3];

		snprintf(two, sizeof(two), "%02x", (unsigned char)bytes[i]);
		REQUIRE(memcmp(hex + 2 * i, two, 2) == 0);
	}
}

/* Member `name` is the text that was written there; where that was no UTF-8, NAME_hex is. */
static inline void
text_require(json_t *record, const char *name, const char *bytes, size_t len)
{
	json_t *member = json_object_get(record, name), *utf8 = json_stringn(bytes, len), *hex;
	char hex_name[64];

	snprintf(hex_name, sizeof(hex_name), "%s_hex", name);
	hex = json_object_get(record, hex_name);
	REQUIRE(json_is_string(member));
	if (utf8 != NULL) {
		REQUIRE(json_equal(member, utf8) && hex == NULL);
	} else {
		REQUIRE(json_is_string(hex) &&
			strstr(json_string_value(member), "\xef\xbf\xbd") != NULL);
		hex_require(json_string_value(hex), bytes, len);
	}
	json_decref(utf8);
}

#endif
