/* SCTP sockets of the kernel, one-to-one style (RFC 6458 §4). Its header and libusrsctp's give the same names to other values and layouts:
 * they never meet in one file. The kernel answers heartbeats for a process that stands still, as it acknowledges TCP: what is noticed is a dead
 * machine or path. */
#include <errno.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sctp.h> /* after what it forgets to include */

#include "transport/sctp-backend.h"

#ifndef MSG_NOTIFICATION
#define MSG_NOTIFICATION 0x8000
#endif
#define BACKLOG 128
#define ACCEPTS_PER_TURN 16
#define UDP_PORT_FILE "/proc/sys/net/sctp/udp_port"

typedef struct {
    SamiSctp base;
    int listener; /* or -1 */
    GSource *acceptor;
} Kernel;

typedef struct {
    SamiSctpAssoc base;
    int fd;
    GSource *fd_source; /* reports a condition once, until receive() or send() find that they have to wait for it again */
    gpointer tag;
    GIOCondition wanted;
    gsize n_partial;
    guint8 message[SAMI_SCTP_USER_MESSAGE_MAX + 1];
} Assoc;

typedef struct {
    GSource source;
    Assoc *assoc;
} FdSource;

/* ---- sockets ---- */

static gboolean
set(int fd, int option, const void *value, gsize n)
{
    return setsockopt(fd, IPPROTO_SCTP, option, value, (socklen_t) n) == 0;
}

static gboolean
set_events(int fd)
{
    static const guint16 types[] = { SCTP_ASSOC_CHANGE, SCTP_SHUTDOWN_EVENT, SCTP_AUTHENTICATION_EVENT,
                                     SCTP_SENDER_DRY_EVENT, SCTP_PARTIAL_DELIVERY_EVENT };
    for (guint i = 0; i < G_N_ELEMENTS(types); i++) {
        struct sctp_event event = { .se_assoc_id = SCTP_FUTURE_ASSOC, .se_type = types[i], .se_on = 1 };
        if (!set(fd, SCTP_EVENT, &event, sizeof(event)))
            return FALSE;
    }
    return TRUE;
}

static gboolean
set_timers(int fd)
{
    const struct sctp_initmsg init = { .sinit_num_ostreams = SCTP_STREAMS_OUT, .sinit_max_instreams = SCTP_STREAMS_IN,
                                       .sinit_max_attempts = SCTP_INIT_ATTEMPTS, .sinit_max_init_timeo = SCTP_RTO_MAX_MS };
    const struct sctp_rtoinfo rto = { .srto_initial = SCTP_RTO_INITIAL_MS, .srto_max = SCTP_RTO_MAX_MS, .srto_min = SCTP_RTO_MIN_MS };
    /* Of all paths together; one of several that is dead is given up before. */
    const struct sctp_assocparams assoc = { .sasoc_asocmaxrxt = SCTP_RETRANSMISSIONS_MAX, .sasoc_cookie_life = SCTP_COOKIE_LIFE_MS };
    const struct sctp_paddrparams path = { .spp_hbinterval = SCTP_HEARTBEAT_MS, .spp_pathmaxrxt = SCTP_RETRANSMISSIONS_MAX / 2,
                                           .spp_flags = SPP_HB_ENABLE };
    return set(fd, SCTP_INITMSG, &init, sizeof(init)) && set(fd, SCTP_RTOINFO, &rto, sizeof(rto)) &&
           set(fd, SCTP_ASSOCINFO, &assoc, sizeof(assoc)) && set(fd, SCTP_PEER_ADDR_PARAMS, &path, sizeof(path));
}

/* With 0 the peer is spoken to over IP. The option's port is in network order. */
static gboolean
set_encapsulation(int fd, guint16 udp_port, sa_family_t family)
{
    struct sctp_udpencaps encaps = { .sue_assoc_id = SCTP_FUTURE_ASSOC, .sue_port = htons(udp_port) };
    encaps.sue_address.ss_family = family;
    return udp_port == 0 || set(fd, SCTP_REMOTE_UDP_ENCAPS_PORT, &encaps, sizeof(encaps));
}

