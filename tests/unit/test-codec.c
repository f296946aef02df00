/* The contract: generated records survive the codec, signatures cover every bit, and every malformed Message is refused
 * before libfixbuf sees it. */
#include <netinet/in.h>
#include <string.h>

#include "common/cursor.h"
#include "templates/codec.h"
#include "templates/rules.h"
#include "templates/signature.h"
#include "templates/template.h"
#include "tests/unit/harness.h"

static void
random_octets(GRand *rand, gpointer at, gsize n)
{
    for (gsize i = 0; i < n; i++)
        ((guint8 *) at)[i] = (guint8) g_rand_int(rand);
}

/* Every bit of SamiHas. Which of them a protocol may have is a record rule, not one of templates. */
#define ALL_GROUPS ((SAMI_HAS_SECCTX << 1) - 1u)

static void
generate_session(GRand *rand, SamiSession *s)
{
    static const guint8 protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_GRE,
                                        IPPROTO_SCTP, IPPROTO_UDPLITE, IPPROTO_DCCP, IPPROTO_ESP };
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
    if (sami_protocol_selector(s->key.protocol) == SAMI_SELECTOR_NONE)
        s->key.orig.src_port = s->key.orig.dst_port = 0;
    s->key.zone = g_rand_boolean(rand) ? (guint16) g_rand_int_range(rand, 1, 65536) : 0;
    s->action = SAMI_ACTION_CREATED;
    s->flags = g_rand_boolean(rand) ? SAMI_SESSION_LATE : 0;
    s->has = (g_rand_int(rand) & ALL_GROUPS) | SAMI_HAS_REPLY;
    g_assert(sami_flow_key_mirror(&s->key, &s->reply));
    if (g_rand_boolean(rand)) {
        random_octets(rand, &s->reply.dst, n);
        SamiSelector selector = sami_protocol_selector(s->key.protocol);
        if (selector == SAMI_SELECTOR_PORTS)
            s->reply.dst_port = (guint16) g_rand_int(rand);
        else if (selector != SAMI_SELECTOR_NONE)
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
    s->reply_zone = (guint16) g_rand_int(rand);
    s->sctp_state = (guint8) g_rand_int(rand);
    random_octets(rand, s->sctp_vtag, sizeof s->sctp_vtag);
    s->dccp_state = (guint8) g_rand_int(rand);
    s->dccp_role = (guint8) g_rand_int(rand);
    random_octets(rand, &s->dccp_handshake_seq, sizeof s->dccp_handshake_seq);
    random_octets(rand, s->seqadj, sizeof s->seqadj);
    s->synproxy_isn = g_rand_int(rand);
    s->synproxy_its = g_rand_int(rand);
    s->synproxy_tsoff = g_rand_int(rand);
    g_strlcpy(s->helper, "netbios-ns", sizeof s->helper);
    random_octets(rand, s->helper_info, sizeof s->helper_info);
    g_strlcpy(s->secctx, "system_u:object_r:unlabeled_t:s0", sizeof s->secctx);
    s->master = (SamiFlowKey){ .family = s->key.family, .protocol = IPPROTO_TCP, .zone = s->key.zone };
    random_octets(rand, &s->master.orig.src, n);
    random_octets(rand, &s->master.orig.dst, n);
    s->master.orig.src_port = (guint16) g_rand_int(rand);
    s->master.orig.dst_port = 21;
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
        masks[i] = (i == 0 ? ALL_GROUPS : g_rand_int(rand) & ALL_GROUPS) | SAMI_HAS_REPLY;
    for (guint i = 0; i < 5000; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_SESSION };
        g_autoptr(GError) error = NULL;
        generate_session(rand, &record.session);
        record.session.key.zone = record.session.master.zone = 5;
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

static SamiExpectation
expectation(guint8 family)
{
    gsize n = family == 4 ? 4 : 16;
    SamiExpectation e = { .key = { .family = family, .protocol = IPPROTO_UDP, .zone = 7 },
                          .master = { .family = family, .protocol = IPPROTO_TCP, .zone = 7 }, .action = SAMI_ACTION_CREATED, .timeout_s = 5,
                          .flags = SAMI_EXPECT_INACTIVE, .expect_class = 1, .has = SAMI_EXPECT_HAS_NAT | SAMI_EXPECT_HAS_FUNCTION | SAMI_EXPECT_HAS_HELPER,
                          .nat_direction = 1, .nat_port = 6, .helper = "sip", .function = "nat-follow-master", .mask_src_port = G_MAXUINT16 };
    memset(&e.mask_src, 0xff, n);
    memset(&e.key.orig.dst, 1, n);
    memset(&e.master.orig.src, 2, n);
    memset(&e.nat_address, 3, n);
    e.key.orig.src_port = 8;
    e.key.orig.dst_port = 9;
    e.master.orig.dst_port = 10;
    return e;
}

/* With each of what is optional, and without. */
static void
test_expectations(void)
{
    for (guint i = 0; i < 16; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_EXPECTATION, .expectation = expectation(i & 8 ? 6 : 4) }, read;
        SamiTemplate tmpl, matched;
        SamiSpecifier specifiers[SAMI_TEMPLATE_FIELDS_MAX];
        guint8 octets[512];
        g_autoptr(GError) error = NULL;
        record.expectation.has &= i;
        if (i == 0)
            record.expectation.key.zone = record.expectation.master.zone = 0;
        sami_template_make(SAMI_RECORD_EXPECTATION, sami_record_groups(&record), 256, &tmpl);
        CU_ASSERT_TRUE_FATAL(tmpl.length <= sizeof octets);
        for (guint f = 0; f < tmpl.n_fields; f++) {
            const SamiElement *e = &sami_elements[tmpl.fields[f]->element];
            specifiers[f] = (SamiSpecifier){ e->pen, e->number, e->length };
        }
        CU_ASSERT_TRUE_FATAL(sami_template_match(specifiers, tmpl.n_fields, 0, 256, &matched, &error));
        CU_ASSERT_EQUAL(matched.kind, SAMI_RECORD_EXPECTATION);
        CU_ASSERT_EQUAL(matched.groups, tmpl.groups);
        sami_template_pack(&tmpl, &record, octets);
        CU_ASSERT_TRUE(sami_template_unpack(&tmpl, octets, &read, NULL));
        CU_ASSERT_EQUAL(read.expectation.has, record.expectation.has);
        CU_ASSERT_TRUE(sami_expectation_is_same(&read.expectation, &record.expectation));
        CU_ASSERT_EQUAL(read.expectation.nat_port, (record.expectation.has & SAMI_EXPECT_HAS_NAT) ? 6 : 0);
        specifiers[tmpl.n_fields - 1] = specifiers[0];
        CU_ASSERT_FALSE(sami_template_match(specifiers, tmpl.n_fields, 0, 256, &matched, NULL));
    }
}

