/* What any client can reach at best: floor_client PORT ROLE SIZE blocking|polling|keeping. "run N" makes N operations.
 *
 * One connection, a prepared message, no parsing beyond the count of bytes. The polling client never sleeps in recv().
 * The keeping one reads each message of a firehose into memory of its own, and keeps the last as well: two blocks that
 * take turns, as in any program that holds one message while it receives the next. The others throw bytes away.
 */

#include "net.h"

#include "frames.h"

enum { READ_SIZE = 262144 };

static int fd, recv_flags;
static uint8_t *message, *buffer, *blocks[2];
static size_t message_size; /* with its header, bytes */
static size_t reply_size;

static size_t read_some(uint8_t *target, size_t size)
{
    const ssize_t received = recv(fd, target, size, recv_flags);
    if (received == 0 || (received < 0 && errno != EAGAIN))
        die("recv");
    return received > 0 ? (size_t)received : 0;
}

static void receive(size_t size)
{
    while (size)
        size -= read_some(buffer, size < READ_SIZE ? size : READ_SIZE);
}

static void receive_and_keep(long count)
{
    for (; count; count--)
        for (size_t filled = 0; filled < reply_size;)
            filled += read_some(blocks[count % 2] + filled, reply_size - filled);
}

static void send_text(const char *text)
{
    uint8_t frame[MAX_HEADER + 64];
    const uint8_t key[4] = {0};
    const size_t header = write_header(frame, 0x80 | TEXT, strlen(text), key);
    memcpy(frame + header, text, strlen(text));
    send_all(fd, frame, header + strlen(text));
}

static void round_trips(long count, size_t size)
{
    (void)size;
    while (count--) {
        send_all(fd, message, message_size);
        receive(reply_size);
    }
}

static void firehose(long count, size_t size)
{
    char text[64];
    snprintf(text, sizeof text, "%ld %zu", count, size);
    send_text(text);
    if (blocks[0])
        receive_and_keep(count);
    else
        receive((size_t)count * reply_size);
}

/* Messages leave one by one; the last is a text that comes back. */
static void send_messages(long count, size_t size)
{
    (void)size;
    while (count--)
        send_all(fd, message, message_size);
    send_text("done");
    receive(2 + strlen("done"));
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    prepare_process();
    const int port = atoi(argv[1]);
    const char *role = argv[2];
    const size_t size = (size_t)atol(argv[3]);
    const uint8_t key[4] = {0x12, 0x34, 0x56, 0x78};
    const char *path = !strcmp(role, "firehose") ? "/firehose" : !strcmp(role, "send") ? "/sink" : "/echo";
    void (*work)(long, size_t) = path[1] == 'f' ? firehose : path[1] == 's' ? send_messages : round_trips;
    recv_flags = strcmp(argv[4], "polling") ? 0 : MSG_DONTWAIT;
    buffer = allocate(READ_SIZE);
    message = calloc(1, size + MAX_HEADER);
    message_size = write_header(message, 0x80 | BINARY, size, key) + size;
    reply_size = message_size - 4;
    if (!strcmp(argv[4], "keeping"))
        for (int i = 0; i < 2; i++)
            blocks[i] = allocate(reply_size);
    fd = connect_to(port, 0);
    upgrade(fd, port, path, NULL);
    printf("{\"ready\": true}\n");
    for (long count; (count = next_run()) > 0;) {
        const double started = seconds_now();
        work(count, size);
        printf("{\"operations\": %ld, \"seconds\": %.9f}\n", count, seconds_now() - started);
    }
    return 0;
}
