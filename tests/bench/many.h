/* Modes open and hold of load.c: many tunnels, short ones and idle ones. */
#pragma once
#include "tunnel.h"

static void open_opened(struct tunnel *t) { sayf(t, "GET /tunnel/%llu HTTP/1.1\r\nHost: origin\r\nAccept: */*\r\n\r\n", t->seq, 0); }

/* Whether what has come is the answer to this request: 1, 0, or -1 while some of it is missing. */
static int is_answer(struct tunnel *t) {
    char *body = strstr(t->text, "\r\n\r\n"), expected[BODY + 1], path[BODY];
    if (!body || t->used < (size_t)(body + 4 - t->text) + BODY) return -1;
    snprintf(path, sizeof path, "/tunnel/%llu", (unsigned long long)t->seq);
    memset(expected, '.', BODY);
    memcpy(expected, path, strlen(path));
    return !strncmp(t->text, "HTTP/1.1 200", 12) && !memcmp(body + 4, expected, BODY) && t->used == (size_t)(body + 4 - t->text) + BODY;
}

static void open_readable(struct tunnel *t) {
    if (!collect(t, "answer")) return;
    int right = is_answer(t);
    if (!right) fail(t, "content", "not the answer to this request");
    if (right <= 0) return;
    samples[n_samples++] = now_ns() - t->started;
    leave(t);
}

static void open_ended(struct tunnel *t) {
    t->stage = UNUSED; /* the loop in run_open fills it again: events of this turn may still point here */
    n_done++;
}

static void run_open(void) {
    samples = calloc(option.count, sizeof *samples);
    make_slots(option.concurrency);
    uint64_t begun = now_ns();
    while (n_done < option.count && now_ns() - begun < option.seconds * 1000000000u) {
        for (size_t i = 0; i < slots && next_seq < option.count; i++)
            if (all[i].stage == UNUSED) dial(&all[i]);
        turn(false);
    }
    print_samples(now_ns() - begun);
}

static void hold_opened(struct tunnel *t) { say(t, "E\n", 2); }

static void hold_readable(struct tunnel *t) {
    if (collect(t, "held") && t->used == 1 && t->text[0] == 'c') t->used = 0, n_done++;
    else if (t->stage == OPEN && t->used) fail(t, "held", "bytes that nobody sent");
}

static void hold_more(size_t n) {
    size_t first = next_seq, failed = n_failed, opened_before = n_open;
    if (first + n > slots) n = slots - first;
    for (size_t started = 0; n_open - opened_before + n_failed - failed < n;) {
        while (started < n && started - (n_open - opened_before + n_failed - failed) < option.concurrency) dial(&all[first + started++]);
        turn(true);
    }
    printf("{\"open\":%zu,", n_open - n_failed);
    print_problems();
}

static void hold_check(void) {
    size_t asked = 0, failed = n_failed;
    n_done = 0;
    for (size_t i = 0; i < slots; i++)
        if (all[i].stage == OPEN && say(&all[i], "c", 1)) asked++;
    for (uint64_t deadline = now_ns() + PATIENCE; n_done + n_failed - failed < asked && now_ns() < deadline;) turn(true);
    printf("{\"alive\":%zu,", n_done);
    print_problems();
}

/* stdin is read past stdio, so that its descriptor and the tunnels' can be waited for together. */
static void run_hold(void) {
    make_slots(option.count);
    for (;;) {
        struct pollfd order = {STDIN_FILENO, POLLIN, 0};
        char line[64] = "";
        unsigned long n;
        if (poll(&order, 1, 0) != 1) { turn(true); continue; }
        if (read(STDIN_FILENO, line, sizeof line - 1) <= 0 || !strcmp(line, "quit\n")) return;
        if (sscanf(line, "open %lu", &n) == 1) hold_more(n);
        else if (!strcmp(line, "check\n")) hold_check();
    }
}
