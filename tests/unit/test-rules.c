/* Each rule and reason has an example in tests/data/rules, and it is refused, or degraded, for that one and for no other: through the same functions as at a
 * collector whose host is the same everywhere; by a collector's state process, where these take it; and where a rule holds in recorded files, by the reader of
 * sami-replay. What only a kernel or a second session can refuse is named here with the test that does. */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>

#include "firewall/fake.h"
#include "firewall/host.h"
#include "replay/reader.h"
#include "templates/rules.h"
#include "tests/fuzz/collector.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/harness.h"

#define EXPORT_TIME 1795970000u /* of rule-samples */
#define START_MS 1000u
#define WAIT_US (10 * G_USEC_PER_SEC)

static gchar *directory, *state_directory;
static SamiConfig *config;
static GPtrArray *signers;
static SamiKey *collector_key;
static SamiSignerHost host; /* one address, and the timeouts that a sample needs */

static gchar *
source_path(const gchar *path)
{
    const gchar *srcdir = g_getenv("srcdir");
    return g_build_filename(srcdir ? srcdir : ".", path, NULL);
}

/* Among the data everybody can read it, and such a key is not taken. */
static SamiKey *
load_key(GError **error)
{
    g_autofree gchar *from = source_path("tests/data/replay/fw2.key"), *path = g_build_filename(state_directory, "fw2.key", NULL), *text = NULL;
    gsize n;
    SamiKey *key = NULL;
    if (g_file_get_contents(from, &text, &n, error) && g_file_set_contents_full(path, text, (gssize) n, G_FILE_SET_CONTENTS_NONE, 0600, error))
        key = sami_key_load_private(path, NULL, error);
    g_unlink(path);
    return key;
}

static int
set_up(void)
{
    static const SamiPrefix own = { { { 10, 0, 0, 1 } }, 4, 32 };
    g_autoptr(GError) error = NULL;
    directory = source_path("tests/data/rules");
    host = (SamiSignerHost){ .own = sami_address_set_new(), .timeouts = { .tcp[SAMI_TCP_STATE_ESTABLISHED] = 3600 }, .translations = { TRUE, TRUE, FALSE } };
    sami_address_set_replace(host.own, &own, 1);
    g_autofree gchar *path = source_path("tests/data/rules/config/sami.conf");
    config = sami_config_load(path, &error);
    signers = config ? sami_signers_load(config, NULL, &error) : NULL;
    state_directory = signers ? g_dir_make_tmp("sami-rules-XXXXXX", &error) : NULL;
    collector_key = state_directory ? load_key(&error) : NULL;
    if (!collector_key) {
        g_printerr("%s\n", error->message);
        return 1;
    }
    g_free(config->run_dir);
    config->run_dir = g_strdup(state_directory);
    sami_signers_enforce(signers);
    sami_fuzz_be_quiet();
    return 0;
}

static int
tear_down(void)
{
    sami_address_set_free(host.own);
    sami_key_free(collector_key);
    g_ptr_array_unref(signers);
    sami_config_free(config);
    g_autofree gchar *origin = g_build_filename(state_directory, "origin", NULL);
    gboolean is_gone = g_unlink(origin) == 0 && g_rmdir(state_directory) == 0;
    g_free(state_directory);
    g_free(directory);
    return is_gone ? 0 : 1;
}

/* --- as a collector takes it --- */

typedef struct {
    SamiStream *stream;
    SamiSigner *signer;
    GArray *vm; /* of SamiPrefix */
    SamiReason reason; /* the first one */
    SamiRule rule;     /* if that is malformed */
    guint n_records;   /* accepted */
} Taking;

/* Why it is refused; or what is known of it before a kernel has it, see sami_host_degrades(). */
static SamiReason
judge(const SamiMap *map, const SamiPolicy *policy, const SamiSession *session)
{
    SamiHostFacts facts = { .ruleset = NULL };
    SamiHostNeeds needs;
    SamiApplyItem item;
    sami_apply_judge(map, policy, session, NULL, &item);
    sami_host_needs_init(&needs);
    SamiReason degraded = sami_host_degrades(&facts, &needs, &item.session, item.stripped);
    sami_host_needs_clear(&needs);
    return item.reason != SAMI_REASON_NONE ? (SamiReason) item.reason : degraded;
}

