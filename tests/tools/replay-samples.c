/* Writes the files that tests/replay reads: replay-samples KEYS DIRECTORY. The same octets each time, for the same keys: Ed25519 is
 * deterministic, times and nonces are fixed. KEYS has fw1.key and fw2.key. */
#include <netinet/in.h>
#include <string.h>

#include "common/cursor.h"
#include "templates/stream.h"

#define EXPORT_TIME 1795970000u /* 2026-11-29 */

typedef struct {
    GByteArray *out;
    SamiStream *stream;
    guint64 now_ms;
} File;

static void
die(const GError *error)
{
    g_printerr("replay-samples: %s\n", error->message);
    exit(1);
}

static void
save(const gchar *directory, const gchar *name, gconstpointer octets, gsize n)
{
    g_autofree gchar *path = g_build_filename(directory, name, NULL);
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents(path, octets, (gssize) n, &error))
        die(error);
}

/* --- signed --- */

static void
end_message(File *file, gboolean is_last)
{
    const guint8 *message;
    gsize length;
    g_autoptr(GError) error = NULL;
    file->now_ms += 10;
    if (!sami_stream_take(file->stream, file->now_ms, EXPORT_TIME + (guint32) (file->now_ms / 1000), is_last, &message, &length, &error))
        die(error);
    g_byte_array_append(file->out, message, (guint) length);
}

static void
add(File *file, const SamiRecord *record)
{
    g_autoptr(GError) error = NULL;
    if (sami_encoder_add(file->stream->encoder, record, &error))
        return;
    end_message(file, FALSE);
    g_clear_error(&error);
    if (!sami_encoder_add(file->stream->encoder, record, &error))
        die(error);
}

static SamiRecord
session(guint8 family, guint8 protocol, guint16 sport, guint16 dport)
{
    SamiRecord r = { .kind = SAMI_RECORD_SESSION };
    SamiSession *s = &r.session;
    const guint8 vm6[16] = { 0x20, 1, 0xd, 0xb8, 0, 0xa, [15] = 0x13 }, peer6[16] = { 0x20, 1, 0xd, 0xb8, 0, 0xc, [15] = 0x10 };
    s->action = SAMI_ACTION_CREATED;
    s->key.family = family;
    s->key.protocol = protocol;
    memcpy(s->key.orig.src.octets, family == 4 ? (guint8[16]){ 10, 0, 0, 13 } : vm6, 16);
    memcpy(s->key.orig.dst.octets, family == 4 ? (guint8[16]){ 198, 51, 100, 10 } : peer6, 16);
    s->key.orig.src_port = sport;
    s->key.orig.dst_port = dport;
    sami_flow_key_mirror(&s->key, &s->reply);
    s->has = SAMI_HAS_REPLY | SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT;
    s->status = SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED | SAMI_IPS_CONFIRMED;
    s->timeout_s = 300;
    if (protocol == IPPROTO_TCP) {
        s->has |= SAMI_HAS_TCP | SAMI_HAS_WSCALE;
        s->tcp_state = SAMI_TCP_STATE_ESTABLISHED;
        s->tcp_flags[0] = s->tcp_flags[1] = 3;
        s->tcp_wscale[0] = 7;
        s->tcp_wscale[1] = 9;
    }
    return r;
}

