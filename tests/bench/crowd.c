/* crowd: P publishers and S subscribers on a broker of this machine; how fast each message reaches every subscriber.
 *
 *   crowd --port 1883 --publishers 1 --subscribers 1000 --qos 1 --window 4 --payload 128 --seconds 5
 *
 * Publisher N sends to fan/N, the subscribers take fan/+. Closed loop: publishers take turns, and at most `window`
 * messages are on their way, each until all subscribers have it. A payload begins with the moment it was sent at; every
 * delivery counts once. MQTT 3.1.1, plain TCP, 127.0.0.1 only.
 *
 * It tells its phases as loadgen does. Any error, and a message that does not come, ends it with a reason and status 1. */

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "support/fail.h"
#include "support/histogram.h"

#define CLIENTS_MAX 20000
#define PAYLOAD_MAX 4096
#define INPUT_BYTES 65536
#define EVENTS 256
#define STALLED_MS 10000
#define NS_PER_S 1000000000.0

struct client {
    int fd;
    bool subscribes;
    size_t input_bytes;
    uint8_t input[INPUT_BYTES];
};

struct crowd {
    uint16_t port;
    unsigned publishers, subscribers, qos, window;
    size_t payload_bytes;
    double warm_up_s, seconds;
    int epoll;
    struct client *clients;   /* the publishers first */
    uint64_t published, delivered;
    struct histogram histogram;
};

static uint64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static double number(const char *text, double low, double high) {
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= low && value <= high))
        fail("a number from %g to %g is wanted, not '%s'", low, high, text);
    return value;
}

static void read_options(struct crowd *crowd, int count, char **arguments) {
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},    {"publishers", required_argument, NULL, 'n'},
        {"subscribers", required_argument, NULL, 'm'}, {"qos", required_argument, NULL, 'q'},
        {"window", required_argument, NULL, 'w'},  {"payload", required_argument, NULL, 'b'},
        {"seconds", required_argument, NULL, 's'}, {"warm-up", required_argument, NULL, 'u'}, {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(count, arguments, "", names, NULL)) != -1;)
        switch (option) {
        case 'p': crowd->port = (uint16_t)number(optarg, 1, 65535); break;
        case 'n': crowd->publishers = (unsigned)number(optarg, 1, CLIENTS_MAX); break;
        case 'm': crowd->subscribers = (unsigned)number(optarg, 1, CLIENTS_MAX); break;
        case 'q': crowd->qos = (unsigned)number(optarg, 0, 1); break;
        case 'w': crowd->window = (unsigned)number(optarg, 1, CLIENTS_MAX); break;
        case 'b': crowd->payload_bytes = (size_t)number(optarg, 8, PAYLOAD_MAX); break;
        case 's': crowd->seconds = number(optarg, 0.1, 3600); break;
        case 'u': crowd->warm_up_s = number(optarg, 0, 3600); break;
        default: fail("usage: see the head of crowd.c");
        }
    if (crowd->port == 0)
        fail("--port is needed");
}

static void send_all(int fd, const uint8_t *bytes, size_t count) {
    while (count > 0) {
        ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);
        if (sent < 0)
            fail_errno("send");
        bytes += sent;
        count -= (size_t)sent;
    }
}

static void expect(int fd, uint8_t first, size_t length, size_t reason_at) {
    uint8_t answer[8];
    if (recv(fd, answer, length, MSG_WAITALL) != (ssize_t)length || answer[0] != first || answer[reason_at] > 1)
        fail("the broker refused a client (packet 0x%02x)", first);
}

/* Blocking until it is connected and subscribed: that is not what is measured. */
static void enter(struct crowd *crowd, struct client *client, unsigned index) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(crowd->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1;
    uint8_t packet[32] = {0x10, 18, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0x0e, 0x10, 0, 6};
    char id[12];
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0 ||
        connect(client->fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail_errno("connect");
    snprintf(id, sizeof id, "c%05u", index);
    memcpy(packet + 14, id, 6);
    send_all(client->fd, packet, 20);
    expect(client->fd, 0x20, 4, 3);
    if (client->subscribes) {
        uint8_t subscribe[13] = {0x82, 10, 0, 1, 0, 5, 'f', 'a', 'n', '/', '+', (uint8_t)crowd->qos};
        send_all(client->fd, subscribe, 12);
        expect(client->fd, 0x90, 5, 4);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, client->fd, &event) != 0)
        fail_errno("epoll_ctl");
}

static void publish(struct crowd *crowd) {
    unsigned index = (unsigned)(crowd->published % crowd->publishers);
    uint8_t packet[PAYLOAD_MAX + 32] = {(uint8_t)(0x30 | crowd->qos << 1)};
    char topic[16];
    size_t name = (size_t)snprintf(topic, sizeof topic, "fan/%05u", index);
    size_t rest = 2 + name + 2 * crowd->qos + crowd->payload_bytes, at = 1;
    for (size_t left = rest; at == 1 || left > 0; left /= 128)
        packet[at++] = (uint8_t)(left % 128 + (left >= 128 ? 128 : 0));
    packet[at++] = 0;
    packet[at++] = (uint8_t)name;
    memcpy(packet + at, topic, name);
    at += name;
    if (crowd->qos) {
        uint16_t id = (uint16_t)(crowd->published / crowd->publishers % 65535 + 1);
        packet[at++] = (uint8_t)(id >> 8);
        packet[at++] = (uint8_t)id;
    }
    uint64_t sent_at = now();
    memcpy(packet + at, &sent_at, sizeof sent_at);
    send_all(crowd->clients[index].fd, packet, at + crowd->payload_bytes);
    crowd->published++;
}

