#include "transport/sctp.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "transport/sctp-backend.h"
#include "transport/sctp-udp.h"

SamiSctpBackend
sami_sctp_choose(SamiSctpBackend backend)
{
    if (backend != SAMI_SCTP_AUTO)
        return backend;
    return sami_sctp_kernel_exists() ? SAMI_SCTP_KERNEL : SAMI_SCTP_USERLAND;
}

static const gchar *const backend_names[] = { "auto", "userland", "kernel" };

const gchar *
sami_sctp_backend_name(SamiSctpBackend backend)
{
    return backend_names[backend];
}

SamiSctpBackend
sami_sctp_backend_parse(const gchar *name)
{
    guint i = G_N_ELEMENTS(backend_names) - 1;
    while (i > 0 && strcmp(backend_names[i], name) != 0)
        i--;
    return (SamiSctpBackend) i;
}

gboolean
sami_sctp_prepare(SamiSctpConfig *config, gchar **ret_what, GError **error)
{
    gboolean is_asked = config->backend != SAMI_SCTP_AUTO;
    config->backend = sami_sctp_choose(config->backend);
    if (config->backend == SAMI_SCTP_KERNEL && !sami_sctp_kernel_prepare(config, error))
        return FALSE;
    if (config->backend == SAMI_SCTP_USERLAND && !config->udp_port) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "sctp-udp-port = 0 is SCTP over IP, which the userland backend does not speak");
        return FALSE;
    }
    if (!ret_what)
        return TRUE;
    g_autofree gchar *way = config->udp_port ? g_strdup_printf("in UDP port %u (RFC 6951)", config->udp_port) : g_strdup("over IP");
    *ret_what = g_strdup_printf("SCTP %s by the %s backend, which %s", way, sami_sctp_backend_name(config->backend),
                                is_asked                              ? "the configuration asks for"
                                : config->backend == SAMI_SCTP_KERNEL ? "this kernel offers: associations are multihomed"
                                                                      : "is libusrsctp: this kernel has no SCTP; one address at a time, no multihoming");
    return TRUE;
}

int
sami_sctp_open(const SamiSctpConfig *config, const gchar *host, const gchar *port, GError **error)
{
    gboolean is_kernel = sami_sctp_choose(config->backend) == SAMI_SCTP_KERNEL;
    const struct addrinfo hints = { .ai_socktype = is_kernel ? SOCK_STREAM : SOCK_DGRAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    g_autofree gchar *udp_port = g_strdup_printf("%u", config->udp_port);
    struct addrinfo *list = NULL;
    int fd = -1, code = getaddrinfo(host, is_kernel ? port : udp_port, &hints, &list);
    if (code) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s", code == EAI_SYSTEM ? g_strerror(errno) : gai_strerror(code));
        return -1;
    }
    for (struct addrinfo *info = list; info && fd < 0; info = info->ai_next) {
        g_clear_error(error);
        fd = is_kernel ? sami_sctp_kernel_open(config, info->ai_addr, info->ai_addrlen, error)
                       : sami_sctp_udp_open(info->ai_addr, info->ai_addrlen, error);
    }
    freeaddrinfo(list);
    return fd;
}

SamiSctp *
sami_sctp_new(const SamiSctpConfig *config, int listener_take, guint16 port, GMainContext *context, GError **error)
{
    return sami_sctp_choose(config->backend) == SAMI_SCTP_KERNEL ? sami_sctp_kernel_new(config, listener_take, port, context, error)
                                                                 : sami_sctp_userland_new(config, listener_take, port, context, error);
}

void
sami_sctp_free(SamiSctp *sctp)
{
    if (sctp)
        sctp->ops->free(sctp);
}

void
sami_sctp_listen(SamiSctp *sctp, SamiSctpAccepted accepted, gpointer user_data)
{
    sctp->accepted = accepted;
    sctp->user_data = user_data;
    sctp->ops->listen(sctp);
}

SamiSctpDropped
sami_sctp_dropped(SamiSctp *sctp)
{
    return sctp->ops->dropped ? sctp->ops->dropped(sctp) : (SamiSctpDropped){ 0, 0 };
}

SamiSctpAssoc *
sami_sctp_connect(SamiSctp *sctp, const struct sockaddr *address, GError **error)
{
    return sctp->ops->connect(sctp, address, error);
}

/* ---- one association ---- */

void
sami_sctp_assoc_init(SamiSctpAssoc *assoc, SamiSctp *sctp)
{
    assoc->sctp = sctp;
    assoc->state = SAMI_SCTP_CONNECTING;
    assoc->n_streams = 1;
}

