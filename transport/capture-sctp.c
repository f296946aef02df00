#include "transport/capture-sctp.h"

#include <string.h>

#include "common/cursor.h"
#include "transport/capture-messages.h"
#include "transport/capture-tcp.h"

/* RFC 9260 §3.2, RFC 3758 §3.2, RFC 8260 §2.1 */
enum { DATA = 0, INIT = 1, INIT_ACK = 2, SACK = 3, ABORT = 6, SHUTDOWN = 7, SHUTDOWN_COMPLETE = 14, I_DATA = 64, FORWARD_TSN = 192 };
#define FLAG_LAST 1u
#define FLAG_FIRST 2u
#define FLAG_UNORDERED 4u
#define HEADER 12u
#define CHUNK_HEADER 4u
#define DATA_HEADER 12u /* behind the chunk's header */
#define INIT_HEADER 16u

typedef struct {
    gboolean is_started;
    gboolean has_tag, is_tag_certain; /* certain: an INIT or INIT ACK said so */
    guint32 tag;                      /* of packets in this direction */
    guint64 next;                     /* TSN that comes next, in 64 bits as positions of TCP are */
    guint64 acked;                    /* the other end has every chunk before it */
    guint n_overdue;                  /* packets since it has what is missing */
    GPtrArray *waiting;               /* of SamiCaptureSctpChunk, by TSN */
    gsize held;
    SamiCaptureSctpMessages messages;
    gboolean is_told;                 /* that it has I-DATA chunks */
} Direction;

struct SamiCaptureSctp {
    SamiCaptureCommon *common;
    SamiCaptureSession *sessions;
    gboolean is_expected, is_over;
    Direction directions[2];
};

typedef struct {
    guint8 type, flags;
    const guint8 *octets; /* behind the chunk's header */
    gsize n;
    gsize n_cut;
} Chunk;

gboolean
sami_capture_sctp_parse(const guint8 *octets, gsize n, gsize n_sent, SamiCaptureSctpPacket *ret)
{
    SamiReader r;
    sami_reader_init(&r, octets, n);
    SamiCaptureSctpPacket packet = { .source = (guint16) sami_reader_uint(&r, 2), .destination = (guint16) sami_reader_uint(&r, 2),
                              .tag = (guint32) sami_reader_uint(&r, 4) };
    sami_reader_uint(&r, 4); /* checksum */
    packet.chunks = r.at;
    packet.length = sami_reader_left(&r);
    packet.n_cut = n_sent - n;
    if (r.is_bad)
        return FALSE;
    *ret = packet;
    return TRUE;
}