static void
on_record(const SamiRecord *record, gpointer user_data)
{
    Taking *taking = user_data;
    SamiPolicy policy = { .vm = (SamiPrefix *) (void *) taking->vm->data, .n_vm = taking->vm->len };
    guint16 reason = SAMI_REASON_NONE;
    sami_signer_fill_policy(taking->signer, &host, &policy);
    if (record->kind == SAMI_RECORD_VM_ADDRESS4 || record->kind == SAMI_RECORD_VM_ADDRESS6)
        g_array_append_val(taking->vm, record->vm_address);
    if (record->kind == SAMI_RECORD_SESSION)
        reason = (guint16) judge(taking->signer->map, &policy, &record->session);
    else if (record->kind == SAMI_RECORD_EXPECTATION) {
        SamiExpectationItem item;
        sami_apply_judge_expectation(taking->signer->map, &policy, &record->expectation, &item);
        reason = item.reason;
    }
    if (taking->reason == SAMI_REASON_NONE)
        taking->reason = (SamiReason) reason;
    taking->n_records += reason == SAMI_REASON_NONE;
}

static void
open_session(Taking *taking, const SamiSignature *first)
{
    static const guint8 ekm[32] = { 1, 2, 3 };
    SamiKey *key = NULL;
    taking->signer = sami_signers_find(signers, first->key_id, &key);
    CU_ASSERT_PTR_NOT_NULL_FATAL(taking->signer);
    taking->stream = sami_stream_new(SAMI_ROLE_COLLECTOR, collector_key, ekm, SAMI_MESSAGE_MAX, START_MS, config->max_delay_ms);
    taking->stream->peer_key = key;
    memcpy(taking->stream->migration_id, first->migration_id, sizeof first->migration_id);
}

/* The hello was answered at once; the nonces of the samples are zeros. */
static void
bind_session(Taking *taking, guint64 now_ms)
{
    if (taking->stream->counter_out > 0)
        return;
    taking->stream->counter_out = 1;
    taking->stream->challenge_ms = now_ms;
    sami_stream_bind(taking->stream, config->name);
}

static void
take_message(Taking *taking, guint8 *message, gsize length)
{
    SamiSignature signature;
    gboolean is_last;
    g_autoptr(GError) error = NULL;
    guint64 export_s = length < SAMI_MESSAGE_HEADER ? EXPORT_TIME
                                                    : (guint64) message[4] << 24 | (guint64) message[5] << 16 | (guint64) message[6] << 8 | message[7];
    guint64 now_ms = START_MS + (export_s - EXPORT_TIME) * 1000; /* the samples say by it when they are read */
    if (!taking->stream && sami_signature_read(message, length, &signature, NULL))
        open_session(taking, &signature);
    CU_ASSERT_PTR_NOT_NULL_FATAL(taking->stream);
    if (sami_stream_verify(taking->stream, message, length, now_ms, &taking->reason, &is_last, &error) &&
        !sami_stream_decode(taking->stream, message, length, on_record, taking, &error))
        taking->reason = g_error_matches(error, SAMI_ERROR, SAMI_ERROR_PEN) ? SAMI_REASON_PEN_MISMATCH : SAMI_REASON_MALFORMED;
    if (taking->reason == SAMI_REASON_MALFORMED)
        taking->rule = sami_rule_find(error->message);
    bind_session(taking, now_ms);
}

/* Where the last Message begins: it may have any Length. */
static gsize
next_message(const guint8 *octets, gsize left)
{
    gsize length = left < 4 ? 0 : (gsize) octets[2] << 8 | octets[3];
    return left < 4 || octets[1] != 10 || length < SAMI_MESSAGE_HEADER || length > left ? left : length;
}

/* The reason for which the last Message is refused; nothing before it is. */
static SamiReason
take_file(guint8 *octets, gsize n, SamiRule *ret_rule)
{
    Taking taking = { .vm = g_array_new(FALSE, FALSE, sizeof(SamiPrefix)) };
    for (gsize at = 0, length; at < n; at += length) {
        length = next_message(octets + at, n - at);
        CU_ASSERT_EQUAL(taking.reason, SAMI_REASON_NONE);
        take_message(&taking, octets + at, length);
    }
    sami_stream_free(taking.stream);
    g_array_unref(taking.vm);
    *ret_rule = taking.rule;
    return taking.reason;
}

/* --- as a collector with its sessions does, on a kernel that is not there --- */

static SamiReason
first_refused(SamiCollector *collector)
{
    SamiTotals totals;
    sami_collector_totals(collector, &totals);
    for (guint i = 1; i < SAMI_N_REASONS; i++)
        if (collector->refused_messages[i] + totals.refused[i] > 0)
            return (SamiReason) i;
    return SAMI_REASON_NONE;
}

