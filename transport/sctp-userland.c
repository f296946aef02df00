/* libusrsctp 0.9.5 over one UDP socket of ours: "conn" addresses, no sockets, timers or receiving threads of the library's own.
 *
 * The library keeps its state in globals and calls back with an address only, so there can be one stack a process. What it calls an address is a
 * number of transport/sctp-udp.h, never a pointer: it lives in cookies that come back from the network. */
#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <unistd.h>
#include <usrsctp.h>

#include "transport/sctp-backend.h"
#include "transport/sctp-lanes.h"
#include "transport/sctp-udp.h"

#define COMMON_HEADER 12u
#define BACKLOG 128
#define TICK_MS 10
#define IDLE_TICK_MS 1000
/* How long an association that we closed may still have packets to repeat. */
#define SETTLE_US (10 * G_USEC_PER_SEC)
#define DATAGRAMS_PER_TURN 64
/* Datagrams of those who have not proven who they are wait until the socket is empty, and some few of them if it never is: what they cost, and they can be
 * sent in any name, is not to be in the way of sessions. Twice as many of those that have an association, for whose datagrams somebody answers. */
#define STRANGERS_IN_BETWEEN 16u
/* Below the sources of connections, during a handshake: what one datagram made possible is done before the next one is read, which may be under the
 * key that follows from it (RFC 6083 §4.8). Not always: full buffers everywhere must not keep acknowledgements out. */
#define HANDSHAKE_PRIORITY (G_PRIORITY_DEFAULT + 10)

typedef struct {
    SamiSctp base;
    SamiSctpUdp *udp;
    SamiSctpLanes *waiting[SAMI_SCTP_TRUSTED]; /* by rank */
    struct socket *listener; /* (nullable) */
    GSource *input, *timer;
    gint64 ticked_us;
    gint64 busy_until_us; /* ticks are short until then; an association keeps them so */
    guint n_assocs;
    gboolean must_yield; /* a datagram has moved a handshake */
    guint64 n_strange;   /* packets for nobody, as the library counts them */
    guint32 strange_seen;
    guint64 n_unsent; /* packets to peers that are forgotten, or that the kernel did not take */
    guint8 packet[65536];
} Userland;

typedef struct {
    SamiSctpAssoc base;
    struct socket *socket;
    guint64 peer;
    gboolean is_settled; /* its first key is retired */
    gboolean is_trusted;
    gsize n_partial;
    guint8 message[SAMI_SCTP_USER_MESSAGE_MAX + 1];
} Assoc;

/* The library's state is the process's. */
static Userland *the_stack;

static void set_timer(Userland *stack, guint after_ms);

/* ---- packets ---- */

static guint64
number_of_address(const void *address)
{
    return (guint64) (guintptr) address;
}

static struct sockaddr_conn
address_of(guint64 peer, guint16 port)
{
    G_STATIC_ASSERT(sizeof(guintptr) == sizeof(guint64));
    return (struct sockaddr_conn){ .sconn_family = AF_CONN, .sconn_port = htons(port), .sconn_addr = (void *) (guintptr) peer };
}

static int
on_output(void *address, void *packet, size_t n, uint8_t tos, uint8_t set_df)
{
    int code = the_stack ? sami_sctp_udp_send(the_stack->udp, number_of_address(address), packet, n) : ENOENT;
    if (the_stack && code)
        the_stack->n_unsent++;
    return code;
}

static void
on_upcall(struct socket *socket, void *data, int flags)
{
    Assoc *assoc = data;
    if (!assoc)
        return;
    sami_sctp_assoc_notify(&assoc->base);
    if (!assoc->is_settled)
        ((Userland *) assoc->base.sctp)->must_yield = TRUE;
}

static void
on_forgotten(guint64 peer)
{
    usrsctp_deregister_address((void *) (guintptr) peer);
}

