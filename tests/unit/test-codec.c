/* The contract: generated records survive the codec, signatures cover every bit, and every malformed Message is refused
 * before libfixbuf sees it. */
#include <netinet/in.h>
#include <string.h>

#include "common/cursor.h"
#include "templates/codec.h"
#include "templates/signature.h"
#include "tests/unit/harness.h"

static void
random_octets(GRand *rand, gpointer at, gsize n)
{
    for (gsize i = 0; i < n; i++)
        ((guint8 *) at)[i] = (guint8) g_rand_int(rand);
}

static void
generate_session(GRand *rand, SamiSession *s)
{
    static const guint8 protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6, 47 };
    memset(s, 0, sizeof *s);
    s->key.protocol = protocols[g_rand_int_range(rand, 0, G_N_ELEMENTS(protocols))];
    s->key.family = s->key.protocol == IPPROTO_ICMP     ? 4
                    : s->key.protocol == IPPROTO_ICMPV6 ? 6
                                                        : (g_rand_boolean(rand) ? 4 : 6);
    gsize n = s->key.family == 4 ? 4 : 16;
    random_octets(rand, &s->key.orig.src, n);
    random_octets(rand, &s->key.orig.dst, n);
    s->key.orig.src_port = (guint16) g_rand_int(rand);
    s->key.orig.dst_port = (guint16) g_rand_int(rand);
    if (s->key.protocol == IPPROTO_ICMP)
        s->key.orig.dst_port = 8 << 8;
    if (s->key.protocol == IPPROTO_ICMPV6)
        s->key.orig.dst_port = 128 << 8;
    s->key.zone = g_rand_boolean(rand) ? (guint16) g_rand_int_range(rand, 1, 65536) : 0;
    s->action = SAMI_ACTION_CREATED;
    s->flags = g_rand_boolean(rand) ? SAMI_SESSION_LATE : 0;
    s->has = (g_rand_int(rand) & 0x7ff) | SAMI_HAS_REPLY;
    g_assert(sami_flow_key_mirror(&s->key, &s->reply));
    if (g_rand_boolean(rand)) {
        random_octets(rand, &s->reply.dst, n);
        if (s->key.protocol == IPPROTO_TCP)
            s->reply.dst_port = (guint16) g_rand_int(rand);
        else
            s->reply.src_port = (guint16) g_rand_int(rand);
    }
    s->status = g_rand_int(rand);
    s->timeout_s = g_rand_int(rand);
    s->mark = g_rand_int(rand);
    s->tcp_state = (guint8) g_rand_int_range(rand, 0, 10);
    random_octets(rand, s->tcp_flags, 2);
    random_octets(rand, s->tcp_wscale, 2);
    random_octets(rand, s->labels, 16);
    s->flow_id = g_rand_int(rand);
    s->start_ns = (guint64) g_rand_int(rand) * 1000000u;
    random_octets(rand, s->packets, 16);
    random_octets(rand, s->octets, 16);
    s->vlan = (guint16) g_rand_int_range(rand, 0, 4096);
}

typedef struct {
    GArray *records;
} Sink;

static void
collect(const SamiRecord *record, gpointer user_data)
{
    g_array_append_vals(((Sink *) user_data)->records, record, 1);
}

static void
flush(SamiEncoder *encoder, SamiDecoder *decoder, SamiKey *key, Sink *sink)
{
    guint8 *message;
    gsize length;
    SamiSignature fields = { .role = SAMI_ROLE_EXPORTER }, seen;
    g_autoptr(GError) error = NULL;
    CU_ASSERT_TRUE_FATAL(sami_encoder_take(encoder, 1, &message, &length, &error));
    length = sami_signature_seal(key, &fields, message, length);
    CU_ASSERT_TRUE(sami_signature_read(message, length, &seen, NULL));
    CU_ASSERT_TRUE(sami_signature_verify(key, message, length));
    if (!sami_decoder_read(decoder, message, length, collect, sink, &error))
        CU_FAIL(error->message);
}

