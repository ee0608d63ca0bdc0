/* A job that only notes when it ran: one line, its time (CLOCK_MONOTONIC, ns) and its number. usage: bench-stamp FILE NUMBER */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec now;
    char line[96];
    if (argc != 3 || clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return 64;
    int length = snprintf(line, sizeof line, "%lld %s\n", now.tv_sec * 1000000000LL + now.tv_nsec, argv[2]);
    int file = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    /* One write: lines of an append never mix. */
    return file >= 0 && write(file, line, (size_t)length) == length ? 0 : 74;
}
