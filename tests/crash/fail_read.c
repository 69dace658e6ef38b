/* For LD_PRELOAD: reads of the file named FAIL_READ_OF that touch bytes FAIL_READ_FROM to FAIL_READ_TO fail with EIO, as
 * a disk with bad sectors has it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_bad(int fd)
{
    char link[64], path[4096] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) < 0)
        return 0;
    const char *name = strrchr(path, '/');
    return name && !strcmp(name + 1, getenv("FAIL_READ_OF"));
}

/* The one that Python's os.pread calls. */
ssize_t pread64(int fd, void *into, size_t size, off64_t offset)
{
    ssize_t (*next)(int, void *, size_t, off64_t) =
        (ssize_t(*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
    off64_t from = atoll(getenv("FAIL_READ_FROM")), to = atoll(getenv("FAIL_READ_TO"));
    if (offset < to && offset + (off64_t)size > from && is_bad(fd)) {
        errno = EIO;
        return -1;
    }
    return next(fd, into, size, offset);
}
