/* The least that a queue on Redis can cost: connect, BLPOP a token, fork and exec, LPUSH the token back. Redis serves
   those who wait in the order of their coming. A token whose bearer dies is lost. usage: bench-blpop PORT KEY COMMAND [ARG]... */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(125);
}

/* One request, one answer; the answers wanted here are short and come in one piece. */
static void ask(int server, const char *request, int length, char wanted)
{
    char answer[256];
    if (write(server, request, (size_t)length) != length)
        die("write");
    ssize_t got = read(server, answer, sizeof answer);
    if (got <= 0)
        die("read");
    if (answer[0] != wanted) {
        fprintf(stderr, "bench-blpop: wanted %c, got %.*s", wanted, (int)got, answer);
        exit(75);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: bench-blpop PORT KEY COMMAND [ARG]...\n");
        return 64;
    }
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (server < 0 || connect(server, (struct sockaddr *)&place, sizeof place) != 0)
        die("connect");
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);

    char request[1024];
    int length = snprintf(request, sizeof request, "*3\r\n$5\r\nBLPOP\r\n$%zu\r\n%s\r\n$1\r\n0\r\n", strlen(argv[2]), argv[2]);
    ask(server, request, length, '*');

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

    length = snprintf(request, sizeof request, "*3\r\n$5\r\nLPUSH\r\n$%zu\r\n%s\r\n$1\r\nt\r\n", strlen(argv[2]), argv[2]);
    ask(server, request, length, ':');
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