/* The VM of the examples. */
static void
announce(SamiCollector *collector)
{
    static const SamiPrefix vm[] = { { { { 10, 0, 0, 13 } }, 4, 32 }, { { { 0x20, 0x01, 0x0d, 0xb8, 0, 0x0a, [15] = 0x13 } }, 6, 128 } };
    gint64 now_s = g_get_real_time() / G_USEC_PER_SEC;
    for (guint i = 0; i < G_N_ELEMENTS(vm); i++)
        CU_ASSERT_TRUE(sami_expect_add(collector->expect, &vm[i], "fw1.example", now_s + 600, now_s, NULL));
}

/* It has answered the hello, and the nonces of the samples are zeros. */
static void
forget_nonce(SamiCollector *collector)
{
    SamiCollectorSession *session = collector->sessions->len > 0 ? g_ptr_array_index(collector->sessions, 0) : NULL;
    if (!session || !session->has_hello)
        return;
    memset(session->stream->nonce_c, 0, sizeof session->stream->nonce_c);
    sami_stream_bind(session->stream, config->name);
}

static SamiCollector *
open_collector(SamiSessionSocket **ret_peer)
{
    int fds[2];
    SamiFrameOpen open = { .version = 1, .transport = 1, .message_max = SAMI_MESSAGE_MAX, .ekm = { 1, 2, 3 }, .name = "fw1.example", .address = "192.0.2.1:4740" };
    SamiCollector *collector = sami_fuzz_collector_of(config, signers, sami_firewall_fake_new(0));
    collector->key = collector_key;
    announce(collector);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    *ret_peer = sami_session_socket_new(fds[0]);
    sami_collector_session_new(collector, fds[1]);
    CU_ASSERT_TRUE_FATAL(sami_session_socket_send_open(*ret_peer, &open, NULL));
    return collector;
}

/* Is READY decided, or whatever else has to be before the next Message? */
static gboolean
is_done(const SamiCollector *collector)
{
    const SamiCollectorMigration *m = collector->migrations->len > 0 ? g_ptr_array_index(collector->migrations, 0) : NULL;
    return !m || (m->n_jobs == 0 && m->freeze_counter == 0);
}

static SamiReason
ask_collector(const guint8 *octets, gsize n)
{
    SamiSessionSocket *peer;
    SamiCollector *collector = open_collector(&peer);
    for (gsize at = 0, length; at < n; at += length) {
        gint64 end_us = g_get_monotonic_time() + WAIT_US;
        length = next_message(octets + at, n - at);
        CU_ASSERT_EQUAL(first_refused(collector), SAMI_REASON_NONE);
        CU_ASSERT_TRUE(sami_session_socket_send(peer, SAMI_FRAME_MESSAGE, octets + at, length, NULL));
        do
            sami_fuzz_collector_settle(collector, peer);
        while (!is_done(collector) && g_get_monotonic_time() < end_us);
        if (at == 0)
            forget_nonce(collector);
    }
    SamiReason reason = first_refused(collector);
    sami_session_socket_free(peer);
    sami_fuzz_collector_free(collector);
    return reason;
}

/* --- as sami-replay reads it --- */

typedef struct {
    SamiRule rule; /* of the first fault */
} Reading;

static void
on_fault(const ReplayFault *fault, gpointer user_data)
{
    Reading *reading = user_data;
    if (reading->rule == SAMI_RULE_NONE)
        reading->rule = sami_rule_find(fault->text);
}

static SamiRule
read_file(const gchar *path)
{
    static const ReplayHandlers handlers = { .fault = on_fault };
    Replay replay = { .args = { .is_quiet = TRUE } };
    ReplayProgress progress;
    Reading reading = { SAMI_RULE_NONE };
    guint64 n_faults;
    g_autoptr(GError) error = NULL;
    if (!replay_read(&replay, path, &handlers, &reading, NULL, &progress, &n_faults, NULL, &error))
        CU_FAIL(error->message);
    return reading.rule;
}

/* --- the examples --- */

static guint n_of_rule[SAMI_N_RULES], n_of_reason[SAMI_N_REASONS];

static void
complain(const gchar *what, const gchar *wanted, const gchar *got)
{
    g_printerr("%s: %s, not %s\n", what, got, wanted);
    CU_FAIL("another rule than the file is an example of");
}

/* What a reader of files cannot tell apart, or does not look at by itself: the verb validate has a golden text of each file. */
static gboolean
is_of_reader(SamiRule rule)
{
    return rule != SAMI_RULE_MESSAGE_LENGTH && rule != SAMI_RULE_CHECKSUM && rule != SAMI_RULE_EXPORT_TIME && rule != SAMI_RULE_TEMPLATE_FIELDS;
}

