/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/json.c | pkg: jansson */
#include "tests/unit/unit.h"

#define json_null jansson_null /* another function of this name: broker/json.h */
#include <jansson.h>
#undef json_null
#include <time.h>

#include "broker/json.h"

static char out[4096];

/* {"t":...} of some bytes, as a string that ends with the line's newline. */
static const char *
text_line(const void *bytes, size_t len)
{
	struct json j;
	size_t n;

	json_begin(&j, out, sizeof(out) - 1);
	json_text(&j, "t", bytes, len);
	n = json_end(&j);
	assert_true(n > 0);
	out[n] = '\0';
	return out;
}

/* ---- members ---- */

static void
test_members(void **state)
{
	struct json j;
	size_t n;

	(void)state;
	json_begin(&j, out, sizeof(out) - 1);
	json_u64(&j, "zero", 0);
	json_u64(&j, "most", INT64_MAX);
	json_u64(&j, "more", (uint64_t)INT64_MAX + 1); /* no reader would take it */
	json_u64(&j, "lie", UINT64_MAX);
	json_bool(&j, "yes", true);
	json_bool(&j, "no", false);
	json_null(&j, "nothing");
	json_word(&j, "a.word", "fin-wait-1");
	json_hex(&j, "h0", 0);
	json_hex(&j, "h1", 0x1007);
	json_hex(&j, "h2", UINT64_MAX);
	json_id(&j, "id", 33);
	json_ipv4(&j, "ip", (const uint8_t[]){ 127, 0, 10, 255 });
	json_object_begin(&j, "proof");
	json_u64(&j, "inode", 0);
	json_null(&j, "stuck");
	json_object_end(&j);
	json_object_begin(&j, "empty");
	json_object_end(&j);
	json_u64(&j, "last", 1);
	n = json_end(&j);
	out[n] = '\0';
	assert_string_equal(out,
		"{\"zero\":0,\"most\":9223372036854775807,\"more\":9223372036854775807,"
		"\"lie\":9223372036854775807,\"yes\":true,\"no\":false,\"nothing\":"
		"null,"
		"\"a.word\":\"fin-wait-1\",\"h0\":\"0x0\",\"h1\":\"0x1007\",\"h2\":"
		"\"0xffffffffffffffff\","
		"\"id\":\"33\",\"ip\":\"127.0.10.255\",\"proof\":{\"inode\":0,\"stuck\":null},"
		"\"empty\":{},\"last\":1}\n");
}

static void
test_empty_object(void **state)
{
	struct json j;

	(void)state;
	json_begin(&j, out, sizeof(out));
	assert_int_equal(json_end(&j), 3);
	assert_memory_equal(out, "{}\n", 3);
}

static void
test_arrays(void **state)
{
	struct json j;

	(void)state;
	json_begin(&j, out, sizeof(out) - 1);
	json_array_begin(&j, "first");
	json_element_begin(&j);
	json_u64(&j, "a", 1);
	json_u64(&j, "b", 2);
	json_object_end(&j);
	json_element_begin(&j);
	json_object_end(&j);
	json_element_begin(&j);
	json_array_begin(&j, "inner");
	json_element_begin(&j);
	json_bool(&j, "c", true);
	json_object_end(&j);
	json_array_end(&j);
	json_u64(&j, "d", 3);
	json_object_end(&j);
	json_array_end(&j);
	json_array_begin(&j, "empty");
	json_array_end(&j);
	json_u64(&j, "last", 4);
	out[json_end(&j)] = '\0';
	assert_string_equal(out, "{\"first\":[{\"a\":1,\"b\":2},{},"
				 "{\"inner\":[{\"c\":true}],\"d\":3}],\"empty\":[],\"last\":4}\n");
}

/* ---- text somebody else chose ---- */

#define HEX(text, hex) "{\"t\":\"" text "\",\"t_hex\":\"" hex "\"}\n"
#define BAD	       "\\ufffd"

