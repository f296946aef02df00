/* sami-replay's readers: loose reading says what libfixbuf says, survives whatever it is given, and keeps its limits; strict reading refuses what
 * a collector would. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cursor.h"
#include "replay/filter.h"
#include "replay/names.h"
#include "replay/strict.h"
#include "replay/value.h"
#include "templates/stream.h"
#include "tests/unit/harness.h"

#define CORRUPTIONS 10000u

static gchar *
sample(const gchar *name, gsize *ret_length)
{
    const gchar *srcdir = g_getenv("srcdir");
    g_autofree gchar *path = g_build_filename(srcdir ? srcdir : ".", "tests/data/replay", name, NULL);
    gchar *octets = NULL;
    g_autoptr(GError) error = NULL;
    if (!g_file_get_contents(path, &octets, ret_length, &error))
        g_error("%s", error->message);
    return octets;
}

/* --- one reading, with everything that is done to a record --- */

typedef struct {
    ReplayFilter *filter;
    GArray *records; /* (nullable) of SamiRecord */
    GString *text;
    gchar loss[256]; /* the last one */
    guint n_messages, n_records, n_faults, n_losses, n_templates;
} Reading;

static void
on_message(const ReplayMessage *message, gpointer user_data)
{
    Reading *reading = user_data;
    reading->n_messages++;
    replay_filter_message(reading->filter, message);
}

static void
on_template(const ReplayMessage *message, const ReplayTemplate *tmpl, gboolean is_withdrawn, gpointer user_data)
{
    ((Reading *) user_data)->n_templates += !is_withdrawn;
}

static void
on_record(const ReplayRecord *record, gpointer user_data)
{
    Reading *reading = user_data;
    ReplayWalk walk = REPLAY_WALK(record);
    ReplayValue value;
    reading->n_records++;
    if (reading->records && record->ours)
        g_array_append_vals(reading->records, record->ours, 1);
    gboolean is_wanted = replay_filter_record(reading->filter, record);
    if (record->ours) /* both ways to look at a record of ours say the same */
        CU_ASSERT_EQUAL(is_wanted, replay_filter_matches(reading->filter, record->ours));
    g_string_truncate(reading->text, 0);
    while (replay_walk(&walk, &value)) {
        replay_field_name(reading->text, value.field);
        replay_value_text(reading->text, &value);
        replay_value_json(reading->text, &value);
        replay_append_words(reading->text, value.field, value.length ? value.octets[0] : 0);
    }
    g_string_append(reading->text, replay_record_name(record));
    if (!g_utf8_validate(reading->text->str, (gssize) reading->text->len, NULL))
        CU_FAIL("text that is no UTF-8");
}

static void
on_fault(const ReplayFault *fault, gpointer user_data)
{
    Reading *reading = user_data;
    reading->n_faults += !fault->is_loss;
    reading->n_losses += fault->is_loss;
    if (fault->is_loss)
        g_strlcpy(reading->loss, fault->text, sizeof reading->loss);
}

static const ReplayHandlers handlers = { .message = on_message, .tmpl = on_template, .record = on_record, .fault = on_fault };

static void
read_octets(const guint8 *octets, gsize length, Reading *reading)
{
    Replay replay = { .args = { .is_quiet = TRUE } };
    ReplayProgress progress;
    guint64 n_faults;
    g_autoptr(GError) error = NULL;
    int fd = memfd_create("replay", MFD_CLOEXEC);
    g_autofree gchar *path = g_strdup_printf("/proc/self/fd/%d", fd);
    if (fd < 0 || write(fd, octets, length) != (gssize) length)
        CU_FAIL_FATAL("memfd");
    if (!replay_read(&replay, path, &handlers, reading, NULL, &progress, &n_faults, NULL, &error))
        CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
    close(fd);
}

static void
reading_init(Reading *reading, const ReplayArgs *args)
{
    static const ReplayArgs all;
    *reading = (Reading){ .filter = replay_filter_new(args ? args : &all, NULL), .text = g_string_new(NULL) };
}

static void
reading_clear(Reading *reading)
{
    replay_filter_free(reading->filter);
    g_string_free(reading->text, TRUE);
}

/* --- strict --- */

static ReplayKeys *
load_keys(const gchar *name)
{
    const gchar *srcdir = g_getenv("srcdir");
    g_autofree gchar *path = g_build_filename(srcdir ? srcdir : ".", "tests/data/replay", name, NULL);
    gchar *files[] = { path, NULL };
    /* no configuration of this host's */
    Replay replay = { .args = { .keys = files, .config = NULL } };
    g_autoptr(GError) error = NULL;
    ReplayKeys *keys = replay_keys_load(&replay, &error);
    if (!keys)
        CU_FAIL_FATAL(error->message);
    sami_config_unref(replay.config);
    return keys;
}

