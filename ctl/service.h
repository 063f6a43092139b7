/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_SERVICE_H
#define CTL_SERVICE_H

#include <stddef.h>
#include <sys/types.h>

/* Asking the running service, on its control socket. */

#define SERVICE_ANSWER_MAX (256u << 10)

/* Sends the verb and reads its answer up to its end. Returns the answer's length, or -1 after a
 * line on standard error: the service cannot be reached, does not answer, or answers that it will
 * not. Nothing that is returned has been judged otherwise. */
ssize_t service_ask(const char *path, const char *verb, char out[SERVICE_ANSWER_MAX]);

#endif
