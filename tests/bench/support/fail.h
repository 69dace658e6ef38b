/* Ending the program with a reason: the load generator is all or nothing, half a load would be a wrong figure. */
#ifndef LOADGEN_FAIL_H
#define LOADGEN_FAIL_H

/* Prints the formatted reason on stderr and exits with status 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same with errno's text behind it. */
_Noreturn void fail_errno(const char *what);

/* The same with the oldest entry of OpenSSL's error queue behind it. */
_Noreturn void fail_tls(const char *what);

#endif
