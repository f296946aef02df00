#include "transport/capture-content.h"

#include <string.h>

#define TLS_RECORD_HEADER 5u
#define TLS_RECORD_MAX (16384u + 2048u) /* RFC 5246 §6.2.3; RFC 8446 §5.2 allows less */
#define TLS_HANDSHAKE 22u
#define TLS_CLIENT_HELLO 1u
#define TLS_SERVER_HELLO 2u

void
sami_content_init(SamiContent *content, SamiCaptureCommon *common, SamiCaptureSession *sessions, gboolean is_expected, guint client,
                  const SamiKeyLog *key_log)
{
    *content = (SamiContent){ .common = common, .is_expected = is_expected, .client = client, .key_log = key_log };
    for (guint i = 0; i < G_N_ELEMENTS(content->sides); i++) {
        content->sides[i].session = &sessions[i];
        content->sides[i].is_doubtful = !is_expected;
    }
}

static void
stop(SamiContentSide *side)
{
    if (side->has_cutter)
        sami_cutter_clear(&side->cutter);
    side->has_cutter = FALSE;
    side->kind = SAMI_CONTENT_OTHER;
}

void
sami_content_clear(SamiContent *content)
{
    for (guint i = 0; i < G_N_ELEMENTS(content->sides); i++)
        stop(&content->sides[i]);
    g_clear_pointer(&content->tls, sami_tls_decrypt_free);
}

void
sami_content_begin_inside(SamiContent *content, guint n)
{
    content->sides[n].is_inside = TRUE;
}

/* RFC 8446 §5.1: type, version, length; and one octet more, which says whose hello it is. -1: more octets will tell. */
static gint
is_tls(const guint8 *p, guint n)
{
    if (n > 0 && (p[0] < 20 || p[0] > 23))
        return FALSE;
    if ((n > 1 && p[1] != 3) || (n > 2 && p[2] > 4))
        return FALSE;
    if (n <= TLS_RECORD_HEADER)
        return -1;
    guint length = (guint) p[3] << 8 | p[4];
    return length > 0 && length <= TLS_RECORD_MAX;
}

static void
start_cutter(SamiContent *content, SamiContentSide *side)
{
    side->has_cutter = TRUE;
    sami_cutter_init(&side->cutter, content->common, side->session, side->is_inside);
}

static void
start_messages(SamiContent *content, SamiContentSide *side)
{
    side->kind = SAMI_CONTENT_MESSAGES;
    side->session->carrier = SAMI_CARRIER_TCP;
    start_cutter(content, side);
}

static void
start_decryption(SamiContent *content)
{
    content->tls = sami_tls_decrypt_new(content->key_log);
    for (guint i = 0; i < G_N_ELEMENTS(content->sides); i++)
        sami_capture_hold(content->common, content->sides[i].session, SAMI_CONTENT_TLS_COST);
}

static void
start_tls(SamiContent *content, guint n)
{
    SamiContentSide *side = &content->sides[n];
    guint8 hello = side->head[0] == TLS_HANDSHAKE ? side->head[TLS_RECORD_HEADER] : 0;
    side->kind = SAMI_CONTENT_TLS;
    side->is_inside = FALSE; /* records begin where Messages do, as far as can be seen */
    side->session->carrier = SAMI_CARRIER_TLS;
    if (hello == TLS_CLIENT_HELLO || hello == TLS_SERVER_HELLO)
        content->client = hello == TLS_CLIENT_HELLO ? n : 1 - n;
    if (content->key_log && !content->tls)
        start_decryption(content);
    if (content->key_log || content->is_told)
        return;
    content->is_told = TRUE;
    sami_capture_fault(content->common, side->session,
                       "this connection is TLS: read the collector's journal (journal-dir), which has the same Messages, or give the key log that "
                       "one of the daemons wrote (--key-log FILE)");
}

/* A direction of TLS that cannot be read on. */
static void
give_up(SamiContent *content, guint n)
{
    SamiContentSide *side = &content->sides[n];
    if (side->has_cutter)
        sami_cutter_end(&side->cutter);
    stop(side);
    sami_capture_close(content->common, side->session);
}

static void
feed_tls(SamiContent *content, guint n, const guint8 *octets, gsize length)
{
    SamiContentSide *side = &content->sides[n];
    g_autoptr(GByteArray) plain = g_byte_array_new();
    g_autoptr(GError) fault = NULL;
    gboolean is_closed = FALSE;
    gboolean is_fine = sami_tls_decrypt_feed(content->tls, n == content->client, octets, length, plain, &is_closed, &fault);
    if (plain->len > 0) {
        if (!side->has_cutter)
            start_cutter(content, side);
        sami_cutter_push(&side->cutter, plain->data, plain->len);
    }
    if (!is_fine)
        sami_capture_fault(content->common, side->session, "%s; the collector's journal (journal-dir) has the same Messages", fault->message);
    if (!is_fine || is_closed)
        give_up(content, n);
}

