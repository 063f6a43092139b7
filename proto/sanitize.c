/* SPDX-License-Identifier: Apache-2.0 */
/* Only in sanitizer builds: a role's environment is empty, so its options are compiled in. The leak
 * checker stops the process's threads with calls no role may make; leaks are looked for by the unit
 * tests. */
#ifdef EGB_SANITIZE
const char *__asan_default_options(void);

const char *
__asan_default_options(void)
{
	return "detect_leaks=0:abort_on_error=0:symbolize=0";
}
#else
typedef int sanitize_is_off; /* ISO C wants something in a file */
#endif