static void
tick(Userland *stack)
{
    gint64 now_us = g_get_monotonic_time();
    gint64 elapsed_ms = (now_us - stack->ticked_us) / 1000;
    if (elapsed_ms <= 0)
        return;
    stack->ticked_us += elapsed_ms * 1000;
    usrsctp_handle_timers((uint32_t) MIN(elapsed_ms, 60000));
}

static gboolean
on_timer(gpointer user_data)
{
    Userland *stack = user_data;
    tick(stack);
    sami_sctp_udp_expire(stack->udp);
    gboolean is_busy = stack->n_assocs || g_get_monotonic_time() < stack->busy_until_us;
    set_timer(stack, is_busy ? TICK_MS : IDLE_TICK_MS);
    return G_SOURCE_REMOVE;
}

static void
set_timer(Userland *stack, guint after_ms)
{
    if (stack->timer) {
        g_source_destroy(stack->timer);
        g_source_unref(stack->timer);
    }
    stack->timer = g_timeout_source_new(after_ms);
    g_source_set_callback(stack->timer, on_timer, stack, NULL);
    g_source_attach(stack->timer, stack->base.context);
}

static void
be_busy(Userland *stack)
{
    gint64 now_us = g_get_monotonic_time();
    gboolean was_busy = stack->n_assocs || now_us < stack->busy_until_us;
    stack->busy_until_us = now_us + SETTLE_US;
    if (!was_busy)
        set_timer(stack, TICK_MS);
}

/* ---- sockets ---- */

static gboolean
set(struct socket *socket, int option, const void *value, gsize n)
{
    return usrsctp_setsockopt(socket, IPPROTO_SCTP, option, value, (socklen_t) n) == 0;
}

/* Of the path to `remote`, or NULL: of all that are to come. The library's MTU of a path is without the common header (RFC 9260 §3.1). */
static gboolean
set_path(struct socket *socket, const struct sockaddr_conn *remote, guint mtu)
{
    struct sctp_paddrparams path = { .spp_hbinterval = SCTP_HEARTBEAT_MS, .spp_pathmaxrxt = SCTP_RETRANSMISSIONS_MAX,
                                     .spp_flags = SPP_HB_ENABLE | (mtu ? SPP_PMTUD_DISABLE : 0), .spp_pathmtu = mtu ? mtu - COMMON_HEADER : 0 };
    if (remote)
        memcpy(&path.spp_address, remote, sizeof(*remote));
    return set(socket, SCTP_PEER_ADDR_PARAMS, &path, sizeof(path));
}

static gboolean
set_events(struct socket *socket)
{
    static const uint16_t types[] = { SCTP_ASSOC_CHANGE, SCTP_SHUTDOWN_EVENT, SCTP_AUTHENTICATION_EVENT,
                                      SCTP_SENDER_DRY_EVENT, SCTP_PARTIAL_DELIVERY_EVENT };
    for (guint i = 0; i < G_N_ELEMENTS(types); i++) {
        struct sctp_event event = { .se_assoc_id = SCTP_FUTURE_ASSOC, .se_type = types[i], .se_on = 1 };
        if (!set(socket, SCTP_EVENT, &event, sizeof(event)))
            return FALSE;
    }
    return TRUE;
}

static gboolean
set_timers(struct socket *socket)
{
    const struct sctp_initmsg init = { .sinit_num_ostreams = SCTP_STREAMS_OUT, .sinit_max_instreams = SCTP_STREAMS_IN,
                                       .sinit_max_attempts = SCTP_INIT_ATTEMPTS, .sinit_max_init_timeo = SCTP_RTO_MAX_MS };
    const struct sctp_rtoinfo rto = { .srto_initial = SCTP_RTO_INITIAL_MS, .srto_max = SCTP_RTO_MAX_MS, .srto_min = SCTP_RTO_MIN_MS };
    const struct sctp_assocparams assoc = { .sasoc_asocmaxrxt = SCTP_RETRANSMISSIONS_MAX, .sasoc_cookie_life = SCTP_COOKIE_LIFE_MS };
    return set(socket, SCTP_INITMSG, &init, sizeof(init)) && set(socket, SCTP_RTOINFO, &rto, sizeof(rto)) &&
           set(socket, SCTP_ASSOCINFO, &assoc, sizeof(assoc)) && set_path(socket, NULL, 0);
}

