#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "payload.h"
#include "websocket.h"

#define CONNECT_MAX_BYTES 512 /* with the upgrade of a WebSocket */
#define KEEPALIVE_S 3600
#define PACKET_ID_BYTES 2
#define REPLY_BYTES 4 /* CONNACK and PUBACK are the only packets a QoS 1 publisher gets; both have four */

uint64_t now_ns(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        fail_errno("clock_gettime");
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *allocate(size_t bytes) {
    void *memory = calloc(1, bytes);
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

/* Packet ids run 1 to 65,535 [MQTT-2.3.1-1]. */
static uint16_t packet_id(uint64_t n) {
    return (uint16_t)(n % 65535 + 1);
}

static uint8_t *put_string(uint8_t *at, const char *text) {
    size_t length = strlen(text);
    *at++ = (uint8_t)(length >> 8);
    *at++ = (uint8_t)length;
    memcpy(at, text, length);
    return at + length;
}

/* The Remaining Length: seven bits a byte, low ones first (MQTT 3.1.1 §2.2.3). */
static uint8_t *put_length(uint8_t *at, size_t length) {
    do {
        *at++ = (uint8_t)(length % 128 + (length >= 128 ? 128 : 0));
        length /= 128;
    } while (length > 0);
    return at;
}

static void build_header(struct connection *connection, const char *topic) {
    size_t remaining = 2 + strlen(topic) + PACKET_ID_BYTES + connection->load->payload_bytes;
    connection->header = allocate(1 + 4 + 2 + strlen(topic) + PACKET_ID_BYTES);
    uint8_t *end = connection->header;
    *end++ = 0x32; /* PUBLISH, QoS 1 */
    end = put_length(end, remaining);
    end = put_string(end, topic);
    connection->header_bytes = (size_t)(end + PACKET_ID_BYTES - connection->header);
}

/* Sets what epoll watches: input always, output while something waits for it. */
static void watch(struct connection *connection, bool output) {
    uint32_t interest = EPOLLIN | (output ? EPOLLOUT : 0);
    if (interest == connection->interest)
        return;
    struct epoll_event event = {.events = interest, .data.ptr = connection};
    int operation = connection->interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(connection->load->epoll, operation, connection->fd, &event) != 0)
        fail_errno("epoll_ctl");
    connection->interest = interest;
}

/* Two connections do not send the same payloads: each starts elsewhere in the pool (FNV-1a of the id). */
static uint64_t salt_of(const char *id) {
    uint32_t hash = 2166136261u;
    for (; *id != '\0'; id++)
        hash = (hash ^ (uint8_t)*id) * 16777619u;
    return hash;
}

static void start_tls(struct connection *connection) {
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/%s.pem", connection->load->certs, connection->id);
    if (length < 0 || (size_t)length >= sizeof path)
        fail("the path of %s.pem is too long", connection->id);
    connection->ssl = SSL_new(connection->load->tls);
    if (connection->ssl == NULL || SSL_set_fd(connection->ssl, connection->fd) != 1)
        fail_tls("TLS");
    if (SSL_use_certificate_chain_file(connection->ssl, path) != 1 ||
        SSL_use_PrivateKey_file(connection->ssl, path, SSL_FILETYPE_PEM) != 1)
        fail_tls(path);
    SSL_set_connect_state(connection->ssl);
}

static void start_tcp(struct connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(connection->load->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0)
        fail_errno("socket");
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)
        fail_errno("connect");
}

void connection_open(struct connection *connection, const struct load *load, const char *id, const char *topic) {
    memset(connection, 0, sizeof *connection);
    connection->load = load;
    if (strlen(id) >= sizeof connection->id)
        fail("the client id %s is too long", id);
    memcpy(connection->id, id, strlen(id) + 1);
    connection->payload_salt = salt_of(id);
    build_header(connection, topic);
    size_t packet = connection->header_bytes + load->payload_bytes + WEBSOCKET_HEADER_MAX;
    connection->output = allocate(load->window * packet + CONNECT_MAX_BYTES);
    connection->started_ns = allocate(load->window * sizeof *connection->started_ns);
    start_tcp(connection);
    connection->stage = TCP_CONNECTING;
    watch(connection, true);
}