/* Takes one whole packet off `packet`; its length, or 0 where it is not whole. */
static size_t take(struct crowd *crowd, const uint8_t *packet, size_t count, uint8_t *answers, size_t *answered,
                   uint64_t moment) {
    size_t length = 0, at = 1, shift = 0;
    do {
        if (at >= count)
            return 0;
        length |= (size_t)(packet[at] & 127) << shift;
        shift += 7;
    } while (packet[at++] & 128);
    if (count < at + length)
        return 0;
    if (packet[0] >> 4 == 3) {
        size_t body = at + 2 + (size_t)(packet[at] << 8 | packet[at + 1]);
        uint64_t sent_at;
        if ((packet[0] >> 1 & 3) == 1) {
            memcpy(answers + *answered, (uint8_t[]){0x40, 2, packet[body], packet[body + 1]}, 4);
            *answered += 4;
            body += 2;
        }
        memcpy(&sent_at, packet + body, sizeof sent_at);
        histogram_add(&crowd->histogram, moment - sent_at);
        crowd->delivered++;
    } else if (packet[0] != 0x40) {
        fail("unexpected packet 0x%02x", packet[0]);
    }
    return at + length;
}

static void advance(struct crowd *crowd, struct client *client) {
    uint8_t answers[INPUT_BYTES];
    ssize_t got = recv(client->fd, client->input + client->input_bytes, INPUT_BYTES - client->input_bytes, 0);
    if (got <= 0)
        fail("the broker closed a connection");
    client->input_bytes += (size_t)got;
    size_t used = 0, answered = 0, taken;
    uint64_t moment = now();
    while ((taken = take(crowd, client->input + used, client->input_bytes - used, answers, &answered, moment)) > 0)
        used += taken;
    client->input_bytes -= used;
    memmove(client->input, client->input + used, client->input_bytes);
    if (answered > 0)
        send_all(client->fd, answers, answered);
}

static void turn(struct crowd *crowd, bool publishing) {
    struct epoll_event events[EVENTS];
    while (publishing && crowd->published * crowd->subscribers < crowd->delivered + (uint64_t)crowd->window * crowd->subscribers)
        publish(crowd);
    int count = epoll_wait(crowd->epoll, events, EVENTS, STALLED_MS);
    if (count == 0 || (count < 0 && errno != EINTR))
        fail("%" PRIu64 " deliveries do not come", crowd->published * crowd->subscribers - crowd->delivered);
    for (int i = 0; i < count; i++)
        advance(crowd, events[i].data.ptr);
}

static void run_for(struct crowd *crowd, double seconds) {
    uint64_t until = now() + (uint64_t)(seconds * NS_PER_S);
    while (now() < until)
        turn(crowd, true);
}

static void measure(struct crowd *crowd) {
    struct rusage before, after;
    const struct histogram *histogram = &crowd->histogram;
    histogram_reset(&crowd->histogram);
    getrusage(RUSAGE_SELF, &before);
    uint64_t started = now();
    puts("{\"event\": \"measuring\"}");
    fflush(stdout);
    run_for(crowd, crowd->seconds);
    double elapsed_s = (double)(now() - started) / NS_PER_S;
    getrusage(RUSAGE_SELF, &after);
    double cpu_s = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
        (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1e6;
    printf("{\"event\": \"measured\", \"messages\": %" PRIu64 ", \"elapsed_s\": %.3f, \"messages_per_s\": %.1f, "
           "\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"cpu_s\": %.3f}\n",
           histogram->count, elapsed_s, (double)histogram->count / elapsed_s, histogram_quantile_us(histogram, 0.5),
           histogram_quantile_us(histogram, 0.9), histogram_quantile_us(histogram, 0.99),
           (double)histogram->max_ns / 1000.0, cpu_s);
    fflush(stdout);
}

int main(int count, char **arguments) {
    struct crowd crowd = {.publishers = 1, .subscribers = 1, .window = 1, .payload_bytes = 128, .seconds = 5};
    read_options(&crowd, count, arguments);
    unsigned clients = crowd.publishers + crowd.subscribers;
    crowd.clients = calloc(clients, sizeof *crowd.clients);
    crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (crowd.clients == NULL || crowd.epoll < 0)
        fail_errno("start");
    for (unsigned index = 0; index < clients; index++) {
        crowd.clients[index].subscribes = index >= crowd.publishers;
        enter(&crowd, &crowd.clients[index], index);
    }
    run_for(&crowd, crowd.warm_up_s);
    measure(&crowd);
    while (crowd.delivered < crowd.published * crowd.subscribers)
        turn(&crowd, false);
    printf("{\"event\": \"finished\", \"messages_total\": %" PRIu64 "}\n", crowd.delivered);
    return EXIT_SUCCESS;
}
