/* For LD_PRELOAD: lets the Nth fdatasync (FAIL_FDATASYNC=N) or pwritev (FAIL_PWRITEV=N) of a process fail with EIO,
 * and says so on stderr; a later one on the same file is told on as well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static ino_t failed_inode;

static ino_t inode_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) ? 0 : status.st_ino;
}

/* Whether this call, the count-th of its kind, is the one to fail. */
static int must_fail(const char *variable, const char *call, int fd, int *count)
{
    const char *nth = getenv(variable);
    if (failed_inode && inode_of(fd) == failed_inode)
        dprintf(2, "%s after the failure\n", call);
    if (!nth || ++*count != atoi(nth))
        return 0;
    failed_inode = inode_of(fd);
    dprintf(2, "%s failed on purpose\n", call);
    errno = EIO;
    return 1;
}

int fdatasync(int fd)
{
    static int count;
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return must_fail("FAIL_FDATASYNC", "fdatasync", fd, &count) ? -1 : next(fd);
}

/* The one that Python's os.pwritev calls. */
ssize_t pwritev64v2(int fd, const struct iovec *parts, int n, off64_t offset, int flags)
{
    static int count;
    ssize_t (*next)(int, const struct iovec *, int, off64_t, int) =
        (ssize_t(*)(int, const struct iovec *, int, off64_t, int))dlsym(RTLD_NEXT, "pwritev64v2");
    return must_fail("FAIL_PWRITEV", "pwritev", fd, &count) ? -1 : next(fd, parts, n, offset, flags);
}