/* Bytes written, 0 when the socket takes none now. */
static size_t write_some(struct connection *connection, const uint8_t *bytes, size_t count) {
    if (connection->ssl == NULL) {
        ssize_t sent = send(connection->fd, bytes, count, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            fail_errno(connection->id);
        return sent < 0 ? 0 : (size_t)sent;
    }
    size_t sent = 0;
    ERR_clear_error(); /* SSL_get_error looks at what stands in the queue */
    if (SSL_write_ex(connection->ssl, bytes, count, &sent) == 1)
        return sent;
    int error = SSL_get_error(connection->ssl, 0);
    if (error != SSL_ERROR_WANT_WRITE && error != SSL_ERROR_WANT_READ)
        fail_tls(connection->id);
    return 0;
}

/* Bytes read, 0 when there are none now. */
static size_t read_some(struct connection *connection, uint8_t *bytes, size_t count) {
    if (connection->ssl == NULL) {
        ssize_t got = recv(connection->fd, bytes, count, 0);
        if (got == 0)
            fail("%s: the server closed the connection", connection->id);
        if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            fail_errno(connection->id);
        return got < 0 ? 0 : (size_t)got;
    }
    size_t got = 0;
    ERR_clear_error();
    if (SSL_read_ex(connection->ssl, bytes, count, &got) == 1)
        return got;
    int error = SSL_get_error(connection->ssl, 0);
    if (error == SSL_ERROR_ZERO_RETURN)
        fail("%s: the server closed the connection", connection->id);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        fail_tls(connection->id);
    return 0;
}

void connection_flush(struct connection *connection) {
    while (connection->output_sent < connection->output_bytes) {
        size_t sent = write_some(connection, connection->output + connection->output_sent,
                                 connection->output_bytes - connection->output_sent);
        if (sent == 0)
            break;
        connection->output_sent += sent;
    }
    /* What was sent makes room at once: the buffer holds `window` packets and that many may wait again. */
    connection->output_bytes -= connection->output_sent;
    memmove(connection->output, connection->output + connection->output_sent, connection->output_bytes);
    connection->output_sent = 0;
    watch(connection, connection->output_bytes > 0);
}

static void greet(struct connection *connection) {
    uint8_t *at = connection->output;
    if (connection->load->websocket)
        at = websocket_header(at, 2 + 12 + strlen(connection->id));
    *at++ = 0x10; /* CONNECT */
    at = put_length(at, 10 + 2 + strlen(connection->id));
    at = put_string(at, "MQTT");
    *at++ = 4;    /* protocol level: 3.1.1 */
    *at++ = 0x02; /* clean session */
    *at++ = KEEPALIVE_S >> 8;
    *at++ = KEEPALIVE_S & 0xff;
    at = put_string(at, connection->id);
    connection->output_bytes = (size_t)(at - connection->output);
    connection->stage = MQTT_CONNECTING;
    connection_flush(connection);
}

/* TCP, and TLS where it is asked for, are done. */
static void begin(struct connection *connection) {
    if (!connection->load->websocket) {
        greet(connection);
        return;
    }
    connection->output_bytes = websocket_request(connection->output, CONNECT_MAX_BYTES);
    connection->stage = UPGRADING;
    connection_flush(connection);
}

static void finish_upgrade(struct connection *connection) {
    size_t room = sizeof connection->input - connection->input_bytes;
    connection->input_bytes += read_some(connection, connection->input + connection->input_bytes, room);
    if (!websocket_accepted(connection->input, connection->input_bytes))
        return;
    connection->input_bytes = 0; /* the server says nothing before CONNECT */
    greet(connection);
}

static void shake_hands(struct connection *connection) {
    ERR_clear_error();
    int result = SSL_do_handshake(connection->ssl);
    if (result == 1) {
        begin(connection);
        return;
    }
    int error = SSL_get_error(connection->ssl, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        fail_tls(connection->id);
    watch(connection, error == SSL_ERROR_WANT_WRITE);
}

static void finish_tcp(struct connection *connection) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        fail_errno("getsockopt");
    if (error != 0)
        fail("%s: connect: %s", connection->id, strerror(error));
    if (connection->load->tls == NULL) {
        begin(connection);
        return;
    }
    start_tls(connection);
    connection->stage = TLS_HANDSHAKING;
    shake_hands(connection);
}

static void take_reply(struct connection *connection, const uint8_t *reply, uint64_t now, struct histogram *histogram) {
    if (connection->stage == MQTT_CONNECTING) {
        if (reply[0] != 0x20 || reply[1] != 2 || reply[3] != 0)
            fail("%s: refused: CONNACK return code %u", connection->id, reply[3]);
        connection->stage = READY;
        return;
    }
    uint16_t expected = packet_id(connection->acknowledged);
    if (reply[0] != 0x40 || reply[1] != 2 || connection->acknowledged == connection->published)
        fail("%s: unexpected packet of type 0x%02x", connection->id, reply[0]);
    if ((reply[2] << 8 | reply[3]) != expected)
        fail("%s: PUBACK for %u where %u was due", connection->id, reply[2] << 8 | reply[3], expected);
    uint64_t started = connection->started_ns[connection->acknowledged % connection->load->window];
    histogram_add(histogram, now > started ? now - started : 0);
    connection->acknowledged++;
}

/* Takes what is whole off the input; how many bytes that was. */
static size_t take_replies(struct connection *connection, struct histogram *histogram) {
    uint64_t now = now_ns();
    size_t used = 0;
    for (;;) {
        const uint8_t *at = connection->input + used;
        size_t left = connection->input_bytes - used;
        if (connection->load->websocket && connection->frame_left == 0) {
            size_t header = websocket_read_header(at, left, &connection->frame_left);
            if (header == 0)
                return used;
            used += header;
            continue;
        }
        if (left < REPLY_BYTES)
            return used;
        take_reply(connection, at, now, histogram);
        used += REPLY_BYTES;
        if (connection->load->websocket && (connection->frame_left -= REPLY_BYTES) % REPLY_BYTES != 0)
            fail("%s: a frame that cuts a packet", connection->id);
    }
}

static void read_replies(struct connection *connection, struct histogram *histogram) {
    for (;;) {
        size_t room = sizeof connection->input - connection->input_bytes;
        size_t got = read_some(connection, connection->input + connection->input_bytes, room);
        if (got == 0)
            return;
        connection->input_bytes += got;
        size_t used = take_replies(connection, histogram);
        connection->input_bytes -= used;
        memmove(connection->input, connection->input + used, connection->input_bytes);
        if (got < room && (connection->ssl == NULL || SSL_has_pending(connection->ssl) == 0))
            return; /* it would only say EAGAIN */
    }
}

void connection_advance(struct connection *connection, struct histogram *histogram) {
    switch (connection->stage) {
    case TCP_CONNECTING:
        finish_tcp(connection);
        break;
    case TLS_HANDSHAKING:
        shake_hands(connection);
        break;
    case UPGRADING:
        if (connection->output_bytes > 0)
            connection_flush(connection);
        finish_upgrade(connection);
        break;
    case MQTT_CONNECTING:
    case READY:
        if (connection->output_bytes > 0)
            connection_flush(connection);
        read_replies(connection, histogram);
        break;
    }
}

unsigned connection_room(const struct connection *connection) {
    return connection->load->window - (unsigned)(connection->published - connection->acknowledged);
}

void connection_publish(struct connection *connection, uint64_t started_ns) {
    const struct load *load = connection->load;
    uint8_t *start = connection->output + connection->output_bytes, *packet = start;
    if (load->websocket)
        packet = websocket_header(start, connection->header_bytes + load->payload_bytes);
    uint16_t id = packet_id(connection->published);
    memcpy(packet, connection->header, connection->header_bytes);
    packet[connection->header_bytes - 2] = (uint8_t)(id >> 8);
    packet[connection->header_bytes - 1] = (uint8_t)id;
    const char *payload = load->pool + payload_offset(connection->payload_salt + connection->published);
    memcpy(packet + connection->header_bytes, payload, load->payload_bytes);
    connection->output_bytes += (size_t)(packet - start) + connection->header_bytes + load->payload_bytes;
    connection->started_ns[connection->published % load->window] = started_ns;
    connection->published++;
}

void connection_close(struct connection *connection) {
    uint8_t disconnect[WEBSOCKET_HEADER_MAX + 2], *at = disconnect;
    if (connection->load->websocket)
        at = websocket_header(at, 2);
    *at++ = 0xe0;
    *at++ = 0x00;
    if (write_some(connection, disconnect, (size_t)(at - disconnect)) == 0)
        fail("%s: the socket takes no DISCONNECT", connection->id);
    SSL_free(connection->ssl); /* NULL is allowed */
    if (close(connection->fd) != 0)
        fail_errno("close");
    free(connection->header);
    free(connection->output);
    free(connection->started_ns);
}