static int
open_socket(sa_family_t family, GError **error)
{
    const int on = 1, off = 0, size = SCTP_BUFFER;
    const struct linger abort_at_close = { .l_onoff = 1, .l_linger = 0 };
    const struct sctp_assoc_value with_auth = { .assoc_id = SCTP_FUTURE_ASSOC, .assoc_value = 1 };
    const struct sctp_assoc_value without = { .assoc_id = SCTP_FUTURE_ASSOC, .assoc_value = 0 };
    const struct sctp_authchunk data = { SCTP_CHUNK_DATA }, forward = { SCTP_CHUNK_FORWARD_TSN };
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_SCTP);
    gboolean is_ready = fd >= 0 && set(fd, SCTP_AUTH_SUPPORTED, &with_auth, sizeof(with_auth)) && set(fd, SCTP_AUTH_CHUNK, &data, sizeof(data)) &&
                        set(fd, SCTP_AUTH_CHUNK, &forward, sizeof(forward)) && set(fd, SCTP_NODELAY, &on, sizeof(on)) &&
                        set(fd, SCTP_RECVRCVINFO, &on, sizeof(on)) && set(fd, SCTP_FRAGMENT_INTERLEAVE, &off, sizeof(off)) && set_timers(fd) &&
                        set_events(fd);
    if (!is_ready) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "SCTP socket: %s", g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    set(fd, SCTP_PR_SUPPORTED, &without, sizeof(without)); /* state is never sent so, nor taken */
    /* What is not over at close() is aborted then, on sockets accepted from this one too. In its sandbox a connector has no SO_LINGER (sandbox-calls.c),
     * and a message with SCTP_ABORT is refused on sockets of this style (net/sctp/socket.c, sctp_sendmsg_parse): its close() is a SHUTDOWN behind
     * what was sent, as over TCP. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_at_close, sizeof(abort_at_close));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    return fd;
}

gboolean
sami_sctp_kernel_exists(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Encapsulation, even of what we send only, needs the kernel's own UDP port (net/sctp/protocol.c). It is the network namespace's; one that somebody
 * has chosen stays. */
gboolean
sami_sctp_kernel_prepare(const SamiSctpConfig *config, GError **error)
{
    g_autofree gchar *text = NULL, *wanted = g_strdup_printf("%u", config->udp_port);
    if (!sami_sctp_kernel_exists()) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG, "sctp-backend = kernel: this kernel gives no SCTP socket; is the module sctp loaded?");
        return FALSE;
    }
    if (!config->udp_port)
        return TRUE;
    gboolean is_set = g_file_get_contents(UDP_PORT_FILE, &text, NULL, NULL) && !strcmp(g_strchomp(text), wanted);
    if (!is_set && text && !strcmp(text, "0"))
        is_set = g_file_set_contents_full(UDP_PORT_FILE, wanted, -1, G_FILE_SET_CONTENTS_NONE, 0644, NULL);
    if (!is_set)
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_CONFIG,
                    "SCTP in UDP port %s needs sysctl net.sctp.udp_port = %s, which is %s here; or sctp-udp-port = 0", wanted, wanted, text ? text : "not known");
    return is_set;
}

int
sami_sctp_kernel_open(const SamiSctpConfig *config, const struct sockaddr *address, socklen_t length, GError **error)
{
    int fd = open_socket(address->sa_family, error);
    if (fd < 0 || (bind(fd, address, length) == 0 && listen(fd, BACKLOG) == 0))
        return fd;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "%s", g_strerror(errno));
    close(fd);
    return -1;
}

/* ---- waiting ---- */

static void
update(Assoc *assoc, GIOCondition wanted)
{
    if (wanted == assoc->wanted)
        return;
    if (assoc->tag && wanted)
        g_source_modify_unix_fd(assoc->fd_source, assoc->tag, wanted);
    else if (assoc->tag)
        g_source_remove_unix_fd(assoc->fd_source, g_steal_pointer(&assoc->tag));
    else
        assoc->tag = g_source_add_unix_fd(assoc->fd_source, assoc->fd, wanted);
    assoc->wanted = wanted;
}

/* poll() reports an end even where nothing is asked for, so a descriptor that had one is not watched until somebody waits again. */
static gboolean
dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
    Assoc *assoc = ((FdSource *) source)->assoc;
    GIOCondition ready = assoc->tag ? g_source_query_unix_fd(source, assoc->tag) : 0;
    update(assoc, ready & (G_IO_HUP | G_IO_ERR) ? 0 : assoc->wanted & ~ready);
    sami_sctp_assoc_notify(&assoc->base);
    return G_SOURCE_CONTINUE;
}

static Assoc *
assoc_new(Kernel *stack, int fd_take)
{
    static GSourceFuncs functions = { .dispatch = dispatch };
    Assoc *assoc = g_new0(Assoc, 1);
    sami_sctp_assoc_init(&assoc->base, &stack->base);
    assoc->fd = fd_take;
    assoc->fd_source = g_source_new(&functions, sizeof(FdSource));
    ((FdSource *) assoc->fd_source)->assoc = assoc;
    g_source_attach(assoc->fd_source, stack->base.context);
    update(assoc, G_IO_IN);
    return assoc;
}

