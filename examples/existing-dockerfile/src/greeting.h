#ifndef GREETING_H
#define GREETING_H

#include <stddef.h>

/* Writes `template` to `out` with every "%s" replaced by `name`, as far as it fits; always ends it with NUL. */
void greeting(char *out, size_t size, const char *template, const char *name);

/* The name in a request line such as "GET /Ada HTTP/1.1": letters only, "world" when there is none. */
void requested_name(char *out, size_t size, const char *request);

#endif