static void
add_sessions(File *file)
{
    SamiRecord r = session(4, IPPROTO_TCP, 40001, 443);
    r.session.reply.dst.octets[0] = 192, r.session.reply.dst.octets[1] = 0, r.session.reply.dst.octets[2] = 2, r.session.reply.dst.octets[3] = 1;
    r.session.reply.dst_port = 50001;
    r.session.status |= SAMI_IPS_SRC_NAT;
    r.session.has |= SAMI_HAS_MARK | SAMI_HAS_ID | SAMI_HAS_COUNTERS;
    r.session.mark = 7;
    r.session.flow_id = 99;
    r.session.packets[0] = 10, r.session.packets[1] = 12, r.session.octets[0] = 1000, r.session.octets[1] = 120000;
    add(file, &r);
    r = session(6, IPPROTO_UDP, 40002, 53);
    r.session.has |= SAMI_HAS_VLAN;
    r.session.vlan = 10;
    add(file, &r);
    r = session(4, IPPROTO_ICMP, 77, 8 << 8);
    add(file, &r);
    r = session(4, IPPROTO_SCTP, 40003, 2905);
    r.session.has |= SAMI_HAS_SCTP;
    r.session.sctp_state = 4;
    r.session.sctp_vtag[0] = 0x11223344;
    r.session.sctp_vtag[1] = 0x55667788;
    add(file, &r);
    r = session(4, IPPROTO_TCP, 40004, 21);
    r.session.has |= SAMI_HAS_HELPER | SAMI_HAS_LABELS;
    g_strlcpy(r.session.helper, "ftp", sizeof r.session.helper);
    r.session.labels[0] = 5;
    add(file, &r);
    r = session(4, IPPROTO_TCP, 40005, 8080);
    r.session.key.zone = 3;
    add(file, &r);
}

static void
add_expectation(File *file)
{
    SamiRecord r = { .kind = SAMI_RECORD_EXPECTATION };
    SamiRecord master = session(4, IPPROTO_TCP, 40004, 21);
    SamiExpectation *e = &r.expectation;
    e->action = SAMI_ACTION_CREATED;
    e->master = master.session.key;
    e->key = master.session.key;
    e->key.orig.src = master.session.key.orig.dst;
    e->key.orig.dst = master.session.key.orig.src;
    e->key.orig.src_port = 0;
    e->key.orig.dst_port = 40104;
    memset(e->mask_src.octets, 0xff, 4);
    e->timeout_s = 120;
    e->has = SAMI_EXPECT_HAS_HELPER;
    g_strlcpy(e->helper, "ftp", sizeof e->helper);
    add(file, &r);
}

static void
add_marker(File *file, guint8 marker, guint64 n)
{
    SamiRecord r = { .kind = SAMI_RECORD_MARKER };
    r.marker = (SamiMarker){ marker, n, SAMI_FREEZE_EVENTS };
    add(file, &r);
    end_message(file, FALSE);
}

static void
open_file(File *file, guint8 role, SamiKey *key)
{
    const guint8 ekm[32] = { 1, 2, 3 };
    *file = (File){ .out = g_byte_array_new(), .now_ms = 1000 };
    file->stream = sami_stream_new(role, key, ekm, SAMI_MESSAGE_MAX, 1000, 30000);
    for (guint i = 0; i < 16; i++)
        file->stream->migration_id[i] = (guint8) (0x5e + i);
}

static void
close_file(File *file, const gchar *directory, const gchar *name)
{
    save(directory, name, file->out->data, file->out->len);
    g_byte_array_unref(file->out);
    sami_stream_free(file->stream);
}

/* What disks and people do to a journal. */
static void
save_damaged(const gchar *directory, const File *file)
{
    const guint8 *all = file->out->data;
    gsize n = file->out->len, second = (gsize) (all[2] << 8 | all[3]), third = second + (gsize) (all[second + 2] << 8 | all[second + 3]);
    g_autoptr(GByteArray) copy = g_byte_array_new();
    save(directory, "damaged-cut.ipfix", all, n - 50);
    g_byte_array_append(copy, all, (guint) n);
    copy->data[n / 2] ^= 1;
    save(directory, "damaged-bit.ipfix", copy->data, copy->len);
    g_byte_array_set_size(copy, 0);
    g_byte_array_append(copy, all, (guint) second);
    g_byte_array_append(copy, all + third, (guint) (n - third));
    save(directory, "damaged-missing.ipfix", copy->data, copy->len);
    g_byte_array_set_size(copy, 0);
    g_byte_array_append(copy, all, (guint) third);
    g_byte_array_append(copy, all + second, (guint) (n - second));
    save(directory, "damaged-twice.ipfix", copy->data, copy->len);
    g_byte_array_set_size(copy, 0);
    g_byte_array_append(copy, all, (guint) third);
    g_byte_array_append(copy, (const guint8 *) "what a text editor left here\n", 29);
    g_byte_array_append(copy, all + third, (guint) (n - third));
    save(directory, "damaged-text.ipfix", copy->data, copy->len);
    g_byte_array_set_size(copy, 0);
    g_byte_array_append(copy, all, (guint) n);
    copy->data[second + 3] ^= 0x40; /* the Length of the second Message */
    save(directory, "damaged-length.ipfix", copy->data, copy->len);
}

