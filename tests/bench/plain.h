/* Modes get and fetch of load.c: plain HTTP. No CONNECT is spoken: with a target, requests are in absolute form. */
#pragma once
#include "tunnel.h"

static void ask(struct tunnel *t, const char *path) {
    char text[256], origin[96] = "";
    if (option.target) snprintf(origin, sizeof origin, "http://%s", option.target);
    const char *host = option.target ? option.target : "origin";
    t->used = 0;
    say(t, text, (size_t)snprintf(text, sizeof text, "GET %s%s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n\r\n", origin, path, host));
}

static void next_get(struct tunnel *t) {
    char path[64];
    if (t->proven && next_seq >= option.count) { leave(t); return; }
    if (t->proven) t->seq = ++next_seq;
    t->proven = true, t->started = now_ns();
    snprintf(path, sizeof path, "/tunnel/%llu", (unsigned long long)t->seq);
    ask(t, path);
}

static void get_readable(struct tunnel *t) {
    if (!collect(t, "answer")) return;
    int right = is_answer(t);
    if (right > 0) samples[n_samples++] = now_ns() - t->started, next_get(t);
    else if (!right) fail(t, "content", "not the answer to this request");
}

static void get_ended(struct tunnel *t) { (void)t; n_done++; }

/* `concurrency` users, each on one connection, share `count` requests. */
static void run_get(void) {
    samples = calloc(option.count + option.concurrency, sizeof *samples);
    make_slots(option.concurrency);
    uint64_t begun = now_ns();
    for (size_t i = 0; i < slots; i++) dial(&all[i]);
    while (n_done < slots && now_ns() - begun < option.seconds * 1000000000u) turn(false);
    print_samples(now_ns() - begun);
}

static void fetch_opened(struct tunnel *t) {
    char path[64];
    snprintf(path, sizeof path, "/bytes/%llu", (unsigned long long)option.bytes);
    begun = now_ns();
    ask(t, path);
}

/* The head comes first, perhaps with some of the content. */
static void fetch_readable(struct tunnel *t) {
    ssize_t n;
    if (!t->proven) {
        if (!collect(t, "answer")) return;
        char *end = strstr(t->text, "\r\n\r\n");
        if (!end) return;
        if (strncmp(t->text, "HTTP/1.1 200", 12)) { fail(t, "content", "not 200"); return; }
        t->proven = true, n = (ssize_t)(t->used - (size_t)(end + 4 - t->text));
    } else {
        n = recv(t->fd, scratch, BULK, MSG_TRUNC);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) { fail(t, "down", n ? strerror(errno) : "ended early"); return; }
    }
    t->got += (uint64_t)n, received += (uint64_t)n;
    if (t->got > option.bytes) fail(t, "down", "more than was asked for");
    else if (t->got == option.bytes) leave(t);
}