static void
check_rule(const gchar *name, const gchar *path, SamiRule rule, guint8 *octets, gsize n)
{
    SamiRule got;
    n_of_rule[rule]++;
    if ((sami_rule_where(rule) & SAMI_RULE_IN_FILE) && is_of_reader(rule) && (got = read_file(path)) != rule)
        complain(name, sami_rule_id(rule), sami_rule_id(got));
    /* An end within a Message is seen by the process that cuts the stream: test-transport-bare. */
    if (!(sami_rule_where(rule) & SAMI_RULE_IN_STREAM) || rule == SAMI_RULE_MESSAGE_CUT)
        return;
    SamiReason reason = take_file(octets, n, &got);
    if (reason != SAMI_REASON_MALFORMED || got != rule)
        complain(name, sami_rule_id(rule), reason == SAMI_REASON_MALFORMED ? sami_rule_id(got) : sami_reason_id(reason));
}

static void
check_reason(const gchar *name, SamiReason reason, guint8 *octets, gsize n)
{
    SamiRule rule;
    SamiReason got = take_file(octets, n, &rule);
    if (got == SAMI_REASON_NONE)
        got = ask_collector(octets, n);
    n_of_reason[reason]++;
    if (got != reason)
        complain(name, sami_reason_id(reason), got == SAMI_REASON_MALFORMED ? sami_rule_id(rule) : sami_reason_id(got));
}

/* RULE.ipfix or RULE.VARIANT.ipfix */
static void
check_example(const gchar *name)
{
    g_autofree gchar *path = g_build_filename(directory, name, NULL), *id = g_strndup(name, strcspn(name, ".")), *begin = g_strconcat(id, ": ", NULL);
    g_autofree gchar *octets = NULL;
    gsize n;
    guint reason = 1;
    CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &octets, &n, NULL));
    SamiRule rule = sami_rule_find(begin);
    while (reason < SAMI_N_REASONS && !(sami_reason_is_known(reason) && g_str_equal(sami_reason_id(reason), id)))
        reason++;
    if (rule != SAMI_RULE_NONE)
        check_rule(name, path, rule, (guint8 *) octets, n);
    else if (reason < SAMI_N_REASONS)
        check_reason(name, (SamiReason) reason, (guint8 *) octets, n);
    else
        complain(name, "a rule", "of no rule and no reason");
}

static void
test_examples(void)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    const gchar *name;
    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    while ((name = g_dir_read_name(dir)))
        if (g_str_has_suffix(name, ".ipfix"))
            check_example(name);
}

/* --- every row has one --- */

/* Refused by what another session has, a kernel or what is read back from it; the test that shows it names the reason. */
static const struct {
    SamiReason reason;
    const gchar *symbol; /* for unit tests */
    const gchar *test;
} elsewhere[] = {
#define IN(symbol, test) { SAMI_REASON_##symbol, "SAMI_REASON_" #symbol, test }
    IN(MALFORMED, "tests/hostile/template-cases.c"), /* and every example of a Message rule */
    IN(NOT_OWNER, "tests/e2e/31-resume.sh"),
    IN(JOURNAL, "tests/e2e/33-journal-full.sh"),
    IN(REPLAYED, "tests/hostile/message-cases.c"),
    IN(NAT_MISMATCH, "tests/e2e/42-conflict.sh"),
    IN(NAT_CLASH, "tests/e2e/42-conflict.sh"),
    IN(TABLE_FULL, "tests/e2e/47-refused-table-full.sh"),
    IN(CHAIN_TOO_LONG, "tests/unit/test-reasons.c"),
    IN(KERNEL, "tests/unit/test-reasons.c"),
    IN(REVERSED, "tests/unit/test-reasons.c"),
    IN(UNVERIFIED, "tests/unit/test-apply.c"),
    IN(SET_MISSING, "tests/e2e/93-cumulative-refused.sh"),
    IN(SET_TYPE, "tests/e2e/93-cumulative-refused.sh"),
    IN(KEY_NOT_VM, "tests/unit/test-cumulative.c"),
    IN(SET_FULL, "tests/e2e/93-cumulative-refused.sh"),
    IN(LABELS_LOST, "tests/e2e/91-check-to.sh"),
    IN(TIMEOUT_CLAMPED, "tests/unit/test-reasons.c"),
    IN(DIFFERS, "tests/unit/test-reasons.c"),
    IN(NO_MASTER, "tests/unit/test-apply.c"),
    IN(EXPECTATION_HELPER, "tests/unit/test-apply-expected.c"),
    IN(EXPECTATION_LATE, "tests/unit/test-apply-expected.c"),
    IN(EXPECTATION_FUNCTION, "tests/unit/test-reasons.c"),
    IN(EXPECTATION_CLASH, "tests/unit/test-reasons.c"),
    IN(COUNT_LOST, "tests/unit/test-cumulative.c"),
    IN(MAX_MIGRATIONS, "tests/e2e/131-policy-limits.sh"),
    IN(MAX_ELEMENTS, "tests/e2e/93-cumulative-refused.sh"),
#undef IN
};

