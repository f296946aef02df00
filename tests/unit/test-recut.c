/* Messages divided for UDP: the records that come out are those that went in, whoever wrote them; and no input does harm. */
#include <netinet/in.h>
#include <string.h>

#include "common/cursor.h"
#include "replay/recut.h"
#include "templates/codec.h"
#include "templates/signature.h"
#include "tests/unit/harness.h"

/* ---- a writer of foreign Messages, and a reader that is not the code's own ---- */

static GByteArray *in;     /* Messages, one behind the other */
static GArray *lengths;    /* gsize, of those that came out */
static GByteArray *result; /* them */
static GPtrArray *bodies;  /* of GBytes: Data Records, with the domain and Set id before them */
static guint message_at, set_at;

static void
put(guint64 value, guint n)
{
    for (guint i = n; i-- > 0;) {
        guint8 octet = (guint8) (value >> (8 * i));
        g_byte_array_append(in, &octet, 1);
    }
}

static void
fix(guint at, guint value)
{
    in->data[at] = (guint8) (value >> 8);
    in->data[at + 1] = (guint8) value;
}

static void
end_set(void)
{
    if (set_at)
        fix(set_at + 2, in->len - set_at);
    set_at = 0;
}

static void
end_message(void)
{
    end_set();
    fix(message_at + 2, in->len - message_at);
}

static void
begin_message(guint32 sequence, guint32 domain)
{
    message_at = in->len;
    put(10, 2);
    put(0, 2);
    put(1764435600, 4);
    put(sequence, 4);
    put(domain, 4);
}

static void
begin_set(guint id)
{
    end_set();
    set_at = in->len;
    put(id, 2);
    put(0, 2);
}

/* id, then (number, length) pairs ending with 0; a number from 0x8000 on has enterprise 9 */
static void
put_template(guint id, guint n_scope, const guint (*fields)[2], guint n)
{
    put(id, 2);
    put(n, 2);
    if (n_scope)
        put(n_scope, 2);
    for (guint i = 0; i < n; i++) {
        put(fields[i][0], 2);
        put(fields[i][1], 2);
        if (fields[i][0] & 0x8000)
            put(9, 4);
    }
}

static const guint flow[][2] = { { 8, 4 }, { 0x8001, 2 }, { 82, 65535 } };
static const guint fixed[][2] = { { 144, 4 }, { 41, 8 } };

static void
put_flow(guint32 n, guint n_octets)
{
    put(n, 4);
    put(n & 0xffff, 2);
    if (n_octets >= 255) {
        put(255, 1);
        put(n_octets, 2);
    } else {
        put(n_octets, 1);
    }
    for (guint i = 0; i < n_octets; i++)
        put(n + i, 1);
}

typedef struct {
    guint32 domain;
    guint id, n;
    guint16 lengths[8];
} Known;
static GArray *known;

static void
read_definitions(guint32 domain, gboolean is_options, SamiReader r)
{
    while (sami_reader_left(&r) >= 4) {
        Known k = { .domain = domain };
        k.id = (guint) sami_reader_uint(&r, 2);
        k.n = (guint) sami_reader_uint(&r, 2);
        if (is_options)
            sami_reader_uint(&r, 2);
        CU_ASSERT_FATAL(k.n > 0 && k.n <= 8);
        for (guint i = 0; i < k.n; i++) {
            guint number = (guint) sami_reader_uint(&r, 2);
            k.lengths[i] = (guint16) sami_reader_uint(&r, 2);
            if (number & 0x8000)
                sami_reader_uint(&r, 4);
        }
        CU_ASSERT_FALSE_FATAL(r.is_bad);
        g_array_prepend_val(known, k);
    }
}