static struct socket *
open_socket(int receive_size, GError **error)
{
    const int on = 1, off = 0, size = SCTP_BUFFER;
    const struct sctp_assoc_value with_auth = { .assoc_id = SCTP_FUTURE_ASSOC, .assoc_value = 1 };
    const struct sctp_authchunk data = { SCTP_CHUNK_DATA }, forward = { SCTP_CHUNK_FORWARD_TSN };
    struct socket *socket = usrsctp_socket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
    gboolean is_ready = socket && usrsctp_set_non_blocking(socket, 1) == 0 && set(socket, SCTP_AUTH_SUPPORTED, &with_auth, sizeof(with_auth)) &&
                        set(socket, SCTP_AUTH_CHUNK, &data, sizeof(data)) && set(socket, SCTP_AUTH_CHUNK, &forward, sizeof(forward)) &&
                        set(socket, SCTP_NODELAY, &on, sizeof(on)) && set(socket, SCTP_RECVRCVINFO, &on, sizeof(on)) &&
                        set(socket, SCTP_FRAGMENT_INTERLEAVE, &off, sizeof(off)) && set_timers(socket) && set_events(socket) &&
                        usrsctp_setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0 &&
                        usrsctp_setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &receive_size, sizeof(receive_size)) == 0;
    if (is_ready)
        return socket;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "SCTP socket of libusrsctp: %s", g_strerror(errno));
    if (socket)
        usrsctp_close(socket);
    return NULL;
}

static Assoc *
assoc_new(Userland *stack, struct socket *socket_take, guint64 peer)
{
    Assoc *assoc = g_new0(Assoc, 1);
    sami_sctp_assoc_init(&assoc->base, &stack->base);
    assoc->socket = socket_take;
    assoc->peer = peer;
    if (sami_sctp_udp_hold(stack->udp, peer))
        usrsctp_register_address((void *) (guintptr) peer); /* else packets of its associations are for nobody */
    sami_sctp_udp_print(stack->udp, peer, assoc->base.address);
    usrsctp_set_non_blocking(socket_take, 1);
    usrsctp_set_upcall(socket_take, on_upcall, assoc);
    be_busy(stack);
    stack->n_assocs++;
    return assoc;
}

/* Both directions promise it, or there is no association. The library's struct has a member that its header leaves out: the number of chunks. */
static void
check_up(Assoc *assoc)
{
    struct {
        guint32 id, n;
        guint8 chunks[256];
    } list = { 0 };
    struct sctp_status status = { 0 };
    socklen_t length = sizeof(list), status_length = sizeof(status);
    gboolean is_known = usrsctp_getsockopt(assoc->socket, IPPROTO_SCTP, SCTP_PEER_AUTH_CHUNKS, &list, &length) == 0;
    usrsctp_getsockopt(assoc->socket, IPPROTO_SCTP, SCTP_STATUS, &status, &status_length);
    sami_sctp_assoc_came_up(&assoc->base, status.sstat_outstrms, list.chunks, is_known ? MIN(list.n, sizeof(list.chunks)) : 0);
}

static void
accept_all(Userland *stack)
{
    struct sockaddr_conn from = { 0 };
    socklen_t length = sizeof(from);
    struct socket *socket;
    while (stack->listener && (socket = usrsctp_accept(stack->listener, (struct sockaddr *) &from, &length))) {
        Assoc *assoc = assoc_new(stack, socket, number_of_address(from.sconn_addr));
        set_path(socket, &from, sami_sctp_udp_mtu(stack->udp, assoc->peer));
        check_up(assoc);
        stack->base.accepted(&assoc->base, stack->base.user_data);
        length = sizeof(from);
    }
}

