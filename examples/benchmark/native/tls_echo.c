/* Echo over TLS: tls_echo CERTIFICATE KEY. A blocking process for each connection, messages of up to 60 KiB. */

#include "net.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/wait.h>

#include "accept_key.h"
#include "frames.h"

enum { READ_SIZE = 65536 };

static _Noreturn void die_of_tls(const char *what)
{
    fprintf(stderr, "%s: ", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int read_some(SSL *tls, uint8_t *data, size_t filled)
{
    return SSL_read(tls, data + filled, (int)(READ_SIZE - filled));
}

static void accept_upgrade(SSL *tls, uint8_t *data)
{
    char response[256], accept[29];
    size_t filled = 0;
    do {
        const int received = read_some(tls, data, filled);
        if (received <= 0)
            die_of_tls("request");
        filled += (size_t)received;
        data[filled] = 0;
    } while (!strstr((char *)data, "\r\n\r\n"));
    const char *key = strcasestr((char *)data, "\r\nsec-websocket-key: ");
    if (!key)
        exit(1);
    accept_key(key + strlen("\r\nsec-websocket-key: "), accept);
    const int size = snprintf(response, sizeof response,
                              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: %s\r\n\r\n",
                              accept);
    SSL_write(tls, response, size);
}

static void echo(SSL *tls)
{
    static uint8_t data[READ_SIZE + 1], reply[READ_SIZE];
    size_t filled = 0;
    int received;
    accept_upgrade(tls, data);
    while ((received = read_some(tls, data, filled)) > 0) {
        size_t begin = 0, size = 0;
        struct frame frame;
        filled += (size_t)received;
        while (read_header(data + begin, filled - begin, &frame) && filled - begin >= frame.header_size + frame.size) {
            size += write_header(reply + size, frame.first, frame.size, NULL);
            copy_masked(reply + size, data + begin + frame.header_size, frame.size, frame.key);
            size += frame.size;
            begin += frame.header_size + frame.size;
        }
        filled -= begin;
        memmove(data, data + begin, filled);
        if (size && SSL_write(tls, reply, (int)size) <= 0)
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    prepare_process();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_file(context, argv[1], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) != 1)
        die_of_tls("certificate");
    signal(SIGCHLD, SIG_IGN);
    const int listener = listen_on_loopback();
    for (;;) {
        const int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            die("accept");
        if (fork() == 0) {
            SSL *tls = SSL_new(context);
            no_delay(fd);
            SSL_set_fd(tls, fd);
            if (SSL_accept(tls) == 1)
                echo(tls);
            return 0;
        }
        close(fd);
    }
}