/* Every integer and address in network order, whichever library wrote it: what the table says of a record is what is in the Message. */
static void
check_wire(SamiEncoder *encoder, const SamiRecord *record)
{
    SamiTemplate tmpl;
    guint8 wire[4096], *message = NULL;
    gsize length = 0;
    SamiRecord read;
    g_autoptr(GError) error = NULL;
    if (!sami_encoder_add(encoder, record, &error) || !sami_encoder_take(encoder, 1, &message, &length, &error))
        CU_FAIL_FATAL(error->message);
    CU_ASSERT_TRUE_FATAL(sami_template_make(record->kind, sami_record_groups(record), 256, &tmpl));
    CU_ASSERT_TRUE_FATAL(tmpl.length <= sizeof wire && length > tmpl.length);
    sami_template_pack_wire(&tmpl, record, wire);
    if (memcmp(message + length - tmpl.length, wire, tmpl.length) != 0)
        CU_FAIL(sami_kinds[record->kind].name);
    if (!sami_template_unpack_wire(&tmpl, wire, &read, &error))
        CU_FAIL(error->message);
    if (record->kind == SAMI_RECORD_SESSION)
        CU_ASSERT_TRUE(sami_session_equal(&read.session, &record->session));
}

static void
test_wire(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    g_autoptr(SamiEncoder) control = sami_encoder_new(1, SAMI_MESSAGE_MAX);
    for (guint k = 1; k < SAMI_N_RECORD_KINDS; k++) {
        SamiRecord record;
        if (!sami_kinds[k].name || sami_kinds[k].groups)
            continue;
        random_octets(rand, &record, sizeof record);
        record.kind = (SamiRecordKind) k;
        if (k == SAMI_RECORD_VM_ADDRESS4 || k == SAMI_RECORD_VM_ADDRESS6)
            record.vm_address.length = k == SAMI_RECORD_VM_ADDRESS4 ? 32 : 128;
        check_wire(control, &record);
    }
    for (guint i = 0; i < 32; i++) {
        SamiRecord record = { .kind = SAMI_RECORD_EXPECTATION, .expectation = expectation(i & 1 ? 6 : 4) };
        random_octets(rand, &record.expectation.master.orig.dst, i & 1 ? 16 : 4);
        check_wire(control, &record);
    }
    for (guint round = 0; round < 4; round++) {
        g_autoptr(SamiEncoder) encoder = sami_encoder_new(1, SAMI_MESSAGE_MAX);
        for (guint i = 0; i < 100; i++) { /* a template each */
            SamiRecord record = { .kind = SAMI_RECORD_SESSION };
            generate_session(rand, &record.session);
            record.session.master.zone = record.session.key.zone;
            check_wire(encoder, &record);
        }
    }
}

