/*
 * load: sends one fixed HTTP/1.1 request over and over on N kept connections, and tells how many
 * replies came and how long each took. One thread and epoll, so that the client takes little of
 * what the server could use; it can enter a container's network namespace first (-N).
 *
 *   load -a ADDRESS -p PORT -c CONNECTIONS [-n REPLIES] [-s SECONDS] [-w WARM_UP_REPLIES]
 *        [-e TEXT_THAT_A_REPLY_MUST_HOLD] [-N /proc/PID/ns/net] <REQUEST
 *
 * One line of JSON comes out. A reply counts if its status is 200 and it holds the text; others
 * are counted as failed. Replies carry Content-Length or are chunked. After the warm-up the clock
 * and the counters start anew. At the end the replies that are on their way are waited for: who
 * closes a connection with a request on it may have the task stopped.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 256 << 10, REQUEST_MAX = 1 << 20, FAILURES_MAX = 1000, GRACE = 10 };

struct connection {
    int fd;
    uint64_t sent_at;
    size_t have, sent;
    bool writing;
    char in[ROOM + 1];
};

static char request[REQUEST_MAX];
static size_t request_size;
static const char *must_hold = "";
static struct sockaddr_in server;
static int poller;
static bool ending;                             /* no more requests: wait for what is on its way */
static int outstanding;

static uint64_t *taken;                         /* nanoseconds of each counted reply */
static size_t counted, room_for, failed, in_a_row;
static char last_failure[512];

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void count_failure(const char *why, size_t n) {
    failed++;
    snprintf(last_failure, sizeof last_failure, "%.*s", (int)(n < 400 ? n : 400), why);
    if (++in_a_row > FAILURES_MAX) {
        fprintf(stderr, "load: %d failures in a row, the last: %s\n", FAILURES_MAX, last_failure);
        exit(1);
    }
}

static void count_reply(uint64_t nanoseconds) {
    if (counted == room_for) {
        room_for = room_for ? room_for * 2 : 1 << 16;
        if (!(taken = realloc(taken, room_for * sizeof *taken))) fail("memory");
    }
    taken[counted++] = nanoseconds;
    in_a_row = 0;
}

/* Sends the request, or what is left of it, and waits for room if the kernel has none. */
static bool send_rest(struct connection *c) {
    while (c->sent < request_size) {
        ssize_t n = send(c->fd, request + c->sent, request_size - c->sent, MSG_NOSIGNAL);
        if (n > 0) {
            c->sent += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) return false;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
        c->writing = true;
        return !epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
    }
    if (c->writing) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        c->writing = false;
        return !epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
    }
    return true;
}

static bool send_request(struct connection *c) {
    if (ending) return true;
    outstanding++;
    c->have = c->sent = 0;
    c->sent_at = now();
    return send_rest(c);
}

static void open_connection(struct connection *c) {
    int on = 1;
    for (;;) {
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0) fail("socket");
        if (!connect(c->fd, (struct sockaddr *)&server, sizeof server)) break;
        count_failure(strerror(errno), 400);
        close(c->fd);
        usleep(1000);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->writing = false;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll");
    if (!send_request(c)) fail("send");
}

static void reopen(struct connection *c) {
    close(c->fd);
    if (!ending) open_connection(c);
}

/* The value of a header, within the head that ends at `end`; NULL if it isn't there. */
static const char *header(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *p = head; (p = memchr(p, '\n', (size_t)(end - p))); ) {
        if (++p + length >= end) return NULL;
        if (!strncasecmp(p, name, length)) return p + length;
    }
    return NULL;
}

/* Whether the whole reply is here. */
static bool whole(const struct connection *c, bool *closes) {
    const char *head_end = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!head_end) return false;
    const char *body = head_end + 4;
    const char *length = header(c->in, head_end, "content-length:");
    const char *connection = header(c->in, head_end, "connection:");
    *closes = connection && !strncasecmp(connection + strspn(connection, " "), "close", 5);
    if (length) return c->have >= (size_t)(body - c->in) + strtoul(length, NULL, 10);
    return c->have >= 5 && !memcmp(c->in + c->have - 5, "0\r\n\r\n", 5);
}