static const struct {
	const char *bytes, *line;
} texts[] = {
	{ "", "{\"t\":\"\"}\n" },
	{ "nginx", "{\"t\":\"nginx\"}\n" },
	{ "a\"b\\c/d", "{\"t\":\"a\\\"b\\\\c/d\"}\n" },
	{ "\n\t\x1b[0m\x1f", "{\"t\":\"\\u000a\\u0009\\u001b[0m\\u001f\"}\n" },
	{ "~\x7f", "{\"t\":\"~\\u007f\"}\n" },
	{ "\xc2\x80\xc2\x9f\xc2\xa0", "{\"t\":\"\\u0080\\u009f\xc2\xa0\"}\n" },
	{ "\xc3\xa9", "{\"t\":\"\xc3\xa9\"}\n" },
	{ "\xe2\x82\xac", "{\"t\":\"\xe2\x82\xac\"}\n" },
	{ "\xf0\x9f\x91\xbb", "{\"t\":\"\xf0\x9f\x91\xbb\"}\n" },
	{ "\xed\x9f\xbf\xee\x80\x80", "{\"t\":\"\xed\x9f\xbf\xee\x80\x80\"}\n" },
	{ "\xf4\x8f\xbf\xbf", "{\"t\":\"\xf4\x8f\xbf\xbf\"}\n" },

	/* a byte alone */
	{ "\xff", HEX(BAD, "ff") },
	{ "a\x80z", HEX("a" BAD "z", "61807a") },
	{ "\xc3", HEX(BAD, "c3") },
	/* overlong */
	{ "\xc0\x80", HEX(BAD BAD, "c080") },
	{ "\xc1\xbf", HEX(BAD BAD, "c1bf") },
	{ "\xe0\x9f\xbf", HEX(BAD BAD BAD, "e09fbf") },
	{ "\xf0\x8f\xbf\xbf", HEX(BAD BAD BAD BAD, "f08fbfbf") },
	/* surrogates, and behind the last character */
	{ "\xed\xa0\x80", HEX(BAD BAD BAD, "eda080") },
	{ "\xed\xbf\xbf", HEX(BAD BAD BAD, "edbfbf") },
	{ "\xf4\x90\x80\x80", HEX(BAD BAD BAD BAD, "f4908080") },
	{ "\xf5\x80\x80\x80", HEX(BAD BAD BAD BAD, "f5808080") },
	/* cut short */
	{ "\xe2\x82", HEX(BAD BAD, "e282") },
	{ "\xf0\x9f\x91", HEX(BAD BAD BAD, "f09f91") },
	{ "\xe2\x82\"", HEX(BAD BAD "\\\"", "e28222") },
	{ "\xe2\xc3\xa9", HEX(BAD "\xc3\xa9", "e2c3a9") },
	{ "\n\xff", HEX("\\u000a" BAD, "0aff") },
};

static void
test_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		assert_string_equal(
			text_line(texts[i].bytes, strlen(texts[i].bytes)), texts[i].line);
	assert_string_equal(text_line("a\0b", 3), "{\"t\":\"a\\u0000b\"}\n");
}

/* A sequence is looked for in the bytes given, not in what happens to stand behind them. */
static void
test_text_ends(void **state)
{
	(void)state;
	for (size_t len = 1; len < 4; len++)
		assert_non_null(strstr(text_line("\xf0\x9f\x91\xbb", len), "t_hex"));
}

static size_t
utf8_encode(uint32_t code, char bytes[4])
{
	const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

	for (size_t i = n; i-- > 1; code >>= 6)
		bytes[i] = (char)(0x80 | (code & 0x3f));
	bytes[0] = (char)(lead[n] | code);
	return n;
}

/* Every code point there is, surrogates included. */
static void
test_every_character(void **state)
{
	(void)state;
	for (uint32_t code = 0; code <= 0x10ffff; code++) {
		char bytes[4], want[64];
		size_t n = utf8_encode(code, bytes);

		if (code == '"' || code == '\\')
			snprintf(want, sizeof(want), "{\"t\":\"\\%c\"}\n", (char)code);
		else if (code < 0x20 || (code >= 0x7f && code < 0xa0))
			snprintf(want, sizeof(want), "{\"t\":\"\\u%04x\"}\n", code);
		else if (code >= 0xd800 && code < 0xe000)
			snprintf(want, sizeof(want), HEX(BAD BAD BAD, "%02x%02x%02x"),
				(unsigned char)bytes[0], (unsigned char)bytes[1],
				(unsigned char)bytes[2]);
		else
			snprintf(want, sizeof(want), "{\"t\":\"%.*s\"}\n", (int)n, bytes);
		assert_string_equal(text_line(bytes, n), want);
	}
}