static void
read_data(guint32 domain, guint id, SamiReader r)
{
    const Known *k = NULL;
    for (guint i = 0; !k && i < known->len; i++)
        if (g_array_index(known, Known, i).domain == domain && g_array_index(known, Known, i).id == id)
            k = &g_array_index(known, Known, i);
    CU_ASSERT_PTR_NOT_NULL_FATAL(k);
    while (sami_reader_left(&r) > 3) {
        const guint8 *start = r.at;
        for (guint i = 0; i < k->n; i++) {
            guint n = k->lengths[i];
            if (n == 65535 && (n = (guint) sami_reader_uint(&r, 1)) == 255)
                n = (guint) sami_reader_uint(&r, 2);
            sami_reader_take(&r, n);
        }
        CU_ASSERT_FALSE_FATAL(r.is_bad);
        GByteArray *body = g_byte_array_new();
        g_byte_array_append(body, (const guint8 *) &domain, 4);
        g_byte_array_append(body, (const guint8 *) &id, sizeof id);
        g_byte_array_append(body, start, (guint) (r.at - start));
        g_ptr_array_add(bodies, g_byte_array_free_to_bytes(body));
    }
}

/* Reads all Messages; the Sequence Number of each has to be `first` and the Data Records of its domain before it. */
static void
read_all(const GByteArray *octets, guint32 first)
{
    SamiReader all;
    guint32 expected[4] = { first, first, first, first };
    g_array_set_size(known, 0);
    g_ptr_array_set_size(bodies, 0);
    sami_reader_init(&all, octets->data, octets->len);
    while (sami_reader_left(&all) > 0) {
        SamiReader r;
        const guint8 *start = all.at;
        CU_ASSERT_EQUAL_FATAL(sami_reader_uint(&all, 2), 10);
        gsize length = sami_reader_uint(&all, 2);
        sami_reader_uint(&all, 4);
        guint32 sequence = (guint32) sami_reader_uint(&all, 4), domain = (guint32) sami_reader_uint(&all, 4);
        CU_ASSERT_FATAL(domain < 4);
        CU_ASSERT_EQUAL(sequence, expected[domain]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(sami_reader_take(&all, length - 16));
        sami_reader_init(&r, start + 16, length - 16);
        guint before = bodies->len;
        while (sami_reader_left(&r) > 0) {
            guint id = (guint) sami_reader_uint(&r, 2), n = (guint) sami_reader_uint(&r, 2) - 4;
            SamiReader set;
            const guint8 *body = sami_reader_take(&r, n);
            CU_ASSERT_PTR_NOT_NULL_FATAL(body);
            sami_reader_init(&set, body, n);
            if (id == 2 || id == 3)
                read_definitions(domain, id == 3, set);
            else
                read_data(domain, id, set);
        }
        expected[domain] += bodies->len - before;
    }
}

static void
take(const guint8 *message, gsize length, gpointer user_data)
{
    g_array_append_val(lengths, length);
    g_byte_array_append(result, message, (guint) length);
}

static gsize
length_at(const GByteArray *octets, gsize at)
{
    return (gsize) octets->data[at + 2] << 8 | octets->data[at + 3];
}

static void
cut_all(ReplayRecut *recut)
{
    g_byte_array_set_size(result, 0);
    g_array_set_size(lengths, 0);
    for (gsize at = 0; at < in->len; at += length_at(in, at))
        CU_ASSERT_TRUE(replay_recut_message(recut, in->data + at, length_at(in, at), 0, take, NULL, NULL));
}

static int
set_up(void)
{
    in = g_byte_array_new();
    result = g_byte_array_new();
    lengths = g_array_new(FALSE, FALSE, sizeof(gsize));
    known = g_array_new(FALSE, FALSE, sizeof(Known));
    bodies = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    return 0;
}

static int
tear_down(void)
{
    g_byte_array_unref(in);
    g_byte_array_unref(result);
    g_array_unref(lengths);
    g_array_unref(known);
    g_ptr_array_unref(bodies);
    return 0;
}

static void
restart(void)
{
    g_byte_array_set_size(in, 0);
    set_at = 0;
}

/* Two domains, templates of both kinds, records of every length, padding. */
static void
put_sample(guint n)
{
    restart();
    for (guint32 domain = 1; domain <= 2; domain++) {
        begin_message(1000, domain);
        begin_set(2);
        put_template(256, 0, flow, 3);
        begin_set(3);
        put_template(257, 1, fixed, 2);
        for (guint i = 0; i < n; i++) {
            begin_set(256);
            put_flow(i, i % 300);
            put_flow(i, 3);
            begin_set(257);
            put(i, 4);
            put(i, 8);
            put(0, i % 4);
        }
        end_message();
    }
}

/* Both read with the same reader. */
static void
compare_records(guint32 first)
{
    g_autoptr(GPtrArray) before = NULL;
    read_all(in, first);
    before = g_steal_pointer(&bodies);
    bodies = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    read_all(result, first);
    CU_ASSERT_EQUAL_FATAL(before->len, bodies->len);
    CU_ASSERT_TRUE(before->len > 0);
    for (guint i = 0; i < before->len; i++)
        CU_ASSERT_TRUE(g_bytes_equal(before->pdata[i], bodies->pdata[i]));
}

/* ---- cases ---- */

static void
test_short_ones_stay(void)
{
    g_autoptr(ReplayRecut) recut = replay_recut_new(1400, 0, 0);
    put_sample(4);
    cut_all(recut);
    CU_ASSERT_EQUAL_FATAL(result->len, in->len);
    CU_ASSERT_EQUAL(memcmp(result->data, in->data, in->len), 0);
    CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_out, 2);
    CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_cut, 0);
}

