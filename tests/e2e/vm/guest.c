/* What runs in the guest of the VM tests, linked statically: an echo server, and connections of its own to an echo server outside.
 *
 *   guest LISTEN-PORT ADDRESS PORT COUNT
 *
 * A block is BLOCK octets that begin with its number and are filled with a pattern of it. Our own connections send a block, wait until it has
 * come back unchanged, and send the next one. It says on the console what ends. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096

static int
write_all(int fd, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

static int
read_all(int fd, uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t n = read(fd, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

static void
echo(int fd)
{
    uint8_t buffer[65536];
    ssize_t n;
    while ((n = read(fd, buffer, sizeof buffer)) > 0 && write_all(fd, buffer, (size_t)n) == 0)
        ;
    printf("guest: an incoming connection ended: %s\n", n < 0 ? strerror(errno) : "closed");
}

static void
ask(const struct sockaddr_in *to)
{
    uint8_t sent[BLOCK], received[BLOCK];
    const struct timespec pause = {0, 20 * 1000 * 1000};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    while (connect(fd, (const struct sockaddr *)to, sizeof *to) != 0) {
        printf("guest: connect: %s\n", strerror(errno));
        close(fd);
        sleep(1);
        fd = socket(AF_INET, SOCK_STREAM, 0);
    }
    printf("guest: connected\n");
    for (uint32_t number = 0;; number++) {
        uint32_t be = htonl(number);
        memset(sent, (int)(number * 7 % 251), sizeof sent);
        memcpy(sent, &be, sizeof be);
        if (write_all(fd, sent, sizeof sent) != 0 || read_all(fd, received, sizeof received) != 0)
            break;
        if (memcmp(sent, received, sizeof sent) != 0) {
            printf("guest: block %u came back changed\n", number);
            return;
        }
        nanosleep(&pause, NULL);
    }
    printf("guest: an outgoing connection ended: %s\n", strerror(errno));
}

int
main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET}, here = {.sin_family = AF_INET};
    const int on = 1;
    if (argc != 5 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
        return 2;
    here.sin_port = htons((uint16_t)atoi(argv[1]));
    to.sin_port = htons((uint16_t)atoi(argv[3]));
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (const struct sockaddr *)&here, sizeof here) != 0 || listen(listener, 64) != 0) {
        printf("guest: listen: %s\n", strerror(errno));
        return 1;
    }
    for (int i = 0; i < atoi(argv[4]); i++)
        if (fork() == 0) {
            ask(&to);
            _exit(0);
        }
    printf("guest: ready\n");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0 && fork() == 0) {
            echo(fd);
            _exit(0);
        }
        if (fd >= 0)
            close(fd);
    }
}