static void
write_journal(const gchar *directory, SamiKey *exporter, SamiKey *collector)
{
    File file;
    SamiRecord r = { .kind = SAMI_RECORD_HELLO };
    open_file(&file, SAMI_ROLE_EXPORTER, exporter);
    r.hello = (SamiHello){ .version = 1, .pen = SAMI_PEN, .destination = "fw2.example", .opening = SAMI_OPENING_NEW };
    sami_key_public(exporter, r.hello.public_key);
    add(&file, &r);
    end_message(&file, FALSE);
    file.stream->peer_key = collector;
    sami_stream_bind(file.stream, "fw2.example");
    r = (SamiRecord){ .kind = SAMI_RECORD_VM_ADDRESS4, .vm_address = { .family = 4, .length = 32, .address = { { 10, 0, 0, 13 } } } };
    add(&file, &r);
    r = (SamiRecord){ .kind = SAMI_RECORD_VM_ADDRESS6, .vm_address = { .family = 6, .length = 128, .address = { { 0x20, 1, 0xd, 0xb8, 0, 0xa, [15] = 0x13 } } } };
    add(&file, &r);
    r = (SamiRecord){ .kind = SAMI_RECORD_BEGIN, .begin = { 2, 120, SAMI_KIND_SESSION | SAMI_KIND_EXPECTATION, "fw2.example" } };
    add(&file, &r);
    add_sessions(&file);
    add_marker(&file, SAMI_MARKER_SNAPSHOT, 6);
    save(directory, "earlier.ipfix", file.out->data, file.out->len);
    file.now_ms += 5000;
    r = session(4, IPPROTO_TCP, 40001, 443); /* its translation went with the first record; it is closing */
    r.session.reply.dst = (SamiAddress){ { 192, 0, 2, 1 } };
    r.session.reply.dst_port = 50001;
    r.session.action = SAMI_ACTION_UPDATE;
    r.session.tcp_state = 7;
    r.session.timeout_s = 120;
    add(&file, &r);
    r = session(4, IPPROTO_ICMP, 77, 8 << 8);
    r.session.action = SAMI_ACTION_DELETED;
    r.session.has = 0;
    add(&file, &r);
    add_expectation(&file);
    add_marker(&file, SAMI_MARKER_FREEZE, 8);
    r = session(4, IPPROTO_UDP, 40006, 123);
    r.session.flags = SAMI_SESSION_LATE;
    add(&file, &r);
    add_marker(&file, SAMI_MARKER_SETTLE, 9);
    r = (SamiRecord){ .kind = SAMI_RECORD_END, .end = { 9 } };
    add(&file, &r);
    end_message(&file, TRUE);
    save_damaged(directory, &file);
    close_file(&file, directory, "journal.ipfix");
}