static void
test_divided(void)
{
    static const gsize mtus[] = { 400, 512, 1400, 9000 };
    for (guint i = 0; i < G_N_ELEMENTS(mtus); i++) {
        g_autoptr(ReplayRecut) recut = replay_recut_new(mtus[i], 0, 0);
        put_sample(150);
        cut_all(recut);
        compare_records(1000);
        for (guint k = 0; k < lengths->len; k++)
            CU_ASSERT_TRUE(g_array_index(lengths, gsize, k) <= mtus[i]);
        CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_cut, 2);
        CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_long, 0);
        CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_out, lengths->len);
    }
}

static void
put_plain(guint32 sequence, guint n)
{
    begin_message(sequence, 1);
    begin_set(256);
    for (guint i = 0; i < n; i++)
        put_flow(sequence + i, 8);
    end_message();
}

static void
test_templates_again(void)
{
    g_autoptr(ReplayRecut) recut = replay_recut_new(1400, 3, 0);
    g_autoptr(ReplayRecut) timed = replay_recut_new(1400, 0, 1000);
    restart();
    begin_message(0, 1);
    begin_set(2);
    put_template(256, 0, flow, 3);
    begin_set(3);
    put_template(257, 1, fixed, 2);
    end_message();
    gsize n_templates = in->len;
    for (guint32 i = 0; i < 9; i++)
        put_plain(i * 2, 2);
    cut_all(recut);
    compare_records(0);
    CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_refreshes, 3); /* before the 4th, 7th and 10th */
    CU_ASSERT_EQUAL(lengths->len, 10 + 3);
    CU_ASSERT_EQUAL(g_array_index(lengths, gsize, 3), n_templates);
    for (gsize at = 0, n = 0; at < in->len; at += length_at(in, at), n++)
        CU_ASSERT_TRUE(replay_recut_message(timed, in->data + at, length_at(in, at), n * 400, take, NULL, NULL));
    CU_ASSERT_EQUAL(replay_recut_counts(timed)->n_refreshes, 3); /* at 1200, 2400, 3600 ms */
}

