/*
 * probe: one small static program that stands for every task container in the
 * tests and the benchmarks. The first argument is a verb, see `verbs` at the
 * end; `serve` is a task as the MECAnywhere contract wants it: an HTTP server
 * on port 8080 that prints `meca-init-done`.
 *
 * As the benchmark's task server it must cost as little as it can: a thread
 * per connection, one read and one write per call. All limits are small on
 * purpose; it only ever talks to our own tests.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD_ROOM = 16 << 10,      /* the most that a request's headers may take */
    SCAN = 4 << 10,            /* a body's orders stand in its first bytes */
    STACK = 256 << 10,
};
static const size_t BODY_MAX = (size_t)256 << 20;

static _Noreturn void fail(const char *what) {
    dprintf(2, "probe: %s: %s\n", what, strerror(errno));
    _exit(70);
}

static void pause_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) && errno == EINTR) {}
}

/* The first process of a container ignores SIGTERM unless it says otherwise. */
static void on_term(int sig) { _exit(128 + sig); }

/* Allocates n bytes and touches every page; they stay allocated. */
static bool hog(size_t n) {
    char *p = malloc(n ? n : 1);
    if (!p) return false;
    for (size_t i = 0; i < n; i += 4096) ((volatile char *)p)[i] = 1;
    return true;
}

/* True if a TCP connection to host:port opens within a second. */
static bool reachable(const char *host, const char *port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *a;
    if (getaddrinfo(host, port, &hints, &list)) return false;
    bool open = false;
    for (a = list; a && !open; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) continue;
        open = !connect(fd, a->ai_addr, a->ai_addrlen);
        if (!open && errno == EINPROGRESS) {
            struct pollfd p = {fd, POLLOUT, 0};
            int err = 1;
            socklen_t len = sizeof err;
            if (poll(&p, 1, 1000) == 1) getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
            open = !err;
        }
        close(fd);
    }
    freeaddrinfo(list);
    return open;
}

/* ------------------------------------------------------------------ serve */

/* What a body asks for; see read_orders(). */
struct orders {
    bool close, close_half, pid, hostname;
    long sleep_ms, status, big, hog, exit;      /* -1: not asked for */
    long vary, nth;
    char connect[128], say[512], value[SCAN];
};

/* Copies the JSON string at p; escapes are kept as they are. */
static void copy_string(char *to, size_t room, const char *p, const char *end) {
    size_t n = 0;
    if (p < end && *p == '"')
        for (p++; p < end && *p != '"' && n + 1 < room; p++) to[n++] = *p;
    to[n] = 0;
}

/* Finds "key": value pairs by looking at every quoted word that a colon follows. */
static bool read_orders(const char *body, size_t len, struct orders *o) {
    const char *end = body + (len < SCAN ? len : SCAN), *p = body;
    bool any = false;
    while (p < end && (p = memchr(p, '"', end - p))) {
        const char *key = p + 1, *stop = memchr(key, '"', end - key);
        if (!stop) break;
        size_t n = stop - key;
        for (p = stop + 1; p < end && isspace((unsigned char)*p); p++) {}
        if (p >= end || *p != ':') {
            p = stop + 1;
            continue;
        }
        for (p++; p < end && isspace((unsigned char)*p); p++) {}
        if (!any) {
            memset(o, 0, offsetof(struct orders, sleep_ms));
            o->sleep_ms = o->status = o->big = o->hog = o->exit = o->vary = o->nth = -1;
            o->connect[0] = o->say[0] = o->value[0] = 0;
            any = true;
        }
#define IS(word) (n == sizeof word - 1 && !memcmp(key, word, n))
        bool yes = p < end && *p == 't';
        if (IS("sleep_ms")) o->sleep_ms = strtol(p, NULL, 10);
        else if (IS("status")) o->status = strtol(p, NULL, 10);
        else if (IS("close")) o->close = yes;
        else if (IS("close_half")) o->close_half = yes;
        else if (IS("pid")) o->pid = yes;
        else if (IS("hostname")) o->hostname = yes;
        else if (IS("big")) o->big = strtol(p, NULL, 10);
        else if (IS("hog")) o->hog = strtol(p, NULL, 10);
        else if (IS("exit")) o->exit = strtol(p, NULL, 10);
        else if (IS("vary")) o->vary = strtol(p, NULL, 10);
        else if (IS("nth")) o->nth = strtol(p, NULL, 10);
        else if (IS("connect")) copy_string(o->connect, sizeof o->connect, p, end);
        else if (IS("say")) copy_string(o->say, sizeof o->say, p, end);
        else if (IS("value")) copy_string(o->value, sizeof o->value, p, end);
#undef IS
        if (p < end && *p == '"') {             /* step over the value */
            p = memchr(p + 1, '"', end - p - 1);
            if (!p) break;
            p++;
        }
    }
    return any;
}