static void
round_trip(gsize message_max)
{
    g_autoptr(SamiEncoder) encoder = sami_encoder_new(1, message_max);
    g_autoptr(SamiDecoder) decoder = sami_decoder_new(1);
    g_autoptr(SamiKey) key = sami_key_generate();
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    g_autoptr(GArray) sent = g_array_new(FALSE, TRUE, sizeof(SamiRecord));
    Sink sink = { g_array_new(FALSE, TRUE, sizeof(SamiRecord)) };
    guint32 masks[40];
    for (guint i = 0; i < G_N_ELEMENTS(masks); i++)
        masks[i] = (g_rand_int(rand) & 0x7ff) | SAMI_HAS_REPLY;
    for (guint i = 0; i < 5000; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_SESSION };
        g_autoptr(GError) error = NULL;
        generate_session(rand, &record.session);
        record.session.key.zone = 5;
        record.session.flags = 0;
        record.session.has = masks[i % 2];
        if (!sami_encoder_add(encoder, &record, &error)) {
            if (!g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FULL))
                CU_FAIL_FATAL(error->message);
            flush(encoder, decoder, key, &sink);
            g_clear_error(&error);
            if (!sami_encoder_add(encoder, &record, &error))
                CU_FAIL_FATAL(error->message);
        }
        g_array_append_val(sent, record);
    }
    flush(encoder, decoder, key, &sink);
    CU_ASSERT_EQUAL_FATAL(sink.records->len, sent->len);
    guint n_different = 0;
    for (guint i = 0; i < sent->len; i++) {
        const SamiRecord *a = &g_array_index(sent, SamiRecord, i), *b = &g_array_index(sink.records, SamiRecord, i);
        if (!sami_session_equal(&a->session, &b->session))
            n_different++;
    }
    CU_ASSERT_EQUAL(n_different, 0);
    g_array_unref(sink.records);
}

static void
test_round_trip(void)
{
    round_trip(SAMI_MESSAGE_MAX);
    round_trip(SAMI_MESSAGE_MAX_SCTP);
}

static void
test_control_records(void)
{
    g_autoptr(SamiEncoder) encoder = sami_encoder_new(2, SAMI_MESSAGE_MAX);
    g_autoptr(SamiDecoder) decoder = sami_decoder_new(2);
    g_autoptr(SamiKey) key = sami_key_generate();
    Sink sink = { g_array_new(FALSE, TRUE, sizeof(SamiRecord)) };
    for (guint k = 1; k < SAMI_N_RECORD_KINDS; k++) {
        SamiRecord record = { .kind = (SamiRecordKind) k };
        g_autoptr(GError) error = NULL;
        if (k == SAMI_RECORD_VM_ADDRESS4 || k == SAMI_RECORD_VM_ADDRESS6)
            record.vm_address = (SamiPrefix){ { { 10, 1 } }, k == SAMI_RECORD_VM_ADDRESS4 ? 4 : 6, 24 };
        if (k == SAMI_RECORD_RECEIPT)
            record.receipt = (SamiReceipt){ 2, 77, 1000000, 1, 1, 5, 6, 7, 8, 9, 10 };
        if (k == SAMI_RECORD_REFUSAL)
            g_strlcpy(record.refusal.detail, "why", sizeof record.refusal.detail);
        if (!sami_encoder_add(encoder, &record, &error)) {
            g_clear_error(&error);
            flush(encoder, decoder, key, &sink);
            CU_ASSERT_TRUE_FATAL(sami_encoder_add(encoder, &record, &error));
        }
    }
    flush(encoder, decoder, key, &sink);
    CU_ASSERT_EQUAL_FATAL(sink.records->len, SAMI_N_RECORD_KINDS - 1);
    const SamiRecord *receipt = &g_array_index(sink.records, SamiRecord, SAMI_RECORD_RECEIPT - 1);
    CU_ASSERT_EQUAL(receipt->receipt.n_records, 1000000);
    CU_ASSERT_EQUAL(receipt->receipt.n_refused, 10);
    CU_ASSERT_STRING_EQUAL(g_array_index(sink.records, SamiRecord, SAMI_RECORD_REFUSAL - 1).refusal.detail, "why");
    g_array_unref(sink.records);
}