/* RFC 7011 §8.1: not on UDP. What was withdrawn is not repeated either, and its id may get another meaning. */
static void
test_withdrawals(void)
{
    g_autoptr(ReplayRecut) recut = replay_recut_new(1400, 1, 0);
    restart();
    put_sample(1);
    begin_message(1003, 1);
    begin_set(2);
    put(256, 2);
    put(0, 2);
    end_message();
    begin_message(1003, 1);
    begin_set(2);
    put_template(256, 0, fixed, 2);
    begin_set(256);
    put(1, 4);
    put(2, 8);
    end_message();
    begin_message(1004, 1); /* all Options Templates */
    begin_set(3);
    put(3, 2);
    put(0, 2);
    begin_set(256);
    put(1, 4);
    put(2, 8);
    end_message();
    put_plain(0, 0);
    g_byte_array_set_size(in, message_at);
    cut_all(recut);
    read_all(result, 1000);
    CU_ASSERT_EQUAL(bodies->len, 3 + 3 + 2);
    CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_withdrawals, 2);
    CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_cut, 3);
    CU_ASSERT_EQUAL(lengths->len, 2 + 1 + 1 + 2); /* two; templates, and nothing left; data; templates and data */
}

static void
test_too_long(void)
{
    g_autoptr(ReplayRecut) recut = replay_recut_new(1400, 0, 0);
    restart();
    begin_message(5, 1);
    begin_set(2);
    put_template(256, 0, flow, 3);
    begin_set(256);
    put_flow(1, 10);
    put_flow(2, 5000); /* longer than the MTU, but a datagram */
    put_flow(3, 10);
    end_message();
    begin_message(8, 1);
    begin_set(256);
    put_flow(4, 65495); /* longer than one */
    end_message();
    put_plain(9, 2);
    cut_all(recut);
    CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_long, 2);
    CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_dropped, 1);
    CU_ASSERT_EQUAL_FATAL(lengths->len, 4);
    guint32 expected[] = { 5, 6, 7, 9 }; /* who receives them counts the one that is missing as lost */
    for (gsize at = 0, i = 0; at < result->len; at += length_at(result, at), i++)
        CU_ASSERT_EQUAL(result->data[at + 11], expected[i]);
}

static void
test_unknown_sets(void)
{
    g_autoptr(ReplayRecut) recut = replay_recut_new(300, 0, 0);
    restart();
    begin_message(7, 1);
    begin_set(999);
    for (guint i = 0; i < 250; i++)
        put(i, 1);
    begin_set(998);
    for (guint i = 0; i < 400; i++)
        put(i, 1);
    end_message();
    cut_all(recut);
    CU_ASSERT_EQUAL_FATAL(lengths->len, 2);
    CU_ASSERT_EQUAL(g_array_index(lengths, gsize, 0), 16 + 4 + 250);
    CU_ASSERT_EQUAL(g_array_index(lengths, gsize, 1), 16 + 4 + 400);
    CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_long, 1);
}

/* Ours: without signatures the strict decoder still takes every Message, with its Sequence Number, and has every record. */

static SamiSession
make_session(guint32 i)
{
    SamiSession s = { .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY, .action = SAMI_ACTION_CREATED, .timeout_s = i + 1 };
    s.key.family = 4;
    s.key.protocol = i >= 500 ? IPPROTO_UDP : IPPROTO_TCP; /* the first Message, which defines one template, is a long one */
    if (i < 500)
        s.has |= SAMI_HAS_TCP;
    memcpy(s.key.orig.src.octets, &i, 4);
    s.key.orig.src_port = (guint16) i;
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}

static guint n_decoded;

static void
on_decoded(const SamiRecord *record, gpointer user_data)
{
    SamiSession expected = make_session(n_decoded++);
    CU_ASSERT_TRUE(record->kind == SAMI_RECORD_SESSION && sami_session_equal(&record->session, &expected));
}

