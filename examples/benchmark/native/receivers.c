/* Connections that only receive: receivers PORT CONNECTIONS STOPPED [EXTENSION]. Open until standard input ends.
 *
 * The first STOPPED of them never read and have a receive buffer of 4 KiB, so that soon nothing can be sent to them.
 */

#include "net.h"

enum { READ_SIZE = 262144 };

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    prepare_process();
    const int port = atoi(argv[1]);
    const long count = atol(argv[2]), stopped = atol(argv[3]);
    static char buffer[READ_SIZE];
    const int epoll_fd = epoll_create1(0);
    struct epoll_event input = {.events = EPOLLIN, .data.fd = STDIN_FILENO};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input);
    for (long i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = connect_to(port, i < stopped ? 4096 : 0)};
        upgrade(event.data.fd, port, "/echo", argc > 4 ? argv[4] : NULL);
        if (i >= stopped)
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event);
    }
    printf("{\"ready\": true}\n");
    for (;;) {
        struct epoll_event events[256];
        const int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == STDIN_FILENO)
                return 0;
            if (recv(events[i].data.fd, buffer, sizeof buffer, MSG_DONTWAIT) == 0)
                die("the server ended a connection");
        }
    }
}
