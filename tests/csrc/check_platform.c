/* platform.h on a pair of connected sockets: every result it can give, and no signal. */
#include "platform.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUIRE(fact)                                                           \
    do {                                                                        \
        if (!(fact)) {                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #fact);  \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static void check_clock(void)
{
    int64_t before = ws_clock_ns();
    for (int i = 0; i < 100000; i++) {
        const int64_t now = ws_clock_ns();
        REQUIRE(now >= before);
        before = now;
    }
    REQUIRE(before > 0);
}

static void check_transfer(const int *ends)
{
    char received[16];
    REQUIRE(ws_would_block(ws_recv(ends[1], received, sizeof received)));
    REQUIRE(ws_send(ends[0], "one", 3) == 3);
    REQUIRE(ws_send2(ends[0], "two", 3, "three", 5) == 8);
    REQUIRE(ws_send2(ends[0], "", 0, "4", 1) == 1);
    REQUIRE(ws_recv(ends[1], received, 2) == 2);
    REQUIRE(ws_recv(ends[1], received + 2, sizeof received - 2) == 10);
    REQUIRE(memcmp(received, "onetwothree4", 12) == 0);
}

/* A socket takes what it has room for and then says "later". */
static void check_full_socket(const int *ends)
{
    static char block[1 << 16];
    int64_t sent = 0, result;
    while ((result = ws_send2(ends[0], block, 7, block, sizeof block)) > 0)
        sent += result;
    REQUIRE(ws_would_block(result));
    REQUIRE(ws_would_block(ws_send(ends[0], block, sizeof block)));
    while ((result = ws_recv(ends[1], block, sizeof block)) > 0)
        sent -= result;
    REQUIRE(ws_would_block(result));
    REQUIRE(sent == 0);
}

/* A peer that is gone is an errno, not a SIGPIPE, which would end this program. */
static void check_gone_peer(int *ends)
{
    char byte;
    close(ends[1]);
    REQUIRE(ws_recv(ends[0], &byte, 1) == 0);
    REQUIRE(ws_send(ends[0], "x", 1) == -EPIPE);
    REQUIRE(ws_send2(ends[0], "x", 1, "y", 1) == -EPIPE);
    close(ends[0]);
    REQUIRE(ws_send(ends[0], "x", 1) == -EBADF);
    REQUIRE(ws_recv(ends[0], &byte, 1) == -EBADF);
    REQUIRE(!ws_would_block(-EBADF));
    REQUIRE(ws_set_no_delay(ends[0]) == -EBADF);
}

int main(void)
{
    int ends[2];
#ifndef MSG_NOSIGNAL
    signal(SIGPIPE, SIG_IGN);           /* as CPython does */
#endif
    check_clock();
    REQUIRE(WS_HAS_DIRECT_IO);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    check_transfer(ends);
    check_full_socket(ends);
    check_gone_peer(ends);
    puts("clock and sockets behave");
    return 0;
}
