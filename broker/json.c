/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <string.h>

static void
bytes_put(struct json *j, const char *bytes, size_t len)
{
	if (j->overflow || len > j->size - j->used) {
		j->overflow = true;
		return;
	}
	memcpy(j->out + j->used, bytes, len);
	j->used += len;
}

static void
byte_put(struct json *j, char c)
{
	bytes_put(j, &c, 1);
}

static void
comma_put(struct json *j)
{
	if (!j->first)
		byte_put(j, ',');
	j->first = false;
}

static void
name_put(struct json *j, const char *name)
{
	comma_put(j);
	byte_put(j, '"');
	bytes_put(j, name, strlen(name));
	bytes_put(j, "\":", 2);
}

/* At least `width` decimal digits. */
static void
decimal_put(struct json *j, uint64_t value, unsigned width)
{
	char digits[20];
	size_t n = sizeof(digits);

	do {
		digits[--n] = (char)('0' + value % 10);
		value /= 10;
	} while (value != 0 || sizeof(digits) - n < width);
	bytes_put(j, digits + n, sizeof(digits) - n);
}

static void
nibbles_put(struct json *j, uint64_t value, unsigned count)
{
	while (count-- > 0)
		byte_put(j, "0123456789abcdef"[(value >> (4 * count)) & 15]);
}

void
json_begin(struct json *j, char *out, size_t size)
{
	*j = (struct json){ .out = out, .size = size, .first = true };
	byte_put(j, '{');
}

void
json_u64(struct json *j, const char *name, uint64_t value)
{
	name_put(j, name);
	decimal_put(j, value < JSON_INTEGER_MAX ? value : JSON_INTEGER_MAX, 1);
}

void
json_bool(struct json *j, const char *name, bool value)
{
	name_put(j, name);
	bytes_put(j, value ? "true" : "false", value ? 4 : 5);
}

void
json_null(struct json *j, const char *name)
{
	name_put(j, name);
	bytes_put(j, "null", 4);
}

void
json_word(struct json *j, const char *name, const char *word)
{
	name_put(j, name);
	byte_put(j, '"');
	bytes_put(j, word, strlen(word));
	byte_put(j, '"');
}

/* Length of the well-formed UTF-8 sequence at p (RFC 3629: no overlong form, no surrogate, at most
 * U+10FFFF) and its code point; 0 when there is none. */
static size_t
utf8_sequence(const unsigned char *p, size_t len, uint32_t *code)
{
	static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = p[0] < 0x80	 ? 1
		   : p[0] < 0xc2 ? 0
		   : p[0] < 0xe0 ? 2
		   : p[0] < 0xf0 ? 3
		   : p[0] < 0xf5 ? 4
				 : 0;
	uint32_t c;

	if (n == 0 || n > len)
		return 0;
	c = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if (c < least[n] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
		return 0;
	*code = c;
	return n;
}

static void
character_put(struct json *j, const char *bytes, size_t len, uint32_t code)
{
	if (code == '"' || code == '\\') {
		byte_put(j, '\\');
		byte_put(j, (char)code);
	} else if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
		bytes_put(j, "\\u", 2);
		nibbles_put(j, code, 4);
	} else {
		bytes_put(j, bytes, len);
	}
}

/* Returns false when some byte was no UTF-8. */
static bool
text_put(struct json *j, const char *bytes, size_t len)
{
	bool whole = true;
	uint32_t code = 0;

	byte_put(j, '"');
	for (size_t i = 0; i < len;) {
		size_t n = utf8_sequence((const unsigned char *)bytes + i, len - i, &code);

		if (n == 0) {
			bytes_put(j, "\\ufffd", 6);
			whole = false;
			n = 1;
		} else {
			character_put(j, bytes + i, n, code);
		}
		i += n;
	}
	byte_put(j, '"');
	return whole;
}

