/* The load generator: load PORT CONNECTIONS BURST SIZE [FILE]. "run N" makes N round trips, spread over the connections.
 *
 * Each connection sends BURST messages with one send, waits for as many replies, then sends the next burst. A round trip is
 * a message and its reply; the latency is that of a burst, from its send to its last reply. FILE has compressed messages,
 * each after its size in 4 bytes, low byte first: permessage-deflate is negotiated and they are sent in turn.
 */

#include "net.h"

#include "frames.h"

enum { READ_SIZE = 262144 };

struct connection {
    int fd;
    long replies_left;          /* of the burst under way */
    double sent_at;
    uint8_t header[MAX_HEADER]; /* of a reply of which only a part has arrived */
    size_t header_filled;
    size_t payload_left;        /* bytes of a reply that are to come */
    long next;                  /* of the prepared bursts */
};

static struct burst {
    uint8_t *data;
    size_t size;
} *bursts;
static long burst_count, messages_per_burst;
static long to_send, replies; /* round trips of this run: not begun, completed */
static uint32_t *latencies;   /* nanoseconds, one for each burst */
static long latency_count;
static uint8_t buffer[READ_SIZE];

static void prepare_bursts(size_t size)
{
    const uint8_t key[4] = {0x12, 0x34, 0x56, 0x78};
    uint8_t *payload = calloc(1, size + 1);
    burst_count = 1;
    bursts = allocate(sizeof *bursts);
    bursts->data = allocate((size_t)messages_per_burst * (size + MAX_HEADER));
    bursts->size = 0;
    for (long i = 0; i < messages_per_burst; i++) {
        bursts->size += write_header(bursts->data + bursts->size, 0x80 | BINARY, size, key);
        copy_masked(bursts->data + bursts->size, payload, size, key);
        bursts->size += size;
    }
    free(payload);
}

static void load_messages(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t prefix[4];
    if (!file)
        die(path);
    while (fread(prefix, 4, 1, file) == 1) {
        const size_t size = prefix[0] | (size_t)prefix[1] << 8 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 24;
        const uint8_t key[4] = {0x12, 0x34, 0x56, 0x78};
        bursts = realloc(bursts, (size_t)(burst_count + 1) * sizeof *bursts);
        struct burst *burst = bursts + burst_count++;
        burst->data = allocate(size + MAX_HEADER);
        burst->size = write_header(burst->data, 0xC0 | BINARY, size, key);
        if (fread(burst->data + burst->size, 1, size, file) != size)
            die(path);
        copy_masked(burst->data + burst->size, burst->data + burst->size, size, key);
        burst->size += size;
    }
    fclose(file);
}

static void send_burst(struct connection *connection)
{
    const struct burst *burst = bursts + connection->next++ % burst_count;
    to_send -= messages_per_burst;
    connection->replies_left = messages_per_burst;
    connection->sent_at = seconds_now();
    send_all(connection->fd, burst->data, burst->size);
}

static void count_reply(struct connection *connection)
{
    replies++;
    if (--connection->replies_left)
        return;
    latencies[latency_count++] = (uint32_t)((seconds_now() - connection->sent_at) * 1e9);
    if (to_send > 0)
        send_burst(connection);
}

/* Counts the replies that end in these bytes; payloads are skipped. */
static void parse(struct connection *connection, const uint8_t *data, size_t size)
{
    while (size) {
        if (connection->payload_left) {
            const size_t skipped = connection->payload_left < size ? connection->payload_left : size;
            connection->payload_left -= skipped;
            data += skipped, size -= skipped;
            if (!connection->payload_left)
                count_reply(connection);
            continue;
        }
        struct frame frame;
        connection->header[connection->header_filled++] = *data++;
        size--;
        if (!read_header(connection->header, connection->header_filled, &frame))
            continue;
        connection->header_filled = 0;
        connection->payload_left = frame.size;
        if (frame.opcode == CLOSE) {
            fprintf(stderr, "the server closed the connection\n");
            exit(1);
        }
        if (!frame.size)
            count_reply(connection);
    }
}

static int by_size(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(double part)
{
    return (double)latencies[(long)(part * (double)(latency_count - 1))] / 1000;
}

static void run(int epoll_fd, struct connection *connections, long connection_count, long count)
{
    const double started = seconds_now();
    to_send = count;
    replies = latency_count = 0;
    latencies = allocate((size_t)(count / messages_per_burst + connection_count) * sizeof *latencies);
    for (long i = 0; i < connection_count && to_send > 0; i++)
        send_burst(connections + i);
    const long expected = count - to_send; /* grows with each burst until nothing is to be sent */
    for (long wanted = expected; replies < wanted; wanted = count - to_send) {
        struct epoll_event events[256];
        const int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            const ssize_t received = recv(connection->fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (received == 0 || (received < 0 && errno != EAGAIN))
                die("recv");
            if (received > 0)
                parse(connection, buffer, (size_t)received);
        }
    }
    const double seconds = seconds_now() - started;
    qsort(latencies, (size_t)latency_count, sizeof *latencies, by_size);
    printf("{\"operations\": %ld, \"seconds\": %.9f, \"p50\": %.2f, \"p99\": %.2f, \"p999\": %.2f}\n", replies, seconds,
           percentile(0.5), percentile(0.99), percentile(0.999));
    free(latencies);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    prepare_process();
    const int port = atoi(argv[1]);
    const long connection_count = atol(argv[2]);
    messages_per_burst = atol(argv[3]);
    if (argc > 5)
        load_messages(argv[5]);
    else
        prepare_bursts((size_t)atol(argv[4]));
    const int epoll_fd = epoll_create1(0);
    struct connection *connections = calloc((size_t)connection_count, sizeof *connections);
    for (long i = 0; i < connection_count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connections + i};
        connections[i].fd = connect_to(port, 0);
        connections[i].next = i;
        upgrade(connections[i].fd, port, "/echo", argc > 5 ? "permessage-deflate" : NULL);
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connections[i].fd, &event);
    }
    printf("{\"ready\": true}\n");
    for (long count; (count = next_run()) > 0;)
        run(epoll_fd, connections, connection_count, count);
    free(connections);
    return 0;
}
