/* Modes echo, wait, stop and stuff of load.c: one tunnel each, with blocking calls once it is open. */
#pragma once
#include "tunnel.h"

static bool open_one(uint64_t deadline) {
    make_slots(1);
    dial(&all[0]);
    while (all[0].stage != OPEN && all[0].stage != DONE && now_ns() < deadline) turn(true);
    if (all[0].stage == OPEN) {
        struct timeval patience = {.tv_sec = PATIENCE / 1000000000u};
        fcntl(all[0].fd, F_SETFL, 0);
        setsockopt(all[0].fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    return all[0].stage == OPEN;
}

static void nothing(struct tunnel *t) { (void)t; }

static bool ping(struct tunnel *t, unsigned char byte) {
    unsigned char back = 0;
    if (!say(t, (char *)&byte, 1)) return false;
    ssize_t n = recv(t->fd, &back, 1, 0);
    if (n == 1 && back == byte) return true;
    fail(t, "echo", n == 1 ? "another byte" : n ? strerror(errno) : "ended");
    return false;
}

static void run_echo(void) {
    samples = calloc(option.count, sizeof *samples);
    uint64_t begun = now_ns(), deadline = begun + option.seconds * 1000000000u;
    if (open_one(deadline) && say(&all[0], "E\n", 2) && ping(&all[0], 'w'))
        while (n_samples < option.count && now_ns() < deadline) {
            uint64_t sent = now_ns();
            if (!ping(&all[0], pattern[n_samples % PERIOD])) break;
            samples[n_samples++] = now_ns() - sent;
        }
    print_samples(now_ns() - begun);
}

static void run_wait(void) {
    uint64_t deadline = now_ns() + option.seconds * 1000000000u;
    bool alive = false;
    while (!alive && now_ns() < deadline) {
        alive = open_one(deadline) && say(&all[0], "E\n", 2) && ping(&all[0], 'w');
        if (!alive) usleep(20000);
    }
    printf("{\"alive\":%s,", alive ? "true" : "false");
    if (alive) n_failed = 0, problems[0].count = 0;
    print_problems();
}

static void await_order(uint64_t bytes) {
    char line[64];
    printf("{\"bytes\":%llu,", (unsigned long long)bytes);
    print_problems();
    if (!fgets(line, sizeof line, stdin)) return;
}

static void run_stop(void) {
    uint64_t received = 0;
    if (open_one(now_ns() + PATIENCE) && sayf(&all[0], "S %llu %llu\n", option.bytes, 0)) {
        ssize_t n = recv(all[0].fd, scratch, 1 << 16, MSG_WAITALL);
        received = n > 0 ? (uint64_t)n : 0;
    }
    await_order(received);
}

/* Sends until nothing has gone for a second: then every buffer on the way is full. */
static void run_stuff(void) {
    uint64_t received = 0;
    if (open_one(now_ns() + PATIENCE) && say(&all[0], "R\n", 2)) {
        struct pollfd ready = {all[0].fd, POLLOUT, 0};
        while (received < option.bytes && poll(&ready, 1, 1000) == 1) {
            ssize_t n = send(all[0].fd, pattern, PERIOD, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n < 0 && errno != EAGAIN) { note(strerror(errno)); break; }
            if (n > 0) received += (uint64_t)n;
        }
    }
    await_order(received);
}