void
json_text(struct json *j, const char *name, const char *bytes, size_t len)
{
	char hex_name[64];
	size_t name_len = strlen(name);

	name_put(j, name);
	if (text_put(j, bytes, len))
		return;
	if (name_len + 5 > sizeof(hex_name)) {
		j->overflow = true;
		return;
	}
	memcpy(hex_name, name, name_len);
	memcpy(hex_name + name_len, "_hex", 5);
	name_put(j, hex_name);
	byte_put(j, '"');
	for (size_t i = 0; i < len; i++)
		nibbles_put(j, (unsigned char)bytes[i], 2);
	byte_put(j, '"');
}

static void
hex_put(struct json *j, uint64_t value)
{
	unsigned nibbles = 1;

	while (nibbles < 16 && value >> (4 * nibbles) != 0)
		nibbles++;
	bytes_put(j, "\"0x", 3);
	nibbles_put(j, value, nibbles);
	byte_put(j, '"');
}

void
json_hex(struct json *j, const char *name, uint64_t value)
{
	name_put(j, name);
	hex_put(j, value);
}

void
json_id(struct json *j, const char *name, uint64_t value)
{
	name_put(j, name);
	byte_put(j, '"');
	decimal_put(j, value, 1);
	byte_put(j, '"');
}

void
json_ipv4(struct json *j, const char *name, const uint8_t address[4])
{
	name_put(j, name);
	byte_put(j, '"');
	for (unsigned i = 0; i < 4; i++) {
		if (i != 0)
			byte_put(j, '.');
		decimal_put(j, address[i], 1);
	}
	byte_put(j, '"');
}

/* Days since 1970-01-01 to a date of the proleptic Gregorian calendar: an era is 400 years, a year
 * begins in March so that the leap day is its last. No gmtime(): it may open the time zone's file.
 */
static void
date_put(struct json *j, uint64_t days)
{
	uint64_t z = days + 719468, era = z / 146097, doe = z % 146097;
	uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	uint64_t mp = (5 * doy + 2) / 153;
	uint64_t month = mp < 10 ? mp + 3 : mp - 9;

	decimal_put(j, yoe + era * 400 + (month <= 2 ? 1 : 0), 4);
	byte_put(j, '-');
	decimal_put(j, month, 2);
	byte_put(j, '-');
	decimal_put(j, doy - (153 * mp + 2) / 5 + 1, 2);
}

void
json_time(struct json *j, const char *name, wall_ns t)
{
	uint64_t s = t.ns / NS_PER_S;

	name_put(j, name);
	byte_put(j, '"');
	date_put(j, s / 86400);
	byte_put(j, 'T');
	decimal_put(j, s / 3600 % 24, 2);
	byte_put(j, ':');
	decimal_put(j, s / 60 % 60, 2);
	byte_put(j, ':');
	decimal_put(j, s % 60, 2);
	byte_put(j, '.');
	decimal_put(j, t.ns % NS_PER_S, 9);
	bytes_put(j, "Z\"", 2);
}

void
json_object_begin(struct json *j, const char *name)
{
	name_put(j, name);
	byte_put(j, '{');
	j->first = true;
}

void
json_object_end(struct json *j)
{
	byte_put(j, '}');
	j->first = false;
}

void
json_array_begin(struct json *j, const char *name)
{
	name_put(j, name);
	byte_put(j, '[');
	j->first = true;
}

void
json_element_begin(struct json *j)
{
	comma_put(j);
	byte_put(j, '{');
	j->first = true;
}

void
json_element_hex(struct json *j, uint64_t value)
{
	comma_put(j);
	hex_put(j, value);
}

void
json_element_range(struct json *j, uint64_t first, uint64_t last)
{
	comma_put(j);
	byte_put(j, '"');
	decimal_put(j, first, 1);
	if (last != first) {
		byte_put(j, '-');
		decimal_put(j, last, 1);
	}
	byte_put(j, '"');
}

void
json_array_end(struct json *j)
{
	byte_put(j, ']');
	j->first = false;
}

size_t
json_end(struct json *j)
{
	bytes_put(j, "}\n", 2);
	return j->overflow ? 0 : j->used;
}
