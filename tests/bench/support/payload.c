#include "payload.h"

#include <stdio.h>
#include <string.h>

#include "fail.h"

/* xorshift64: small, and seeded alike in every run so that two runs send the same bytes. */
static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

void payload_fill(char *pool) {
    uint64_t random = 0x9e3779b97f4a7c15u;
    size_t filled = 0;
    while (filled < PAYLOAD_POOL_BYTES) {
        char text[160];
        int length = snprintf(text, sizeof text, "{\"temperature\":%u.%03u,\"humidity\":%u.%02u,\"pressure\":%u.%02u}",
                              (unsigned)(next_random(&random) % 90), (unsigned)(next_random(&random) % 1000),
                              (unsigned)(next_random(&random) % 100), (unsigned)(next_random(&random) % 100),
                              (unsigned)(950 + next_random(&random) % 100), (unsigned)(next_random(&random) % 100));
        if (length < 0 || (size_t)length >= sizeof text)
            fail("cannot write a payload");
        size_t room = PAYLOAD_POOL_BYTES - filled;
        size_t taken = (size_t)length < room ? (size_t)length : room;
        memcpy(pool + filled, text, taken);
        filled += taken;
    }
}

size_t payload_offset(uint64_t n) {
    return (size_t)(n * 131 % (PAYLOAD_POOL_BYTES - PAYLOAD_MAX_BYTES)); /* 131 is prime: slices do not fall into step */
}