gboolean
sami_capture_sctp_is_checksum_right(const guint8 *octets, gsize n)
{
    static const guint32 table[16] = { /* CRC32c, reflected, by four bits */
        0x00000000u, 0x105ec76fu, 0x20bd8edeu, 0x30e349b1u, 0x417b1dbcu, 0x5125dad3u, 0x61c69362u, 0x7198540du,
        0x82f63b78u, 0x92a8fc17u, 0xa24bb5a6u, 0xb21572c9u, 0xc38d26c4u, 0xd3d3e1abu, 0xe330a81au, 0xf36e6f75u,
    };
    guint32 crc = 0xffffffffu;
    if (n < HEADER + CHUNK_HEADER || n % 4 != 0)
        return FALSE;
    for (gsize i = 0; i < n; i++) {
        crc ^= i >= 8 && i < HEADER ? 0 : octets[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    crc = ~crc;
    return octets[8] == (crc & 255) && octets[9] == (crc >> 8 & 255) && octets[10] == (crc >> 16 & 255) && octets[11] == crc >> 24;
}

static void
free_chunk(gpointer data)
{
    SamiCaptureSctpChunk *chunk = data;
    g_free(chunk->octets);
    g_free(chunk);
}

SamiCaptureSctp *
sami_capture_sctp_new(SamiCaptureCommon *common, SamiCaptureSession *sessions, gboolean is_expected)
{
    SamiCaptureSctp *sctp = g_new0(SamiCaptureSctp, 1);
    sctp->common = common;
    sctp->sessions = sessions;
    sctp->is_expected = is_expected;
    for (guint i = 0; i < G_N_ELEMENTS(sctp->directions); i++) {
        sctp->directions[i].waiting = g_ptr_array_new_with_free_func(free_chunk);
        sami_capture_sctp_messages_init(&sctp->directions[i].messages, common, &sessions[i], is_expected);
    }
    return sctp;
}

void
sami_capture_sctp_free(SamiCaptureSctp *sctp)
{
    if (!sctp)
        return;
    for (guint i = 0; i < G_N_ELEMENTS(sctp->directions); i++) {
        Direction *d = &sctp->directions[i];
        sami_capture_release(sctp->common, &sctp->sessions[i], d->held);
        g_ptr_array_unref(d->waiting);
        sami_capture_sctp_messages_clear(&d->messages);
    }
    g_free(sctp);
}

gboolean
sami_capture_sctp_is_over(const SamiCaptureSctp *sctp)
{
    return sctp->is_over;
}

gboolean
sami_capture_sctp_is_ours(const SamiCaptureSctp *sctp)
{
    return sctp->is_expected || sctp->sessions[0].is_seen || sctp->sessions[1].is_seen;
}

gboolean
sami_capture_sctp_is_other(const SamiCaptureSctp *sctp)
{
    return !sami_capture_sctp_is_ours(sctp) && (sctp->is_over || (sctp->directions[0].messages.is_other && sctp->directions[1].messages.is_other));
}

/* RFC 9260 §3.2. FALSE: no more chunks. */
static gboolean
next_chunk(SamiReader *r, gsize n_cut, Chunk *ret)
{
    gsize left = sami_reader_left(r);
    const guint8 *p = left >= CHUNK_HEADER ? sami_reader_take(r, CHUNK_HEADER) : NULL;
    gsize length = p ? (gsize) p[2] << 8 | p[3] : 0;
    if (length < CHUNK_HEADER || length > left + n_cut)
        return FALSE;
    gsize n = MIN(length, left) - CHUNK_HEADER;
    *ret = (Chunk){ .type = p[0], .flags = p[1], .octets = r->at, .n = n, .n_cut = length - CHUNK_HEADER - n };
    sami_reader_take(r, MIN(n + (4 - length % 4) % 4, sami_reader_left(r)));
    return TRUE;
}

static guint32
u32(const guint8 *p)
{
    return (guint32) p[0] << 24 | (guint32) p[1] << 16 | (guint32) p[2] << 8 | p[3];
}

static gboolean
first_chunk(const SamiCaptureSctpPacket *packet, Chunk *ret)
{
    SamiReader r;
    sami_reader_init(&r, packet->chunks, packet->length);
    return next_chunk(&r, packet->n_cut, ret);
}

gboolean
sami_capture_sctp_is_new(const SamiCaptureSctp *sctp, guint side, const SamiCaptureSctpPacket *packet)
{
    const Direction *d = &sctp->directions[side], *other = &sctp->directions[1 - side];
    Chunk chunk;
    if (!first_chunk(packet, &chunk))
        return FALSE;
    if (chunk.type == INIT)
        return chunk.n >= INIT_HEADER && (other->has_tag ? other->tag != u32(chunk.octets) : d->is_started || other->is_started || sctp->is_over);
    return chunk.type == DATA && d->has_tag && !d->is_tag_certain && d->tag != packet->tag;
}

static guint64
position(const Direction *d, guint32 tsn)
{
    gint64 ahead = (gint32) (tsn - (guint32) d->next);
    if (ahead < -(gint64) SAMI_TCP_OLD_MAX)
        ahead += G_GINT64_CONSTANT(1) << 32;
    return d->next + (guint64) ahead;
}

static void
start(Direction *d, guint32 tsn)
{
    d->is_started = TRUE;
    d->next = d->acked = (G_GUINT64_CONSTANT(1) << 32) + tsn;
}

static gsize
cost(const SamiCaptureSctpChunk *chunk)
{
    return SAMI_CAPTURE_PIECE_COST + (chunk->octets ? chunk->n : 0);
}

static const SamiCaptureSctpChunk *
first_waiting(const Direction *d)
{
    return d->waiting->len > 0 ? d->waiting->pdata[0] : NULL;
}

static void
deliver_waiting(SamiCaptureSctp *sctp, guint side)
{
    Direction *d = &sctp->directions[side];
    guint n = 0;
    for (; n < d->waiting->len; n++) {
        const SamiCaptureSctpChunk *chunk = d->waiting->pdata[n];
        if (chunk->tsn != d->next)
            break;
        d->next++;
        d->held -= cost(chunk);
        sami_capture_release(sctp->common, &sctp->sessions[side], cost(chunk));
        sami_capture_sctp_messages_push(&d->messages, chunk);
        if (d->messages.is_dtls)
            sctp->directions[1 - side].messages.is_other = TRUE;
    }
    if (n > 0)
        g_ptr_array_remove_range(d->waiting, 0, n);
}

static void
pass_gap(SamiCaptureSctp *sctp, guint side, guint64 to, gboolean is_abandoned)
{
    Direction *d = &sctp->directions[side];
    guint64 n = to - d->next;
    d->next = to;
    sami_capture_sctp_messages_gap(&d->messages);
    if (d->messages.is_taken && !d->messages.is_other)
        sami_capture_fault(sctp->common, &sctp->sessions[side], "%" G_GUINT64_FORMAT " DATA chunks %s; the Messages that they belonged to are lost", n,
                           is_abandoned ? "were abandoned by their sender (RFC 3758 §3.5)" : "are not in the capture");
}

/* Delivers what can be delivered. is_last: nothing more will come. */
static void
advance(SamiCaptureSctp *sctp, guint side, gboolean is_last)
{
    Direction *d = &sctp->directions[side];
    for (;;) {
        deliver_waiting(sctp, side);
        const SamiCaptureSctpChunk *first = first_waiting(d);
        gboolean is_lost = is_last || d->n_overdue > SAMI_TCP_GRACE || sctp->sessions[side].pending > SAMI_INPUT_STREAM_PENDING;
        if (!first || !is_lost)
            return;
        pass_gap(sctp, side, first->tsn, FALSE);
        d->n_overdue = 0;
    }
}

/* Where a chunk of this TSN is, or would be. */
static guint
find(const Direction *d, guint64 tsn)
{
    guint low = 0, high = d->waiting->len;
    while (low < high) {
        guint middle = (low + high) / 2;
        if (((const SamiCaptureSctpChunk *) d->waiting->pdata[middle])->tsn >= tsn)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void
take_data(SamiCaptureSctp *sctp, guint side, const Chunk *chunk)
{
    Direction *d = &sctp->directions[side];
    const guint8 *p = chunk->octets;
    if (chunk->n < DATA_HEADER || chunk->n + chunk->n_cut == DATA_HEADER)
        return; /* no TSN, or no data (RFC 9260 §3.3.1): it will be missing */
    if (!d->is_started)
        start(d, u32(p));
    guint64 tsn = position(d, u32(p));
    guint at = find(d, tsn);
    if (tsn < d->next || (at < d->waiting->len && ((const SamiCaptureSctpChunk *) d->waiting->pdata[at])->tsn == tsn))
        return; /* a copy */
    SamiCaptureSctpChunk data = { .tsn = tsn, .stream = (guint16) (p[4] << 8 | p[5]), .ssn = (guint16) (p[6] << 8 | p[7]),
                           .is_unordered = (chunk->flags & FLAG_UNORDERED) != 0, .is_first = (chunk->flags & FLAG_FIRST) != 0,
                           .is_last = chunk->flags & FLAG_LAST, .n = chunk->n - DATA_HEADER };
    data.octets = chunk->n_cut > 0 ? NULL : g_memdup2(p + DATA_HEADER, data.n);
    g_ptr_array_insert(d->waiting, (gint) at, g_memdup2(&data, sizeof data));
    d->held += cost(&data);
    sami_capture_hold(sctp->common, &sctp->sessions[side], cost(&data));
    advance(sctp, side, FALSE);
}

/* What the other end has of this side. */
static void
acknowledge(SamiCaptureSctp *sctp, guint side, guint32 tsn)
{
    Direction *d = &sctp->directions[side];
    gint64 ahead = (gint32) (tsn + 1 - (guint32) d->next);
    if (d->is_started && ahead > 0)
        d->acked = MAX(d->acked, d->next + (guint64) ahead);
}

/* A packet has come: what is overdue is so for one more. */
static void
grow_impatient(SamiCaptureSctp *sctp)
{
    for (guint i = 0; i < G_N_ELEMENTS(sctp->directions); i++) {
        Direction *d = &sctp->directions[i];
        const SamiCaptureSctpChunk *first = first_waiting(d);
        d->n_overdue = first && d->acked >= first->tsn ? d->n_overdue + 1 : 0;
        if (d->n_overdue > SAMI_TCP_GRACE)
            advance(sctp, i, FALSE);
    }
}

static void
forward(SamiCaptureSctp *sctp, guint side, guint32 tsn)
{
    Direction *d = &sctp->directions[side];
    gint64 ahead = (gint32) (tsn + 1 - (guint32) d->next);
    guint64 to = d->next + (guint64) MAX(ahead, 0);
    if (!d->is_started || ahead <= 0)
        return;
    while (d->next < to) {
        const SamiCaptureSctpChunk *first = first_waiting(d);
        pass_gap(sctp, side, first ? MIN(first->tsn, to) : to, TRUE);
        deliver_waiting(sctp, side);
    }
    advance(sctp, side, FALSE);
}

static void
take_init(SamiCaptureSctp *sctp, guint side, const Chunk *chunk)
{
    Direction *d = &sctp->directions[side], *other = &sctp->directions[1 - side];
    if (chunk->n < INIT_HEADER)
        return;
    other->has_tag = other->is_tag_certain = TRUE;
    other->tag = u32(chunk->octets);
    if (d->is_started)
        return;
    start(d, u32(chunk->octets + 12));
    d->messages.has_begun = TRUE;
}

static void
end(SamiCaptureSctp *sctp)
{
    sami_capture_sctp_finish(sctp);
    sctp->is_over = TRUE;
    for (guint i = 0; i < G_N_ELEMENTS(sctp->directions); i++)
        sami_capture_close(sctp->common, &sctp->sessions[i]);
}

static void
take_chunk(SamiCaptureSctp *sctp, guint side, const Chunk *chunk)
{
    Direction *d = &sctp->directions[side];
    switch (chunk->type) {
    case DATA: take_data(sctp, side, chunk); break;
    case INIT:
    case INIT_ACK: take_init(sctp, side, chunk); break;
    case SACK:
    case SHUTDOWN:
        if (chunk->n >= 4)
            acknowledge(sctp, 1 - side, u32(chunk->octets));
        break;
    case FORWARD_TSN:
        if (chunk->n >= 4)
            forward(sctp, side, u32(chunk->octets));
        break;
    case ABORT:
    case SHUTDOWN_COMPLETE: end(sctp); break;
    case I_DATA:
        if (d->messages.is_taken && !d->is_told)
            sami_capture_fault(sctp->common, &sctp->sessions[side], "I-DATA chunks (RFC 8260) are not read");
        d->is_told = TRUE;
        break;
    default: break;
    }
}

/* RFC 9260 §8.5: INIT has none, and ABORT and SHUTDOWN COMPLETE may repeat that of the other direction. */
static gboolean
is_tag_right(const SamiCaptureSctp *sctp, guint side, guint32 tag, const Chunk *first)
{
    const Direction *d = &sctp->directions[side], *other = &sctp->directions[1 - side];
    if (first->type == INIT || !d->has_tag || d->tag == tag)
        return TRUE;
    return (first->type == ABORT || first->type == SHUTDOWN_COMPLETE) && other->has_tag && other->tag == tag;
}

gboolean
sami_capture_sctp_push(SamiCaptureSctp *sctp, guint side, const SamiCaptureSctpPacket *packet)
{
    Direction *d = &sctp->directions[side];
    SamiReader r;
    Chunk chunk;
    if (!first_chunk(packet, &chunk) || !is_tag_right(sctp, side, packet->tag, &chunk))
        return FALSE;
    if (chunk.type == DATA && !d->has_tag) {
        d->has_tag = TRUE;
        d->tag = packet->tag;
    }
    sami_reader_init(&r, packet->chunks, packet->length);
    while (!sctp->is_over && next_chunk(&r, packet->n_cut, &chunk))
        take_chunk(sctp, side, &chunk);
    if (!sctp->is_over)
        grow_impatient(sctp);
    return TRUE;
}

void
sami_capture_sctp_finish(SamiCaptureSctp *sctp)
{
    for (guint i = 0; i < G_N_ELEMENTS(sctp->directions) && !sctp->is_over; i++) {
        advance(sctp, i, TRUE);
        sami_capture_sctp_messages_end(&sctp->directions[i].messages);
    }
}