static void
check_up(Assoc *assoc)
{
    union {
        struct sctp_authchunks list;
        guint8 octets[sizeof(struct sctp_authchunks) + 256];
    } value = { 0 };
    struct sctp_status status = { 0 };
    socklen_t length = sizeof(value), status_length = sizeof(status);
    gboolean is_known = getsockopt(assoc->fd, IPPROTO_SCTP, SCTP_PEER_AUTH_CHUNKS, &value, &length) == 0;
    getsockopt(assoc->fd, IPPROTO_SCTP, SCTP_STATUS, &status, &status_length);
    sami_sctp_assoc_came_up(&assoc->base, status.sstat_outstrms, value.octets + G_STRUCT_OFFSET(struct sctp_authchunks, gauth_chunks),
                            is_known ? MIN(value.list.gauth_number_of_chunks, 256) : 0);
}

static SamiSctpAssoc *
connect_to(SamiSctp *base, const struct sockaddr *address, GError **error)
{
    int fd = open_socket(address->sa_family, error);
    if (fd < 0)
        return NULL;
    socklen_t length = address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (set_encapsulation(fd, base->config.udp_port, address->sa_family) && (connect(fd, address, length) == 0 || errno == EINPROGRESS)) {
        Assoc *assoc = assoc_new((Kernel *) base, fd);
        sami_address_print(address, assoc->base.address);
        return &assoc->base;
    }
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_PEER, "%s", g_strerror(errno));
    close(fd);
    return NULL;
}

static gboolean
on_accept(gint fd, GIOCondition condition, gpointer user_data)
{
    Kernel *stack = user_data;
    for (guint i = 0; i < ACCEPTS_PER_TURN; i++) {
        int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (accepted < 0)
            break;
        Assoc *assoc = assoc_new(stack, accepted);
        sami_address_print_peer(accepted, assoc->base.address);
        check_up(assoc);
        stack->base.accepted(&assoc->base, stack->base.user_data);
    }
    return G_SOURCE_CONTINUE;
}

static void
end_acceptor(Kernel *stack)
{
    if (!stack->acceptor)
        return;
    g_source_destroy(stack->acceptor);
    g_clear_pointer(&stack->acceptor, g_source_unref);
}

static void
begin_listening(SamiSctp *base)
{
    Kernel *stack = (Kernel *) base;
    end_acceptor(stack);
    if (!base->accepted || stack->listener < 0)
        return;
    stack->acceptor = g_unix_fd_source_new(stack->listener, G_IO_IN);
    g_source_set_callback(stack->acceptor, (GSourceFunc) (void (*)(void)) on_accept, stack, NULL);
    g_source_attach(stack->acceptor, base->context);
}

/* ---- events ---- */

/* The event has the causes of an ABORT, which need not have any; the socket's error is another one for an ABORT than for silence
 * (net/sctp/sm_statefuns.c). */
static gboolean
is_aborted(const Assoc *assoc, const struct sctp_assoc_change *change)
{
    int code = 0;
    socklen_t length = sizeof(code);
    getsockopt(assoc->fd, SOL_SOCKET, SO_ERROR, &code, &length);
    return code == ECONNREFUSED || code == ECONNRESET || change->sac_length > sizeof(*change);
}

static void
note_assoc_change(Assoc *assoc, const struct sctp_assoc_change *change)
{
    SamiSctpAssoc *base = &assoc->base;
    switch (change->sac_state) {
    case SCTP_COMM_UP:
        if (base->state == SAMI_SCTP_CONNECTING)
            check_up(assoc);
        break;
    case SCTP_SHUTDOWN_COMP:
        base->state = SAMI_SCTP_CLOSED;
        break;
    case SCTP_RESTART:
        sami_sctp_assoc_lose(base, SCTP_TEXT_RESTART);
        break;
    case SCTP_CANT_STR_ASSOC:
        sami_sctp_assoc_lose(base, is_aborted(assoc, change) ? SCTP_TEXT_REFUSED : SCTP_TEXT_NO_ANSWER);
        break;
    default:
        sami_sctp_assoc_lose(base, is_aborted(assoc, change) ? SCTP_TEXT_ABORTED : SCTP_TEXT_SILENT);
        break;
    }
}

