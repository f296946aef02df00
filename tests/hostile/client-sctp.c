/* The hostile client's association: the product's own stack and wire (transport/tls-wire.h), with calls that block. */
#include <netdb.h>
#include <openssl/ssl.h>

#include "tests/hostile/hostile.h"
#include "transport/address.h"
#include "transport/tls-wire.h"

/* As for the tail of a session: what the collector has not acknowledged by then, it does not get. */
#define LINGER_US (2 * G_USEC_PER_SEC)

/* There is one a process; it lives as long. */
static SamiSctp *the_stack;
static GMainContext *the_context;

static ssize_t (*the_send)(int fd, const struct msghdr *message, int flags);

void
client_sctp_send_by(ssize_t (*send)(int fd, const struct msghdr *message, int flags))
{
    the_send = send;
}

void
client_sctp_turn(gboolean may_block)
{
    g_main_context_iteration(the_context, may_block);
}

SamiSctpAssoc *
client_sctp_begin(const Identity *identity)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
    const SamiSctpConfig config = { .backend = SAMI_SCTP_USERLAND, .udp_port = (guint16) identity->config->sctp_udp_port, .send = the_send };
    struct addrinfo *info = NULL;
    g_autofree gchar *host = NULL, *port = NULL;
    g_autoptr(GError) error = NULL;
    if (!sami_address_split(identity->peer->addresses[0], &host, &port, &error) || getaddrinfo(host, port, &hints, &info) != 0)
        die("%s: no address", identity->peer->addresses[0]);
    if (!the_stack) {
        the_context = g_main_context_new();
        the_stack = sami_sctp_new(&config, -1, 0, the_context, &error);
    }
    SamiSctpAssoc *assoc = the_stack ? sami_sctp_connect(the_stack, info->ai_addr, &error) : NULL;
    freeaddrinfo(info);
    if (!assoc)
        die("%s", error->message);
    return assoc;
}

SamiSctpState
client_sctp_state(SamiSctpAssoc *assoc)
{
    const guint8 *message;
    gsize n;
    guint16 stream;
    while (sami_sctp_assoc_receive(assoc, &message, &n, &stream) == SAMI_SCTP_DONE)
        ;
    return sami_sctp_assoc_state(assoc);
}

SSL *
client_sctp_open(Client *c, gint64 timeout_us, GError **error)
{
    SamiSctpAssoc *assoc = client_sctp_begin(c->identity);
    gint64 end_us = g_get_monotonic_time() + timeout_us;
    while (client_sctp_state(assoc) == SAMI_SCTP_CONNECTING && g_get_monotonic_time() < end_us)
        client_sctp_turn(TRUE);
    if (sami_sctp_assoc_state(assoc) != SAMI_SCTP_UP)
        die("no association: %s", sami_sctp_assoc_failure(assoc) ? sami_sctp_assoc_failure(assoc) : "no answer");
    c->wire = sami_wire_sctp_new(assoc, FALSE);
    return c->wire->ops->open(c->wire, c->tls, &c->verdict, error);
}

gboolean
client_sctp_wait(Client *c, gint64 end_us)
{
    client_sctp_turn(TRUE);
    c->wire->ops->run(c->wire);
    return g_get_monotonic_time() < end_us;
}

gboolean
client_sctp_wait_for_room(Client *c, gint64 end_us)
{
    while (!c->wire->ops->can_write(c->wire))
        if (!client_sctp_wait(c, end_us))
            return FALSE;
    return TRUE;
}

gboolean
client_sctp_is_over(Client *c)
{
    client_sctp_turn(TRUE);
    c->wire->ops->run(c->wire);
    return c->wire->ops->drain(c->wire) == SAMI_WIRE_OVER;
}

void
client_sctp_close(Client *c)
{
    gint64 end_us = g_get_monotonic_time() + LINGER_US;
    while (!c->wire->ops->can_close(c->wire) && client_sctp_wait(c, end_us))
        ;
    SSL_shutdown(c->ssl);
    c->wire->ops->finish(c->wire);
    while (!client_sctp_is_over(c) && g_get_monotonic_time() < end_us)
        ;
}
