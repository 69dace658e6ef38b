/* One MQTT 3.1.1 connection of the load generator, over TCP or mutual TLS, on a non-blocking socket.
 *
 * It publishes at QoS 1 and holds the server to order: PUBACKs come in the order of the PUBLISHes [MQTT-4.6.0-2].
 * Whatever goes wrong ends the program (see fail.h). It does not subscribe, reconnect or send anything twice. */
#ifndef LOADGEN_CONNECTION_H
#define LOADGEN_CONNECTION_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

/* What all connections have in common. */
struct load {
    int epoll;
    uint16_t port;
    SSL_CTX *tls;          /* NULL: plain TCP */
    bool websocket;        /* at /mqtt, each packet in a frame of its own, as most clients do */
    const char *certs;     /* directory with ID.pem for each id; used with tls */
    const char *pool;      /* payloads, see payload.h */
    size_t payload_bytes;
    unsigned window;       /* publications in flight on one connection */
};

enum stage { TCP_CONNECTING, TLS_HANDSHAKING, UPGRADING, MQTT_CONNECTING, READY };

struct connection {
    const struct load *load;
    char id[24];
    int fd;
    SSL *ssl;
    enum stage stage;
    uint32_t interest;     /* what epoll watches for */
    uint8_t *header;       /* of each PUBLISH, with room for the packet id at its end */
    size_t header_bytes;
    uint64_t *started_ns;  /* ring of `window`: when each publication in flight began */
    uint64_t payload_salt; /* where in the pool its payloads begin */
    uint64_t published;    /* in all; the packet id follows from it */
    uint64_t acknowledged;
    uint8_t *output;       /* room for `window` packets: no more are ever waiting */
    size_t output_bytes;
    size_t output_sent;
    uint8_t input[4096];
    size_t input_bytes;
    size_t frame_left;     /* WebSocket: bytes of the frame that is being read */
};

/* Starts to connect to 127.0.0.1 as `id`; `topic` is where it will publish. */
void connection_open(struct connection *connection, const struct load *load, const char *id, const char *topic);

/* Does what the socket is ready for. Durations of what was acknowledged go to `histogram`, measured up to the moment
 * they were read. */
void connection_advance(struct connection *connection, struct histogram *histogram);

/* Publications that the window still has room for. */
unsigned connection_room(const struct connection *connection);

/* Queues one PUBLISH; there must be room. `started_ns` is when its duration begins to count. */
void connection_publish(struct connection *connection, uint64_t started_ns);

/* Sends what is queued in one write, so far as the socket takes it; the rest follows by itself. */
void connection_flush(struct connection *connection);

/* Sends DISCONNECT, closes, frees. */
void connection_close(struct connection *connection);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);

#endif
