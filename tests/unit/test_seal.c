/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/seal.c broker/chain.c | pkg: nettle */
#include "tests/unit/unit.h"

#include "broker/seal.h"

static const uint8_t root[SEAL_KEY_LEN] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 };

static struct seal_key
key_of(uint64_t epoch)
{
	struct seal_key k;

	seal_begin(&k, root);
	assert_true(seal_ahead(&k, epoch));
	assert_int_equal(k.epoch, epoch);
	return k;
}

static void
assert_key(const struct seal_key *k, const char *hex)
{
	char text[SEAL_DIGITS + 1];

	seal_root_print(k->key, text);
	assert_string_equal(text, hex);
}

/* ---- keys ---- */

/* By Python's hashlib, from what the header says. */
static void
test_known_keys(void **state)
{
	struct seal_key k = key_of(0);

	(void)state;
	assert_key(&k, "31a4a958efd2d558bd152041cc6f0811c93433f3769ee9e9e27ade5969d3cffb");
	seal_next(&k);
	assert_key(&k, "d23c75aa97244775e25f92fb792b6598204350a3c2635af6c05f253c39fd5e02");
	k = key_of(1000000000);
	assert_key(&k, "681dfd7c878d565481c9a7d4e612eb6a9d9c1aeaf5f696c2ac2cc72abf38a10e");
}

static void
assert_same(const struct seal_key *a, const struct seal_key *b)
{
	assert_int_equal(a->epoch, b->epoch);
	assert_memory_equal(a->key, b->key, sizeof(a->key));
	assert_memory_equal(a->root, b->root, sizeof(a->root));
}

/* One by one, and in strides of any length, over the borders of roots. */
static void
test_every_way_leads_there(void **state)
{
	struct seal_key step, far;

	(void)state;
	random_start();
	seal_begin(&step, root);
	far = step;
	for (uint64_t e = 0; e < 3 * SEAL_STRIDE + 10; e++, seal_next(&step)) {
		bool border = (e + 2) % SEAL_STRIDE < 4;

		if (!border && random_below(5000) != 0)
			continue;
		assert_true(seal_ahead(&far, e));
		assert_same(&far, &step);
	}
	far = key_of(5 * SEAL_STRIDE + 7);
	step = key_of(4 * SEAL_STRIDE - 1);
	assert_true(seal_ahead(&step, 5 * SEAL_STRIDE + 7));
	assert_same(&far, &step);
}

/* No way back, none too far, and nothing is changed by asking. */
static void
test_no_way(void **state)
{
	struct seal_key k = key_of(SEAL_STRIDE + 5), before = k;

	(void)state;
	assert_false(seal_ahead(&k, SEAL_STRIDE + 4));
	assert_false(seal_ahead(&k, 0));
	assert_false(seal_ahead(&k, SEAL_EPOCH_MAX + 1));
	assert_false(seal_ahead(&k, UINT64_MAX));
	assert_same(&k, &before);
	assert_true(seal_ahead(&k, SEAL_STRIDE + 5));
	assert_same(&k, &before);
}

/* The latest that is accepted is reached in seconds. */
static void
test_the_last_epoch(void **state)
{
	struct seal_key k = key_of(SEAL_EPOCH_MAX);

	(void)state;
	assert_int_equal(k.epoch, SEAL_EPOCH_MAX);
	seal_wipe(&k);
	for (size_t i = 0; i < sizeof(k); i++)
		assert_int_equal(((uint8_t *)&k)[i], 0);
}

/* ---- in records ---- */

#define BODY                                                                       \
	"{\"@timestamp\":\"2026-11-22T08:01:02.123456789Z\",\"event.sequence\":1," \
	"\"event.action\":\"log-open\""
#define SEAL                                   \
	",\"eghostbuster.seal\":\"1000000000:" \
	"99224d249939baee890bad2affa972ff68d5ed4a6094954b6b6d2dc9dd02585a\""
#define HASH "3a6948ef31e26d67f6f2c5cca6eb9db31b7a2b5b11c50acaa2677e37964f1e78"

static void
test_a_sealed_record(void **state)
{
	char line[1024] = BODY "}\n", hash[CHAIN_LEN];
	struct seal_key k = key_of(1000000000), same = k;
	struct chain_line r;
	struct seal seal;
	size_t len;

	(void)state;
	memcpy(hash, chain_origin, sizeof(hash));
	len = chain_append(hash, line, strlen(line));
	len = seal_append(&k, chain_origin, hash, line, len);
	line[len] = '\0';
	assert_string_equal(line, BODY SEAL ",\"event.hash\":\"" HASH "\"}\n");
	assert_string_equal(hash, HASH);
	assert_int_equal(k.epoch, same.epoch + 1);

	assert_true(chain_line_read(line, len - 1, &r));
	assert_true(seal_find(line, r.body_len, &seal));
	assert_int_equal(seal.epoch, 1000000000);
	assert_int_equal(seal.body_len, strlen(BODY));
	assert_true(seal_right(&same, &seal, chain_origin, line));
	assert_false(seal_right(&k, &seal, chain_origin, line)); /* the next epoch's */
	k.epoch = same.epoch;
	assert_false(seal_right(&k, &seal, chain_origin, line));
	assert_false(seal_right(&same, &seal, hash, line)); /* of a record that follows another */
	line[20] ^= 1;
	assert_false(seal_right(&same, &seal, chain_origin, line));
}