/* The well-formed sequences of RFC 3629, section 4, as its table has them. */
static size_t
sequence_naive(const unsigned char *p, size_t len)
{
	static const struct {
		unsigned char first[2], second[2];
		size_t len;
	} table[] = {
		{ { 0x00, 0x7f }, { 0, 0 }, 1 },
		{ { 0xc2, 0xdf }, { 0x80, 0xbf }, 2 },
		{ { 0xe0, 0xe0 }, { 0xa0, 0xbf }, 3 },
		{ { 0xe1, 0xec }, { 0x80, 0xbf }, 3 },
		{ { 0xed, 0xed }, { 0x80, 0x9f }, 3 },
		{ { 0xee, 0xef }, { 0x80, 0xbf }, 3 },
		{ { 0xf0, 0xf0 }, { 0x90, 0xbf }, 4 },
		{ { 0xf1, 0xf3 }, { 0x80, 0xbf }, 4 },
		{ { 0xf4, 0xf4 }, { 0x80, 0x8f }, 4 },
	};
	size_t n = 0, row = 0;

	for (; row < COUNT_OF(table) && n == 0; row++) {
		if (p[0] >= table[row].first[0] && p[0] <= table[row].first[1])
			n = table[row].len;
	}
	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (p[i] < (i == 1 ? table[row - 1].second[0] : 0x80) ||
			p[i] > (i == 1 ? table[row - 1].second[1] : 0xbf))
			return 0;
	}
	return n;
}

/* What a reader must get: the characters, U+FFFD for each byte that is none. True when all were
 * good. */
static bool
text_naive(const unsigned char *bytes, size_t len, char *want, size_t *want_len)
{
	bool whole = true;

	*want_len = 0;
	for (size_t i = 0; i < len;) {
		size_t n = sequence_naive(bytes + i, len - i);

		memcpy(want + *want_len, n == 0 ? "\xef\xbf\xbd" : (const char *)bytes + i,
			n == 0 ? 3 : n);
		*want_len += n == 0 ? 3 : n;
		whole = whole && n != 0;
		i += n == 0 ? 1 : n;
	}
	return whole;
}

static void
hex_expect(const json_t *hex, const unsigned char *bytes, size_t len)
{
	char want[3];

	assert_non_null(hex);
	assert_int_equal(json_string_length(hex), 2 * len);
	for (size_t i = 0; i < len; i++) {
		snprintf(want, sizeof(want), "%02x", bytes[i]);
		assert_memory_equal(json_string_value(hex) + 2 * i, want, 2);
	}
}

