/* loadgen: a load of MQTT 3.1.1 QoS 1 publications on a server of this machine, and how long each acknowledgement took.
 *
 *   loadgen --port 8883 --ca certs/ca.pem --certs certs/devices --connections 100 --window 10 --payload 128 --seconds 8
 *
 * N connections, each with its own client id (PREFIX00001 ...) and, where --certs is given, its own certificate
 * (DIR/ID.pem, chain and key in one file); with --websocket, over that. Closed loop: each keeps `window` publications in flight. Open loop (--rate):
 * publications are due at fixed moments and their duration counts from when they were due, so that a server that stalls
 * cannot hide it by slowing the load down. What one connection may send at once goes out in one write.
 *
 * It tells its phases as JSON objects, a line each, on standard output: connected, measuring, measured (the figures),
 * finished (totals, after everything in flight was acknowledged). Any error ends it with a reason and status 1.
 *
 * It connects to 127.0.0.1 only, and every number it is given has a limit. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "support/connection.h"
#include "support/fail.h"
#include "support/histogram.h"
#include "support/payload.h"

#define CONNECTIONS_MAX 20000
#define WINDOW_MAX 1000
#define SECONDS_MAX 3600
#define RATE_MAX 10000000
#define CONNECTING_AT_ONCE 64  /* below any server's accept queue */
#define CONNECT_LIMIT_S 120
#define DRAIN_LIMIT_S 60
#define SETTLE_S 0.5           /* between the last CONNACK and the first PUBLISH */
#define EVENTS 256
#define NS_PER_S 1000000000.0

struct options {
    struct load load;
    const char *ca;
    const char *prefix;
    const char *topic;
    unsigned connections;
    double warm_up_s;
    double seconds;
    double rate;              /* messages a second in all; 0: closed loop */
};

struct run {
    const struct options *options;
    struct load load;
    struct connection *connections;
    struct histogram *histogram;
    uint64_t started_ns;      /* when the load began: the origin of the open loop's schedule */
    uint64_t scheduled;       /* open loop: publications whose time has been looked at */
    bool publishing;
};

static double number(const char *name, const char *text, double low, double high) {
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(value >= low && value <= high))
        fail("--%s takes a number from %g to %g, not '%s'", name, low, high, text);
    return value;
}

static void read_option(struct options *options, int option, const char *text) {
    switch (option) {
    case 'p': options->load.port = (uint16_t)number("port", text, 1, 65535); break;
    case 'a': options->ca = text; break;
    case 'd': options->load.certs = text; break;
    case 'n': options->connections = (unsigned)number("connections", text, 1, CONNECTIONS_MAX); break;
    case 'w': options->load.window = (unsigned)number("window", text, 1, WINDOW_MAX); break;
    case 'b': options->load.payload_bytes = (size_t)number("payload", text, 0, PAYLOAD_MAX_BYTES); break;
    case 's': options->seconds = number("seconds", text, 0.1, SECONDS_MAX); break;
    case 'u': options->warm_up_s = number("warm-up", text, 0, SECONDS_MAX); break;
    case 'r': options->rate = number("rate", text, 0, RATE_MAX); break;
    case 'i': options->prefix = text; break;
    case 't': options->topic = text; break;
    case 'x': options->load.websocket = true; break;
    default: fail("usage: see the head of loadgen.c");
    }
}

static struct options read_options(int count, char **arguments) {
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},    {"ca", required_argument, NULL, 'a'},
        {"certs", required_argument, NULL, 'd'},   {"connections", required_argument, NULL, 'n'},
        {"window", required_argument, NULL, 'w'},  {"payload", required_argument, NULL, 'b'},
        {"seconds", required_argument, NULL, 's'}, {"warm-up", required_argument, NULL, 'u'},
        {"rate", required_argument, NULL, 'r'},    {"id-prefix", required_argument, NULL, 'i'},
        {"topic", required_argument, NULL, 't'},   {"websocket", no_argument, NULL, 'x'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {
        .load = {.window = 1, .payload_bytes = 128}, .prefix = "dev-", .topic = "devices/ID/telemetry/main",
        .connections = 100, .warm_up_s = 2, .seconds = 8,
    };
    for (int option; (option = getopt_long(count, arguments, "", names, NULL)) != -1;)
        read_option(&options, option, optarg);
    if (optind != count || options.load.port == 0)
        fail("--port is needed, and nothing that is not an option");
    if ((options.ca == NULL) != (options.load.certs == NULL))
        fail("--ca and --certs go together");
    return options;
}

