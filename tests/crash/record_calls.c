/* For LD_PRELOAD: writes every call that changes files below RECORD_BELOW to the file RECORD_TO, in their order.
 *
 * One entry: kind, then three 64-bit numbers (descriptor and process, offset, length), then `length` bytes. A lock around
 * call and entry, of the process and of the record for all processes that write to it, makes the order of the entries the
 * order of the calls: what a sync covers is what stands before it. Who holds the record's lock finds nobody inside a call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char tracked[FDS];
static const char *below;
static int out = -1;
static pid_t owner; /* A fork of it, on its way to another program, holds no locks and has nothing to say. */

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))
typedef ssize_t (*writer)(int, const void *, size_t);

__attribute__((constructor)) static void begin(void)
{
    below = getenv("RECORD_BELOW");
    const char *to = getenv("RECORD_TO");
    owner = getpid();
    if (below && to)
        out = REAL("open64", int (*)(const char *, int, ...))(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int inside(const char *path)
{
    return out >= 0 && path && !strncmp(path, below, strlen(below)) && getpid() == owner;
}
static int known(int fd) { return out >= 0 && fd >= 0 && fd < FDS && tracked[fd] && getpid() == owner; }

static void record_lock(short type)
{
    struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
    if (out >= 0 && fcntl(out, F_SETLKW, &whole))
        abort();
}

static void enter(void)
{
    if (getpid() != owner)
        return;
    pthread_mutex_lock(&lock);
    record_lock(F_WRLCK);
}

static void leave(void)
{
    if (getpid() != owner)
        return;
    record_lock(F_UNLCK);
    pthread_mutex_unlock(&lock);
}

static void put(const void *data, size_t size)
{
    if (REAL("write", writer)(out, data, size) != (ssize_t)size)
        abort();
}

static void entry(char kind, int64_t fd, int64_t offset, int64_t length)
{
    int64_t numbers[3] = {(int64_t)owner << 20 | fd, offset, length};
    char head[1 + sizeof numbers];
    head[0] = kind;
    memcpy(head + 1, numbers, sizeof numbers);
    put(head, sizeof head);
}

static void named(char kind, int64_t fd, int64_t flags, const char *path, const char *other)
{
    entry(kind, fd, flags, strlen(path) + (other ? 1 + strlen(other) : 0));
    put(path, strlen(path));
    if (other) {
        put("", 1);
        put(other, strlen(other));
    }
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    enter();
    int fd = REAL("open64", int (*)(const char *, int, ...))(path, flags, mode);
    if (fd >= 0 && fd < FDS && getpid() == owner) {
        tracked[fd] = inside(path);
        if (tracked[fd])
            named('o', fd, flags, path, NULL);
    }
    leave();
    return fd;
}

int close(int fd)
{
    enter();
    if (known(fd))
        tracked[fd] = 0;
    int result = REAL("close", int (*)(int))(fd);
    leave();
    return result;
}

ssize_t write(int fd, const void *data, size_t size)
{
    if (!known(fd))
        return REAL("write", writer)(fd, data, size);
    enter();
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    ssize_t done = REAL("write", writer)(fd, data, size);
    if (done > 0) {
        entry('w', fd, at, done);
        put(data, done);
    }
    leave();
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    enter();
    ssize_t done = REAL("pwrite64", ssize_t (*)(int, const void *, size_t, off64_t))(fd, data, size, offset);
    if (known(fd) && done > 0) {
        entry('w', fd, offset, done);
        put(data, done);
    }
    leave();
    return done;
}

/* The one that Python's os.pwritev calls. */
ssize_t pwritev64v2(int fd, const struct iovec *parts, int n, off64_t offset, int flags)
{
    enter();
    ssize_t done = REAL("pwritev64v2", ssize_t (*)(int, const struct iovec *, int, off64_t, int))(fd, parts, n, offset, flags);
    if (known(fd) && done > 0) {
        entry('w', fd, offset, done);
        for (ssize_t left = done; left > 0; parts++) {
            size_t size = (size_t)left < parts->iov_len ? (size_t)left : parts->iov_len;
            put(parts->iov_base, size);
            left -= size;
        }
    }
    leave();
    return done;
}

static int synced(const char *call, int fd)
{
    enter();
    int result = REAL(call, int (*)(int))(fd);
    if (known(fd) && !result)
        entry('s', fd, 0, 0);
    leave();
    return result;
}

int ftruncate64(int fd, off64_t size)
{
    enter();
    int result = REAL("ftruncate64", int (*)(int, off64_t))(fd, size);
    if (known(fd) && !result)
        entry('t', fd, size, 0);
    leave();
    return result;
}

int truncate64(const char *path, off64_t size)
{
    enter();
    int result = REAL("truncate64", int (*)(const char *, off64_t))(path, size);
    if (!result && inside(path))
        named('T', 0, size, path, NULL);
    leave();
    return result;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }

static int pair(char kind, const char *call, const char *from, const char *to)
{
    enter();
    int result = REAL(call, int (*)(const char *, const char *))(from, to);
    if (!result && inside(from))
        named(kind, 0, 0, from, to);
    leave();
    return result;
}
int rename(const char *from, const char *to) { return pair('r', "rename", from, to); }
int link(const char *from, const char *to) { return pair('l', "link", from, to); }

int unlink(const char *path)
{
    enter();
    int result = REAL("unlink", int (*)(const char *))(path);
    if (!result && inside(path))
        named('u', 0, 0, path, NULL);
    leave();
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    enter();
    int result = REAL("mkdir", int (*)(const char *, mode_t))(path, mode);
    if (!result && inside(path))
        named('d', 0, 0, path, NULL);
    leave();
    return result;
}