/* Written here, read by a library: what was meant arrives. */
static void
read_back(const unsigned char *bytes, size_t len)
{
	json_t *object =
		json_loads(text_line(bytes, len), JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
	const json_t *text = json_object_get(object, "t"), *hex = json_object_get(object, "t_hex");
	char want[512];
	size_t want_len;
	bool whole = text_naive(bytes, len, want, &want_len);

	assert_non_null(text);
	assert_int_equal(json_string_length(text), want_len);
	assert_memory_equal(json_string_value(text), want, want_len);
	assert_int_equal(hex == NULL, whole);
	if (!whole)
		hex_expect(hex, bytes, len);
	for (const char *p = out; *p != '\n'; p++)
		assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
	json_decref(object);
}

static void
test_read_back(void **state)
{
	static const unsigned char odd[] = { 0, '\n', '"', '\\', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
		0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff };
	unsigned char bytes[128];

	(void)state;
	random_start();
	for (unsigned pair = 0; pair <= 0xffff; pair++)
		read_back(
			(const unsigned char[]){ (unsigned char)(pair >> 8), (unsigned char)pair },
			2);
	for (unsigned n = 0; n < 60000; n++) {
		size_t len = random_below(n % 100 == 0 ? sizeof(bytes) : 8);

		for (size_t i = 0; i < len; i++)
			bytes[i] = random_below(3) == 0 ? (unsigned char)random_next()
							: odd[random_below(sizeof(odd))];
		read_back(bytes, len);
	}
}

/* ---- too little room ---- */

static size_t
object_write(char *to, size_t size)
{
	struct json j;

	json_begin(&j, to, size);
	json_time(&j, "@timestamp", (wall_ns){ 1 });
	json_u64(&j, "n", 18446744073709551615u);
	json_bool(&j, "b", false);
	json_null(&j, "z");
	json_word(&j, "w", "word");
	json_text(&j, "t", "q\"\x01\xff\xe2\x82\xac", 7);
	json_hex(&j, "h", 0xabcdef);
	json_id(&j, "i", 12345);
	json_ipv4(&j, "a", (const uint8_t[]){ 192, 0, 2, 1 });
	json_object_begin(&j, "o");
	json_u64(&j, "x", 1);
	json_object_end(&j);
	json_array_begin(&j, "s");
	json_element_begin(&j);
	json_u64(&j, "x", 1);
	json_object_end(&j);
	json_element_begin(&j);
	json_object_end(&j);
	json_array_end(&j);
	json_u64(&j, "y", 2);
	return json_end(&j);
}

/* Every size from none to more than enough: all or nothing, and nothing behind the end. */
static void
test_overflow(void **state)
{
	char whole[1024], *small;
	size_t len = object_write(whole, sizeof(whole));

	(void)state;
	assert_true(len > 100);
	for (size_t size = 0; size <= len + 3; size++) {
		small = malloc(size + 1);
		assert_non_null(small);
		memset(small, '#', size + 1);
		assert_int_equal(object_write(small, size), size < len ? 0 : len);
		if (size >= len)
			assert_memory_equal(small, whole, len);
		assert_int_equal(small[size], '#');
		free(small);
	}
}

/* A name too long for its second form is no reason to write past anything. */
static void
test_long_name(void **state)
{
	char name[80];
	struct json j;

	(void)state;
	memset(name, 'n', sizeof(name));
	for (size_t len = 50; len < sizeof(name); len++) {
		name[len] = '\0';
		json_begin(&j, out, sizeof(out));
		json_text(&j, name, "\xff", 1);
		assert_int_equal(json_end(&j) != 0, len + 5 <= 64);
		name[len] = 'n';
	}
}

/* ---- time ---- */

static void
time_expect(uint64_t ns, const char *want)
{
	struct json j;
	size_t n;

	json_begin(&j, out, sizeof(out));
	json_time(&j, "t", (wall_ns){ ns });
	n = json_end(&j);
	assert_int_equal(n, strlen("{\"t\":\"\"}\n") + strlen(want));
	assert_memory_equal(out + 6, want, strlen(want));
}

static void
test_time(void **state)
{
	static const struct {
		uint64_t ns;
		const char *want;
	} cases[] = {
		{ 0, "1970-01-01T00:00:00.000000000Z" },
		{ 1, "1970-01-01T00:00:00.000000001Z" },
		{ 999999999, "1970-01-01T00:00:00.999999999Z" },
		{ 951782399999999999, "2000-02-28T23:59:59.999999999Z" },
		{ 951782400000000000, "2000-02-29T00:00:00.000000000Z" },
		{ 951868800000000000, "2000-03-01T00:00:00.000000000Z" },
		{ 1709164800000000000, "2024-02-29T00:00:00.000000000Z" },
		{ 1795334462123456789, "2026-11-22T08:01:02.123456789Z" },
		{ 4107456000000000000, "2100-02-28T00:00:00.000000000Z" },
		{ 4107542400000000000, "2100-03-01T00:00:00.000000000Z" },
		{ UINT64_MAX, "2554-07-21T23:34:33.709551615Z" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		time_expect(cases[i].ns, cases[i].want);
}

/* Every day that 64 bits of nanoseconds reach, each at another time of day. */
static void
test_every_day(void **state)
{
	const uint64_t days = UINT64_MAX / NS_PER_S / 86400;

	(void)state;
	for (uint64_t day = 0; day < days; day++) {
		time_t s = (time_t)(day * 86400 + day * 7919 % 86400);
		struct tm tm;
		char want[64];

		assert_non_null(gmtime_r(&s, &tm));
		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.000000042Z", &tm);
		time_expect((uint64_t)s * NS_PER_S + 42, want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_empty_object),
		cmocka_unit_test(test_arrays),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_text_ends),
		cmocka_unit_test(test_every_character),
		cmocka_unit_test(test_read_back),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_every_day),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
