#include "fail.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

_Noreturn void fail_errno(const char *what) {
    fail("%s: %s", what, strerror(errno));
}

_Noreturn void fail_tls(const char *what) {
    unsigned long code = ERR_get_error();
    char text[256] = "connection lost without an alert";
    if (code != 0)
        ERR_error_string_n(code, text, sizeof text);
    fail("%s: %s", what, text);
}
