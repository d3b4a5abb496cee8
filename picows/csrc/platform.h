/*
 * The operating system: a monotonic clock, and sockets used past the event loop's transport.
 *
 * Results are bytes, or a negative errno. Nothing here blocks, raises a signal, or touches Python.
 */
#ifndef WS_PLATFORM_H
#define WS_PLATFORM_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_M_X64)
#include <intrin.h>
#define WS_CPU_TICKS() __rdtsc()
#elif defined(__x86_64__)
#define WS_CPU_TICKS() __builtin_ia32_rdtsc()
#endif

#define WS_EUNSUPPORTED ENOTSUP

enum { WS_MAX_PARTS = 64 };

/*
 * Whether this is the moment, at most 8 microseconds long, whose beginning is in `*start`; otherwise a new one begins.
 *
 * For those who would read the clock often: the CPU's counter takes a quarter of the time. It runs at 1 GHz and faster.
 * On CPUs where it jumps or rests, a moment may end too soon or too late. Without a counter none lasts.
 */
static inline int ws_is_same_moment(uint64_t *start)
{
#ifdef WS_CPU_TICKS
    const uint64_t ticks = 8000;
    const uint64_t now = WS_CPU_TICKS();
    if (now - *start < ticks)
        return 1;
    *start = now;
#else
    (void)start;
#endif
    return 0;
}

/* A piece of what is to be sent. */
struct ws_part {
    const void *data;
    size_t size;
};

#ifdef _WIN32

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

/* Overlapped sockets belong to the proactor: a send past it could overtake one that is pending. */
#define WS_HAS_DIRECT_IO 0

static inline int64_t ws_clock_ns(void)
{
    const int64_t second = 1000000000;
    LARGE_INTEGER now, ticks_per_second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&ticks_per_second);
    /* The whole seconds apart, for ticks times 10^9 would overflow within days. */
    return now.QuadPart / ticks_per_second.QuadPart * second
        + now.QuadPart % ticks_per_second.QuadPart * second / ticks_per_second.QuadPart;
}

static inline int64_t ws_send(int fd, const void *data, size_t size)
{
    (void)fd, (void)data, (void)size;
    return -WS_EUNSUPPORTED;
}

static inline int64_t ws_send2(int fd, const void *head, size_t head_size, const void *body, size_t body_size)
{
    (void)fd, (void)head, (void)head_size, (void)body, (void)body_size;
    return -WS_EUNSUPPORTED;
}

static inline int64_t ws_recv(int fd, void *dst, size_t size)
{
    (void)fd, (void)dst, (void)size;
    return -WS_EUNSUPPORTED;
}

static inline int64_t ws_peek(int fd)
{
    (void)fd;
    return -WS_EUNSUPPORTED;
}

static inline int64_t ws_send_parts(int fd, const struct ws_part *parts, unsigned count)
{
    (void)fd, (void)parts, (void)count;
    return -WS_EUNSUPPORTED;
}

static inline int ws_set_no_delay(int fd)
{
    (void)fd;
    return -WS_EUNSUPPORTED;
}

#else

#include <sys/types.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>

#define WS_HAS_DIRECT_IO 1

/* macOS has no MSG_NOSIGNAL; there CPython's default, SIGPIPE ignored, serves. */
#ifdef MSG_NOSIGNAL
#define WS_SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)
#else
#define WS_SEND_FLAGS MSG_DONTWAIT
#endif

/* macOS refuses more than INT_MAX bytes in one call. A caller copes with a short count anyway. */
#define WS_MAX_IO_SIZE ((size_t)1 << 30)

static inline size_t ws_clamp_io_size(size_t size)
{
    return size < WS_MAX_IO_SIZE ? size : WS_MAX_IO_SIZE;
}

/* Nanoseconds since some fixed point; never goes back. */
static inline int64_t ws_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Bytes that the socket took, perhaps fewer than `size`, or -errno. */
static inline int64_t ws_send(int fd, const void *data, size_t size)
{
    ssize_t sent;
    do {
        sent = send(fd, data, ws_clamp_io_size(size), WS_SEND_FLAGS);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -(int64_t)errno : sent;
}

/* `head`, then `body`, with one system call; otherwise as ws_send. */
static inline int64_t ws_send2(int fd, const void *head, size_t head_size, const void *body, size_t body_size)
{
    struct iovec parts[2];
    struct msghdr message = {0};
    ssize_t sent;
    parts[0].iov_base = (void *)head;
    parts[0].iov_len = head_size;
    parts[1].iov_base = (void *)body;
    parts[1].iov_len = ws_clamp_io_size(body_size);
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    do {
        sent = sendmsg(fd, &message, WS_SEND_FLAGS);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -(int64_t)errno : sent;
}

/* At most WS_MAX_PARTS pieces with one system call; otherwise as ws_send. */
static inline int64_t ws_send_parts(int fd, const struct ws_part *parts, unsigned count)
{
    struct iovec pieces[WS_MAX_PARTS];
    struct msghdr message = {0};
    size_t room = WS_MAX_IO_SIZE;
    ssize_t sent;
    unsigned used = 0;
    while (used < count && used < WS_MAX_PARTS && room > 0) {
        const size_t size = parts[used].size < room ? parts[used].size : room;
        pieces[used].iov_base = (void *)parts[used].data;
        pieces[used].iov_len = size;
        room -= size;
        used++;
    }
    message.msg_iov = pieces;
    message.msg_iovlen = used;
    do {
        sent = sendmsg(fd, &message, WS_SEND_FLAGS);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -(int64_t)errno : sent;
}

/* Bytes read into `dst`, which has room for `size` > 0; 0 at the end of the stream; or -errno. */
static inline int64_t ws_recv(int fd, void *dst, size_t size)
{
    ssize_t received;
    do {
        received = recv(fd, dst, ws_clamp_io_size(size), MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    return received < 0 ? -(int64_t)errno : received;
}

/* What ws_recv would say now, and take nothing: 1 if there is something to read. */
static inline int64_t ws_peek(int fd)
{
    char byte;
    ssize_t received;
    do {
        received = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    } while (received < 0 && errno == EINTR);
    return received < 0 ? -(int64_t)errno : received;
}

/* Switch Nagle's algorithm off: 0 or -errno, which it is for a socket that is not TCP's. */
static inline int ws_set_no_delay(int fd)
{
    const int on = 1;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ? -errno : 0;
}

#endif

/* Whether a result says "later": the socket is full, or has nothing to read. */
static inline int ws_would_block(int64_t result)
{
    return result == -EAGAIN || result == -EWOULDBLOCK;
}

#endif