static SSL_CTX *make_tls(const char *ca) {
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL || SSL_CTX_load_verify_locations(tls, ca, NULL) != 1)
        fail_tls(ca);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(tls, 1); /* one read(2) for a record instead of two */
    return tls;
}

/* The pattern's "ID" replaced by the id. */
static void write_topic(char *topic, size_t size, const char *pattern, const char *id) {
    const char *hole = strstr(pattern, "ID");
    int length = hole == NULL ? snprintf(topic, size, "%s", pattern)
                              : snprintf(topic, size, "%.*s%s%s", (int)(hole - pattern), pattern, id, hole + 2);
    if (length < 0 || (size_t)length >= size)
        fail("the topic '%s' is too long", pattern);
}

static void open_numbered(struct run *run, unsigned index) {
    char id[24];
    char topic[256];
    int length = snprintf(id, sizeof id, "%s%05u", run->options->prefix, index + 1);
    if (length < 0 || (size_t)length >= sizeof id)
        fail("--id-prefix is too long");
    write_topic(topic, sizeof topic, run->options->topic, id);
    connection_open(&run->connections[index], &run->load, id, topic);
}

/* When the n-th publication of connection `index` is due: all connections take turns, evenly over time. */
static uint64_t due_ns(const struct run *run, unsigned index, uint64_t n) {
    double turn = (double)n * run->options->connections + index;
    return run->started_ns + (uint64_t)(turn * NS_PER_S / run->options->rate);
}

/* Publishes what the window and, in the open loop, the schedule allow, in one write. */
static void replenish(struct run *run, struct connection *connection) {
    if (!run->publishing || connection->stage != READY)
        return;
    unsigned index = (unsigned)(connection - run->connections);
    uint64_t now = now_ns();
    unsigned room = connection_room(connection);
    for (; room > 0; room--) {
        uint64_t begins = run->options->rate > 0 ? due_ns(run, index, connection->published) : now;
        if (begins > now)
            break;
        connection_publish(connection, begins);
    }
    connection_flush(connection);
}

/* Open loop: gives every connection whose turn has come the chance to publish; each once. */
static void follow_schedule(struct run *run) {
    unsigned count = run->options->connections;
    uint64_t due = (uint64_t)((double)(now_ns() - run->started_ns) * run->options->rate / NS_PER_S) + 1;
    uint64_t from = due > run->scheduled + count ? due - count : run->scheduled;
    for (uint64_t turn = from; turn < due; turn++)
        replenish(run, &run->connections[turn % count]);
    run->scheduled = due;
}

/* How long to sleep at most: to the next publication's time, and never beyond `until`. */
static struct timespec sleep_until(const struct run *run, uint64_t until) {
    uint64_t now = now_ns();
    uint64_t wake = until;
    if (run->publishing && run->options->rate > 0) {
        uint64_t next = run->started_ns + (uint64_t)((double)run->scheduled * NS_PER_S / run->options->rate);
        wake = next < until ? next : until;
    }
    uint64_t left = wake > now ? wake - now : 0;
    return (struct timespec){.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
}

/* One turn: waits for sockets, reads acknowledgements, publishes into the room they made. */
static void turn(struct run *run, uint64_t until) {
    struct epoll_event events[EVENTS];
    struct timespec timeout = sleep_until(run, until);
    int count = epoll_pwait2(run->load.epoll, events, EVENTS, &timeout, NULL);
    if (count < 0 && errno != EINTR)
        fail_errno("epoll_pwait2");
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        connection_advance(connection, run->histogram);
        replenish(run, connection);
    }
    if (run->publishing && run->options->rate > 0)
        follow_schedule(run);
}

static void run_for(struct run *run, double seconds) {
    uint64_t until = now_ns() + (uint64_t)(seconds * NS_PER_S);
    while (now_ns() < until)
        turn(run, until);
}

static unsigned count_ready(const struct run *run, unsigned opened) {
    unsigned ready = 0;
    for (unsigned i = 0; i < opened; i++)
        ready += run->connections[i].stage == READY;
    return ready;
}