static void
flush_signed(SamiEncoder *encoder, SamiKey *key, guint64 *counter)
{
    guint8 *message;
    gsize length;
    SamiSignature fields = { .role = SAMI_ROLE_FILE, .counter = (*counter)++ };
    CU_ASSERT_TRUE_FATAL(sami_encoder_take(encoder, 1, &message, &length, NULL));
    length = sami_signature_seal(key, &fields, message, length);
    g_byte_array_append(in, message, (guint) length);
}

static void
test_signatures_go(void)
{
    g_autoptr(SamiEncoder) encoder = sami_encoder_new(SAMI_DOMAIN_FORWARD, 8000);
    g_autoptr(SamiDecoder) decoder = sami_decoder_new(SAMI_DOMAIN_FORWARD);
    g_autoptr(SamiKey) key = sami_key_generate();
    g_autoptr(ReplayRecut) recut = replay_recut_new(600, 5, 0);
    guint64 counter = 0;
    restart();
    for (guint32 i = 0; i < 1000; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_SESSION, .session = make_session(i) };
        if (sami_encoder_add(encoder, &record, NULL))
            continue;
        flush_signed(encoder, key, &counter);
        CU_ASSERT_TRUE_FATAL(sami_encoder_add(encoder, &record, NULL));
    }
    flush_signed(encoder, key, &counter);
    cut_all(recut);
    n_decoded = 0;
    for (gsize at = 0; at < result->len; at += length_at(result, at)) {
        CU_ASSERT_TRUE(length_at(result, at) <= 600);
        CU_ASSERT_TRUE_FATAL(sami_decoder_read_unsigned(decoder, result->data + at, length_at(result, at), on_decoded, NULL, NULL));
    }
    CU_ASSERT_EQUAL(n_decoded, 1000);
    CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_unsigned, counter);
    guint64 n_out = replay_recut_counts(recut)->n_out, n_refreshes = replay_recut_counts(recut)->n_refreshes;
    CU_ASSERT_EQUAL(n_refreshes, (n_out - n_refreshes - 1) / 5);
}

static void
test_limits(void)
{
    g_autoptr(ReplayRecut) recut = replay_recut_new(1400, 0, 0);
    g_autoptr(GError) error = NULL;
    restart();
    for (guint k = 0; k < 5; k++) {
        begin_message(0, 1);
        begin_set(2);
        for (guint i = 0; i < 1000; i++)
            put_template(256 + 1000 * k + i, 0, fixed, 2);
        end_message();
    }
    cut_all(recut);
    CU_ASSERT_EQUAL(replay_recut_counts(recut)->n_unremembered, 5000 - REPLAY_RECUT_TEMPLATES_MAX);
    for (guint i = 2; i <= REPLAY_RECUT_DOMAINS_MAX + 1; i++) {
        restart();
        begin_message(0, i);
        end_message();
        gboolean is_taken = replay_recut_message(recut, in->data, in->len, 0, take, NULL, i > REPLAY_RECUT_DOMAINS_MAX ? &error : NULL);
        CU_ASSERT_EQUAL(is_taken, i <= REPLAY_RECUT_DOMAINS_MAX);
    }
    CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
}

