#include "websocket.h"

#include <stdio.h>
#include <string.h>

#include "fail.h"

#define BINARY 0x82 /* and final */
#define MASKED 0x80
#define LENGTH_16 126

size_t websocket_request(uint8_t *at, size_t room) {
    static const char request[] =
        "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bG9hZGdlbmxvYWRnZW4hIQ==\r\n"
        "Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    size_t length = sizeof request - 1;
    if (length > room)
        fail("no room for the upgrade request");
    memcpy(at, request, length);
    return length;
}

bool websocket_accepted(const uint8_t *answer, size_t count) {
    static const char accepted[] = "HTTP/1.1 101 ";
    if (count < 4 || memcmp(answer + count - 4, "\r\n\r\n", 4) != 0)
        return false;
    if (count < sizeof accepted - 1 || memcmp(answer, accepted, sizeof accepted - 1) != 0)
        fail("the upgrade was refused: %.*s", (int)count, (const char *)answer);
    return true;
}

uint8_t *websocket_header(uint8_t *at, size_t length) {
    *at++ = BINARY;
    if (length < LENGTH_16) {
        *at++ = (uint8_t)(MASKED | length);
    } else {
        *at++ = MASKED | LENGTH_16;
        *at++ = (uint8_t)(length >> 8);
        *at++ = (uint8_t)length;
    }
    memset(at, 0, 4);
    return at + 4;
}

size_t websocket_read_header(const uint8_t *at, size_t count, size_t *length) {
    if (count < 2)
        return 0;
    if (at[0] != BINARY || at[1] > LENGTH_16)
        fail("an unexpected frame: 0x%02x 0x%02x", at[0], at[1]);
    if (at[1] < LENGTH_16) {
        *length = at[1];
        return 2;
    }
    if (count < 4)
        return 0;
    *length = (size_t)(at[2] << 8 | at[3]);
    return 4;
}
