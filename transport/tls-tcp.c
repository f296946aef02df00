#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/tcp.h"
#include "transport/tls-wire.h"

#define DRAIN_SIZE 65536
#define ROUNDS_PER_TURN 32

typedef struct {
    SamiWire base;
    int fd;
    gpointer tag; /* of the source */
    GIOCondition condition;
} Tcp;

static SSL *
open_ssl(SamiWire *wire, SamiTls *tls, SamiTlsVerdict *verdict, GError **error)
{
    return sami_tls_open(tls, verdict, ((Tcp *) wire)->fd, error);
}

static void
print(const SamiWire *wire, gchar ret_text[SAMI_ADDRESS_TEXT])
{
    sami_address_print_peer(((const Tcp *) wire)->fd, ret_text);
}

static void
run(SamiWire *wire)
{
}

/* Conditions of 0 take the descriptor out: poll() reports a hang-up even where nothing is asked for, and the loop would spin. */
static gint64
watch(SamiWire *wire, GSource *source, GIOCondition wanted)
{
    Tcp *tcp = (Tcp *) wire;
    if (tcp->condition == wanted)
        return 0;
    if (tcp->tag && wanted)
        g_source_modify_unix_fd(source, tcp->tag, wanted);
    else if (tcp->tag)
        g_source_remove_unix_fd(source, g_steal_pointer(&tcp->tag));
    else
        tcp->tag = g_source_add_unix_fd(source, tcp->fd, wanted);
    tcp->condition = wanted;
    return 0;
}

static gboolean
always(SamiWire *wire)
{
    return TRUE;
}

static const gchar *
nothing(SamiWire *wire)
{
    return NULL;
}

static void
finish(SamiWire *wire)
{
    shutdown(((Tcp *) wire)->fd, SHUT_WR);
}

static SamiWireDrain
drain(SamiWire *wire)
{
    guint8 octets[DRAIN_SIZE];
    for (guint i = 0; i < ROUNDS_PER_TURN; i++) {
        ssize_t n = recv(((Tcp *) wire)->fd, octets, sizeof(octets), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return SAMI_WIRE_IDLE;
        if (n <= 0)
            return SAMI_WIRE_OVER;
    }
    return SAMI_WIRE_MORE;
}

static void
tcp_free(SamiWire *wire)
{
    close(((Tcp *) wire)->fd);
    g_free(wire);
}

SamiWire *
sami_wire_tcp_new(int fd_take, gboolean is_server)
{
    static const SamiWireOps ops = { .transport = 1, .message_max = SAMI_MESSAGE_MAX, .linger_us = 2 * G_USEC_PER_SEC, .open = open_ssl,
                                     .print = print, .run = run, .watch = watch, .can_write = always, .can_close = always, .doubt = nothing, .failure = nothing, .finish = finish,
                                     .drain = drain, .free = tcp_free };
    Tcp *tcp = g_new0(Tcp, 1);
    tcp->base.ops = &ops;
    tcp->fd = fd_take;
    if (is_server)
        sami_tcp_tune(fd_take, FALSE);
    return &tcp->base;
}
