#include "transport/capture-tcp.h"

#include "common/cursor.h"

#define HEADER 20u
#define FLAG_FIN 0x01u
#define FLAG_SYN 0x02u
#define FLAG_RST 0x04u
#define FLAG_ACK 0x10u
#define NOWHERE G_MAXUINT64

/* Positions: octets of the stream in 64 bits, of which the low 32 are the sequence number. */
typedef struct {
    gboolean is_started;
    gboolean is_over;
    guint64 first, next; /* where it began, and what comes next */
    guint64 acked;       /* the other end has everything before it */
    guint n_overdue;     /* packets since it has what is missing */
    guint64 end;         /* behind the last octet; NOWHERE: not known */
    SamiSegments waiting;
} Direction;

struct SamiTcp {
    SamiCaptureCommon *common;
    SamiCaptureSession *sessions;
    SamiContent content;
    Direction directions[2];
};

gboolean
sami_tcp_parse(const SamiPacket *packet, SamiTcpSegment *ret)
{
    SamiReader r;
    sami_reader_init(&r, packet->octets, packet->length);
    SamiTcpSegment s = { .source = (guint16) sami_reader_uint(&r, 2), .destination = (guint16) sami_reader_uint(&r, 2) };
    s.sequence = (guint32) sami_reader_uint(&r, 4);
    s.acknowledged = (guint32) sami_reader_uint(&r, 4);
    gsize header = (gsize) (sami_reader_uint(&r, 1) >> 4) * 4;
    guint flags = (guint) sami_reader_uint(&r, 1);
    if (r.is_bad || header < HEADER || header > packet->length_sent)
        return FALSE;
    s.is_syn = flags & FLAG_SYN;
    s.is_ack = (flags & FLAG_ACK) != 0;
    s.is_fin = flags & FLAG_FIN;
    s.is_rst = (flags & FLAG_RST) != 0;
    s.octets = packet->octets + MIN(header, packet->length);
    s.length = packet->length - MIN(header, packet->length);
    s.n_cut = packet->length_sent - header - s.length;
    *ret = s;
    return TRUE;
}

SamiTcp *
sami_tcp_new(SamiCaptureCommon *common, SamiCaptureSession *sessions, gboolean is_expected, guint client, const SamiKeyLog *key_log)
{
    SamiTcp *tcp = g_new0(SamiTcp, 1);
    tcp->common = common;
    tcp->sessions = sessions;
    sami_content_init(&tcp->content, common, sessions, is_expected, client, key_log);
    for (guint i = 0; i < G_N_ELEMENTS(tcp->directions); i++) {
        tcp->directions[i].end = NOWHERE;
        sami_segments_init(&tcp->directions[i].waiting, common, &sessions[i]);
    }
    return tcp;
}

void
sami_tcp_free(SamiTcp *tcp)
{
    if (!tcp)
        return;
    for (guint i = 0; i < G_N_ELEMENTS(tcp->directions); i++)
        sami_segments_clear(&tcp->directions[i].waiting);
    sami_content_clear(&tcp->content);
    g_free(tcp);
}

const SamiContent *
sami_tcp_content(const SamiTcp *tcp)
{
    return &tcp->content;
}

gboolean
sami_tcp_is_over(const SamiTcp *tcp)
{
    return tcp->directions[0].is_over && tcp->directions[1].is_over;
}

gboolean
sami_tcp_is_new(const SamiTcp *tcp, guint side, const SamiTcpSegment *segment)
{
    const Direction *d = &tcp->directions[side], *other = &tcp->directions[1 - side];
    if (!segment->is_syn || segment->is_rst)
        return FALSE;
    if (d->is_started)
        return segment->sequence + 1 != (guint32) d->first;
    return d->is_over || (!segment->is_ack && other->next != other->first);
}

static guint64
position(const Direction *d, guint32 sequence)
{
    gint64 ahead = (gint32) (sequence - (guint32) d->next);
    if (ahead < -(gint64) SAMI_TCP_OLD_MAX)
        ahead += G_GINT64_CONSTANT(1) << 32;
    return d->next + (guint64) ahead;
}

/* One round of sequence numbers stays below, so that what is old has a position too. */
static void
start(Direction *d, guint32 sequence)
{
    d->is_started = TRUE;
    d->first = d->next = d->acked = (G_GUINT64_CONSTANT(1) << 32) + sequence;
}

static void
deliver(SamiTcp *tcp, guint side, const guint8 *octets, gsize n)
{
    tcp->directions[side].next += n;
    if (octets)
        sami_content_push(&tcp->content, side, octets, n);
    else
        sami_content_gap(&tcp->content, side, n);
}

/* What waits and has come up. */
static void
deliver_waiting(SamiTcp *tcp, guint side)
{
    Direction *d = &tcp->directions[side];
    const SamiSegment *first;
    while ((first = sami_segments_first(&d->waiting)) && first->at <= d->next) {
        guint64 end = first->at + first->n;
        gsize old = (gsize) MIN(d->next - first->at, first->n);
        if (end > d->next)
            deliver(tcp, side, first->octets ? first->octets + old : NULL, first->n - old);
        sami_segments_drop_first(&d->waiting);
    }
}

