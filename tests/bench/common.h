/* What origin.c and load.c share: the clock, file limits, addresses, and the pattern that payloads are made of.

   The pattern is a fixed pseudo-random sequence with a prime period, so a byte says where in the stream it belongs: a lost, doubled
   or swapped chunk of any size does not compare equal. A stream that starts at position `seed` differs from its neighbours' streams. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PERIOD 262139u /* the largest prime below 256 KiB: both copies stay in a core's cache */
#define BULK (1u << 20)
#define BODY 64 /* bytes in the answer to a GET: the path, then dots */

static unsigned char pattern[2 * PERIOD];

static inline void fill_pattern(void) {
    uint64_t x = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < PERIOD; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        pattern[i] = pattern[i + PERIOD] = (unsigned char)(x >> 32);
    }
}

/* PERIOD bytes can be read from here. */
static inline const unsigned char *pattern_at(uint64_t position) { return pattern + position % PERIOD; }

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Many tunnels need many descriptors; without the privilege the hard limit is what can be had. */
static inline void raise_file_limit(void) {
    struct rlimit limit = {65536, 65536};
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static inline struct sockaddr_in parse_address(const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    const char *colon = strchr(text, ':');
    char host[64] = "";
    if (colon && colon - text < (long)sizeof host) memcpy(host, text, (size_t)(colon - text));
    if (!colon || inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "not an IPv4 address with a port: %s\n", text);
        exit(2);
    }
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    return address;
}

static inline void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}