static void connect_all(struct run *run) {
    unsigned count = run->options->connections;
    uint64_t until = now_ns() + (uint64_t)(CONNECT_LIMIT_S * NS_PER_S);
    unsigned opened = 0;
    for (unsigned ready = 0; ready < count; ready = count_ready(run, opened)) {
        while (opened < count && opened - ready < CONNECTING_AT_ONCE)
            open_numbered(run, opened++);
        if (now_ns() >= until)
            fail("only %u of %u connections were accepted in %d s", ready, count, CONNECT_LIMIT_S);
        turn(run, until);
    }
}

static uint64_t total_acknowledged(const struct run *run) {
    uint64_t total = 0;
    for (unsigned i = 0; i < run->options->connections; i++)
        total += run->connections[i].acknowledged;
    return total;
}

static uint64_t total_published(const struct run *run) {
    uint64_t total = 0;
    for (unsigned i = 0; i < run->options->connections; i++)
        total += run->connections[i].published;
    return total;
}

/* Waits until everything in flight is acknowledged. */
static void drain(struct run *run) {
    uint64_t until = now_ns() + (uint64_t)(DRAIN_LIMIT_S * NS_PER_S);
    run->publishing = false;
    while (total_acknowledged(run) < total_published(run)) {
        if (now_ns() >= until)
            fail("%" PRIu64 " publications were not acknowledged", total_published(run) - total_acknowledged(run));
        turn(run, until);
    }
}

static double own_cpu_s(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        fail_errno("getrusage");
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Prints one event at once: whoever started this program takes his own readings when he sees it. */
static void say(const char *line) {
    if (puts(line) < 0 || fflush(stdout) != 0)
        fail_errno("standard output");
}

static void measure(struct run *run) {
    char line[512];
    histogram_reset(run->histogram);
    double cpu_s = own_cpu_s();
    uint64_t started = now_ns();
    say("{\"event\": \"measuring\"}");
    run_for(run, run->options->seconds);
    double elapsed_s = (double)(now_ns() - started) / NS_PER_S;
    const struct histogram *histogram = run->histogram;
    int length = snprintf(line, sizeof line,
        "{\"event\": \"measured\", \"messages\": %" PRIu64 ", \"elapsed_s\": %.3f, \"messages_per_s\": %.1f, "
        "\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"cpu_s\": %.3f}",
        histogram->count, elapsed_s, (double)histogram->count / elapsed_s, histogram_quantile_us(histogram, 0.5),
        histogram_quantile_us(histogram, 0.9), histogram_quantile_us(histogram, 0.99),
        (double)histogram->max_ns / 1000.0, own_cpu_s() - cpu_s);
    if (length < 0 || (size_t)length >= sizeof line)
        fail("cannot write the figures");
    say(line);
}

static void finish(struct run *run) {
    char line[128];
    drain(run);
    int length = snprintf(line, sizeof line, "{\"event\": \"finished\", \"messages_total\": %" PRIu64 "}",
                          total_acknowledged(run));
    if (length < 0 || (size_t)length >= sizeof line)
        fail("cannot write the totals");
    for (unsigned i = 0; i < run->options->connections; i++)
        connection_close(&run->connections[i]);
    say(line);
}

/* Sets the load going and keeps it up through warm-up and measurement. */
static void execute(struct run *run) {
    connect_all(run);
    say("{\"event\": \"connected\"}");
    run_for(run, SETTLE_S);
    run->publishing = true;
    run->started_ns = now_ns();
    if (run->options->rate == 0)
        for (unsigned i = 0; i < run->options->connections; i++)
            replenish(run, &run->connections[i]);
    run_for(run, run->options->warm_up_s);
    measure(run);
    finish(run);
}

int main(int count, char **arguments) {
    struct options options = read_options(count, arguments);
    struct run run = {.options = &options, .load = options.load};
    char *pool = malloc(PAYLOAD_POOL_BYTES);
    run.connections = calloc(options.connections, sizeof *run.connections);
    run.histogram = calloc(1, sizeof *run.histogram);
    if (pool == NULL || run.connections == NULL || run.histogram == NULL)
        fail("out of memory");
    payload_fill(pool);
    run.load.pool = pool;
    run.load.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (run.load.epoll < 0)
        fail_errno("epoll_create1");
    if (options.ca != NULL)
        run.load.tls = make_tls(options.ca);
    execute(&run);
    SSL_CTX_free(run.load.tls);
    free(run.histogram);
    free(run.connections);
    free(pool);
    return EXIT_SUCCESS;
}