static void
note_free_key(Assoc *assoc, const struct sctp_authkey_event *event)
{
    const struct sctp_authkeyid key = { .scact_assoc_id = SCTP_CURRENT_ASSOC, .scact_keynumber = event->auth_keynumber };
    if (event->auth_indication == SCTP_AUTH_FREE_KEY && !set(assoc->fd, SCTP_AUTH_DELETE_KEY, &key, sizeof(key)))
        sami_sctp_assoc_lose(&assoc->base, SCTP_TEXT_KEY);
}

static void
note_event(Assoc *assoc, const union sctp_notification *event, gsize n)
{
    if (n < sizeof(event->sn_header))
        return;
    switch (event->sn_header.sn_type) {
    case SCTP_ASSOC_CHANGE:
        note_assoc_change(assoc, &event->sn_assoc_change);
        break;
    case SCTP_SHUTDOWN_EVENT:
        assoc->base.state = assoc->base.state == SAMI_SCTP_UP ? SAMI_SCTP_ENDED : assoc->base.state;
        break;
    case SCTP_AUTHENTICATION_EVENT:
        note_free_key(assoc, &event->sn_authkey_event);
        break;
    case SCTP_PARTIAL_DELIVERY_EVENT:
        sami_sctp_assoc_lose(&assoc->base, SCTP_TEXT_HALF);
        break;
    default:
        break;
    }
}

/* ---- messages ---- */

static guint16
stream_of(struct msghdr *header)
{
    struct sctp_rcvinfo info = { 0 };
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c))
        if (c->cmsg_level == IPPROTO_SCTP && c->cmsg_type == SCTP_RCVINFO)
            memcpy(&info, CMSG_DATA(c), sizeof(info));
    return info.rcv_sid;
}

/* FALSE: it is a part, or an event, and there may be more. */
static gboolean
take_part(Assoc *assoc, gsize n, int flags)
{
    if (flags & MSG_NOTIFICATION) {
        union sctp_notification event = { 0 }; /* for its alignment */
        memcpy(&event, assoc->message + assoc->n_partial, MIN(n, sizeof(event)));
        note_event(assoc, &event, n);
        return FALSE;
    }
    assoc->n_partial += n;
    if (assoc->n_partial == sizeof(assoc->message))
        sami_sctp_assoc_lose(&assoc->base, SCTP_TEXT_LONG);
    return (flags & MSG_EOR) && assoc->base.state != SAMI_SCTP_LOST;
}

/* An error while it still connects is how a refusal may come, before its event. */
static SamiSctpResult
take_end(Assoc *assoc, ssize_t n, int code)
{
    SamiSctpAssoc *base = &assoc->base;
    if (n < 0 && (code == EAGAIN || code == EINTR)) {
        update(assoc, assoc->wanted | G_IO_IN);
        return base->state == SAMI_SCTP_ENDED ? SAMI_SCTP_OVER : SAMI_SCTP_AGAIN;
    }
    if (n < 0)
        sami_sctp_assoc_lose(base, code == ETIMEDOUT ? SCTP_TEXT_NO_ANSWER : g_strerror(code));
    else if (base->state == SAMI_SCTP_UP)
        base->state = SAMI_SCTP_ENDED;
    return SAMI_SCTP_OVER;
}

static SamiSctpResult
receive(SamiSctpAssoc *base, const guint8 **ret_message, gsize *ret_n, guint16 *ret_stream)
{
    Assoc *assoc = (Assoc *) base;
    while (base->state != SAMI_SCTP_LOST && base->state != SAMI_SCTP_CLOSED) {
        union {
            struct cmsghdr header; /* for its alignment */
            guint8 octets[256];
        } control;
        struct iovec part = { assoc->message + assoc->n_partial, sizeof(assoc->message) - assoc->n_partial };
        struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.octets, .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(assoc->fd, &header, MSG_DONTWAIT);
        if (n <= 0)
            return take_end(assoc, n, errno);
        if (take_part(assoc, (gsize) n, header.msg_flags)) {
            *ret_message = assoc->message;
            *ret_n = assoc->n_partial;
            *ret_stream = stream_of(&header);
            assoc->n_partial = 0;
            return SAMI_SCTP_DONE;
        }
    }
    return SAMI_SCTP_OVER;
}

