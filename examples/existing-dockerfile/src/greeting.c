#include "greeting.h"

#include <ctype.h>
#include <string.h>

void greeting(char *out, size_t size, const char *template, const char *name)
{
    size_t used = 0;

    while (*template && used + 1 < size) {
        if (strncmp(template, "%s", 2) == 0) {
            for (const char *c = name; *c && used + 1 < size; c++)
                out[used++] = *c;
            template += 2;
        } else {
            out[used++] = *template++;
        }
    }
    out[used] = '\0';
}

void requested_name(char *out, size_t size, const char *request)
{
    const char *path = strstr(request, " /");
    size_t used = 0;

    if (path)
        for (path += 2; isalpha((unsigned char)*path) && used + 1 < size; path++)
            out[used++] = *path;
    out[used] = '\0';
    if (used == 0 && size > strlen("world"))
        strcpy(out, "world");
}
