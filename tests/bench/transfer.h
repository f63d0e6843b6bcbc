/* Modes down and up of load.c: bulk transfers. All tunnels are open before the clock starts: the origin has
   answered a first command, as a TCP forwarder may accept a connection long before the next hop does. */
#pragma once
#include "tunnel.h"

static uint64_t begun, received, sink_ns;
static size_t n_proven;
static bool over;

/* Expects `n` bytes of the tunnel's part of the pattern; counts them when they are right. */
static bool compare(struct tunnel *t, const unsigned char *data, size_t n) {
    for (size_t at = 0; at < n;) {
        size_t part = n - at < PERIOD ? n - at : PERIOD;
        if (memcmp(data + at, pattern_at(t->seq + t->got), part) != 0) { fail(t, "content", "not what was sent"); return false; }
        at += part, t->got += part;
    }
    return true;
}

/* Verified streams start at their own place in the pattern; unverified ones upward have a time limit that the origin keeps. */
static void ask_all(void) {
    bool up = mode->writable != NULL;
    const char *form = !up ? "S %llu %llu\n" : option.verify ? "V %llu %llu\n" : "D %llu %llu\n";
    begun = now_ns();
    for (size_t i = 0; i < slots; i++) {
        struct tunnel *t = &all[i];
        uint64_t extra = up && !option.verify ? option.seconds * 1000 : t->seq;
        if (t->stage != OPEN || !sayf(t, form, option.bytes, extra)) continue;
        if (up) watch(t, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
}

static void transfer_opened(struct tunnel *t) { say(t, "P\n", 2); }

/* True when what has come is the answer to the first command. */
static bool prove(struct tunnel *t) {
    if (t->proven) return false;
    if (!collect(t, "first command") || t->used < 2) return true;
    t->proven = strcmp(t->text, "P\n") == 0, t->used = 0;
    if (!t->proven) fail(t, "content", "not what was sent");
    else if (++n_proven == option.tunnels) ask_all();
    return true;
}

static void down_readable(struct tunnel *t) {
    if (prove(t)) return;
    ssize_t n = recv(t->fd, scratch, BULK, option.verify ? 0 : MSG_TRUNC);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { fail(t, "down", n ? strerror(errno) : "ended early"); return; }
    if (!option.verify) t->got += (uint64_t)n;
    else if (!compare(t, scratch, (size_t)n)) return;
    received += (uint64_t)n;
    if (t->got > option.bytes) fail(t, "down", "more than was asked for");
    else if (t->got == option.bytes) leave(t);
}

static void up_writable(struct tunnel *t) {
    uint64_t left = option.bytes - t->got;
    ssize_t n = send(t->fd, pattern_at(t->seq + t->got), left < PERIOD ? left : PERIOD, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) fail(t, "up", strerror(errno));
    else if (n > 0 && (t->got += (uint64_t)n) == option.bytes) watch(t, EPOLLIN, EPOLL_CTL_MOD);
}

/* The time is over: what the kernel still holds must not load the way during the next measurement. */
static void reset_on_close(struct tunnel *t) {
    struct linger at_once = {.l_onoff = 1};
    setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static void up_readable(struct tunnel *t) {
    unsigned long long bytes, ns;
    if (prove(t)) return;
    if (!collect(t, "up") || !strchr(t->text, '\n')) return;
    if (sscanf(t->text, "OK %llu %llu", &bytes, &ns) != 2) { fail(t, "content", "not what was sent"); return; }
    received += bytes;
    if (ns > sink_ns) sink_ns = ns;
    if (bytes < option.bytes) reset_on_close(t);
    leave(t);
}

static void transfer_ended(struct tunnel *t) { (void)t; over = ++n_done == option.tunnels || !begun; }

/* An upward transfer is timed by the origin: what still lies in buffers has not arrived. */
static void run_transfer(void) {
    bool up = mode->writable != NULL;
    make_slots(option.tunnels);
    for (size_t i = 0; i < slots; i++) dial(&all[i]);
    while (!over && (up || !begun || now_ns() - begun < option.seconds * 1000000000u)) turn(false);
    uint64_t finished = now_ns();
    double seconds = (double)(up && sink_ns ? sink_ns : finished - begun) / 1e9;
    printf("{\"bytes\":%llu,\"seconds\":%.6f,", (unsigned long long)received, seconds);
    print_problems();
}