static void
test_signature_covers_every_bit(void)
{
    g_autoptr(SamiEncoder) encoder = sami_encoder_new(1, SAMI_MESSAGE_MAX);
    g_autoptr(SamiKey) key = sami_key_generate();
    g_autoptr(SamiKey) other = sami_key_generate();
    SamiRecord record = { .kind = SAMI_RECORD_MARKER, .marker = { 1, 2, 1 } };
    SamiSignature fields = { .role = 1, .counter = 9 };
    guint8 *message;
    gsize length;
    CU_ASSERT_TRUE_FATAL(sami_encoder_add(encoder, &record, NULL));
    CU_ASSERT_TRUE_FATAL(sami_encoder_take(encoder, 1, &message, &length, NULL));
    length = sami_signature_seal(key, &fields, message, length);
    CU_ASSERT_TRUE(sami_signature_verify(key, message, length));
    CU_ASSERT_FALSE(sami_signature_verify(other, message, length));
    guint n_accepted = 0;
    for (gsize bit = 0; bit < length * 8; bit++) {
        message[bit / 8] ^= (guint8) (1 << (bit % 8));
        n_accepted += sami_signature_verify(key, message, length);
        message[bit / 8] ^= (guint8) (1 << (bit % 8));
    }
    CU_ASSERT_EQUAL(n_accepted, 0);
}

/* One Message per broken rule: header, then the Sets as hex. The last column is a word of the refusal. */
static const struct {
    const gchar *rule;
    const gchar *sets;
    const gchar *word;
} malformed[] = {
    { "template id 100", "0002000c 0064 0001 00e90001", "ids from 256" },
    { "template id 2, withdrawal of all", "00020008 0002 0000", "withdrawals" },
    { "template withdrawal", "00020008 0100 0000", "withdrawals" },
    { "template id 0", "0002000c 0000 0001 00e90001", "ids from 256" },
    { "no fields", "00020008 0100 0000", "withdrawals" },
    { "zero-length field", "0002000c 0100 0001 00e90000", "octets, allowed" },
    { "too many fields", "0002000c 0100 003d 00e90001", "up to 60 fields" },
    { "template longer than its Set", "0002000c 0100 0002 00e90001", "longer than its Set" },
    { "options template without scope", "0003000e 0100 0001 0000 00e90001", "scope fields" },
    { "options template with too much scope", "0003000e 0100 0001 0002 00e90001", "scope fields" },
    { "wrong field length", "00020010 0100 0002 00e90001 00080010", "octets, allowed" },
    { "unknown element", "0002000c 0100 0001 01f40004", "unknown element" },
    { "unknown enterprise element", "00020010 0100 0001 80010004 00003039", "unknown element" },
    { "list type", "0002000c 0100 0001 0123ffff", "unknown element" },
    { "field twice", "00020010 0100 0002 00e90001 00e90001", "twice" },
    { "incomplete session template", "0002000c 0100 0001 00e90001", "groups whole" },
    { "unknown options template", "0003000e 0100 0001 0001 01070001", "none of the protocol" },
    { "Set 0", "00000004", "has no template" },
    { "Set 1", "00010004", "has no template" },
    { "Set 255", "00ff0004", "has no template" },
    { "unknown template", "01000008 00000000", "has no template" },
    { "Set longer than the Message", "01000100 00", "does not fit" },
    { "Set of 3 octets", "01000003", "does not fit" },
    { "truncated Set header", "0100", "does not fit" },
    { "empty template Set", "00020004", "without a template" },
    { "signature template that is another", "0003000e 012c 0001 0001 01070001", "not the signature's" },
    { "signature Set inside", "012c0004", "not the last" },
};

static void
no_template(const SamiTemplate *tmpl, gpointer user_data)
{
}

