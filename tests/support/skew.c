/* Preloaded, it moves what a process takes for the time of day. The clocks that nobody can set stay as they are.
 *
 * $SKEW_FILE holds the minutes to add, as one signed byte: it is mapped, and a byte is never half written. Absolute
 * timers on CLOCK_REALTIME are the kernel's and are not moved. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int8_t none;
static const volatile int8_t *minutes = &none;

__attribute__((constructor)) static void open_file(void)
{
    const char *path = getenv("SKEW_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *minutes, PROT_READ, MAP_SHARED, file, 0);

    if (map == MAP_FAILED) {
        perror("skew: $SKEW_FILE");
        _exit(99);
    }
    close(file);
    minutes = map;
}

/* The system call itself: libc's own function is the one that is replaced here. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (syscall(SYS_clock_gettime, clock, now) != 0)
        return -1;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI)
        now->tv_sec += *minutes * 60;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0)
        return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where)
{
    struct timespec exact;

    if (clock_gettime(CLOCK_REALTIME, &exact) != 0)
        return -1;
    if (where)
        *where = exact.tv_sec;
    return exact.tv_sec;
}
