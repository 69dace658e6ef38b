/* As much of WebSocket (RFC 6455) as a load needs: the upgrade and the heads of binary frames. */
#ifndef LOADGEN_WEBSOCKET_H
#define LOADGEN_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEBSOCKET_HEADER_MAX 8u

/* Writes the request for /mqtt, at most `room` bytes; how many those are. */
size_t websocket_request(uint8_t *at, size_t room);

/* Whether the answer is there; ends the program where it is no 101. */
bool websocket_accepted(const uint8_t *answer, size_t count);

/* Writes the head of a client's frame with `length` bytes, at most 65,535; where these begin. The mask is nought: the
 * server takes it off like any other, and a load has nobody to hide from. */
uint8_t *websocket_header(uint8_t *at, size_t length);

/* Reads the head of a server's frame: its bytes, and in `length` what follows; 0 where it is not whole. */
size_t websocket_read_header(const uint8_t *at, size_t count, size_t *length);

#endif