static void
test_control_records(void)
{
    g_autoptr(SamiEncoder) encoder = sami_encoder_new(2, SAMI_MESSAGE_MAX);
    g_autoptr(SamiDecoder) decoder = sami_decoder_new(2);
    g_autoptr(SamiKey) key = sami_key_generate();
    Sink sink = { g_array_new(FALSE, TRUE, sizeof(SamiRecord)) };
    guint n_kinds = 0;
    for (guint k = 1; k < SAMI_N_RECORD_KINDS; k++) {
        SamiRecord record = { .kind = (SamiRecordKind) k };
        g_autoptr(GError) error = NULL;
        if (!sami_kinds[k].name || sami_kinds[k].groups) /* a number without a record; Data Records */
            continue;
        n_kinds++;
        if (k == SAMI_RECORD_VM_ADDRESS4 || k == SAMI_RECORD_VM_ADDRESS6)
            record.vm_address = (SamiPrefix){ { { 10, 1 } }, k == SAMI_RECORD_VM_ADDRESS4 ? 4 : 6, 24 };
        if (k == SAMI_RECORD_RECEIPT)
            record.receipt = (SamiReceipt){ 2, 77, 1000000, 1, 1, 5, 6, 7, 8, 9, 10 };
        if (k == SAMI_RECORD_REFUSAL)
            g_strlcpy(record.refusal.detail, "why", sizeof record.refusal.detail);
        if (k == SAMI_RECORD_FINDING) {
            record.finding = (SamiFinding){ .severity = SAMI_SEVERITY_LOSS, .count = 12 };
            memset(record.finding.id, 'i', sizeof record.finding.id);
            g_strlcpy(record.finding.fix, "modprobe", sizeof record.finding.fix);
        }
        if (k == SAMI_RECORD_STATISTICS)
            record.statistics = (SamiStatistics){ 4711, 3, 4, 5, 1700000000001, 1700000000002 };
        if (!sami_encoder_add(encoder, &record, &error)) {
            g_clear_error(&error);
            flush(encoder, decoder, key, &sink);
            CU_ASSERT_TRUE_FATAL(sami_encoder_add(encoder, &record, &error));
        }
    }
    flush(encoder, decoder, key, &sink);
    CU_ASSERT_EQUAL_FATAL(sink.records->len, n_kinds);
    const SamiFinding *finding = &g_array_index(sink.records, SamiRecord, n_kinds - 1).finding; /* the last kind */
    CU_ASSERT_EQUAL(finding->severity, SAMI_SEVERITY_LOSS);
    CU_ASSERT_EQUAL(finding->count, 12);
    CU_ASSERT_EQUAL(finding->id[sizeof finding->id - 1], 'i'); /* strings may fill their field */
    CU_ASSERT_STRING_EQUAL(finding->fix, "modprobe");
    const SamiRecord *receipt = &g_array_index(sink.records, SamiRecord, SAMI_RECORD_RECEIPT - 1);
    CU_ASSERT_EQUAL(receipt->receipt.n_records, 1000000);
    CU_ASSERT_EQUAL(receipt->receipt.n_refused, 10);
    CU_ASSERT_STRING_EQUAL(g_array_index(sink.records, SamiRecord, SAMI_RECORD_REFUSAL - 1).refusal.detail, "why");
    const SamiStatistics *statistics = &g_array_index(sink.records, SamiRecord, SAMI_RECORD_STATISTICS - 1).statistics;
    CU_ASSERT_EQUAL(statistics->process_id, 4711);
    CU_ASSERT_EQUAL(statistics->n_flows, 3);
    CU_ASSERT_EQUAL(statistics->n_octets, 5);
    CU_ASSERT_EQUAL(statistics->first_ms, 1700000000001); /* the same element twice, each in its place */
    CU_ASSERT_EQUAL(statistics->last_ms, 1700000000002);
    g_array_unref(sink.records);
}