static void
collect(const SamiRecord *record, gpointer user_data)
{
    g_array_append_vals(user_data, record, 1);
}

/* Takes Messages until one is refused; its reason. */
static SamiReason
read_strictly(const ReplayKeys *keys, guint8 *octets, gsize length, gboolean force_unsigned, GArray *records, guint *ret_n)
{
    g_autoptr(ReplayStrict) strict = replay_strict_new(keys);
    SamiReason reason = SAMI_REASON_NONE;
    *ret_n = 0;
    for (gsize at = 0; at + SAMI_MESSAGE_HEADER <= length; ++*ret_n) {
        SamiInputMessage message = { .octets = octets + at, .length = (gsize) (octets[at + 2] << 8 | octets[at + 3]), .offset = at, .ends = "" };
        if (message.length < SAMI_MESSAGE_HEADER || message.length > length - at)
            break;
        if (!replay_strict_message(strict, &message, force_unsigned, collect, records, &reason, NULL))
            return reason;
        at += message.length;
    }
    return SAMI_REASON_NONE;
}

static void
test_both_readers_agree(void)
{
    static const gchar *const names[][2] = { { "journal.ipfix", "fw1.pub" }, { "answers.ipfix", "fw2.pub" } };
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        gsize length;
        guint n;
        Reading reading;
        g_autofree gchar *octets = sample(names[i][0], &length);
        g_autoptr(ReplayKeys) keys = load_keys(names[i][1]);
        g_autoptr(GArray) strictly = g_array_new(FALSE, TRUE, sizeof(SamiRecord));
        reading_init(&reading, NULL);
        reading.records = g_array_new(FALSE, TRUE, sizeof(SamiRecord));
        read_octets((guint8 *) octets, length, &reading);
        CU_ASSERT_EQUAL(read_strictly(keys, (guint8 *) octets, length, FALSE, strictly, &n), SAMI_REASON_NONE);
        CU_ASSERT_EQUAL(reading.n_faults + reading.n_losses, 0);
        CU_ASSERT_EQUAL(n, reading.n_messages);
        CU_ASSERT_EQUAL_FATAL(strictly->len, reading.records->len);
        CU_ASSERT_TRUE(strictly->len > 3);
        CU_ASSERT_EQUAL(memcmp(strictly->data, reading.records->data, strictly->len * sizeof(SamiRecord)), 0);
        g_array_unref(reading.records);
        reading_clear(&reading);
    }
}

/* One way or another, at random. */
static void
corrupt(GRand *rand, GByteArray *octets)
{
    guint32 at = (guint32) g_rand_int_range(rand, 0, (gint32) octets->len);
    guint n = (guint) g_rand_int_range(rand, 1, 9);
    switch (g_rand_int_range(rand, 0, 5)) {
    case 0:
        for (; n > 0; n--)
            octets->data[g_rand_int_range(rand, 0, (gint32) octets->len)] ^= (guint8) (1u << g_rand_int_range(rand, 0, 8));
        break;
    case 1: octets->data[at] = (guint8) g_rand_int(rand); break;
    case 2: g_byte_array_set_size(octets, at + 1); break;
    case 3: g_byte_array_remove_range(octets, at, MIN(n, octets->len - at)); break;
    default: { /* a two-octet field that is absurd */
        static const guint8 values[][2] = { { 0, 0 }, { 0xff, 0xff }, { 0, 2 }, { 0, 3 }, { 1, 0 }, { 0x7f, 0xff }, { 0x80, 0 } };
        if (at + 2 <= octets->len)
            memcpy(octets->data + at, values[g_rand_int_range(rand, 0, G_N_ELEMENTS(values))], 2);
        break;
    }
    }
}

static void
test_corruption(void)
{
    static const gchar *const names[] = { "journal.ipfix", "answers.ipfix", "foreign.ipfix", "broken-variable.ipfix", "foreign.ipfix" };
    g_autoptr(GRand) rand = g_rand_new_with_seed(5655);
    g_autoptr(ReplayKeys) keys = load_keys("fw1.pub");
    g_autoptr(GArray) records = g_array_new(FALSE, TRUE, sizeof(SamiRecord));
    gchar *addresses[] = { (gchar *) "10.0.0.0/8", NULL };
    const ReplayArgs args = { .addresses = addresses };
    guint n_broken = 0;
    for (guint i = 0; i < CORRUPTIONS; i++) {
        gsize length;
        guint n;
        Reading reading;
        g_autofree gchar *good = sample(names[i % G_N_ELEMENTS(names)], &length);
        g_autoptr(GByteArray) octets = g_byte_array_new();
        g_byte_array_append(octets, (guint8 *) good, (guint) length);
        corrupt(rand, octets);
        reading_init(&reading, i & 1 ? &args : NULL);
        read_octets(octets->data, octets->len, &reading);
        CU_ASSERT_TRUE(reading.n_messages <= octets->len / SAMI_MESSAGE_HEADER && reading.n_records <= octets->len);
        n_broken += reading.n_faults > 0;
        reading_clear(&reading);
        read_strictly(keys, octets->data, octets->len, i % 3 == 0, records, &n);
        CU_ASSERT_TRUE(records->len <= octets->len);
        g_array_set_size(records, 0);
    }
    CU_ASSERT_TRUE(n_broken > CORRUPTIONS / 4); /* it does see what is wrong */
}

