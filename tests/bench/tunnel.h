/* A tunnel of load.c: dialled, asked for with CONNECT where a proxy wants it, then handed to the mode. Errors are counted by text. */
#pragma once
#include "common.h"

#define PATIENCE (15 * 1000000000ull) /* a tunnel that makes no progress for so long counts as an error */

enum stage { UNUSED, CONNECTING, ASKING, OPEN, DONE };

struct tunnel {
    enum stage stage;
    int fd;
    bool proven;
    uint64_t seq, started, touched, got;
    size_t used;
    char text[512]; /* the proxy's answer, then a small answer of the origin */
};

struct mode {
    const char *name;
    void (*opened)(struct tunnel *), (*readable)(struct tunnel *), (*writable)(struct tunnel *), (*ended)(struct tunnel *);
    void (*run)(void);
    bool plain; /* no CONNECT, whether there is a target or not */
};

static struct { const char *via, *target; uint64_t tunnels, bytes, seconds, count, concurrency, verify; } option = {
    .tunnels = 1, .bytes = 1 << 20, .seconds = 120, .count = 1000, .concurrency = 32};
static const struct mode *mode;
static struct tunnel *all;
static size_t slots, n_open, n_done, n_failed;
static uint64_t next_seq, *samples, n_samples;
static int poller;
static unsigned char scratch[BULK];
static struct { char text[96]; unsigned count; } problems[24];

static void note(const char *text) {
    unsigned i = 0;
    while (i < 23 && problems[i].count && strcmp(problems[i].text, text) != 0) i++;
    snprintf(problems[i].text, sizeof problems[i].text, "%s", text);
    problems[i].count++;
    n_failed++;
}

static void leave(struct tunnel *t) {
    close(t->fd);
    t->stage = DONE;
    if (mode->ended) mode->ended(t);
}

static void fail(struct tunnel *t, const char *what, const char *why) {
    char text[96];
    snprintf(text, sizeof text, "%s: %s", what, why);
    note(text);
    leave(t);
}

static void watch(struct tunnel *t, uint32_t events, int how) {
    struct epoll_event event = {.events = events, .data.ptr = t};
    epoll_ctl(poller, how, t->fd, &event);
}

/* Commands and requests are small, so a short send is as bad as an error. */
static bool say(struct tunnel *t, const char *text, size_t n) {
    if (send(t->fd, text, n, MSG_NOSIGNAL) == (ssize_t)n) return true;
    fail(t, "send", strerror(errno));
    return false;
}

static bool sayf(struct tunnel *t, const char *form, unsigned long long a, unsigned long long b) {
    char text[256];
    return say(t, text, (size_t)snprintf(text, sizeof text, form, a, b));
}

static void dial(struct tunnel *t) {
    struct sockaddr_in address = parse_address(option.via);
    *t = (struct tunnel){.stage = CONNECTING, .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .seq = ++next_seq, .started = now_ns()};
    t->touched = t->started;
    if (t->fd < 0) { fail(t, "socket", strerror(errno)); return; }
    no_delay(t->fd);
    watch(t, EPOLLOUT, EPOLL_CTL_ADD);
    if (connect(t->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) fail(t, "connect", strerror(errno));
}

static void opened(struct tunnel *t) {
    t->stage = OPEN, t->used = 0;
    n_open++;
    mode->opened(t);
}

static void connected(struct tunnel *t) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { fail(t, "connect", strerror(error)); return; }
    watch(t, EPOLLIN, EPOLL_CTL_MOD);
    if (!option.target || mode->plain) { opened(t); return; }
    char text[256];
    int n = snprintf(text, sizeof text, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", option.target, option.target);
    t->stage = ASKING;
    say(t, text, (size_t)n);
}

/* Adds what came to t->text. Returns false when the tunnel ended, or nothing came. */
static bool collect(struct tunnel *t, const char *what) {
    ssize_t n = recv(t->fd, t->text + t->used, sizeof t->text - 1 - t->used, 0);
    if (n < 0 && errno == EAGAIN) return false;
    if (n <= 0) { fail(t, what, n ? strerror(errno) : "ended"); return false; }
    t->used += (size_t)n;
    t->text[t->used] = 0;
    return true;
}

/* The origin speaks only when spoken to, so bytes behind the proxy's answer would be invented ones. */
static void answered(struct tunnel *t) {
    if (!collect(t, "CONNECT")) return;
    char *end = strstr(t->text, "\r\n\r\n");
    if (!end && t->used < sizeof t->text - 1) return;
    if (strncmp(t->text, "HTTP/1.", 7) != 0 || strncmp(t->text + 8, " 200", 4) != 0) {
        t->text[strcspn(t->text, "\r\n")] = 0;
        fail(t, "CONNECT", t->text);
    } else if (!end || end + 4 != t->text + t->used) fail(t, "CONNECT", "bytes that nobody sent");
    else opened(t);
}

static void handle(struct tunnel *t, uint32_t events) {
    t->touched = now_ns();
    if (t->stage == CONNECTING) connected(t);
    else if (t->stage == ASKING) answered(t);
    else {
        if (t->stage == OPEN && events & (EPOLLIN | EPOLLERR | EPOLLHUP)) mode->readable(t);
        if (t->stage == OPEN && events & EPOLLOUT && mode->writable) mode->writable(t);
    }
}

static void check_patience(bool idle_is_fine) {
    uint64_t now = now_ns();
    for (size_t i = 0; i < slots; i++) {
        bool waits = all[i].stage == CONNECTING || all[i].stage == ASKING || (all[i].stage == OPEN && !idle_is_fine);
        if (waits && now - all[i].touched > PATIENCE) fail(&all[i], "no progress", all[i].stage == OPEN ? "open" : "opening");
    }
}

static void turn(bool idle_is_fine) {
    static uint64_t checked;
    struct epoll_event events[512];
    int n = epoll_wait(poller, events, 512, 100);
    for (int i = 0; i < n; i++) handle(events[i].data.ptr, events[i].events);
    if (now_ns() - checked > 500000000u) check_patience(idle_is_fine), checked = now_ns();
}

static void make_slots(size_t n) { all = calloc(slots = n, sizeof *all); }

static void print_problems(void) {
    printf("\"failed\":%zu,\"problems\":{", n_failed);
    for (unsigned i = 0; i < 24 && problems[i].count; i++) {
        printf("%s\"", i ? "," : "");
        for (const char *c = problems[i].text; *c; c++) putchar(*c < ' ' || *c == '"' || *c == '\\' ? '?' : *c);
        printf("\":%u", problems[i].count);
    }
    puts("}}");
    fflush(stdout);
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_us(double share) { return n_samples ? (double)samples[(size_t)(share * (double)(n_samples - 1))] / 1e3 : 0; }

static void print_samples(uint64_t elapsed) {
    qsort(samples, n_samples, sizeof *samples, ascending);
    printf("{\"done\":%llu,\"seconds\":%.6f,", (unsigned long long)n_samples, (double)elapsed / 1e9);
    printf("\"p50_us\":%.1f,\"p99_us\":%.1f,", percentile_us(.5), percentile_us(.99));
    print_problems();
}
