/* The destination behind the proxies: one epoll thread, started as `origin HOST:PORT`, gone when its stdin closes.

   A connection carries commands, one after the other:
     S bytes seed\n            source: sends so many bytes of the pattern
     D bytes milliseconds\n    sink: discards so many bytes, or what comes within the time (0: no limit), then answers
                               "OK bytes nanoseconds\n", both counted from the command's arrival; whatever comes later is ignored
     V bytes seed\n            as D, but compares with the pattern; answers "BAD position 0\n" at the first difference
     P\n                       answers the same, and takes the next command
     E\n                       echo, until the connection ends
     R\n                       reads nothing more
     GET /bytes/N HTTP/1.1 ... answers 200 with a body of N bytes of the pattern
     GET path HTTP/1.1 ...     answers 200 with a body of BODY bytes: the path, then dots
   Anything else ends the connection, as it would in a proxy's user's eyes. */
#include "common.h"

enum state { COMMAND, SOURCE, SINK, VERIFY, ECHO, IGNORE, STOPPED };

struct conn {
    int fd;
    enum state state;
    bool wants_out, ended;
    uint64_t total, left, position, started, deadline;
    size_t used, queued_at, queued;
    unsigned char *queue; /* echo that the socket has not taken yet */
    char line[1024];
};

static int poller;
static unsigned char scratch[BULK];

static void finish(struct conn *c) {
    close(c->fd);
    free(c->queue);
    free(c);
}

