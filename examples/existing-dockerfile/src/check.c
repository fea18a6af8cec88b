/* What greeting.c promises. */

#include "greeting.h"

#include <stdio.h>
#include <string.h>

static int failed;

static void same(const char *what, const char *got, const char *wanted)
{
    if (strcmp(got, wanted) != 0) {
        fprintf(stderr, "%s: got \"%s\", wanted \"%s\"\n", what, got, wanted);
        failed = 1;
    }
}

int main(void)
{
    char text[16];

    greeting(text, sizeof text, "Hello, %s!", "Ada");
    same("a name", text, "Hello, Ada!");
    greeting(text, sizeof text, "%s and %s", "Ada");
    same("a name twice", text, "Ada and Ada");
    greeting(text, sizeof text, "Hello, %s!", "a very long name");
    same("a long name", text, "Hello, a very l");
    requested_name(text, sizeof text, "GET /Ada HTTP/1.1");
    same("a request", text, "Ada");
    requested_name(text, sizeof text, "GET /../../etc/passwd HTTP/1.1");
    same("a path", text, "world");
    requested_name(text, sizeof text, "nonsense");
    same("nonsense", text, "world");
    puts(failed ? "failed" : "ok");
    return failed;
}