static bool send_all(int fd, const char *p, size_t n) {
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        p += k, n -= k;
    }
    return true;
}

/* One reply, header and body in one write where the kernel takes it. */
static bool reply(int fd, long status, const char *type, const char *body, size_t len) {
    char out[8192];
    int n;
    if (status == 200)
        n = snprintf(out, sizeof out,
                     "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, len);
    else
        n = snprintf(out, sizeof out,
                     "HTTP/1.1 %ld Probe\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", status, type, len);
    if (n + len <= sizeof out) {
        memcpy(out + n, body, len);
        return send_all(fd, out, n + len);
    }
    struct iovec iov[2] = {{out, n}, {(void *)body, len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t k = sendmsg(fd, &msg, MSG_NOSIGNAL);
    if (k < 0) return false;
    if (k < n) return send_all(fd, out + k, n - k) && send_all(fd, body, len);
    return send_all(fd, body + (k - n), len - (k - n));
}

static bool text(int fd, long status, const char *format, ...) {
    char line[SCAN + 64];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return reply(fd, status, line[0] == '{' ? "application/json" : "text/plain", line, n);
}

static bool reply_big(int fd, size_t n) {
    static char block[64 << 10];                /* all threads write the same */
    char head[128];
    memset(block, 'x', sizeof block);
    int k = snprintf(head, sizeof head,
                     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", n);
    if (!send_all(fd, head, k)) return false;
    while (n) {
        size_t part = n < sizeof block ? n : sizeof block;
        if (!send_all(fd, block, part)) return false;
        n -= part;
    }
    return true;
}

/* POST /. False closes the connection. */
static bool run(int fd, const char *body, size_t len) {
    struct orders o;
    if (!len || body[0] != '{' || !read_orders(body, len, &o)) return reply(fd, 200, "text/plain", body, len);
    /* Only the nth call of those that say so gets what they ask for; the others are echoed. */
    static long counted;
    if (o.nth >= 0 && __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST) != o.nth)
        return reply(fd, 200, "text/plain", body, len);
    if (o.say[0]) dprintf(1, "%s\n", o.say);
    if (o.sleep_ms > 0) pause_ms(o.sleep_ms);
    if (o.exit >= 0) {
        dprintf(2, "probe: exiting %ld\n", o.exit);
        _exit((int)o.exit);
    }
    if (o.close) return false;
    if (o.close_half) {
        const char *half = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n0123456789";
        send_all(fd, half, strlen(half));
        return false;
    }
    if (o.hog >= 0 && o.vary > 0) {             /* up to so many bytes more, never the same */
        unsigned dice = 0;
        if (getrandom(&dice, sizeof dice, 0) < 0) return text(fd, 500, "no chance");
        o.hog += dice % o.vary;
    }
    if (o.hog >= 0) return hog(o.hog) ? text(fd, 200, "ok") : text(fd, 500, "no memory");
    if (o.big >= 0) return reply_big(fd, o.big);
    if (o.connect[0]) {
        char *colon = strrchr(o.connect, ':');
        if (!colon) return text(fd, 400, "connect wants host:port");
        *colon = 0;
        return text(fd, 200, reachable(o.connect, colon + 1) ? "open" : "closed");
    }
    if (o.pid) return text(fd, 200, "%d", getpid());
    if (o.hostname) {
        char name[256] = "";
        gethostname(name, sizeof name - 1);
        return text(fd, 200, "%s", name);
    }
    if (o.status >= 100) return text(fd, o.status, "status %ld", o.status);
    return reply(fd, 200, "text/plain", body, len);
}

/* POST /run: the mock enclave's work. */
static bool run_sealed(int fd, const char *body, size_t len) {
    struct orders o = {0};
    if (!read_orders(body, len, &o)) o.value[0] = 0;
    for (size_t i = 0, n = strlen(o.value); i < n / 2; i++) {
        char c = o.value[i];
        o.value[i] = o.value[n - 1 - i];
        o.value[n - 1 - i] = c;
    }
    return text(fd, 200, "{\"msg\": \"%s\"}", o.value);
}

/* What the headers of one request say. */
struct head {
    size_t size, length;
    bool close, expect, chunked;
};

static void read_headers(const char *p, const char *end, struct head *h) {
    for (; p < end; p++) {                      /* at the start of a line */
        const char *stop = memchr(p, '\r', end - p);
        if (!stop) break;
        switch (*p | 0x20) {
        case 'c':
            if (!strncasecmp(p, "content-length:", 15)) h->length = strtoull(p + 15, NULL, 10);
            else if (!strncasecmp(p, "connection:", 11))
                h->close = memmem(p, stop - p, "close", 5) || memmem(p, stop - p, "Close", 5);
            break;
        case 'e':
            h->expect = h->expect || !strncasecmp(p, "expect:", 7);
            break;
        case 't':
            h->chunked = h->chunked || !strncasecmp(p, "transfer-encoding:", 18);
            break;
        default:
            break;
        }
        p = stop + 1;                           /* at its '\n' */
    }
}

static bool answer(int fd, const char *head, const char *body, const struct head *h) {
    if (h->chunked) {
        text(fd, 411, "send a Content-Length");
        return false;
    }
#define ASKS(start) (!strncmp(head, start " ", sizeof start))
    if (ASKS("POST /")) return run(fd, body, h->length);
    if (ASKS("GET /health")) return text(fd, 200, "ok");
    if (ASKS("GET /ra")) return text(fd, 200, "{\"msg\": {\"report\": \"00\", \"key\": \"mock\"}}");
    if (ASKS("POST /run")) return run_sealed(fd, body, h->length);
#undef ASKS
    return text(fd, 404, "not found");
}

static void *connection(void *arg) {
    int fd = (int)(intptr_t)arg;
    size_t room = HEAD_ROOM, have = 0;
    char *buf = malloc(room + 1);
    while (buf) {
        char *end;
        struct head h = {0};
        while (!(end = memmem(buf, have, "\r\n\r\n", 4))) {
            if (have == room) goto gone;
            ssize_t k = recv(fd, buf + have, room - have, 0);
            if (k <= 0) goto gone;
            have += k;
        }
        h.size = end + 4 - buf;
        read_headers(buf, end + 2, &h);
        size_t all = h.size + h.length;
        if (h.length > BODY_MAX) {
            text(fd, 413, "too large");
            break;
        }
        if (all > room) {
            char *more = realloc(buf, all + 1);
            if (!more) break;
            buf = more, room = all;
        }
        if (h.expect && have < all && !send_all(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25)) break;
        while (have < all) {
            ssize_t k = recv(fd, buf + have, all - have, 0);
            if (k <= 0) goto gone;
            have += k;
        }
        char next = buf[all];                   /* strtol wants an end */
        buf[all] = 0;
        if (!answer(fd, buf, buf + h.size, &h) || h.close) break;
        buf[all] = next;
        have -= all;
        if (have) memmove(buf, buf + all, have);
        if (room > HEAD_ROOM && have < HEAD_ROOM) {     /* give a big body's memory back */
            room = HEAD_ROOM;
            char *less = realloc(buf, room + 1);
            if (less) buf = less;
        }
    }
gone:
    free(buf);
    close(fd);
    return NULL;
}

static int listen_on(int port) {
    int on = 1, off = 0;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (fd >= 0) {                              /* both families by one socket */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (!bind(fd, (struct sockaddr *)&six, sizeof six) && !listen(fd, 4096)) return fd;
        close(fd);
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&four, sizeof four) || listen(fd, 4096)) fail("listen");
    return fd;
}

static int serve(int argc, char **argv) {
    bool mark = true, listens = true, mark_first = false;
    int mark_fd = 1, port = 8080, exit_code = -1;
    long boot_ms = 0, listen_ms = 0;
    for (int i = 0; i < argc; i++) {
        const char *a = argv[i], *value = i + 1 < argc ? argv[i + 1] : "0";
        if (!strcmp(a, "--no-mark")) mark = false;
        else if (!strcmp(a, "--no-listen")) listens = false;
        else if (!strcmp(a, "--stderr")) mark_fd = 2;
        else if (!strcmp(a, "--mark-first")) mark_first = true;
        else if (!strcmp(a, "--boot-ms")) boot_ms = atol(value), i++;
        else if (!strcmp(a, "--listen-ms")) listen_ms = atol(value), i++;
        else if (!strcmp(a, "--port")) port = atoi(value), i++;
        else if (!strcmp(a, "--exit-after-mark")) exit_code = atoi(value), i++;
        else {
            dprintf(2, "probe: serve: unknown option %s\n", a);
            return 64;
        }
    }
    int fd = -1;
    pause_ms(boot_ms);
    if (mark && mark_first) dprintf(mark_fd, "meca-init-done\n");
    if (listens) {
        pause_ms(listen_ms);
        fd = listen_on(port);
    }
    if (mark && !mark_first) dprintf(mark_fd, "meca-init-done\n");
    if (exit_code >= 0) return exit_code;
    if (!listens)
        for (;;) pause();

    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK);
    for (;;) {
        int on = 1, c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;
        if (c < 0) {
            if (errno == EMFILE || errno == ENFILE) pause_ms(1);
            continue;
        }
        setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (pthread_create(&thread, &attr, connection, (void *)(intptr_t)c)) close(c);
    }
}

/* ------------------------------------------------------------------ verbs */

static int print_words(int fd, int argc, char **argv) {
    for (int i = 0; i < argc; i++) dprintf(fd, "%s%s", i ? " " : "", argv[i]);
    dprintf(fd, "\n");
    return 0;
}

static int spin(double seconds) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do clock_gettime(CLOCK_MONOTONIC, &now);
    while (now.tv_sec - start.tv_sec + (now.tv_nsec - start.tv_nsec) / 1e9 < seconds);
    return 0;
}

