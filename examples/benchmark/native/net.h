/* Sockets, time, and how the native programs talk to run.py: commands on standard input, JSON on standard output. */
#ifndef NET_H
#define NET_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static inline void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (!memory)
        die("malloc");
    return memory;
}

static inline double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline void prepare_process(void)
{
    struct rlimit limit;
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static inline void no_delay(int fd)
{
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline void no_blocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* A listening socket on a free port of the loopback interface, announced to run.py. */
static inline int listen_on_loopback(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&address, &size))
        die("listen");
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    return fd;
}

/* A connected, blocking socket. `receive_buffer` bytes, or 0 for the system's default. */
static inline int connect_to(int port, int receive_buffer)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        die("socket");
    if (receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        die("connect");
    no_delay(fd);
    return fd;
}

static inline void send_all(int fd, const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size) {
        const ssize_t sent = send(fd, at, size, 0);
        if (sent < 0 && errno != EINTR)
            die("send");
        if (sent > 0)
            at += sent, size -= (size_t)sent;
    }
}

/* The upgrade request of a browser, more or less. `extension` is NULL or the value of Sec-WebSocket-Extensions. */
static inline size_t build_request(char *out, size_t size, int port, const char *path, const char *extension)
{
    return (size_t)snprintf(
        out, size,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n"
        "Origin: http://127.0.0.1\r\nAccept-Language: en-US,en;q=0.9\r\nCache-Control: no-cache\r\n"
        "Pragma: no-cache\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s%s\r\n",
        path, port, extension ? "Sec-WebSocket-Extensions: " : "", extension ? extension : "",
        extension ? "\r\n" : "");
}

/* Sends the request and reads the whole response: servers of the benchmark send nothing after it by themselves. */
static inline void upgrade(int fd, int port, const char *path, const char *extension)
{
    char request[1024], response[4096];
    size_t filled = 0;
    send_all(fd, request, build_request(request, sizeof request, port, path, extension));
    do {
        const ssize_t received = recv(fd, response + filled, sizeof response - 1 - filled, 0);
        if (received <= 0)
            die("the server ended the opening handshake");
        filled += (size_t)received;
        response[filled] = 0;
    } while (!strstr(response, "\r\n\r\n"));
    if (strncmp(response, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "refused: %s", response);
        exit(1);
    }
    if (extension && !strstr(response, "permessage-deflate")) {
        fprintf(stderr, "no permessage-deflate: %s", response);
        exit(1);
    }
}

/* The next "run NUMBER"; 0 when run.py closed the pipe. */
static inline long next_run(void)
{
    char line[64];
    if (!fgets(line, sizeof line, stdin))
        return 0;
    return strtol(line + strlen("run "), NULL, 10);
}

#endif