/* Every set of groups; a key that does not fit its template is no record. */
static void
test_cumulative(void)
{
    g_autoptr(SamiEncoder) encoder = sami_encoder_new(1, SAMI_MESSAGE_MAX);
    g_autoptr(SamiDecoder) decoder = sami_decoder_new(1);
    g_autoptr(SamiKey) key = sami_key_generate();
    SamiRecord sent[48] = { 0 };
    Sink sink = { g_array_new(FALSE, TRUE, sizeof(SamiRecord)) };
    for (guint i = 0; i < G_N_ELEMENTS(sent); i++) {
        SamiCumulative *c = &sent[i].cumulative;
        sent[i].kind = SAMI_RECORD_CUMULATIVE;
        *c = (SamiCumulative){ .set = "syn4", .origin = { 1, 2, 3 }, .key_type = 7u << 6 | 13u, .key_length = i < 24 ? 4 : 36, .has = i & 7,
                               .family = i % 3 == 0 ? 0 : i % 3 == 1 ? 4 : 6 };
        memset(c->key, 0x11 + (int) i, c->key_length);
        memset(&c->source, 0x22, c->family == 4 ? 4 : c->family == 6 ? 16 : 0);
        if (c->has & SAMI_CUMULATIVE_COUNTER)
            c->packets = 7 + i, c->octets = (guint64) 1 << 60;
        if (c->has & SAMI_CUMULATIVE_QUOTA)
            c->quota_flags = SAMI_QUOTA_OVER, c->quota_used = 896, c->quota_limit = 5000;
        if (c->has & SAMI_CUMULATIVE_TIMEOUT)
            c->timeout_ms = 3600000, c->remaining_ms = 1234;
        if (sami_encoder_add(encoder, &sent[i], NULL)) /* otherwise its templates have filled the Message */
            continue;
        flush(encoder, decoder, key, &sink);
        CU_ASSERT_TRUE_FATAL(sami_encoder_add(encoder, &sent[i], NULL));
    }
    flush(encoder, decoder, key, &sink);
    CU_ASSERT_EQUAL_FATAL(sink.records->len, G_N_ELEMENTS(sent));
    for (guint i = 0; i < G_N_ELEMENTS(sent); i++)
        CU_ASSERT_EQUAL(memcmp(&sent[i].cumulative, &g_array_index(sink.records, SamiRecord, i).cumulative, sizeof(SamiCumulative)), 0);
    g_array_unref(sink.records);
    guint8 packed[256];
    SamiTemplate tmpl;
    SamiRecord record;
    sami_template_make(SAMI_RECORD_CUMULATIVE, sami_record_groups(&sent[0]), 256, &tmpl);
    for (guint length = 0; length < 3; length++) {
        sent[0].cumulative.key_length = (guint8[]){ 0, 16, 17 }[length];
        sami_template_pack(&tmpl, &sent[0], packed);
        CU_ASSERT_EQUAL(sami_template_unpack(&tmpl, packed, &record, NULL), length == 1);
    }
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

/* One Message per broken rule: header, then the Sets as hex. What has no rule of its own here is in tests/data/rules. */
static const struct {
    const gchar *name;
    const gchar *sets;
    SamiRule rule;
} malformed[] = {
    { "template id 100", "0002000c 0064 0001 00e90001", SAMI_RULE_TEMPLATE_ID },
    { "template id 2, withdrawal of all", "00020008 0002 0000", SAMI_RULE_TEMPLATE_WITHDRAWAL },
    { "template withdrawal", "00020008 0100 0000", SAMI_RULE_TEMPLATE_WITHDRAWAL },
    { "template id 0", "0002000c 0000 0001 00e90001", SAMI_RULE_TEMPLATE_ID },
    { "no fields", "00020008 0100 0000", SAMI_RULE_TEMPLATE_WITHDRAWAL },
    { "zero-length field", "0002000c 0100 0001 00e90000", SAMI_RULE_TEMPLATE_LENGTH },
    { "too many fields", "0002000c 0100 003d 00e90001", SAMI_RULE_TEMPLATE_FIELDS },
    { "template longer than its Set", "0002000c 0100 0002 00e90001", SAMI_RULE_TEMPLATE_CUT },
    { "options template without scope", "0003000e 0100 0001 0000 00e90001", SAMI_RULE_OPTIONS_SCOPE },
    { "options template with too much scope", "0003000e 0100 0001 0002 00e90001", SAMI_RULE_OPTIONS_SCOPE },
    { "wrong field length", "00020010 0100 0002 00e90001 00080010", SAMI_RULE_TEMPLATE_LENGTH },
    { "unknown element", "0002000c 0100 0001 01f40004", SAMI_RULE_TEMPLATE_ELEMENT },
    { "unknown enterprise element", "00020010 0100 0001 80010004 00003039", SAMI_RULE_TEMPLATE_ELEMENT },
    { "list type", "0002000c 0100 0001 0123ffff", SAMI_RULE_TEMPLATE_ELEMENT },
    { "field twice", "00020010 0100 0002 00e90001 00e90001", SAMI_RULE_TEMPLATE_TWICE },
    { "incomplete session template", "0002000c 0100 0001 00e90001", SAMI_RULE_TEMPLATE_INCOMPLETE },
    { "unknown options template", "0003000e 0100 0001 0001 01070001", SAMI_RULE_TEMPLATE_PLACE },
    { "Set 0", "00000004", SAMI_RULE_SET_RESERVED },
    { "Set 1", "00010004", SAMI_RULE_SET_RESERVED },
    { "Set 255", "00ff0004", SAMI_RULE_SET_RESERVED },
    { "unknown template", "01000008 00000000", SAMI_RULE_DATA_WITHOUT_TEMPLATE },
    { "Set longer than the Message", "01000100 00", SAMI_RULE_SET_LENGTH },
    { "Set of 3 octets", "01000003", SAMI_RULE_SET_LENGTH },
    { "truncated Set header", "0100", SAMI_RULE_SET_LENGTH },
    { "empty template Set", "00020004", SAMI_RULE_TEMPLATE_SET_EMPTY },
    { "signature template that is another", "0003000e 012c 0001 0001 01070001", SAMI_RULE_SIGNATURE_TEMPLATE },
    { "signature Set inside", "012c0004", SAMI_RULE_SIGNATURE_TWICE },
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
        if (is_accepted || sami_rule_find(error->message) != malformed[i].rule) {
            g_printerr("%s: %s\n", malformed[i].name, error ? error->message : "accepted");
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

/* A field of each group: the whole of all these groups would be more than a template holds. */
static void
test_every_group(void)
{
    for (guint k = 0; k < SAMI_N_RECORD_KINDS; k++) {
        const SamiKind *kind = &sami_kinds[k];
        SamiSpecifier specifiers[SAMI_TEMPLATE_FIELDS_MAX];
        SamiGroups seen = 0;
        SamiTemplate tmpl;
        g_autoptr(GError) error = NULL;
        guint n = 0;
        for (guint i = 0; kind->groups && i < kind->n_fields; i++) {
            const SamiElement *e = &sami_elements[kind->fields[i].element];
            if (!(kind->fields[i].group & ~seen))
                continue;
            seen |= kind->fields[i].group;
            specifiers[n++] = (SamiSpecifier){ e->pen, e->number, e->length };
        }
        if (n == 0)
            continue;
        CU_ASSERT_FALSE(sami_template_match(specifiers, n, kind->n_scope, 256, &tmpl, &error));
        CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
        CU_ASSERT_EQUAL(sami_template_make((SamiRecordKind) k, seen, 256, &tmpl), kind->n_fields <= SAMI_TEMPLATE_FIELDS_MAX);
    }
}

static const SamiTest tests[] = {
    { "templates of every group at once", test_every_group },
    { "records survive the codec", test_round_trip },
    { "control records survive the codec", test_control_records },
    { "cumulative records survive the codec", test_cumulative },
    { "expectations", test_expectations },
    { "the wire is what the table says", test_wire },
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