static void
take_packet(Userland *stack, guint64 peer, const guint8 *packet, gsize n)
{
    usrsctp_conninput((void *) (guintptr) peer, packet, n, 0);
    accept_all(stack);
}

/* TRUE: there may be more. */
static gboolean
read_socket(Userland *stack)
{
    guint64 peer;
    guint lane;
    SamiSctpRank rank;
    for (guint i = 0; i < DATAGRAMS_PER_TURN && !stack->must_yield; i++) {
        const guint64 full[SAMI_SCTP_TRUSTED] = { sami_sctp_lanes_full(stack->waiting[0]), sami_sctp_lanes_full(stack->waiting[1]) };
        gssize n = sami_sctp_udp_receive(stack->udp, stack->packet, sizeof(stack->packet), full, &peer, &rank, &lane);
        if (n < 0)
            return FALSE;
        if (n > 0 && rank < SAMI_SCTP_TRUSTED)
            sami_sctp_lanes_put(stack->waiting[rank], lane, peer, stack->packet, (gsize) n);
        else if (n > 0)
            take_packet(stack, peer, stack->packet, (gsize) n);
    }
    return TRUE;
}

static void
serve(Userland *stack, SamiSctpRank rank, guint n_most)
{
    guint64 peer;
    const guint8 *packet;
    gsize n;
    for (guint i = 0; i < n_most && !stack->must_yield && sami_sctp_lanes_take(stack->waiting[rank], &peer, &packet, &n); i++)
        take_packet(stack, peer, packet, n);
}

static gboolean
on_input(gint fd, GIOCondition condition, gpointer user_data)
{
    Userland *stack = user_data;
    tick(stack); /* what follows is to be dated now */
    stack->must_yield = FALSE;
    gboolean is_behind = read_socket(stack), is_done = TRUE;
    for (gint rank = SAMI_SCTP_KNOWN; rank >= SAMI_SCTP_STRANGER; rank--) {
        serve(stack, (SamiSctpRank) rank, is_behind ? STRANGERS_IN_BETWEEN << rank : DATAGRAMS_PER_TURN);
        is_done = is_done && sami_sctp_lanes_is_empty(stack->waiting[rank]);
    }
    g_source_set_ready_time(stack->input, is_done ? -1 : 0);
    g_source_set_priority(stack->input, stack->must_yield ? HANDSHAKE_PRIORITY : G_PRIORITY_DEFAULT);
    return G_SOURCE_CONTINUE;
}

static SamiSctpAssoc *
connect_to(SamiSctp *base, const struct sockaddr *address, GError **error)
{
    Userland *stack = (Userland *) base;
    guint16 port = address->sa_family == AF_INET ? ((const struct sockaddr_in *) (const void *) address)->sin_port
                                                 : ((const struct sockaddr_in6 *) (const void *) address)->sin6_port;
    guint64 peer = sami_sctp_udp_find(stack->udp, address, base->config.udp_port);
    if (!peer) {
        g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "there is no UDP socket for this family of addresses");
        return NULL;
    }
    struct socket *socket = open_socket(SCTP_BUFFER, error);
    if (!socket)
        return NULL;
    Assoc *assoc = assoc_new(stack, socket, peer);
    sami_address_print(address, assoc->base.address);
    struct sockaddr_conn local = address_of(0, 0), remote = address_of(peer, ntohs(port));
    set_path(socket, NULL, sami_sctp_udp_mtu(stack->udp, peer));
    if (usrsctp_bind(socket, (struct sockaddr *) &local, sizeof(local)) == 0 &&
        (usrsctp_connect(socket, (struct sockaddr *) &remote, sizeof(remote)) == 0 || errno == EINPROGRESS))
        return &assoc->base;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "libusrsctp: connect: %s", g_strerror(errno));
    sami_sctp_assoc_free(&assoc->base);
    return NULL;
}