static int lines(long n, long ms) {
    for (long i = 1; i <= n; i++) {
        dprintf(1, "line %ld\n", i);
        if (i < n) pause_ms(ms);
    }
    return 0;
}

static int write_file(const char *path, const char *words) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, words, strlen(words)) < 0) fail(path);
    return 0;
}

/* Copies a file to stdout; with only != NULL just the lines that start so. */
static int show(const char *path, const char *const *only) {
    char block[8192];
    FILE *f = fopen(path, "r");
    if (!f) fail(path);
    if (!only) {
        for (size_t n; (n = fread(block, 1, sizeof block, f));)
            if (write(1, block, n) < 0) fail("stdout");
        return 0;
    }
    while (fgets(block, sizeof block, f))
        for (const char *const *word = only; *word; word++)
            if (!strncmp(block, *word, strlen(*word))) dprintf(1, "%s", block);
    return 0;
}

static int count_forks(int n) {
    int made = 0;
    pid_t *children = calloc(n + 1, sizeof *children);
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        if (!pid)
            for (;;) pause();
        if (pid > 0) children[made++] = pid;
    }
    dprintf(1, "%d\n", made);
    for (int i = 0; i < made; i++) kill(children[i], SIGKILL), waitpid(children[i], NULL, 0);
    return 0;
}