#define NONE "0000000000000000000000000000000000000000000000000000000000000000"

/* A seal has one form. Every byte of it counts, as does each before it that is taken away. */
static void
test_what_is_no_seal(void **state)
{
	static const char *const none[] = { "", "\"", BODY, BODY SEAL ",\"a\":1",
		BODY ",\"eghostbuster.seal\":\":" NONE "\"",
		BODY ",\"eghostbuster.seal\":\"01:" NONE "\"",
		BODY ",\"eghostbuster.seal\":\"-1:" NONE "\"",
		BODY ",\"eghostbuster.seal\":\"1099511627777:" NONE "\"",
		BODY ",\"eghostbuster.seal\":\"9999999999999:" NONE "\"",
		BODY ",\"eghostbuster.seal\":\"10000000000000:" NONE "\"",
		BODY ",\"eghostbuster.seal\":\"18446744073709551616:" NONE "\"",
		BODY ",\"eghostbuster.seal\": \"1:" NONE "\"", "1:" NONE "\"", ":" NONE "\"" };
	static const char whole[] = BODY SEAL;
	char changed[sizeof(whole)];
	struct seal seal;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(none); i++)
		assert_false(seal_find(none[i], strlen(none[i]), &seal));
	assert_true(seal_find(whole, sizeof(whole) - 1, &seal));
	assert_true(seal_find(BODY ",\"eghostbuster.seal\":\"0:" NONE "\"",
		strlen(BODY ",\"eghostbuster.seal\":\"0:" NONE "\""), &seal));
	assert_true(seal.epoch == 0);
	assert_true(seal_find(BODY ",\"eghostbuster.seal\":\"1099511627776:" NONE "\"",
		strlen(BODY ",\"eghostbuster.seal\":\"1099511627776:" NONE "\""), &seal));
	assert_true(seal.epoch == SEAL_EPOCH_MAX);
	for (size_t at = strlen(BODY); at < sizeof(whole) - 1; at++) {
		memcpy(changed, whole, sizeof(whole));
		changed[at] = changed[at] == 'A' ? 'a' : 'A';
		assert_false(seal_find(changed, sizeof(whole) - 1, &seal));
		assert_false(seal_find(whole, at, &seal));
	}
}

/* Whatever the bytes: nothing outside them is read (the sanitizers see it). */
static void
test_any_bytes(void **state)
{
	static const char bytes[] = "0123456789abcdef:\"\"::";
	struct seal seal;

	(void)state;
	for (unsigned n = 0; n < 20000; n++) {
		size_t len = random_below(140);
		char *text = malloc(len + (len == 0));

		for (size_t i = 0; i < len; i++)
			text[i] = bytes[random_below(sizeof(bytes) - 1)];
		if (len > 66)
			text[len - 66] = ':';
		if (len > 0)
			text[len - 1] = '"';
		assert_false(seal_find(text, len, &seal));
		free(text);
	}
}

/* ---- the last one of a log ---- */

static char text[64 << 10];
static size_t text_len;
static char hash[CHAIN_LEN];
static uint64_t number;
static struct seal_key sealer;

static void
log_begin(void)
{
	text_len = 0;
	number = 0;
	memcpy(hash, chain_origin, sizeof(hash));
	seal_begin(&sealer, root);
}

static void
record_add(const char *action, bool sealed)
{
	char before[CHAIN_LEN], *line = text + text_len;
	size_t len;

	number++;
	len = (size_t)sprintf(line,
		"{\"@timestamp\":\"2026-11-22T08:01:02.123456789Z\",\"event.sequence\":%u,"
		"\"event.action\":\"%s\",\"eghostbuster.log.previous\":%s%s%s}\n",
		(unsigned)number, action, number == 1 ? "null" : "{\"hash\":\"",
		number == 1 ? "" : hash, number == 1 ? "" : "\"}");

	memcpy(before, hash, sizeof(before));
	len = chain_append(hash, line, len);
	if (sealed)
		len = seal_append(&sealer, before, hash, line, len);
	text_len += len;
}