static gsize
parse_hex(const gchar *text, guint8 *ret)
{
    gsize n = 0;
    for (const gchar *p = text; *p; p++) {
        if (!g_ascii_isxdigit(*p))
            continue;
        ret[n++] = (guint8) (g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
        p++;
    }
    return n;
}

static void
test_shim_refuses(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(malformed); i++) {
        guint8 message[512] = { 0, 10 };
        guint n = 0;
        g_autoptr(GError) error = NULL;
        g_autoptr(SamiShim) shim = sami_shim_new(1);
        message[15] = 1;
        gsize length = 16 + parse_hex(malformed[i].sets, message + 16);
        gboolean is_accepted = sami_shim_check(shim, message, length, FALSE, no_template, NULL, &n, &error);
        if (is_accepted || !strstr(error->message, malformed[i].word)) {
            g_printerr("%s: %s\n", malformed[i].rule, error ? error->message : "accepted");
            CU_FAIL("a broken rule was accepted, or refused for another");
        }
    }
}

static void
test_shim_header(void)
{
    static const struct {
        guint offset;
        guint8 value;
    } headers[] = { { 1, 9 }, { 11, 1 }, { 15, 3 } };
    for (gsize i = 0; i < G_N_ELEMENTS(headers); i++) {
        guint8 message[16] = { 0, 10, [15] = 1 };
        guint n;
        g_autoptr(SamiShim) shim = sami_shim_new(1);
        message[headers[i].offset] = headers[i].value;
        CU_ASSERT_FALSE(sami_shim_check(shim, message, 16, FALSE, no_template, NULL, &n, NULL));
    }
}

/* Random damage to a good stream: refused or decoded, never a crash and never more records than there were. */
static void
test_corruption(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    g_autoptr(SamiKey) key = sami_key_generate();
    guint8 *message;
    gsize length;
    g_autoptr(SamiEncoder) encoder = sami_encoder_new(1, SAMI_MESSAGE_MAX_SCTP);
    for (guint i = 0; i < 3; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_SESSION };
        generate_session(rand, &record.session);
        record.session.key.protocol = IPPROTO_TCP;
        record.session.key.family = 4;
        record.session.has = SAMI_HAS_REPLY | SAMI_HAS_TIMEOUT;
        record.session.key.zone = 0;
        record.session.flags = 0;
        memset(&record.session.key.orig.src.octets[4], 0, 12);
        memset(&record.session.key.orig.dst.octets[4], 0, 12);
        sami_flow_key_mirror(&record.session.key, &record.session.reply);
        CU_ASSERT_TRUE_FATAL(sami_encoder_add(encoder, &record, NULL));
    }
    CU_ASSERT_TRUE_FATAL(sami_encoder_take(encoder, 1, &message, &length, NULL));
    SamiSignature fields = { .role = 1 };
    length = sami_signature_seal(key, &fields, message, length);
    for (guint round = 0; round < 20000; round++) {
        g_autofree guint8 *copy = g_memdup2(message, length);
        Sink sink = { g_array_new(FALSE, TRUE, sizeof(SamiRecord)) };
        g_autoptr(SamiDecoder) decoder = sami_decoder_new(1);
        for (guint n = (guint) g_rand_int_range(rand, 1, 4); n > 0; n--)
            copy[g_rand_int_range(rand, 0, (gint32) (length - SAMI_SIGNATURE_SET))] = (guint8) g_rand_int(rand);
        sami_decoder_read(decoder, copy, length, collect, &sink, NULL);
        if (sink.records->len > length)
            CU_FAIL("records were invented");
        g_array_unref(sink.records);
        if (round > 300 && !g_getenv("SAMI_LONG"))
            break;
    }
}

static const SamiTest tests[] = {
    { "records survive the codec", test_round_trip },
    { "control records survive the codec", test_control_records },
    { "the signature covers every bit", test_signature_covers_every_bit },
    { "every broken rule is refused", test_shim_refuses },
    { "header rules", test_shim_header },
    { "random corruption", test_corruption },
};

int
main(void)
{
    return sami_test_main("codec", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