/* A Message of one Set. */
static void
add_message(GByteArray *out, guint32 sequence, guint32 domain, guint16 set, const guint8 *body, gsize n)
{
    guint8 head[20];
    SamiWriter w;
    sami_writer_init(&w, head, sizeof head);
    sami_writer_uint(&w, 10, 2);
    sami_writer_uint(&w, sizeof head + n, 2);
    sami_writer_uint(&w, 0, 4);
    sami_writer_uint(&w, sequence, 4);
    sami_writer_uint(&w, domain, 4);
    sami_writer_uint(&w, set, 2);
    sami_writer_uint(&w, 4 + n, 2);
    g_byte_array_append(out, head, sizeof head);
    g_byte_array_append(out, body, (guint) n);
}

static void
test_endless_templates(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    guint8 body[4 + 4000 * 4] = { 0 };
    Reading reading;
    for (guint i = 0; i < 4000; i++)
        body[4 + 4 * i + 1] = 7, body[4 + 4 * i + 3] = 2;
    for (guint i = 0; i < 80; i++) {
        const guint16 id = (guint16) (256 + i), n = 4000;
        body[0] = (guint8) (id >> 8), body[1] = (guint8) id, body[2] = n >> 8, body[3] = n & 0xff;
        add_message(out, 0, 1, 2, body, sizeof body);
    }
    reading_init(&reading, NULL);
    read_octets(out->data, out->len, &reading);
    CU_ASSERT_EQUAL(reading.n_messages, 80);
    CU_ASSERT_EQUAL(reading.n_templates, REPLAY_FIELDS_MAX / 4000);
    CU_ASSERT_EQUAL(reading.n_faults, 80 - REPLAY_FIELDS_MAX / 4000);
    reading_clear(&reading);
}

/* The domain that was silent longest is forgotten, its templates too. */
static void
test_endless_domains(void)
{
    static const guint8 tmpl[] = { 1, 0, 0, 1, 0, 7, 0, 2 }, data[] = { 0, 80 };
    g_autoptr(GByteArray) out = g_byte_array_new();
    Reading reading;
    for (guint i = 0; i < REPLAY_SOURCES_MAX + 10; i++)
        add_message(out, 0, i, 2, tmpl, sizeof tmpl);
    add_message(out, 0, 0, 256, data, sizeof data);
    add_message(out, 0, REPLAY_SOURCES_MAX, 256, data, sizeof data);
    reading_init(&reading, NULL);
    read_octets(out->data, out->len, &reading);
    CU_ASSERT_EQUAL(reading.n_records, 1);
    CU_ASSERT_EQUAL(reading.n_faults, 1);
    reading_clear(&reading);
}

/* Sequence Numbers as other exporters count them: the gap is said, and what else may be behind it. */
static void
test_sequences(void)
{
    static const guint8 tmpl[] = { 1, 0, 0, 1, 0, 7, 0, 2 }, options[] = { 1, 1, 0, 1, 0, 1, 0, 149, 0, 4 }, data[6] = { 0 };
    static const struct {
        guint16 first_set;
        guint n_first; /* octets */
        guint32 second;
        guint n_second;
        const gchar *text; /* NULL: no loss */
    } cases[] = {
        { 256, 4, 2, 2, NULL },
        { 256, 2, 5, 2, "sequence-number: Sequence Number 5, expected 1: 4 records are not here (RFC 7011 section 3.1)" },
        { 256, 4, 1, 2, "sequence-number: Sequence Number 1, expected 2: 1 records come again, or late, or the exporter counts those of the Message itself, too (RFC 7011 section 3.1)" },
        { 257, 4, 0, 2, "sequence-number: Sequence Number 0, expected 1: 1 records come again, or late, or the exporter does not count Options records (RFC 7011 section 3.1)" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) out = g_byte_array_new();
        Reading reading;
        reading_init(&reading, NULL);
        add_message(out, 0, 1, 2, tmpl, sizeof tmpl);
        add_message(out, 0, 1, 3, options, sizeof options);
        add_message(out, 0, 1, cases[i].first_set, data, cases[i].n_first);
        add_message(out, cases[i].second, 1, 256, data, cases[i].n_second);
        read_octets(out->data, out->len, &reading);
        CU_ASSERT_EQUAL(reading.n_faults, 0);
        CU_ASSERT_EQUAL(reading.n_losses, cases[i].text != NULL);
        CU_ASSERT_STRING_EQUAL(reading.loss, cases[i].text ? cases[i].text : "");
        reading_clear(&reading);
    }
}