void
sami_sctp_assoc_clear(SamiSctpAssoc *assoc)
{
    g_clear_pointer(&assoc->source, g_source_unref);
    g_clear_pointer(&assoc->failure, g_free);
}

/* Called from within the SCTP stack: nothing but the flag and the ready time may change. */
void
sami_sctp_assoc_notify(SamiSctpAssoc *assoc)
{
    assoc->is_woken = TRUE;
    if (assoc->source)
        g_source_set_ready_time(assoc->source, 0);
}

void
sami_sctp_assoc_lose(SamiSctpAssoc *assoc, const gchar *reason)
{
    if (assoc->state == SAMI_SCTP_LOST)
        return;
    assoc->state = SAMI_SCTP_LOST;
    assoc->failure = g_strdup(reason);
}

/* RFC 6083 §4.5: without AUTH for DATA in its CHUNKS parameter the peer would take, and send, DATA that anybody may have forged. */
void
sami_sctp_assoc_came_up(SamiSctpAssoc *assoc, guint16 n_streams, const guint8 *authenticated, gsize n_authenticated)
{
    assoc->n_streams = MAX(n_streams, 1);
    if (n_authenticated && memchr(authenticated, SCTP_CHUNK_DATA, n_authenticated))
        assoc->state = SAMI_SCTP_UP;
    else
        sami_sctp_assoc_lose(assoc, "the peer does not authenticate DATA chunks (RFC 6083 §4.5)");
}

void
sami_sctp_assoc_wake(SamiSctpAssoc *assoc, GSource *source)
{
    g_clear_pointer(&assoc->source, g_source_unref);
    assoc->source = source ? g_source_ref(source) : NULL;
    if (source)
        g_source_set_ready_time(source, 0);
}

gboolean
sami_sctp_assoc_is_woken(SamiSctpAssoc *assoc)
{
    gboolean is_woken = assoc->is_woken;
    assoc->is_woken = FALSE;
    return is_woken;
}

SamiSctpState
sami_sctp_assoc_state(const SamiSctpAssoc *assoc)
{
    return assoc->state;
}

const gchar *
sami_sctp_assoc_failure(const SamiSctpAssoc *assoc)
{
    return assoc->failure;
}

const gchar *
sami_sctp_assoc_address(const SamiSctpAssoc *assoc)
{
    return assoc->address;
}

guint
sami_sctp_assoc_streams(const SamiSctpAssoc *assoc)
{
    return assoc->n_streams;
}

SamiSctpResult
sami_sctp_assoc_receive(SamiSctpAssoc *assoc, const guint8 **ret_message, gsize *ret_n, guint16 *ret_stream)
{
    if (assoc->state == SAMI_SCTP_CLOSED || assoc->state == SAMI_SCTP_LOST)
        return SAMI_SCTP_OVER;
    return assoc->sctp->ops->receive(assoc, ret_message, ret_n, ret_stream);
}

SamiSctpResult
sami_sctp_assoc_send(SamiSctpAssoc *assoc, guint16 stream, const guint8 *message, gsize n, gboolean is_urgent)
{
    if (assoc->state != SAMI_SCTP_UP)
        return SAMI_SCTP_OVER;
    return assoc->sctp->ops->send(assoc, stream, message, n, is_urgent);
}

guint
sami_sctp_assoc_n_unacknowledged(SamiSctpAssoc *assoc)
{
    return assoc->state == SAMI_SCTP_UP ? assoc->sctp->ops->n_unacknowledged(assoc) : 0;
}

gboolean
sami_sctp_assoc_add_key(SamiSctpAssoc *assoc, const guint8 key[64])
{
    return assoc->sctp->ops->add_key(assoc, 1, key);
}

gboolean
sami_sctp_assoc_use_key(SamiSctpAssoc *assoc)
{
    return assoc->sctp->ops->use_key(assoc, 1);
}

gboolean
sami_sctp_assoc_drop_first_key(SamiSctpAssoc *assoc)
{
    return assoc->sctp->ops->retire_key(assoc, 0);
}

void
sami_sctp_assoc_widen(SamiSctpAssoc *assoc)
{
    if (assoc->state == SAMI_SCTP_UP && assoc->sctp->ops->widen)
        assoc->sctp->ops->widen(assoc);
}

void
sami_sctp_assoc_shutdown(SamiSctpAssoc *assoc)
{
    if (assoc->state == SAMI_SCTP_UP || assoc->state == SAMI_SCTP_ENDED)
        assoc->sctp->ops->shutdown(assoc);
}

void
sami_sctp_assoc_free(SamiSctpAssoc *assoc)
{
    if (assoc)
        assoc->sctp->ops->assoc_free(assoc);
}