static void watch(struct conn *c, bool in, bool out) {
    struct epoll_event event = {.events = (in ? EPOLLIN : 0u) | (out ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
    c->wants_out = out;
}

/* An answer is small and its direction idle: a short write means a broken connection. */
static void answer(struct conn *c, const char *text, size_t n) {
    if (send(c->fd, text, n, MSG_NOSIGNAL) != (ssize_t)n) c->ended = true;
}

static void answer_sink(struct conn *c, const char *word, uint64_t bytes, enum state next) {
    char text[96];
    uint64_t elapsed = now_ns() - c->started;
    answer(c, text, (size_t)snprintf(text, sizeof text, "%s %llu %llu\n", word, (unsigned long long)bytes, (unsigned long long)elapsed));
    c->state = next;
}

static void sunk(struct conn *c, size_t n) {
    c->left -= n;
    if (c->left == 0) answer_sink(c, "OK", c->total, COMMAND);
    else if (c->deadline && now_ns() >= c->deadline) answer_sink(c, "OK", c->total - c->left, IGNORE);
}

static void echo(struct conn *c, const unsigned char *data, size_t n) {
    ssize_t sent = send(c->fd, data, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) { c->ended = true; return; }
    if (sent < 0) sent = 0;
    if ((size_t)sent == n) return;
    if (!c->queue) c->queue = malloc(BULK);
    c->queued = n - (size_t)sent, c->queued_at = 0;
    memcpy(c->queue, data + sent, c->queued);
    watch(c, false, true);
}

static void answer_get(struct conn *c) {
    char text[512], path[BODY + 1];
    unsigned long long bytes;
    if (sscanf(c->line, "GET /bytes/%llu ", &bytes) == 1) {
        answer(c, text, (size_t)snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", bytes));
        c->total = c->left = bytes, c->position = 0, c->state = SOURCE;
        watch(c, true, true);
        return;
    }
    if (sscanf(c->line, "GET %64s", path) != 1) { c->ended = true; return; }
    int head = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", BODY);
    memset(text + head, '.', BODY);
    memcpy(text + head, path, strlen(path));
    answer(c, text, (size_t)head + BODY);
}

static void obey(struct conn *c) {
    unsigned long long bytes = 0, extra = 0;
    int fields = sscanf(c->line + 1, "%llu %llu", &bytes, &extra);
    c->total = c->left = bytes, c->position = extra, c->started = now_ns(), c->deadline = 0;
    switch (fields == 2 || c->line[1] == '\n' ? c->line[0] : 0) {
    case 'S': c->state = SOURCE; watch(c, true, true); break;
    case 'D': c->state = SINK; c->deadline = extra ? c->started + extra * 1000000u : 0; break;
    case 'V': c->state = VERIFY; break;
    case 'P': answer(c, "P\n", 2); break;
    case 'E': c->state = ECHO; break;
    case 'R': c->state = STOPPED; watch(c, false, false); break;
    default: c->ended = true;
    }
}

/* Returns how many bytes a command took; 0 when it is not complete yet. */
static size_t command(struct conn *c) {
    c->line[c->used] = 0;
    bool get = strncmp(c->line, "GET ", c->used < 4 ? c->used : 4) == 0;
    const char *mark = get ? "\r\n\r\n" : "\n", *end = strstr(c->line, mark);
    if (!end) {
        c->ended = c->used == sizeof c->line - 1;
        return 0;
    }
    get ? answer_get(c) : obey(c);
    return (size_t)(end - c->line) + strlen(mark);
}

static void feed(struct conn *c, const unsigned char *data, size_t n) {
    while (n && !c->ended) {
        size_t taken = n;
        if (c->state == COMMAND) {
            size_t before = c->used, room = sizeof c->line - 1 - before;
            if (taken > room) taken = room;
            memcpy(c->line + before, data, taken);
            c->used += taken;
            size_t whole = command(c);
            if (whole) taken = whole - before, c->used = 0;
        } else if (c->state == SINK) {
            if (taken > c->left) taken = c->left;
            sunk(c, taken);
        } else if (c->state == VERIFY) {
            if (taken > c->left) taken = c->left;
            if (taken > PERIOD) taken = PERIOD;
            if (memcmp(data, pattern_at(c->position), taken) != 0) answer_sink(c, "BAD", c->total - c->left, IGNORE);
            else c->position += taken, sunk(c, taken);
        } else if (c->state == ECHO) {
            echo(c, data, taken);
        }
        data += taken, n -= taken;
    }
}

static void readable(struct conn *c) {
    bool discard = c->state == SINK;
    size_t room = discard && c->left < BULK ? c->left : c->state == COMMAND ? sizeof c->line - 1 : BULK;
    ssize_t n = recv(c->fd, discard ? NULL : scratch, room, discard ? MSG_TRUNC : 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) c->ended = true;
    else if (n > 0 && discard) sunk(c, (size_t)n);
    else if (n > 0) feed(c, scratch, (size_t)n);
}

/* One send per turn, so that a bulk connection does not hold back the others. */
static void writable(struct conn *c) {
    bool source = c->state == SOURCE;
    size_t want = !source ? c->queued : c->left < PERIOD ? c->left : PERIOD;
    const unsigned char *from = source ? pattern_at(c->position) : c->queue + c->queued_at;
    ssize_t n = send(c->fd, from, want, MSG_NOSIGNAL);
    if (n < 0) { c->ended = errno != EAGAIN; return; }
    if (source) {
        c->position += (size_t)n, c->left -= (size_t)n;
        if (c->left == 0) c->state = COMMAND, watch(c, true, false);
    } else {
        c->queued_at += (size_t)n, c->queued -= (size_t)n;
        if (c->queued == 0) watch(c, true, false);
    }
}

static void greet(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return;
        no_delay(fd);
        struct conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int count, char **words) {
    if (count != 2) return fprintf(stderr, "usage: origin HOST:PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    fill_pattern();
    struct sockaddr_in address = parse_address(words[1]);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 65535)) return perror(words[1]), 1;
    poller = epoll_create1(0);
    static char stdin_mark, listener_mark;
    struct epoll_event events[512], first = {.events = EPOLLIN, .data.ptr = &listener_mark};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &first);
    first.data.ptr = &stdin_mark;
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &first);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poller, events, 512, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &stdin_mark) return 0;
            if (events[i].data.ptr == &listener_mark) { greet(listener); continue; }
            struct conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLIN) readable(c);
            if (!c->ended && c->wants_out && events[i].events & EPOLLOUT) writable(c);
            if (c->ended || events[i].events & (EPOLLERR | EPOLLHUP)) finish(c);
        }
    }
}
