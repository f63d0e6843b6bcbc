/* The user behind the proxies: one epoll thread, started as `load MODE key=value...`; prints lines of JSON.

   via=HOST:PORT     where to connect: a proxy, a TCP forwarder, or the origin itself
   target=HOST:PORT  what to CONNECT to; without it no CONNECT is spoken
   Modes (origin.c explains the commands that they send):
     wait    tries until one tunnel echoes a byte, or for `seconds`
     down    `tunnels` open first, then each asks for `bytes`; ends when all has come, or after `seconds`
     up      the same upward; the origin says how many bytes came, in what time
     open    `count` tunnels, `concurrency` at a time: connect, CONNECT, one GET, the answer compared, close
     get     `count` GETs of plain HTTP by `concurrency` users, each on one connection, the answers compared
     fetch   one GET of plain HTTP whose answer has `bytes`
     echo    one byte there and back on one tunnel, `count` times or for `seconds`
     hold    tunnels held open on the orders that come by stdin: "open N", "check" (each echoes a byte), "quit"
     stop    asks for `bytes`, reads 64 KiB of them and then nothing until stdin has a line or its end
     stuff   sends `bytes` to an origin that does not read, until stdin has a line or its end
   verify=1 makes down and up compare every byte with the pattern; without it down discards in the kernel (MSG_TRUNC). */
#include "many.h"
#include "single.h"
#include "transfer.h"
#include "plain.h"

static const struct mode modes[] = {
    {"wait", nothing, nothing, NULL, NULL, run_wait},
    {"down", transfer_opened, down_readable, NULL, transfer_ended, run_transfer},
    {"up", transfer_opened, up_readable, up_writable, transfer_ended, run_transfer},
    {"open", open_opened, open_readable, NULL, open_ended, run_open},
    {"get", next_get, get_readable, NULL, get_ended, run_get, true},
    {"fetch", fetch_opened, fetch_readable, NULL, transfer_ended, run_transfer, true},
    {"echo", nothing, nothing, NULL, NULL, run_echo},
    {"hold", hold_opened, hold_readable, NULL, NULL, run_hold},
    {"stop", nothing, nothing, NULL, NULL, run_stop},
    {"stuff", nothing, nothing, NULL, NULL, run_stuff},
};

static bool set(const char *word) {
    struct { const char *key; uint64_t *value; } numbers[] = {
        {"tunnels=", &option.tunnels}, {"bytes=", &option.bytes}, {"seconds=", &option.seconds}, {"count=", &option.count},
        {"concurrency=", &option.concurrency}, {"verify=", &option.verify}};
    if (!strncmp(word, "via=", 4)) return (option.via = word + 4) != NULL;
    if (!strncmp(word, "target=", 7)) return (option.target = word + 7) != NULL;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        size_t n = strlen(numbers[i].key);
        if (!strncmp(word, numbers[i].key, n)) return *numbers[i].value = strtoull(word + n, NULL, 10), true;
    }
    return false;
}

int main(int count, char **words) {
    for (size_t i = 0; count > 1 && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(words[1], modes[i].name)) mode = &modes[i];
    for (int i = 2; i < count; i++)
        if (!set(words[i])) return fprintf(stderr, "load: %s?\n", words[i]), 2;
    if (!mode || !option.via) return fprintf(stderr, "usage: load MODE via=HOST:PORT [key=value...]\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    fill_pattern();
    poller = epoll_create1(0);
    mode->run();
    return 0;
}