static void
begin_listening(SamiSctp *base)
{
    Userland *stack = (Userland *) base;
    if (base->accepted || !stack->listener)
        return;
    usrsctp_close(stack->listener);
    stack->listener = NULL;
    be_busy(stack);
}

/* ---- events ---- */

static void
note_assoc_change(Assoc *assoc, const struct sctp_assoc_change *change)
{
    SamiSctpAssoc *base = &assoc->base;
    gboolean is_abort = change->sac_length > sizeof(*change); /* the peer's ABORT chunk comes with the event */
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
        sami_sctp_assoc_lose(base, is_abort ? SCTP_TEXT_REFUSED : SCTP_TEXT_NO_ANSWER);
        break;
    default:
        sami_sctp_assoc_lose(base, is_abort ? SCTP_TEXT_ABORTED : SCTP_TEXT_SILENT);
        break;
    }
}

/* A key that was deactivated is free once no chunk that was sent under it is unacknowledged; only then can it be deleted. */
static void
note_free_key(Assoc *assoc, const struct sctp_authkey_event *event)
{
    const struct sctp_authkeyid key = { .scact_assoc_id = SCTP_CURRENT_ASSOC, .scact_keynumber = event->auth_keynumber };
    if (event->auth_indication != SCTP_AUTH_FREE_KEY)
        return;
    if (!set(assoc->socket, SCTP_AUTH_DELETE_KEY, &key, sizeof(key)))
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
        note_free_key(assoc, &event->sn_auth_event);
        break;
    case SCTP_PARTIAL_DELIVERY_EVENT:
        sami_sctp_assoc_lose(&assoc->base, SCTP_TEXT_HALF);
        break;
    default:
        break;
    }
}

/* ---- messages ---- */

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

