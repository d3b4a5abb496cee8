/* Opening handshakes: handshakes PORT CONCURRENT. "run N" opens N connections, at most CONCURRENT at the same time.
 *
 * Each is reset as soon as the response has come, which leaves no port waiting; a server has to clean up after that too.
 */

#include "net.h"

static char request[1024];
static size_t request_size;
static int port, epoll_fd;

static void open_one(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = connect_to(port, 0)};
    send_all(event.data.fd, request, request_size);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event);
}

static void finish_one(int fd)
{
    char response[4096];
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    const ssize_t received = recv(fd, response, sizeof response - 1, 0);
    response[received > 0 ? received : 0] = 0;
    /* Servers write the head at once, and it fits a segment. */
    if (strncmp(response, "HTTP/1.1 101", 12) || !strstr(response, "\r\n\r\n")) {
        fprintf(stderr, "no whole 101 response in one read: %s\n", response);
        exit(1);
    }
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}

static void run(long count, long concurrent)
{
    const double started = seconds_now();
    long opened = 0, finished = 0;
    while (opened < count && opened < concurrent)
        open_one(), opened++;
    while (finished < count) {
        struct epoll_event events[64];
        const int ready = epoll_wait(epoll_fd, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            finish_one(events[i].data.fd);
            finished++;
            if (opened < count)
                open_one(), opened++;
        }
    }
    printf("{\"operations\": %ld, \"seconds\": %.9f}\n", finished, seconds_now() - started);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    prepare_process();
    port = atoi(argv[1]);
    epoll_fd = epoll_create1(0);
    request_size = build_request(request, sizeof request, port, "/echo", NULL);
    printf("{\"ready\": true}\n");
    for (long count; (count = next_run()) > 0;)
        run(count, atol(argv[2]));
    return 0;
}
