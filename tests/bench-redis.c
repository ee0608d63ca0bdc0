/* The least that a Redis lock around a command can cost: connect, SET NX PX, fork and exec, EVAL compare-and-delete.
   No renewal, no fence, no queue, no care for a lost lease. usage: bench-redis PORT KEY COMMAND [ARG]... */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define DELETE "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) end return 0"

static void die(const char *what)
{
    perror(what);
    exit(125);
}

/* One request, one answer; the answers wanted here are short and come in one piece. */
static void ask(int server, const char *request, int length, const char *wanted)
{
    char answer[256];
    if (write(server, request, (size_t)length) != length)
        die("write");
    ssize_t got = read(server, answer, sizeof answer - 1);
    if (got <= 0)
        die("read");
    answer[got] = 0;
    if (strcmp(answer, wanted) != 0) {
        fprintf(stderr, "bench-redis: wanted %sgot %s", wanted, answer);
        exit(75);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: bench-redis PORT KEY COMMAND [ARG]...\n");
        return 64;
    }
    unsigned char bytes[16];
    char token[33], request[1024];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        die("getrandom");
    for (int at = 0; at < 16; at++)
        sprintf(token + 2 * at, "%02x", bytes[at]);

    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (server < 0 || connect(server, (struct sockaddr *)&place, sizeof place) != 0)
        die("connect");
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);

    int length = snprintf(request, sizeof request,
                          "*6\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$32\r\n%s\r\n$2\r\nNX\r\n$2\r\nPX\r\n$5\r\n30000\r\n", strlen(argv[2]),
                          argv[2], token);
    ask(server, request, length, "+OK\r\n");

    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    int status;
    if (waitpid(child, &status, 0) != child)
        die("waitpid");

    length = snprintf(request, sizeof request,
                      "*5\r\n$4\r\nEVAL\r\n$%zu\r\n%s\r\n$1\r\n1\r\n$%zu\r\n%s\r\n$32\r\n%s\r\n", strlen(DELETE), DELETE,
                      strlen(argv[2]), argv[2], token);
    ask(server, request, length, ":1\r\n");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