static void
push_tls(SamiContent *content, guint n, const guint8 *octets, gsize length)
{
    if (!content->tls)
        return;
    feed_tls(content, n, octets, length);
    if (content->sides[1 - n].kind == SAMI_CONTENT_TLS) /* it may have waited for a hello in this */
        feed_tls(content, 1 - n, (const guint8 *) "", 0);
}

static gint
decide_expected(SamiContent *content, guint n)
{
    SamiContentSide *side = &content->sides[n];
    gint tls = is_tls(side->head, side->n_head);
    if (tls < 0)
        return FALSE;
    if (tls)
        start_tls(content, n);
    else
        start_messages(content, side);
    return TRUE;
}

static gboolean
decide_doubtful(SamiContent *content, SamiContentSide *side)
{
    SamiCaptureLooks looks = sami_capture_looks(side->head, side->n_head);
    if (!side->is_inside && looks == SAMI_LOOKS_SHORT)
        return FALSE;
    if (side->is_inside || looks == SAMI_LOOKS_LIKE)
        start_messages(content, side);
    else
        stop(side);
    if (looks == SAMI_LOOKS_LIKE && !side->is_inside)
        side->is_doubtful = FALSE;
    return TRUE;
}

static void
push_messages(SamiContentSide *side, const guint8 *octets, gsize n)
{
    sami_cutter_push(&side->cutter, octets, n);
    if (!side->is_doubtful)
        return;
    if (!side->cutter.is_searching)
        side->is_doubtful = FALSE;
    else if ((side->n_searched += n) > SAMI_CAPTURE_SEARCH_MAX)
        stop(side);
}

static void
push_decided(SamiContent *content, guint n, const guint8 *octets, gsize length)
{
    SamiContentSide *side = &content->sides[n];
    if (side->kind == SAMI_CONTENT_MESSAGES)
        push_messages(side, octets, length);
    else if (side->kind == SAMI_CONTENT_TLS)
        push_tls(content, n, octets, length);
}

void
sami_content_push(SamiContent *content, guint n, const guint8 *octets, gsize length)
{
    SamiContentSide *side = &content->sides[n];
    if (side->kind != SAMI_CONTENT_UNDECIDED) {
        push_decided(content, n, octets, length);
        return;
    }
    guint before = side->n_head, taken = (guint) MIN(length, sizeof side->head - before);
    memcpy(side->head + before, octets, taken);
    side->n_head += taken;
    gboolean is_decided = content->is_expected ? decide_expected(content, n) : decide_doubtful(content, side);
    if (!is_decided)
        return;
    /* The segment goes on in one piece, since where it ends says something to the cutter. */
    if (before > 0)
        push_decided(content, n, side->head, before);
    push_decided(content, n, octets, length);
}

void
sami_content_gap(SamiContent *content, guint n, guint64 length)
{
    SamiContentSide *side = &content->sides[n];
    if (side->kind == SAMI_CONTENT_UNDECIDED && side->n_head == 0 && !content->is_expected) {
        side->is_inside = TRUE;
        return;
    }
    if (side->kind == SAMI_CONTENT_UNDECIDED && content->is_expected) {
        start_messages(content, side);
        if (side->n_head > 0)
            sami_cutter_push(&side->cutter, side->head, side->n_head);
    }
    if (side->kind == SAMI_CONTENT_UNDECIDED)
        stop(side);
    if (side->kind == SAMI_CONTENT_MESSAGES)
        sami_cutter_gap(&side->cutter, length);
    if (side->kind != SAMI_CONTENT_TLS)
        return;
    content->common->counts.n_lost_octets += length;
    if (!content->tls)
        return;
    sami_capture_fault(content->common, side->session,
                       "%" G_GUINT64_FORMAT " octets of a TLS connection are not in the capture: nothing behind them can be decrypted (RFC 8446 §5.3)",
                       length);
    give_up(content, n);
}

void
sami_content_end(SamiContent *content, guint n)
{
    SamiContentSide *side = &content->sides[n];
    if (side->kind == SAMI_CONTENT_UNDECIDED && side->n_head > 0 && content->is_expected) {
        start_messages(content, side);
        sami_cutter_push(&side->cutter, side->head, side->n_head);
    }
    if (side->has_cutter && (side->kind == SAMI_CONTENT_TLS || !side->is_doubtful))
        sami_cutter_end(&side->cutter);
    stop(side);
}

gboolean
sami_content_is_ours(const SamiContent *content)
{
    for (guint i = 0; i < G_N_ELEMENTS(content->sides); i++) {
        const SamiContentSide *side = &content->sides[i];
        if (side->session->is_seen || side->kind == SAMI_CONTENT_TLS || (side->kind == SAMI_CONTENT_MESSAGES && !side->is_doubtful))
            return TRUE;
    }
    return content->is_expected;
}

gboolean
sami_content_is_other(const SamiContent *content)
{
    return !content->is_expected && !content->sides[0].session->is_seen && !content->sides[1].session->is_seen &&
           content->sides[0].kind == SAMI_CONTENT_OTHER && content->sides[1].kind == SAMI_CONTENT_OTHER;
}