static void
write_answers(const gchar *directory, SamiKey *exporter, SamiKey *collector)
{
    File file;
    SamiRecord r = { .kind = SAMI_RECORD_HELLO_REPLY };
    SamiRecord refused = session(4, IPPROTO_TCP, 40005, 8080);
    refused.session.key.zone = 3;
    open_file(&file, SAMI_ROLE_COLLECTOR, collector);
    r.hello_reply = (SamiHelloReply){ .version = 1, .lease_s = 120, .message_max = 65535, .sessions_max = 100000, .next_counter = 1 };
    sami_key_public(collector, r.hello_reply.public_key);
    add(&file, &r);
    end_message(&file, FALSE);
    file.stream->peer_key = exporter;
    sami_stream_bind(file.stream, "fw2.example");
    r = (SamiRecord){ .kind = SAMI_RECORD_REFUSAL, .refusal = { SAMI_SCOPE_RECORD, SAMI_REASON_ZONE_NOT_ALLOWED, 1, { 0 }, "zone 3" } };
    sami_flow_key_pack(&refused.session.key, r.refusal.key);
    add(&file, &r);
    r = (SamiRecord){ .kind = SAMI_RECORD_REASON_COUNT, .reason_count = { SAMI_SCOPE_RECORD, SAMI_REASON_ZONE_NOT_ALLOWED, 1 } };
    add(&file, &r);
    r = (SamiRecord){ .kind = SAMI_RECORD_RECEIPT, .receipt = { .phase = SAMI_RECEIPT_READY, .marker_counter = 2, .n_records = 8, .freeze_mode = 1,
                                                                .n_accepted = 5, .n_present = 4, .n_refused = 1 } };
    add(&file, &r);
    end_message(&file, TRUE);
    close_file(&file, directory, "answers.ipfix");
}

/* --- of other exporters --- */

typedef struct {
    guint8 octets[8192];
    SamiWriter w;
    GByteArray *out;
    guint32 sequence, domain;
    gsize set;
} Foreign;

static void
put(Foreign *f, guint n_octets, guint64 value)
{
    sami_writer_uint(&f->w, value, n_octets);
}

static void
patch(Foreign *f, gsize at, gsize value)
{
    f->octets[at] = (guint8) (value >> 8);
    f->octets[at + 1] = (guint8) value;
}

static void
begin_foreign(Foreign *f, guint32 domain)
{
    f->domain = domain;
    sami_writer_init(&f->w, f->octets, sizeof f->octets);
    put(f, 2, 10), put(f, 2, 0), put(f, 4, EXPORT_TIME), put(f, 4, f->sequence), put(f, 4, domain);
}

static void
begin_set(Foreign *f, guint16 id)
{
    f->set = sami_writer_length(&f->w);
    put(f, 2, id), put(f, 2, 0);
}

static void
end_set(Foreign *f)
{
    patch(f, f->set + 2, sami_writer_length(&f->w) - f->set);
}

static void
end_foreign(Foreign *f, guint n_records)
{
    gsize length = sami_writer_length(&f->w);
    patch(f, 2, length);
    g_byte_array_append(f->out, f->octets, (guint) length);
    f->sequence += n_records;
}

static void
field(Foreign *f, guint32 pen, guint16 number, guint16 length)
{
    put(f, 2, pen ? number | 0x8000u : number), put(f, 2, length);
    if (pen)
        put(f, 4, pen);
}

static void
text(Foreign *f, const gchar *words)
{
    put(f, 1, strlen(words));
    sami_writer_octets(&f->w, words, strlen(words));
}

/* Types of every form, reduced lengths (RFC 7011 §6.2), variable lengths short and long, an element of nobody, one that the stream
 * describes (RFC 5610), and an element twice. */
