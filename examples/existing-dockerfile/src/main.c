/* greeter --serve | --check | --version: a tiny HTTP server, and the question whether it answers. */

#define _POSIX_C_SOURCE 200809L

#include "greeting.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "dev"
#endif

static void stop(int signal)
{
    (void)signal;
    _exit(0);
}

static struct sockaddr_in address(in_addr_t host)
{
    const char *port = getenv("GREETER_PORT");
    struct sockaddr_in result = {.sin_family = AF_INET};

    result.sin_port = htons((unsigned short)atoi(port ? port : "8080"));
    result.sin_addr.s_addr = htonl(host);
    return result;
}

static void read_template(char *out, size_t size)
{
    const char *path = getenv("GREETER_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;

    if (!file || !fgets(out, (int)size, file))
        snprintf(out, size, "Hello, %%s!\n");
    if (file)
        fclose(file);
}

static void answer(int client)
{
    struct timeval patience = {.tv_sec = 2};
    char request[1024], name[64], template[256], body[512], reply[768];
    ssize_t count;

    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    count = read(client, request, sizeof request - 1);
    request[count > 0 ? count : 0] = '\0';
    requested_name(name, sizeof name, request);
    read_template(template, sizeof template);
    greeting(body, sizeof body, template, name);
    snprintf(reply, sizeof reply,
             "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
             strlen(body), body);
    if (write(client, reply, strlen(reply)) < 0)
        perror("write");
    close(client);
}

static int serve(void)
{
    struct sockaddr_in here = address(INADDR_ANY);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) != 0 || listen(listener, 16) != 0) {
        perror("listen");
        return 1;
    }
    printf("greeter %s listens on %d\n", VERSION, ntohs(here.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client >= 0)
            answer(client);
    }
}

static int check(void)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct sockaddr_in there = address(INADDR_LOOPBACK);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    char reply[768] = "";

    if (connect(server, (struct sockaddr *)&there, sizeof there) != 0 || write(server, request, strlen(request)) < 0 ||
        read(server, reply, sizeof reply - 1) <= 0) {
        perror("check");
        return 1;
    }
    return strncmp(reply, "HTTP/1.1 200", 12) != 0;
}

int main(int argc, char **argv)
{
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], "--serve") == 0)
        return serve();
    if (argc == 2 && strcmp(argv[1], "--check") == 0)
        return check();
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return puts("greeter " VERSION) < 0;
    fprintf(stderr, "usage: greeter --serve | --check | --version\n");
    return 2;
}
