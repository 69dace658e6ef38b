/* For LD_PRELOAD: of the calls named FAIL_CALL on what lies below FAIL_BELOW, those from the FAIL_FROM-th to before the
 * FAIL_TO-th fail with the error number FAIL_ERRNO, and the first of them says so on stderr. Where FAIL_WATCH is set,
 * a later write or sync of the file whose write or sync failed is told on as well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static ino_t failed_inode;
static int count;

static long number(const char *variable, long otherwise)
{
    const char *text = getenv(variable);
    return text ? atol(text) : otherwise;
}

static int below(const char *path)
{
    const char *root = getenv("FAIL_BELOW");
    return root && !strncmp(path, root, strlen(root));
}

static int below_fd(int fd)
{
    char link[64], path[4096] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return readlink(link, path, sizeof path - 1) > 0 && below(path);
}

/* Whether this call is one that has to fail. */
static int fails(const char *call)
{
    const char *wanted = getenv("FAIL_CALL");
    if (!wanted || strcmp(wanted, call))
        return 0;
    int nth = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    long from = number("FAIL_FROM", 1);
    if (nth < from || nth >= number("FAIL_TO", from + 1))
        return 0;
    if (nth == from)
        dprintf(2, "%s failed on purpose\n", call);
    errno = (int)number("FAIL_ERRNO", EIO);
    return 1;
}

static int path_fails(const char *call, const char *path) { return path && below(path) && fails(call); }

static int file_fails(const char *call, int fd)
{
    struct stat status;
    if (!below_fd(fd) || fstat(fd, &status))
        return 0;
    if (getenv("FAIL_WATCH") && failed_inode && S_ISREG(status.st_mode) && status.st_ino == failed_inode)
        dprintf(2, "%s after the failure\n", call);
    if (!fails(call))
        return 0;
    failed_inode = status.st_ino;
    return 1;
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return path_fails("open", path) ? -1 : REAL("open64", int (*)(const char *, int, ...))(path, flags, mode);
}

ssize_t write(int fd, const void *data, size_t size)
{
    return file_fails("write", fd) ? -1 : REAL("write", ssize_t (*)(int, const void *, size_t))(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return file_fails("pwrite", fd) ? -1
                                    : REAL("pwrite64", ssize_t (*)(int, const void *, size_t, off64_t))(fd, data, size, at);
}

/* The one that Python's os.pwritev calls. */
ssize_t pwritev64v2(int fd, const struct iovec *parts, int n, off64_t at, int flags)
{
    return file_fails("pwritev", fd)
               ? -1
               : REAL("pwritev64v2", ssize_t (*)(int, const struct iovec *, int, off64_t, int))(fd, parts, n, at, flags);
}

int fdatasync(int fd) { return file_fails("fdatasync", fd) ? -1 : REAL("fdatasync", int (*)(int))(fd); }
int fsync(int fd) { return file_fails("fsync", fd) ? -1 : REAL("fsync", int (*)(int))(fd); }

int rename(const char *from, const char *to)
{
    return path_fails("rename", from) ? -1 : REAL("rename", int (*)(const char *, const char *))(from, to);
}

int link(const char *from, const char *to)
{
    return path_fails("link", from) ? -1 : REAL("link", int (*)(const char *, const char *))(from, to);
}

int unlink(const char *path) { return path_fails("unlink", path) ? -1 : REAL("unlink", int (*)(const char *))(path); }

int mkdir(const char *path, mode_t mode)
{
    return path_fails("mkdir", path) ? -1 : REAL("mkdir", int (*)(const char *, mode_t))(path, mode);
}
