/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a target over kept inputs, without libFuzzer and with any compiler:
 *
 *	TARGET FILE...
 *
 * Says each file's name before it is run, so that the last one named is the one it died of. They
 * have to reach all of the target's goals.
 */
#include "fuzz.h"

#include <unistd.h>

__attribute__((weak)) int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static int
file_run(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *f = fopen(path, "re");
	size_t size;

	if (f == NULL) {
		perror(path);
		return -1;
	}
	size = fread(data, 1, sizeof(data), f);
	fclose(f);
	dprintf(STDOUT_FILENO, "%s\n", path);
	/* In memory of exactly its size: reading behind it is seen. */
	uint8_t *input = malloc(size);
	REQUIRE(input != NULL || size == 0);
	memcpy(input, data, size);
	LLVMFuzzerTestOneInput(input, size);
	free(input);
	return 0;
}

int
main(int argc, char **argv)
{
	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++) {
		if (file_run(argv[i]) < 0)
			return 2;
	}
	if (fuzz_reached != fuzz_goals) {
		fprintf(stderr, "reached of the goals %#x: %#x\n", fuzz_goals, fuzz_reached);
		return 1;
	}
	return 0;
}