/* A unit test has the reason's symbol; the other ones its id, in quotes or as a counter or a refusal has it, unless it is no word of English. */
static gboolean
is_named(const gchar *text, const gchar *symbol, const gchar *id, gboolean is_unit)
{
    g_autofree gchar *pattern = is_unit                ? g_strdup_printf("\\b%s\\b", symbol)
                                : strchr(id, '-') != NULL ? g_strdup_printf("(?<![\\w-])(refused_)?%s(?![\\w-]|_[^t])", id)
                                                       : g_strdup_printf("\"%s\"|\\b%s: |refused_%s_total", id, id, id);
    return g_regex_match_simple(pattern, text, 0, 0);
}

static gboolean
is_shown_elsewhere(SamiReason reason)
{
    gboolean is_shown = FALSE;
    for (guint i = 0; i < G_N_ELEMENTS(elsewhere); i++) {
        g_autofree gchar *path = source_path(elsewhere[i].test), *text = NULL;
        if (elsewhere[i].reason != reason)
            continue;
        gboolean is_unit = g_str_has_prefix(elsewhere[i].test, "tests/unit/");
        is_shown = g_file_get_contents(path, &text, NULL, NULL) && is_named(text, elsewhere[i].symbol, sami_reason_id(reason), is_unit);
        if (!is_shown)
            g_printerr("%s does not name %s\n", elsewhere[i].test, sami_reason_id(reason));
    }
    return is_shown;
}

static void
test_whole(void)
{
    for (guint rule = 1; rule < SAMI_N_RULES; rule++) {
        /* Behind the shim and against libfixbuf: a Message that gets there would be a fault of the shim. */
        gboolean has_example = n_of_rule[rule] > 0 || rule == SAMI_RULE_CODEC;
        if (!has_example)
            g_printerr("there is no example of %s\n", sami_rule_id(rule));
        CU_ASSERT_TRUE(has_example);
    }
    for (guint reason = 1; reason < SAMI_N_REASONS; reason++) {
        gboolean has_example = n_of_reason[reason] > 0;
        if (!sami_reason_is_known(reason) || has_example)
            continue;
        gboolean is_shown = is_shown_elsewhere((SamiReason) reason);
        if (!is_shown)
            g_printerr("there is no example of %s\n", sami_reason_id(reason));
        CU_ASSERT_TRUE(is_shown);
    }
}

/* --- the tables --- */

static void
test_tables(void)
{
    static const gchar *const none[] = { "", "x", "template-cut", "template-cut:", "xtemplate-cut: ", "template: ", ": " };
    g_autoptr(GHashTable) ids = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 1; i < SAMI_N_RULES; i++) {
        g_autofree gchar *text = sami_rule_say((SamiRule) i, "%s: %u", "what was found", 7);
        g_autofree gchar *wanted = g_strdup_printf("%s: what was found: 7 (%s)", sami_rule_id(i), sami_rule_source(i));
        CU_ASSERT_STRING_EQUAL(text, wanted);
        CU_ASSERT_EQUAL(sami_rule_find(text), i);
        CU_ASSERT_TRUE(*sami_rule_source(i) && *sami_rule_text(i) && g_str_is_ascii(text) && sami_rule_where(i) > 0);
        CU_ASSERT_TRUE(g_hash_table_add(ids, (gpointer) sami_rule_id(i)));
    }
    for (guint i = 0; i < SAMI_N_REASONS; i++) {
        if (!sami_reason_is_known(i))
            continue;
        CU_ASSERT_TRUE(i == 0 || (*sami_reason_source(i) && g_str_is_ascii(sami_reason_source(i))));
        CU_ASSERT_TRUE(i == 0 || g_hash_table_add(ids, (gpointer) sami_reason_id(i)));
    }
    for (guint i = 0; i < G_N_ELEMENTS(none); i++)
        CU_ASSERT_EQUAL(sami_rule_find(none[i]), SAMI_RULE_NONE);
    CU_ASSERT_EQUAL(sami_rule_find(NULL), SAMI_RULE_NONE);
    CU_ASSERT_STRING_EQUAL(sami_rule_id(SAMI_N_RULES), "none");
}

static const SamiTest tests[] = {
    { "the tables", test_tables },
    { "each example breaks its rule", test_examples },
    { "each rule has an example", test_whole },
};

int
main(void)
{
    return sami_test_main("rules", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
