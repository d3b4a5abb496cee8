/* The native server: echo_server. Sleeps in epoll_wait between messages, answers all frames of one read with one send.
 *
 * What a connection does depends on the path:
 *   /echo      every data frame comes back as it was, unmasked
 *   /firehose  a text "COUNT SIZE" is answered with COUNT binary messages of SIZE bytes, as fast as the socket takes them
 *   /sink      binary messages are dropped, a text comes back: it says that all before it has arrived
 * An offer of permessage-deflate is accepted so that what the client compresses can be echoed unchanged.
 */

#include "net.h"

#include <malloc.h>

#include "accept_key.h"
#include "frames.h"

/* Each send of a block ends with a segment of what is left over 65,483 bytes, the most that loopback takes: of a few bytes,
 * for messages of 64 KiB and 256 KiB. The more there are before it, the less that costs. */
enum { READ_SIZE = 65536, BLOCK_SIZE = 512 * 1024 + 4096 };
enum mode { OPENING, ECHO, FIREHOSE, SINK };

struct bytes {
    uint8_t *data; /* NULL while there are none: an idle connection owns no buffer */
    size_t begin, end, capacity;
};

struct connection {
    int fd;
    enum mode mode;
    struct bytes in, out;
    long stream_left;      /* messages */
    size_t stream_sent;    /* bytes of the current message that are out */
    size_t to_drop;        /* bytes of a message for the sink that are to come */
    int waits_for_room;    /* EPOLLOUT is armed */
};

static int epoll_fd;
static struct bytes block; /* whole messages, back to back, or the beginning of a large one */
static size_t block_payload, block_header, block_message; /* of a message: payload, header, both together; bytes */

static void reserve(struct bytes *bytes, size_t room)
{
    if (bytes->begin && bytes->begin + (bytes->capacity - bytes->end) >= room) {
        memmove(bytes->data, bytes->data + bytes->begin, bytes->end - bytes->begin);
        bytes->end -= bytes->begin;
        bytes->begin = 0;
    }
    if (bytes->capacity - bytes->end >= room)
        return;
    bytes->capacity = bytes->end + room;
    bytes->data = realloc(bytes->data, bytes->capacity);
    if (!bytes->data)
        die("realloc");
}

static void release(struct bytes *bytes)
{
    free(bytes->data);
    memset(bytes, 0, sizeof *bytes);
}

static void end(struct connection *connection)
{
    close(connection->fd);
    release(&connection->in);
    release(&connection->out);
    free(connection);
}

static void append_frame(struct bytes *out, uint8_t first, const uint8_t *payload, size_t size, const uint8_t key[4])
{
    reserve(out, size + MAX_HEADER);
    out->end += write_header(out->data + out->end, first, size, NULL);
    copy_masked(out->data + out->end, payload, size, key);
    out->end += size;
}

/* One block is shared: all connections that stream at the same time ask for the same size. */
static void build_block(size_t payload)
{
    uint8_t header[MAX_HEADER];
    if (block.data && block_payload == payload)
        return;
    release(&block);
    block_payload = payload;
    block_header = write_header(header, 0x80 | BINARY, payload, NULL);
    block_message = block_header + payload;
    reserve(&block, BLOCK_SIZE);
    memset(block.data, 'x', BLOCK_SIZE);
    do {
        memcpy(block.data + block.end, header, block_header);
        block.end += block_message;
    } while (block.end + block_message <= BLOCK_SIZE);
    if (block.end > BLOCK_SIZE)
        block.end = BLOCK_SIZE;
}

static void start_stream(struct connection *connection, const struct frame *frame, const uint8_t *payload)
{
    char text[64] = {0};
    size_t size;
    copy_masked((uint8_t *)text, payload, frame->size < 63 ? frame->size : 63, frame->key);
    if (sscanf(text, "%ld %zu", &connection->stream_left, &size) != 2)
        die("firehose: COUNT SIZE expected");
    connection->stream_sent = 0;
    build_block(size);
}

/* Returns 0 when the connection has to end. */
static int answer(struct connection *connection, const struct frame *frame, const uint8_t *payload)
{
    if (frame->opcode == CLOSE || frame->opcode == PING) {
        const uint8_t opcode = frame->opcode == PING ? PONG : CLOSE;
        append_frame(&connection->out, 0x80 | opcode, payload, frame->size, frame->key);
        return frame->opcode == PING;
    }
    if (connection->mode == ECHO || connection->mode == SINK)
        append_frame(&connection->out, frame->first, payload, frame->size, frame->key);
    else if (connection->mode == FIREHOSE && frame->opcode == TEXT)
        start_stream(connection, frame, payload);
    return 1;
}

static void drop(struct connection *connection)
{
    struct bytes *in = &connection->in;
    const size_t available = in->end - in->begin;
    const size_t size = available < connection->to_drop ? available : connection->to_drop;
    in->begin += size;
    connection->to_drop -= size;
}