static void
end_direction(SamiTcp *tcp, guint side)
{
    Direction *d = &tcp->directions[side];
    if (d->is_over)
        return;
    d->is_over = TRUE;
    sami_segments_clear(&d->waiting);
    sami_content_end(&tcp->content, side);
    sami_capture_close(tcp->common, &tcp->sessions[side]);
}

/* Has the other end what is missing here? */
static gboolean
is_overdue(const Direction *d)
{
    const SamiSegment *first = sami_segments_first(&d->waiting);
    return first ? d->acked >= first->at : d->end != NOWHERE && d->end > d->next && d->acked >= d->end;
}

/* Delivers what can be delivered. is_last: nothing more will come. */
static void
advance(SamiTcp *tcp, guint side, gboolean is_last)
{
    Direction *d = &tcp->directions[side];
    for (;;) {
        deliver_waiting(tcp, side);
        const SamiSegment *first = sami_segments_first(&d->waiting);
        gboolean is_lost = is_last || d->n_overdue > SAMI_TCP_GRACE || tcp->sessions[side].pending > SAMI_INPUT_STREAM_PENDING;
        if (!first || !is_lost)
            break;
        deliver(tcp, side, NULL, (gsize) (first->at - d->next));
        d->n_overdue = 0;
    }
    gboolean is_end_lost = d->end != NOWHERE && d->end > d->next && (is_last || d->n_overdue > SAMI_TCP_GRACE) && d->end - d->next < SAMI_TCP_OLD_MAX;
    if (is_end_lost && !sami_segments_first(&d->waiting))
        deliver(tcp, side, NULL, (gsize) (d->end - d->next));
    if (d->end != NOWHERE && d->next >= d->end)
        end_direction(tcp, side);
}

/* The other end says what it has of this side. */
static void
acknowledge(SamiTcp *tcp, guint side, guint32 sequence)
{
    Direction *d = &tcp->directions[side];
    if (!d->is_started || d->is_over)
        return;
    gint64 ahead = (gint32) (sequence - (guint32) d->next);
    if (ahead > 0)
        d->acked = MAX(d->acked, d->next + (guint64) ahead);
}

/* A packet has come: what is overdue is so for one more. */
static void
grow_impatient(SamiTcp *tcp)
{
    for (guint i = 0; i < G_N_ELEMENTS(tcp->directions); i++) {
        Direction *d = &tcp->directions[i];
        d->n_overdue = is_overdue(d) ? d->n_overdue + 1 : 0;
        if (d->n_overdue > SAMI_TCP_GRACE)
            advance(tcp, i, FALSE);
    }
}

static void
take_octets(SamiTcp *tcp, guint side, guint64 at, const SamiTcpSegment *segment)
{
    Direction *d = &tcp->directions[side];
    const guint8 *octets = segment->octets;
    gsize n = segment->length, n_cut = segment->n_cut;
    guint64 cut_at = at + n;
    if (at < d->next) {
        gsize old = (gsize) MIN(d->next - at, n);
        octets += old;
        n -= old;
        at += old;
    }
    if (n > 0 && at == d->next && !sami_segments_first(&d->waiting))
        deliver(tcp, side, octets, n);
    else if (n > 0)
        sami_segments_add(&d->waiting, at, octets, n);
    if (n_cut > 0 && cut_at + n_cut > d->next) {
        gsize old = (gsize) (cut_at < d->next ? d->next - cut_at : 0);
        sami_segments_add(&d->waiting, cut_at + old, NULL, n_cut - old);
    }
}

static void
take_segment(SamiTcp *tcp, guint side, const SamiTcpSegment *segment)
{
    Direction *d = &tcp->directions[side];
    gsize n = segment->length + segment->n_cut;
    if (!d->is_started && (segment->is_syn || n > 0)) {
        start(d, segment->sequence + (segment->is_syn ? 1 : 0));
        if (!segment->is_syn)
            sami_content_begin_inside(&tcp->content, side);
    }
    if (!d->is_started) {
        if (segment->is_fin) /* it has sent nothing that the capture has */
            end_direction(tcp, side);
        return;
    }
    guint64 at = position(d, segment->sequence + (segment->is_syn ? 1 : 0));
    if (n > 0)
        take_octets(tcp, side, at, segment);
    if (segment->is_fin && d->end == NOWHERE)
        d->end = at + n;
    advance(tcp, side, FALSE);
}

void
sami_tcp_push(SamiTcp *tcp, guint side, const SamiTcpSegment *segment)
{
    if (segment->is_rst) {
        sami_tcp_finish(tcp);
        end_direction(tcp, 0);
        end_direction(tcp, 1);
        return;
    }
    if (segment->is_ack)
        acknowledge(tcp, 1 - side, segment->acknowledged);
    if (!tcp->directions[side].is_over)
        take_segment(tcp, side, segment);
    grow_impatient(tcp);
}

void
sami_tcp_finish(SamiTcp *tcp)
{
    for (guint i = 0; i < G_N_ELEMENTS(tcp->directions); i++) {
        if (tcp->directions[i].is_over)
            continue;
        advance(tcp, i, TRUE);
        if (!tcp->directions[i].is_over)
            sami_content_end(&tcp->content, i);
    }
}
