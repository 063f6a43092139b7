/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "service.h"

static void
object_print(const char *prefix, json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		char name[128];
		int len = snprintf(name, sizeof(name), "%s", prefix);

		text_escape(key, strlen(key), name + len, sizeof(name) - (size_t)len);
		if (json_is_object(value)) {
			strncat(name, ".", sizeof(name) - strlen(name) - 1);
			object_print(name, value);
		} else if (json_is_string(value)) {
			char safe[1024];

			text_escape(json_string_value(value), json_string_length(value), safe,
				sizeof(safe));
			printf("%-32s %s\n", name, safe);
		} else if (json_is_integer(value)) {
			printf("%-32s %" JSON_INTEGER_FORMAT "\n", name, json_integer_value(value));
		} else {
			printf("%-32s %s\n", name,
				json_is_true(value)    ? "yes"
				: json_is_false(value) ? "no"
						       : "-");
		}
	}
}

static int
answer_print(const char *text, size_t len, bool as_json)
{
	json_error_t error;
	json_t *root = json_loadb(text, len, 0, &error);
	bool done = root != NULL;

	if (root == NULL)
		log_error("the service answered something that is no JSON");
	else if (as_json)
		done = fwrite(text, 1, len, stdout) == len;
	else
		object_print("", root);
	json_decref(root);
	return done && fflush(stdout) == 0 ? 0 : 1;
}

struct ask {
	const char *control;
	bool as_json;
};

static bool
option_apply(void *context, int value, const char *arg)
{
	struct ask *ask = context;

	if (value == 'j')
		ask->as_json = true;
	else
		ask->control = arg;
	return true;
}

static int
status_run(int argc, char **argv)
{
	struct ask ask = { .control = DEFAULT_CONTROL };
	static char answer[SERVICE_ANSWER_MAX];
	ssize_t len;
	int status;

	if (ctl_options_read(&ctl_status_verb, argc, argv, option_apply, &ask, &status) < 0)
		return status;
	len = service_ask(ask.control, "status", answer);
	return len < 0 ? 1 : answer_print(answer, (size_t)len, ask.as_json);
}

static const struct ctl_option options[] = {
	{ 'j', "json", NULL, NULL, COMPLETE_NOTHING, "as the service answers: one JSON object" },
	{ 's', "control", "SOCKET", NULL, COMPLETE_FILE,
		"the service's control socket (default " DEFAULT_CONTROL ")" },
};

const struct ctl_verb ctl_status_verb = {
	.name = "status",
	.summary = "What the running service does (root, or its control_group)",
	CTL_OPTIONS(options),
	.run = status_run,
};