/* Answers all whole frames; an incomplete one gets the room that it needs. Returns 0 when the connection has to end. */
static int answer_frames(struct connection *connection)
{
    struct bytes *in = &connection->in;
    struct frame frame;
    drop(connection);
    while (read_header(in->data + in->begin, in->end - in->begin, &frame)) {
        const size_t size = frame.header_size + frame.size;
        if (connection->mode == SINK && frame.opcode == BINARY) {
            connection->to_drop = size;
            drop(connection);
            continue;
        }
        if (in->end - in->begin < size) {
            reserve(in, size - (in->end - in->begin));
            return 1;
        }
        if (!answer(connection, &frame, in->data + in->begin + frame.header_size))
            return 0;
        in->begin += size;
    }
    if (in->begin == in->end)
        release(in);
    return 1;
}

/* The client's first offer with its windows, as far as it fixed them: both ends then use the same. */
static void accept_extension(const char *request, char *out, size_t size)
{
    const char *server = strstr(request, "server_max_window_bits=");
    out[0] = 0;
    if (!strstr(request, "permessage-deflate"))
        return;
    const int bits = server ? atoi(server + strlen("server_max_window_bits=")) : 0;
    if (bits)
        snprintf(out, size,
                 "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=%d; client_max_window_bits=%d\r\n",
                 bits, bits);
    else
        snprintf(out, size, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
}

static int answer_request(struct connection *connection)
{
    struct bytes *in = &connection->in;
    char response[512], extension[128], accept[29];
    reserve(in, 1);
    in->data[in->end] = 0;
    char *request = (char *)in->data;
    if (!strstr(request, "\r\n\r\n"))
        return 1;
    const char *key = strcasestr(request, "\r\nsec-websocket-key: ");
    if (!key)
        return 0;
    accept_key(key + strlen("\r\nsec-websocket-key: "), accept);
    accept_extension(request, extension, sizeof extension);
    connection->mode = !strncmp(request, "GET /firehose", 13) ? FIREHOSE : !strncmp(request, "GET /sink", 9) ? SINK : ECHO;
    const int size = snprintf(response, sizeof response,
                              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "%sSec-WebSocket-Accept: %s\r\n\r\n",
                              extension, accept);
    reserve(&connection->out, (size_t)size);
    memcpy(connection->out.data + connection->out.end, response, (size_t)size);
    connection->out.end += (size_t)size;
    release(in);
    return 1;
}

/* Returns what send() did not take: 0 or 1. */
static int write_out(int fd, struct bytes *bytes)
{
    while (bytes->begin < bytes->end) {
        const ssize_t sent = send(fd, bytes->data + bytes->begin, bytes->end - bytes->begin, 0);
        if (sent < 0)
            return 1;
        bytes->begin += (size_t)sent;
    }
    return 0;
}

/* What to send next: as many whole messages as there are in the block, or more of a large one, whose bytes are alike. */
static ssize_t send_block(const struct connection *connection)
{
    const size_t done = connection->stream_sent;
    if (block_message > block.end) {
        const size_t from = done < block.end ? done : block_header;
        const size_t left = block_message - done;
        return send(connection->fd, block.data + from, left < block.end - from ? left : block.end - from, 0);
    }
    const long whole = (long)(block.end / block_message);
    const long count = connection->stream_left < whole ? connection->stream_left : whole;
    return send(connection->fd, block.data + done, (size_t)count * block_message - done, 0);
}

static int write_stream(struct connection *connection)
{
    while (connection->stream_left) {
        const ssize_t sent = send_block(connection);
        if (sent < 0)
            return 1;
        connection->stream_sent += (size_t)sent;
        connection->stream_left -= (long)(connection->stream_sent / block_message);
        connection->stream_sent %= block_message;
    }
    return 0;
}

static void write_ready(struct connection *connection)
{
    const int is_full = write_out(connection->fd, &connection->out) || write_stream(connection);
    if (!is_full && connection->out.data)
        release(&connection->out);
    if (is_full != connection->waits_for_room) {
        struct epoll_event event = {.events = EPOLLIN | (is_full ? EPOLLOUT : 0), .data.ptr = connection};
        connection->waits_for_room = is_full;
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
    }
}

static void read_ready(struct connection *connection)
{
    struct bytes *in = &connection->in;
    if (in->capacity == in->end)
        reserve(in, READ_SIZE);
    const ssize_t received = recv(connection->fd, in->data + in->end, in->capacity - in->end, 0);
    if (received < 0 && errno == EAGAIN)
        return;
    if (received <= 0) {
        end(connection);
        return;
    }
    in->end += (size_t)received;
    const int goes_on = connection->mode == OPENING ? answer_request(connection) : answer_frames(connection);
    write_ready(connection);
    if (!goes_on)
        end(connection);
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            die("calloc");
        connection->fd = fd;
        no_delay(fd);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(void)
{
    prepare_process();
    mallopt(M_MMAP_THRESHOLD, 64 << 20); /* memory for large messages is kept: mapping it anew costs more than copying */
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    const int listener = listen_on_loopback();
    no_blocking(listener);
    epoll_fd = epoll_create1(0);
    struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = &epoll_fd}; /* standard input: its end ends us */
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &listening);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input);
    for (;;) {
        struct epoll_event events[256];
        const int count = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].data.ptr == NULL)
                accept_all(listener);
            else if (events[i].data.ptr == &epoll_fd)
                return 0;
            else if (events[i].events & (EPOLLERR | EPOLLHUP))
                end(connection);
            else if (events[i].events & EPOLLOUT)
                write_ready(connection);
            else
                read_ready(connection);
        }
    }
}