static SamiSctpResult
send_message(SamiSctpAssoc *base, guint16 stream, const guint8 *message, gsize n, gboolean is_urgent)
{
    Assoc *assoc = (Assoc *) base;
    const struct sctp_sndinfo info = { .snd_sid = stream, .snd_flags = is_urgent ? SCTP_SACK_IMMEDIATELY : 0 };
    union {
        struct cmsghdr header;
        guint8 octets[CMSG_SPACE(sizeof(struct sctp_sndinfo))];
    } control = { 0 };
    struct iovec part = { (void *) message, n };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.octets, .msg_controllen = sizeof(control) };
    control.header.cmsg_level = IPPROTO_SCTP;
    control.header.cmsg_type = SCTP_SNDINFO;
    control.header.cmsg_len = CMSG_LEN(sizeof(info));
    memcpy(CMSG_DATA(&control.header), &info, sizeof(info));
    ssize_t sent = sendmsg(assoc->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == (ssize_t) n)
        return SAMI_SCTP_DONE;
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
        update(assoc, assoc->wanted | G_IO_OUT);
        return SAMI_SCTP_AGAIN;
    }
    sami_sctp_assoc_lose(base, sent < 0 ? g_strerror(errno) : SCTP_TEXT_CUT);
    return SAMI_SCTP_OVER;
}

/* What waits to be sent is not counted, but it does not wait while nothing is under way. */
static guint
count_unacknowledged(SamiSctpAssoc *base)
{
    struct sctp_status status = { 0 };
    socklen_t length = sizeof(status);
    if (getsockopt(((Assoc *) base)->fd, IPPROTO_SCTP, SCTP_STATUS, &status, &length) == 0)
        return status.sstat_unackdata;
    sami_sctp_assoc_lose(base, SCTP_TEXT_GONE);
    return 0;
}

/* ---- keys ---- */

static gboolean
set_or_lose(SamiSctpAssoc *base, int option, const void *value, gsize n)
{
    if (base->state == SAMI_SCTP_LOST)
        return FALSE;
    if (set(((Assoc *) base)->fd, option, value, n))
        return TRUE;
    g_autofree gchar *reason = g_strdup_printf("SCTP-AUTH key: %s", g_strerror(errno));
    sami_sctp_assoc_lose(base, reason);
    return FALSE;
}

static gboolean
add_key(SamiSctpAssoc *base, guint16 id, const guint8 key[64])
{
    union {
        struct sctp_authkey key;
        guint8 octets[sizeof(struct sctp_authkey) + 64];
    } value = { .key = { .sca_assoc_id = SCTP_CURRENT_ASSOC, .sca_keynumber = id, .sca_keylength = 64 } };
    memcpy(value.octets + G_STRUCT_OFFSET(struct sctp_authkey, sca_key), key, 64);
    gboolean is_set = set_or_lose(base, SCTP_AUTH_KEY, &value, sizeof(value));
    explicit_bzero(&value, sizeof(value));
    return is_set;
}

static gboolean
use_key(SamiSctpAssoc *base, guint16 id)
{
    const struct sctp_authkeyid value = { .scact_assoc_id = SCTP_CURRENT_ASSOC, .scact_keynumber = id };
    return set_or_lose(base, SCTP_AUTH_ACTIVE_KEY, &value, sizeof(value));
}

static gboolean
retire_key(SamiSctpAssoc *base, guint16 id)
{
    const struct sctp_authkeyid value = { .scact_assoc_id = SCTP_CURRENT_ASSOC, .scact_keynumber = id };
    return set_or_lose(base, SCTP_AUTH_DEACTIVATE_KEY, &value, sizeof(value));
}

/* ---- ends ---- */

static void
shut_down(SamiSctpAssoc *base)
{
    shutdown(((Assoc *) base)->fd, SHUT_WR);
}

static void
assoc_free(SamiSctpAssoc *base)
{
    Assoc *assoc = (Assoc *) base;
    g_source_destroy(assoc->fd_source);
    g_source_unref(assoc->fd_source);
    close(assoc->fd);
    sami_sctp_assoc_clear(base);
    g_free(assoc);
}

static void
stack_free(SamiSctp *base)
{
    Kernel *stack = (Kernel *) base;
    end_acceptor(stack);
    if (stack->listener >= 0)
        close(stack->listener);
    g_free(stack);
}

SamiSctp *
sami_sctp_kernel_new(const SamiSctpConfig *config, int listener_take, guint16 port, GMainContext *context, GError **error)
{
    static const SamiSctpOps ops = { .connect = connect_to, .listen = begin_listening, .free = stack_free, .receive = receive,
                                     .send = send_message, .n_unacknowledged = count_unacknowledged, .add_key = add_key, .use_key = use_key,
                                     .retire_key = retire_key, .shutdown = shut_down, .assoc_free = assoc_free };
    Kernel *stack = g_new0(Kernel, 1);
    stack->base = (SamiSctp){ .ops = &ops, .config = *config, .context = context };
    stack->listener = listener_take;
    return &stack->base;
}