static void
test_malformed(void)
{
    static const struct {
        const gchar *rule;
        guint8 sets[24];
        guint n;
    } cases[] = {
        { "does not fit its Message", { 1, 0, 0, 3 }, 4 },
        { "does not fit its Message", { 1, 0, 0, 9, 1, 2, 3, 4 }, 8 },
        { "does not fit its Message", { 1, 0, 0 }, 3 },
        { "template id 255", { 0, 2, 0, 8, 0, 255, 0, 1 }, 8 },
        { "longer than its Set", { 0, 2, 0, 12, 1, 0, 0, 2, 0, 8, 0, 4 }, 12 },
        { "longer than its Set", { 0, 2, 0, 12, 1, 0, 0, 1, 0x80, 8, 0, 4 }, 12 },
        { "scope fields", { 0, 3, 0, 14, 1, 0, 0, 1, 0, 0, 0, 8, 0, 4 }, 14 },
        { "scope fields", { 0, 3, 0, 14, 1, 0, 0, 1, 0, 2, 0, 8, 0, 4 }, 14 },
        { "template id 3", { 0, 2, 0, 8, 0, 3, 0, 0 }, 8 },
    };
    g_autoptr(ReplayRecut) recut = replay_recut_new(1400, 1, 0);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        restart();
        begin_message(0, 1);
        g_byte_array_append(in, cases[i].sets, cases[i].n);
        end_message();
        g_array_set_size(lengths, 0);
        CU_ASSERT_FALSE(replay_recut_message(recut, in->data, in->len, 0, take, NULL, &error));
        CU_ASSERT_TRUE(error && strstr(error->message, cases[i].rule));
        CU_ASSERT_EQUAL(lengths->len, 0);
    }
    in->data[1] = 9;
    CU_ASSERT_FALSE(replay_recut_message(recut, in->data, in->len, 0, take, NULL, NULL));
    CU_ASSERT_FALSE(replay_recut_message(recut, in->data, 15, 0, take, NULL, NULL));
}

/* Whatever comes out is whole Messages that fill themselves with Sets. */
static void
take_checked(const guint8 *message, gsize length, gpointer user_data)
{
    SamiReader r;
    g_assert(length >= SAMI_MESSAGE_HEADER && length <= SAMI_MESSAGE_MAX && message[0] == 0 && message[1] == 10);
    g_assert((gsize) (message[2] << 8 | message[3]) == length);
    sami_reader_init(&r, message + SAMI_MESSAGE_HEADER, length - SAMI_MESSAGE_HEADER);
    while (sami_reader_left(&r) > 0) {
        sami_reader_uint(&r, 2);
        guint n = (guint) sami_reader_uint(&r, 2);
        g_assert(n >= 4);
        sami_reader_take(&r, n - 4);
        g_assert(!r.is_bad);
    }
    *(guint64 *) user_data += length;
}

static void
test_corruptions(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(20261129);
    put_sample(20);
    begin_message(1060, 1);
    begin_set(2);
    put(256, 2);
    put(0, 2);
    end_message();
    g_autofree guint8 *good = g_memdup2(in->data, in->len);
    gsize n = in->len;
    guint n_taken = 0, n_refused = 0;
    for (guint round = 0; round < 10000; round++) {
        g_autoptr(ReplayRecut) recut = replay_recut_new(REPLAY_RECUT_MTU_MIN, 1, 0);
        g_autofree guint8 *bad = g_memdup2(good, n);
        guint64 n_out = 0;
        for (gint i = g_rand_int_range(rand, 1, 8); i > 0; i--)
            bad[g_rand_int_range(rand, 0, (gint) n)] = (guint8) (g_rand_boolean(rand) ? g_rand_int(rand) : 0xff * (guint) g_rand_boolean(rand));
        for (gsize at = 0; at + 4 <= n;) {
            gsize length = MIN(MAX((gsize) bad[at + 2] << 8 | bad[at + 3], 1), n - at);
            gboolean is_taken = replay_recut_message(recut, bad + at, length, 0, take_checked, &n_out, NULL);
            n_taken += is_taken;
            n_refused += !is_taken;
            at += length;
        }
        g_assert(n_out < 64 * n); /* a header and, each time, the templates for each small piece */
    }
    CU_ASSERT_TRUE(n_taken > 1000 && n_refused > 1000);
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "what fits stays as it is", test_short_ones_stay },
        { "divided between records", test_divided },
        { "templates again", test_templates_again },
        { "withdrawals", test_withdrawals },
        { "what cannot be divided", test_too_long },
        { "Sets without a template", test_unknown_sets },
        { "signatures go", test_signatures_go },
        { "limits", test_limits },
        { "malformed Messages", test_malformed },
        { "10 000 corruptions", test_corruptions },
    };
    return sami_test_main("recut", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