/* --- what strict reading refuses --- */

typedef struct {
    SamiKey *key;
    SamiEncoder *encoder;
    SamiSignature fields;
    GByteArray *out;
    ReplayKeys *keys;
} Signed;

static void
add_signed(Signed *s, SamiKey *key)
{
    SamiRecord record = { .kind = SAMI_RECORD_END, .end = { 1 } };
    guint8 *message = NULL;
    gsize length = 0;
    if (!sami_encoder_add(s->encoder, &record, NULL) || !sami_encoder_take(s->encoder, 1, &message, &length, NULL))
        CU_FAIL_FATAL("encoder");
    length = sami_signature_seal(key, &s->fields, message, length);
    g_byte_array_append(s->out, message, (guint) length);
    s->fields.counter++;
}

static SamiKey *
load_private(const gchar *name)
{
    gsize length;
    g_autofree gchar *pem = sample(name, &length);
    g_autofree gchar *path = NULL;
    int fd = g_file_open_tmp("sami-key-XXXXXX", &path, NULL); /* 0600, whatever the checkout made of the sample's mode */
    if (fd < 0 || write(fd, pem, length) != (gssize) length)
        g_error("no temporary file");
    close(fd);
    SamiKey *key = sami_key_load_private(path, NULL, NULL);
    g_assert(key);
    unlink(path);
    return key;
}

static void
signed_init(Signed *s)
{
    *s = (Signed){ .key = load_private("fw1.key"), .encoder = sami_encoder_new(1, SAMI_MESSAGE_MAX), .fields = { .role = SAMI_ROLE_FILE },
                   .out = g_byte_array_new(), .keys = load_keys("fw1.pub") };
}

static void
expect(Signed *s, SamiReason wanted, guint wanted_n)
{
    guint n;
    g_autoptr(GArray) records = g_array_new(FALSE, TRUE, sizeof(SamiRecord));
    SamiReason reason = read_strictly(s->keys, s->out->data, s->out->len, FALSE, records, &n);
    if (reason != wanted) {
        g_printerr("%s, not %s\n", sami_reason_id(reason), sami_reason_id(wanted));
        CU_FAIL("another reason");
    }
    CU_ASSERT_EQUAL(n, wanted_n);
    CU_ASSERT_EQUAL(records->len, wanted_n);
    replay_keys_free(s->keys);
    sami_key_free(s->key);
    sami_encoder_free(s->encoder);
    g_byte_array_unref(s->out);
}

static void
test_strict_refuses(void)
{
    Signed s;
    g_autoptr(SamiKey) other = load_private("fw2.key");
    for (guint i = 0; i < 11; i++) {
        static const SamiReason wanted[] = { SAMI_REASON_NONE, SAMI_REASON_WRONG_ROLE, SAMI_REASON_WRONG_SESSION, SAMI_REASON_WRONG_COUNTER,
                                             SAMI_REASON_WRONG_SESSION, SAMI_REASON_PROTOCOL, SAMI_REASON_UNKNOWN_SIGNER, SAMI_REASON_WRONG_SESSION,
                                             SAMI_REASON_BAD_SIGNATURE, SAMI_REASON_NOT_SIGNED, SAMI_REASON_WRONG_COUNTER };
        signed_init(&s);
        if (i == 10)
            s.fields.counter = 1; /* a recorded file begins with 0 */
        add_signed(&s, i == 6 ? other : s.key);
        add_signed(&s, i == 6 ? other : s.key);
        s.fields.role = i == 1 ? SAMI_ROLE_EXPORTER : SAMI_ROLE_FILE;
        s.fields.migration_id[0] = i == 2;
        s.fields.counter += i == 3;
        s.fields.binding[0] = i == 4;
        if (i == 5) {
            s.fields.flags = SAMI_SIGNATURE_LAST;
            add_signed(&s, s.key);
        }
        add_signed(&s, i == 7 ? other : s.key);
        if (i == 8)
            s.out->data[s.out->len - 1] ^= 1;
        if (i == 9)
            s.out->data[s.out->len - SAMI_SIGNATURE_SET] ^= 1;
        expect(&s, wanted[i], i == 0 ? 3 : i == 5 ? 3 : i == 6 || i == 10 ? 0 : 2);
    }
}

static const SamiTest tests[] = {
    { "loose and strict reading agree", test_both_readers_agree },
    { "strict reading refuses", test_strict_refuses },
    { "endless templates", test_endless_templates },
    { "endless domains", test_endless_domains },
    { "sequence numbers", test_sequences },
    { "random corruption", test_corruption },
};

int
main(void)
{
    return sami_test_main("replay", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