static void
write_types(Foreign *f)
{
    begin_foreign(f, 7);
    begin_set(f, 3);
    put(f, 2, 256), put(f, 2, 5), put(f, 2, 2), field(f, 0, 346, 4), field(f, 0, 303, 2), field(f, 0, 339, 1), field(f, 0, 344, 1), field(f, 0, 341, 65535);
    end_set(f);
    begin_set(f, 256);
    put(f, 4, 4711), put(f, 2, 42), put(f, 1, 4), put(f, 1, 2), text(f, "brewTemperature");
    end_set(f);
    begin_set(f, 2);
    put(f, 2, 257), put(f, 2, 17);
    field(f, 0, 8, 4), field(f, 0, 27, 16), field(f, 0, 56, 6), field(f, 0, 2, 4), field(f, 0, 85, 3), field(f, 0, 150, 4), field(f, 0, 152, 8);
    field(f, 0, 154, 8), field(f, 0, 156, 8), field(f, 0, 276, 1), field(f, 0, 311, 8), field(f, 0, 82, 65535), field(f, 0, 313, 65535), field(f, 0, 32000, 3);
    field(f, 4711, 42, 8), field(f, 4711, 43, 2), field(f, 0, 8, 4);
    end_set(f);
    begin_set(f, 257);
    put(f, 4, 0xc0000201), put(f, 8, 0x20010db8000a0000), put(f, 8, 0x13), put(f, 6, 0x020000000001), put(f, 4, 5), put(f, 3, 70000), put(f, 4, EXPORT_TIME);
    put(f, 8, (guint64) EXPORT_TIME * 1000 + 7), put(f, 8, (guint64) (EXPORT_TIME + 2208988800u) << 32 | 0x80000000u);
    put(f, 8, (guint64) (EXPORT_TIME + 2208988800u) << 32 | 0x40000000u), put(f, 1, 1), put(f, 8, 0x3fe8000000000000);
    text(f, "eth\"0\\\t\xc3\xa4\xff"), put(f, 1, 255), put(f, 2, 300);
    for (guint i = 0; i < 300; i++)
        put(f, 1, i);
    put(f, 3, 0xabcdef), put(f, 8, 94), put(f, 2, 0xbeef), put(f, 4, 0xc0000202);
    end_set(f);
    end_foreign(f, 2);
}

/* A template that changes, one that is withdrawn, one id in two domains, padding, and a message checksum (RFC 5655 §8.1.1). */
static void
write_changes(Foreign *f)
{
    guint32 sequence = f->sequence;
    begin_foreign(f, 7);
    begin_set(f, 2);
    put(f, 2, 257), put(f, 2, 2), field(f, 0, 7, 2), field(f, 0, 4, 1), put(f, 2, 258), put(f, 2, 1), field(f, 0, 11, 2);
    end_set(f);
    begin_set(f, 257);
    put(f, 2, 1234), put(f, 1, 6), put(f, 2, 1235), put(f, 1, 17), put(f, 2, 0);
    end_set(f);
    begin_set(f, 2);
    put(f, 2, 258), put(f, 2, 0);
    end_set(f);
    end_foreign(f, 2);
    sequence = f->sequence;
    f->sequence = 0;
    begin_foreign(f, 9);
    begin_set(f, 3);
    put(f, 2, 257), put(f, 2, 2), put(f, 2, 1), field(f, 0, 263, 1), field(f, 0, 262, 16);
    end_set(f);
    begin_set(f, 257);
    put(f, 1, 0);
    gsize at = sami_writer_length(&f->w), length = 16;
    put(f, 8, 0), put(f, 8, 0);
    end_set(f);
    patch(f, 2, sami_writer_length(&f->w));
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_MD5);
    g_checksum_update(sum, f->octets, (gssize) sami_writer_length(&f->w));
    g_checksum_get_digest(sum, f->octets + at, &length);
    end_foreign(f, 1);
    f->sequence = sequence;
}

static void
write_foreign(const gchar *directory)
{
    Foreign f = { .out = g_byte_array_new() };
    write_types(&f);
    write_changes(&f);
    save(directory, "foreign.ipfix", f.out->data, f.out->len);
    g_byte_array_unref(f.out);
}

/* --- broken in one way each --- */

static void
one_set(Foreign *f, guint16 id, const guint8 *body, gsize n)
{
    begin_set(f, id);
    sami_writer_octets(&f->w, body, n);
    end_set(f);
}

#define BODY(...) (const guint8[]){ __VA_ARGS__ }, sizeof((const guint8[]){ __VA_ARGS__ })
#define TEMPLATE_256 one_set(f, 2, BODY(1, 0, 0, 1, 0, 7, 0, 2))

static void
break_set_short(Foreign *f)
{
    begin_set(f, 256);
    patch(f, f->set + 2, 3);
}

static void
break_set_long(Foreign *f)
{
    begin_set(f, 2);
    patch(f, f->set + 2, 400);
}