static void receive(struct connection *c) {
    ssize_t n = recv(c->fd, c->in + c->have, ROOM - c->have, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0 || c->have + (size_t)n == ROOM) {
        count_failure(n ? "connection broke, or the reply is too large" : "connection closed", 400);
        outstanding--;
        reopen(c);
        return;
    }
    c->have += (size_t)n;
    c->in[c->have] = 0;
    bool closes = false;
    if (!whole(c, &closes)) return;
    uint64_t took = now() - c->sent_at;
    outstanding--;
    if (ending) return;
    if (c->have > 12 && !memcmp(c->in + 8, " 200", 4) && strstr(c->in, must_hold)) count_reply(took);
    else count_failure(c->in, c->have);
    if (closes || !send_request(c)) reopen(c);
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double microseconds_at(double share) {
    if (!counted) return 0;
    size_t at = (size_t)(share * (double)counted);
    return (double)taken[at < counted ? at : counted - 1] / 1e3;
}

static void report(double seconds) {
    double sum = 0;
    for (size_t i = 0; i < counted; i++) sum += (double)taken[i];
    qsort(taken, counted, sizeof *taken, ascending);
    printf("{\"replies\": %zu, \"failed\": %zu, \"seconds\": %.6f, \"mean_us\": %.2f, "
           "\"p50_us\": %.2f, \"p90_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f}\n",
           counted, failed, seconds, counted ? sum / (double)counted / 1e3 : 0,
           microseconds_at(0.5), microseconds_at(0.9), microseconds_at(0.99), microseconds_at(1));
    if (failed) fprintf(stderr, "load: %zu failed, the last: %s\n", failed, last_failure);
}

static void run(size_t replies, double seconds, size_t warm_up) {
    struct epoll_event events[64];
    bool warm = !warm_up;
    uint64_t began = now();
    double ended = 0;
    for (;;) {
        int n = epoll_wait(poller, events, 64, 100);
        if (n < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && !send_rest(c)) outstanding--, reopen(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
        }
        if (!warm && counted + failed >= warm_up) {
            warm = true;
            counted = failed = 0;
            began = now();
        }
        double passed = (double)(now() - began) / 1e9;
        if (ending && (!outstanding || passed > ended + GRACE)) return;
        if (!ending && warm &&
            ((replies && counted + failed >= replies) || (seconds > 0 && passed >= seconds))) {
            report(passed);
            ending = true;
            ended = passed;
        }
    }
}

static void enter(const char *namespace) {
    int fd = open(namespace, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET)) fail(namespace);
    close(fd);
}

int main(int argc, char **argv) {
    const char *address = "127.0.0.1", *namespace = NULL;
    int port = 0, connections = 1, option;
    size_t replies = 0, warm_up = 0;
    double seconds = 0;
    while ((option = getopt(argc, argv, "a:p:c:n:s:w:e:N:")) != -1) switch (option) {
        case 'a': address = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'c': connections = atoi(optarg); break;
        case 'n': replies = strtoul(optarg, NULL, 10); break;
        case 's': seconds = atof(optarg); break;
        case 'w': warm_up = strtoul(optarg, NULL, 10); break;
        case 'e': must_hold = optarg; break;
        case 'N': namespace = optarg; break;
        default: return 64;
    }
    request_size = fread(request, 1, sizeof request, stdin);
    if (!request_size || !port || connections < 1 || (!replies && seconds <= 0)) return 64;
    if (namespace) enter(namespace);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &server.sin_addr) != 1) fail(address);
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll");
    struct connection *all = calloc((size_t)connections, sizeof *all);
    if (!all) fail("memory");
    for (int i = 0; i < connections; i++) open_connection(&all[i]);
    run(replies, seconds, warm_up);
    return 0;
}