static void
text_add(const char *more)
{
	memcpy(text + text_len, more, strlen(more));
	text_len += strlen(more);
}

/* The last seal is of this epoch, and right. `cut`: so much of the beginning is not there. */
static void
last_expect(size_t cut, uint64_t epoch)
{
	struct seal_key k = key_of(epoch);
	struct seal_last last;

	seal_last_read(text + cut, text_len - cut, cut == 0, &last);
	assert_true(last.found && last.known);
	assert_int_equal(last.seal.epoch, epoch);
	assert_true(seal_right(&k, &last.seal, last.before, last.body));
}

static void
test_the_last_seal(void **state)
{
	struct seal_last last;
	size_t first;

	(void)state;
	log_begin();
	seal_last_read(text, 0, true, &last);
	assert_false(last.found);
	text_add("torn");
	seal_last_read(text, text_len, true, &last);
	assert_false(last.found);
	log_begin();
	record_add("log-open", true); /* follows nothing */
	last_expect(0, 0);
	record_add("stop", false);
	last_expect(0, 0);
	first = text_len;
	record_add("decide", true); /* follows the one before it */
	last_expect(0, 1);
	text_add("somebody's line\n\n");
	record_add("destroy", true); /* with a line in between that is none */
	last_expect(0, 2);
	record_add("stop", false);
	text_add("{\"@timestamp\":\"2026");
	last_expect(0, 2);
	last_expect(first - 10, 2);
	record_add("log-open", true); /* behind half a line: says itself what it follows */
	text_add("x\n");
	record_add("log-open", true);
	last_expect(0, 4);
	last_expect(text_len - 500, 4);
}

/* The record before it is not among the bytes. */
static void
test_the_last_seal_alone(void **state)
{
	struct seal_last last;
	size_t second;

	(void)state;
	log_begin();
	record_add("log-open", false);
	second = text_len;
	record_add("decide", true);
	seal_last_read(text + second, text_len - second, true, &last);
	assert_true(last.found && !last.known);
	seal_last_read(text + second, text_len - second, false, &last);
	assert_false(last.found);
	seal_last_read(text + second - 1, text_len - second + 1, false, &last);
	assert_true(last.found && !last.known);
}

/* ---- at rest ---- */

static void
test_state(void **state)
{
	struct seal_key k = key_of(123456789), back;
	uint8_t bytes[SEAL_STATE_LEN + 1] = { 0 };

	(void)state;
	seal_state_write(&k, bytes);
	assert_true(seal_state_read(bytes, SEAL_STATE_LEN, &back));
	assert_same(&k, &back);
	for (size_t len = 0; len < SEAL_STATE_LEN; len++)
		assert_false(seal_state_read(bytes, len, &back));
	assert_false(seal_state_read(bytes, SEAL_STATE_LEN + 1, &back));
	for (size_t bit = 0; bit < 8 * SEAL_STATE_LEN; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(seal_state_read(bytes, SEAL_STATE_LEN, &back));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	k.epoch = SEAL_EPOCH_MAX + 1;
	seal_state_write(&k, bytes);
	assert_false(seal_state_read(bytes, SEAL_STATE_LEN, &back));
}

static void
test_root_as_text(void **state)
{
	static const char *const bad[] = { "", "\n", (NONE "0"), (NONE " 0"), ("0x" NONE) };
	char shown[SEAL_DIGITS + 1], given[100];
	uint8_t back[SEAL_KEY_LEN];

	(void)state;
	seal_root_print(root, shown);
	assert_true(seal_root_read(shown, strlen(shown), back));
	assert_memory_equal(root, back, sizeof(root));
	snprintf(given, sizeof(given), " \t%s\r\n\n", shown);
	for (char *c = given; *c != '\0'; c++)
		*c = (char)(*c >= 'a' && *c <= 'f' ? *c - 'a' + 'A' : *c);
	assert_true(seal_root_read(given, strlen(given), back));
	assert_memory_equal(root, back, sizeof(root));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(seal_root_read(bad[i], strlen(bad[i]), back));
	for (size_t len = 0; len < SEAL_DIGITS; len++)
		assert_false(seal_root_read(shown, len, back));
	given[10] = 'g';
	assert_false(seal_root_read(given, strlen(given), back));
	given[10] = '\0';
	assert_false(seal_root_read(given, strlen(shown) + 2, back));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_keys),
		cmocka_unit_test(test_every_way_leads_there),
		cmocka_unit_test(test_no_way),
		cmocka_unit_test(test_the_last_epoch),
		cmocka_unit_test(test_a_sealed_record),
		cmocka_unit_test(test_what_is_no_seal),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_the_last_seal),
		cmocka_unit_test(test_the_last_seal_alone),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_root_as_text),
	};

	return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