static void break_set_reserved(Foreign *f) { one_set(f, 5, BODY(1, 2, 3, 4)); }
static void break_template_none(Foreign *f) { one_set(f, 2, BODY(0)); }
static void break_template_long(Foreign *f) { one_set(f, 2, BODY(1, 0, 0, 9, 0, 7, 0, 2)); }
static void break_template_id(Foreign *f) { one_set(f, 2, BODY(0, 9, 0, 1, 0, 7, 0, 2)); }
static void break_scope_none(Foreign *f) { one_set(f, 3, BODY(1, 0, 0, 1, 0, 0, 0, 7, 0, 2)); }
static void break_scope_many(Foreign *f) { one_set(f, 3, BODY(1, 0, 0, 1, 0, 2, 0, 7, 0, 2)); }
static void break_data_unknown(Foreign *f) { one_set(f, 999, BODY(1, 2)); }
static void break_withdrawal_unknown(Foreign *f) { one_set(f, 2, BODY(1, 44, 0, 0)); }
static void break_data_empty(Foreign *f) { TEMPLATE_256; one_set(f, 256, BODY(1)); }
static void break_data_endless(Foreign *f) { one_set(f, 2, BODY(1, 0, 0, 1, 0, 7, 0, 0)); one_set(f, 256, BODY(1, 2, 3)); }
static void break_variable(Foreign *f) { one_set(f, 2, BODY(1, 0, 0, 1, 0, 82, 255, 255)); one_set(f, 256, BODY(200, 1, 2, 3)); }
static void break_trailing(Foreign *f) { TEMPLATE_256; put(f, 2, 0); }
static void break_sequence(Foreign *f) { TEMPLATE_256; one_set(f, 256, BODY(1, 2)); f->sequence = 7; }
static void break_nothing(Foreign *f) { TEMPLATE_256; one_set(f, 256, BODY(1, 2)); }

static const struct {
    const gchar *name;
    void (*make)(Foreign *f);
} broken[] = {
    { "set-short", break_set_short },         { "set-long", break_set_long },           { "set-reserved", break_set_reserved },
    { "template-none", break_template_none }, { "template-long", break_template_long }, { "template-id", break_template_id },
    { "scope-none", break_scope_none },       { "scope-many", break_scope_many },       { "data-unknown", break_data_unknown },
    { "withdrawal-unknown", break_withdrawal_unknown }, { "data-empty", break_data_empty }, { "data-endless", break_data_endless },
    { "variable", break_variable },           { "trailing", break_trailing },           { "sequence", break_sequence },
    { "nothing", break_nothing },
};

/* The broken Message stands between two good ones, which have to be read all the same. */
static void
write_broken(const gchar *directory)
{
    for (guint i = 0; i < G_N_ELEMENTS(broken); i++) {
        Foreign f = { .out = g_byte_array_new() };
        g_autofree gchar *name = g_strdup_printf("broken-%s.ipfix", broken[i].name);
        for (guint k = 0; k < 3; k++) {
            guint32 sequence = f.sequence;
            begin_foreign(&f, 1);
            if (k == 1)
                broken[i].make(&f);
            else
                break_nothing(&f);
            gboolean has_record = k != 1 || broken[i].make == break_nothing || broken[i].make == break_sequence;
            end_foreign(&f, has_record ? 1 : 0);
            if (f.sequence < sequence)
                f.sequence = sequence;
        }
        save(directory, name, f.out->data, f.out->len);
        g_byte_array_unref(f.out);
    }
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    if (argc != 3)
        g_error("usage: replay-samples KEYS DIRECTORY");
    g_autofree gchar *fw1 = g_build_filename(argv[1], "fw1.key", NULL), *fw2 = g_build_filename(argv[1], "fw2.key", NULL);
    g_autoptr(SamiKey) exporter = sami_key_load_private(fw1, NULL, &error);
    g_autoptr(SamiKey) collector = exporter ? sami_key_load_private(fw2, NULL, &error) : NULL;
    if (!collector)
        die(error);
    write_journal(argv[2], exporter, collector);
    write_answers(argv[2], exporter, collector);
    write_foreign(argv[2]);
    write_broken(argv[2]);
    return 0;
}