static long sleep_for(const char *seconds) {
    pause_ms((long)(atof(seconds) * 1000));
    return 0;
}

static off_t all_bytes;

static int add_bytes(const char *path, const struct stat *s, int kind, struct FTW *where) {
    if (kind == FTW_F) all_bytes += s->st_size;
    return 0;
}

/* Needs memory as its input is large: factor times all bytes below a path, and a base. */
static int hog_as(const char *path, double factor, double base) {
    if (nftw(path, add_bytes, 16, FTW_PHYS)) fail(path);
    if (!hog((size_t)(factor * (double)all_bytes + base))) fail("hog");
    dprintf(1, "%lld bytes\n", (long long)all_bytes);
    return 0;
}

static const char *verbs =
    "probe VERB: echo TEXT... | err TEXT... | exit N | sleep SECONDS | hog BYTES [SECONDS] | spin SECONDS | lines N MS\n"
    "  | hog-as PATH FACTOR [BASE] | write PATH TEXT | cat PATH | env NAME | connect HOST PORT | fork N | caps | id\n"
    "  | ignore-term SECONDS\n"
    "  | serve [--no-mark] [--no-listen] [--stderr] [--boot-ms N] [--listen-ms N] [--mark-first] [--port P]\n"
    "          [--exit-after-mark N]\n";

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    const char *one = argc > 2 ? argv[2] : NULL, *two = argc > 3 ? argv[3] : NULL;
#define VERB(name, needs) (!strcmp(verb, name) && argc - 2 >= (needs))
    signal(SIGTERM, VERB("ignore-term", 1) ? SIG_IGN : on_term);
    if (VERB("echo", 0)) return print_words(1, argc - 2, argv + 2);
    if (VERB("err", 0)) return print_words(2, argc - 2, argv + 2);
    if (VERB("exit", 1)) return atoi(one);
    if (VERB("sleep", 1) || VERB("ignore-term", 1)) return sleep_for(one);
    if (VERB("hog", 1)) {
        if (!hog(strtoull(one, NULL, 10))) fail("hog");
        if (two) return sleep_for(two);
        for (;;) pause();
    }
    if (VERB("hog-as", 2)) return hog_as(one, atof(two), argc > 4 ? atof(argv[4]) : 0);
    if (VERB("spin", 1)) return spin(atof(one));
    if (VERB("lines", 2)) return lines(atol(one), atol(two));
    if (VERB("write", 2)) return write_file(one, two);
    if (VERB("cat", 1)) return show(one, NULL);
    if (VERB("env", 1)) {
        const char *value = getenv(one);
        if (value) dprintf(1, "%s\n", value);
        return value ? 0 : 1;
    }
    if (VERB("connect", 2)) return reachable(one, two) ? 0 : 7;
    if (VERB("fork", 1)) return count_forks(atoi(one));
    if (VERB("caps", 0)) return show("/proc/self/status", (const char *const[]){"CapEff", "NoNewPrivs", NULL});
    if (VERB("id", 0)) {
        dprintf(1, "%d:%d\n", getuid(), getgid());
        return 0;
    }
    if (VERB("serve", 0)) return serve(argc - 2, argv + 2);
    dprintf(2, "%s", verbs);
    return 64;
}
