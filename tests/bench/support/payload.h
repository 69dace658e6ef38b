/* Payloads: slices of a stream of sensor-like text that hardly repeats, so that compressing them behind the daemon
 * costs what it costs in the field (zeros would be free, random bytes given up on at once). */
#ifndef LOADGEN_PAYLOAD_H
#define LOADGEN_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

#define PAYLOAD_POOL_BYTES (1u << 20)
#define PAYLOAD_MAX_BYTES 65536u

/* Writes the stream into `pool`, PAYLOAD_POOL_BYTES long; the same in every run. */
void payload_fill(char *pool);

/* Where the payload of the n-th message stands in the pool; at least PAYLOAD_MAX_BYTES follow. */
size_t payload_offset(uint64_t n);

#endif