static SamiSctpResult
receive(SamiSctpAssoc *base, const guint8 **ret_message, gsize *ret_n, guint16 *ret_stream)
{
    Assoc *assoc = (Assoc *) base;
    while (base->state != SAMI_SCTP_LOST && base->state != SAMI_SCTP_CLOSED) {
        struct sctp_rcvinfo info = { 0 };
        struct sockaddr_conn from;
        socklen_t from_length = sizeof(from), info_length = sizeof(info);
        unsigned int type = 0;
        int flags = 0;
        ssize_t n = usrsctp_recvv(assoc->socket, assoc->message + assoc->n_partial, sizeof(assoc->message) - assoc->n_partial,
                                  (struct sockaddr *) &from, &from_length, &info, &info_length, &type, &flags);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return base->state == SAMI_SCTP_ENDED ? SAMI_SCTP_OVER : SAMI_SCTP_AGAIN;
        if (n < 0)
            sami_sctp_assoc_lose(base, g_strerror(errno));
        else if (n == 0 && !(flags & MSG_NOTIFICATION))
            base->state = base->state == SAMI_SCTP_UP ? SAMI_SCTP_ENDED : base->state;
        if (n == 0)
            return base->state == SAMI_SCTP_CONNECTING ? SAMI_SCTP_AGAIN : SAMI_SCTP_OVER;
        if (n > 0 && take_part(assoc, (gsize) n, flags)) {
            *ret_message = assoc->message;
            *ret_n = assoc->n_partial;
            *ret_stream = info.rcv_sid;
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
    struct sctp_sndinfo info = { .snd_sid = stream, .snd_flags = is_urgent ? SCTP_SACK_IMMEDIATELY : 0 };
    ssize_t sent = usrsctp_sendv(assoc->socket, message, n, NULL, 0, &info, sizeof(info), SCTP_SENDV_SNDINFO, 0);
    if (sent == (ssize_t) n)
        return SAMI_SCTP_DONE;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return SAMI_SCTP_AGAIN;
    sami_sctp_assoc_lose(base, sent < 0 ? g_strerror(errno) : SCTP_TEXT_CUT);
    return SAMI_SCTP_OVER;
}

static guint
count_unacknowledged(SamiSctpAssoc *base)
{
    struct sctp_status status = { 0 };
    socklen_t length = sizeof(status);
    if (usrsctp_getsockopt(((Assoc *) base)->socket, IPPROTO_SCTP, SCTP_STATUS, &status, &length) != 0) {
        sami_sctp_assoc_lose(base, SCTP_TEXT_GONE);
        return 0;
    }
    return (guint) status.sstat_unackdata + status.sstat_penddata;
}

/* ---- keys ---- */

static gboolean
set_or_lose(SamiSctpAssoc *base, int option, const void *value, gsize n)
{
    if (base->state == SAMI_SCTP_LOST)
        return FALSE;
    if (set(((Assoc *) base)->socket, option, value, n))
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
    ((Assoc *) base)->is_settled = TRUE;
    return set_or_lose(base, SCTP_AUTH_DEACTIVATE_KEY, &value, sizeof(value));
}

static void
widen(SamiSctpAssoc *base)
{
    const int size = SCTP_BUFFER;
    Assoc *assoc = (Assoc *) base;
    usrsctp_setsockopt(assoc->socket, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    sami_sctp_udp_trust(((Userland *) base->sctp)->udp, assoc->peer, TRUE);
    assoc->is_trusted = TRUE;
}

/* ---- ends ---- */

/* Key races are normal; a wrong sum, tag or authentication is not, nor a packet for nobody. The library's counters are 32 bits wide. */
static SamiSctpDropped
count_dropped(SamiSctp *base)
{
    Userland *stack = (Userland *) base;
    struct sctpstat stat;
    SamiSctpDropped dropped = sami_sctp_udp_dropped(stack->udp);
    usrsctp_get_stat(&stat);
    guint32 now = stat.sctps_hdrops + stat.sctps_badsum + stat.sctps_noport + stat.sctps_badvtag + stat.sctps_outoftheblue +
                  stat.sctps_recvauthmissing + stat.sctps_recvauthfailed;
    stack->n_strange += (guint32) (now - stack->strange_seen);
    stack->strange_seen = now;
    dropped.n_strange += stack->n_strange;
    return dropped;
}

static void
shut_down(SamiSctpAssoc *base)
{
    ((Assoc *) base)->is_settled = TRUE; /* no handshake that anybody waits for */
    usrsctp_shutdown(((Assoc *) base)->socket, SHUT_WR);
}

static void
assoc_free(SamiSctpAssoc *base)
{
    Assoc *assoc = (Assoc *) base;
    Userland *stack = (Userland *) base->sctp;
    const struct linger now = { .l_onoff = 1, .l_linger = 0 };
    if (base->state != SAMI_SCTP_CLOSED) /* else what is queued would be sent on, without us */
        usrsctp_setsockopt(assoc->socket, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    usrsctp_set_upcall(assoc->socket, on_upcall, NULL);
    usrsctp_close(assoc->socket);
    if (assoc->is_trusted)
        sami_sctp_udp_trust(stack->udp, assoc->peer, FALSE);
    sami_sctp_udp_release(stack->udp, assoc->peer);
    be_busy(stack);
    stack->n_assocs--;
    sami_sctp_assoc_clear(base);
    g_free(assoc);
}

/* The library lets go of its memory only after its timers ran; they are told that time passes. */
static void
stack_free(SamiSctp *base)
{
    Userland *stack = (Userland *) base;
    GSource *sources[] = { stack->input, stack->timer };
    if (stack->listener)
        usrsctp_close(stack->listener);
    for (guint i = 0; i < 100 && usrsctp_finish() != 0; i++)
        usrsctp_handle_timers(100);
    the_stack = NULL;
    for (guint i = 0; i < G_N_ELEMENTS(sources); i++)
        if (sources[i]) {
            g_source_destroy(sources[i]);
            g_source_unref(sources[i]);
        }
    if (stack->n_unsent)
        g_debug("%" G_GUINT64_FORMAT " SCTP packets could not be sent", stack->n_unsent);
    sami_sctp_udp_free(stack->udp);
    for (guint i = 0; i < G_N_ELEMENTS(stack->waiting); i++)
        sami_sctp_lanes_free(stack->waiting[i]);
    g_free(stack);
}

static const SamiSctpOps ops = { .connect = connect_to, .listen = begin_listening, .free = stack_free, .receive = receive, .send = send_message,
                                 .n_unacknowledged = count_unacknowledged, .add_key = add_key, .use_key = use_key, .retire_key = retire_key,
                                 .widen = widen, .dropped = count_dropped, .shutdown = shut_down, .assoc_free = assoc_free };

static gboolean
open_listener(Userland *stack, guint16 port, GError **error)
{
    struct sockaddr_conn any = address_of(0, port);
    stack->listener = open_socket(SCTP_BUFFER_UNPROVEN, error); /* what is accepted inherits it */
    if (!stack->listener)
        return FALSE;
    if (usrsctp_bind(stack->listener, (struct sockaddr *) &any, sizeof(any)) == 0 && usrsctp_listen(stack->listener, BACKLOG) == 0)
        return TRUE;
    g_set_error(error, SAMI_ERROR, SAMI_ERROR_FAILED, "libusrsctp: listen: %s", g_strerror(errno));
    return FALSE;
}

/* What nobody needs here is off: it would be more for a peer to reach. */
static void
restrict_library(void)
{
    usrsctp_sysctl_set_sctp_ecn_enable(0);
    usrsctp_sysctl_set_sctp_asconf_enable(0);
    usrsctp_sysctl_set_sctp_auto_asconf(0);
    usrsctp_sysctl_set_sctp_pr_enable(0);
    usrsctp_sysctl_set_sctp_reconfig_enable(0);
    usrsctp_sysctl_set_sctp_nrsack_enable(0);
    usrsctp_sysctl_set_sctp_pktdrop_enable(0);
}

/* Its own UDP socket for a process that only connects: any port, for IPv4 and IPv6. */
static int
open_client(GError **error)
{
    const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
    const struct sockaddr_in v4 = { .sin_family = AF_INET };
    int fd = sami_sctp_udp_open((const struct sockaddr *) &v6, sizeof(v6), NULL);
    return fd >= 0 ? fd : sami_sctp_udp_open((const struct sockaddr *) &v4, sizeof(v4), error);
}

SamiSctp *
sami_sctp_userland_new(const SamiSctpConfig *config, int listener_take, guint16 port, GMainContext *context, GError **error)
{
    gboolean is_listener = listener_take >= 0;
    int fd = is_listener ? listener_take : open_client(error);
    if (fd < 0)
        return NULL;
    g_assert(!the_stack);
    Userland *stack = g_new0(Userland, 1);
    stack->base = (SamiSctp){ .ops = &ops, .config = *config, .context = context };
    stack->udp = sami_sctp_udp_new(fd, config->send, on_forgotten);
    for (guint i = 0; i < G_N_ELEMENTS(stack->waiting); i++)
        stack->waiting[i] = sami_sctp_lanes_new();
    stack->ticked_us = g_get_monotonic_time();
    the_stack = stack;
    usrsctp_init_nothreads(0, on_output, NULL);
    restrict_library();
    if (is_listener && !open_listener(stack, port, error)) {
        stack_free(&stack->base);
        return NULL;
    }
    stack->input = g_unix_fd_source_new(fd, G_IO_IN);
    g_source_set_callback(stack->input, (GSourceFunc) (void (*)(void)) on_input, stack, NULL);
    g_source_attach(stack->input, context);
    set_timer(stack, IDLE_TICK_MS);
    return &stack->base;
}
