/* What a recorded stream does to a table, against the fake kernel; whether this is a namespace of its own; and the file that record writes, read back. */
#include <netinet/in.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "replay/namespace.h"
#include "replay/output-file.h"
#include "replay/target.h"
#include "tests/unit/harness.h"
#include "transport/input.h"

static gchar *directory;

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-inject.XXXXXX", NULL);
    return directory == NULL;
}

static int
tear_down(void)
{
    int result = rmdir(directory);
    g_free(directory);
    return result;
}

static void
test_namespace(void)
{
    g_autofree gchar *one = g_build_filename(directory, "one", NULL), *other = g_build_filename(directory, "other", NULL);
    g_autofree gchar *link_to_one = g_build_filename(directory, "link", NULL);
    g_autoptr(GError) same = NULL, missing = NULL;
    CU_ASSERT(g_file_set_contents(one, "", 0, NULL) && g_file_set_contents(other, "", 0, NULL) && symlink(one, link_to_one) == 0);
    CU_ASSERT_TRUE(replay_namespace_is_apart(one, other, NULL));
    CU_ASSERT_FALSE(replay_namespace_is_apart(one, link_to_one, &same));
    CU_ASSERT_TRUE(g_error_matches(same, SAMI_ERROR, SAMI_ERROR_PERMISSION));
    unlink(other);
    CU_ASSERT_FALSE(replay_namespace_is_apart(one, other, &missing));
    CU_ASSERT_TRUE(g_error_matches(missing, SAMI_ERROR, SAMI_ERROR_PERMISSION));
    CU_ASSERT_PTR_NOT_NULL(strstr(missing->message, other));
    CU_ASSERT_FALSE(replay_namespace_is_apart(REPLAY_NAMESPACE_SELF, REPLAY_NAMESPACE_SELF, NULL));
    unlink(one);
    unlink(link_to_one);
}

/* A target over the fake kernel. */

static ReplaySink sink;
static ReplayTarget *target;
static guint n_listed, n_expired;

static void
count(const SamiRefusal *refusal, gboolean is_expired, gpointer user_data)
{
    n_listed += !is_expired;
    n_expired += is_expired;
}

static void
begin(ReplayTrust trust)
{
    static const guint8 id[16] = { 1 };
    n_listed = n_expired = 0;
    sink = (ReplaySink){ .firewall = sami_firewall_fake_new(0), .batch = sami_apply_batch_new(), .budget = sami_budget_new(), .list = count };
    target = replay_target_new(&sink, trust, NULL, "fw1.example", id, NULL);
}

static void
end(void)
{
    replay_target_free(target);
    sami_budget_unref(sink.budget);
    sami_apply_batch_free(sink.batch);
    sami_firewall_free(sink.firewall);
}

static SamiRecord
flow(guint16 port, guint32 timeout_s)
{
    SamiRecord record = { .kind = SAMI_RECORD_SESSION };
    SamiSession *s = &record.session;
    *s = (SamiSession){ .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY, .action = SAMI_ACTION_CREATED, .timeout_s = timeout_s,
                        .status = SAMI_IPS_CONFIRMED | SAMI_IPS_SEEN_REPLY };
    s->key.family = 4;
    s->key.protocol = IPPROTO_UDP;
    s->key.orig = (SamiTuple){ .src = { { 10, 0, 0, 13 } }, .dst = { { 198, 51, 100, 1 } }, .src_port = port, .dst_port = 53 };
    sami_flow_key_mirror(&s->key, &s->reply);
    return record;
}

static void
say(SamiRecord record, guint32 age_s)
{
    replay_target_add(target, &record, age_s);
    CU_ASSERT_TRUE(replay_target_commit(target, NULL));
}

static void
say_end(guint16 port)
{
    SamiRecord record = flow(port, 0);
    record.session.action = SAMI_ACTION_DELETED;
    record.session.has = 0;
    say(record, 0);
}

/* 0: it is not there */
static guint32
time_of(guint16 port)
{
    SamiRecord record = flow(port, 1);
    SamiSession found;
    gboolean is_found = FALSE;
    CU_ASSERT_TRUE(sami_firewall_get(sink.firewall, &record.session.key, 1, &found, &is_found, NULL));
    return is_found ? found.timeout_s : 0;
}

static void
test_order(void)
{
    begin(REPLAY_TRUST_OWN);
    say(flow(1000, 100), 0);
    say(flow(1001, 100), 0);
    say_end(1001);
    say(flow(1002, 100), 0);
    say_end(1002);
    say(flow(1002, 90), 0);
    CU_ASSERT_TRUE(replay_target_finish(target, NULL));
    CU_ASSERT_EQUAL(time_of(1000), 100);
    CU_ASSERT_EQUAL(time_of(1001), 0);
    CU_ASSERT_EQUAL(time_of(1002), 90);
    CU_ASSERT_EQUAL(target->n_deleted, 2);
    CU_ASSERT_EQUAL(sami_apply_present(target->apply), 2);
    CU_ASSERT_EQUAL(n_listed, 0);
    end();
}

/* An old word and a newer one: the kernel gets what is left of the newer. */
static void
test_time(void)
{
    begin(REPLAY_TRUST_OWN);
    say(flow(1000, 100), 40);
    say(flow(1001, 40), 40);
    say(flow(1002, 100), 40);
    say(flow(1002, 30), 30); /* its time was over, whatever was said before */
    say(flow(1003, 100), 40);
    say(flow(1003, 100), 10);
    say(flow(1004, 40), 40);
    say(flow(1004, 100), 10);
    SamiRecord fixed = flow(1005, 100);
    fixed.session.status |= SAMI_IPS_FIXED_TIMEOUT;
    say(fixed, 10);
    CU_ASSERT_TRUE(replay_target_finish(target, NULL));
    CU_ASSERT_EQUAL(time_of(1000), 60);
    CU_ASSERT_EQUAL(time_of(1001), 0);
    CU_ASSERT_EQUAL(time_of(1002), 0);
    CU_ASSERT_EQUAL(time_of(1003), 90);
    CU_ASSERT_EQUAL(time_of(1004), 90);
    CU_ASSERT_EQUAL(time_of(1005), 90);
    CU_ASSERT_EQUAL(target->n_expired, 3);
    CU_ASSERT_EQUAL(n_expired, 3);
    CU_ASSERT_EQUAL(target->apply->n_degraded, 0);
    end();
}

static void
say_control(SamiRecordKind kind, guint8 what, guint32 generation)
{
    SamiRecord record = { .kind = kind };
    if (kind == SAMI_RECORD_EPOCH)
        record.epoch = (SamiEpoch){ generation, what };
    else if (kind == SAMI_RECORD_MARKER)
        record.marker.marker = what;
    say(record, 0);
}

static void
test_stream(void)
{
    begin(REPLAY_TRUST_OWN);
    say(flow(1000, 100), 0);
    say(flow(1001, 100), 0);
    say_control(SAMI_RECORD_EPOCH, 1, 1);
    say(flow(1001, 80), 0);
    say_control(SAMI_RECORD_EPOCH, 2, 1);
    say_control(SAMI_RECORD_MARKER, SAMI_MARKER_FREEZE, 0);
    say(flow(1002, 100), 0);
    say(flow(1001, 70), 0); /* the audit */
    say_control(SAMI_RECORD_MARKER, SAMI_MARKER_SETTLE, 0);
    CU_ASSERT_TRUE(replay_target_finish(target, NULL));
    CU_ASSERT_EQUAL(time_of(1000), 0);
    CU_ASSERT_EQUAL(time_of(1001), 70);
    CU_ASSERT_EQUAL(time_of(1002), 100);
    end();
    begin(REPLAY_TRUST_OWN);
    say(flow(1000, 100), 0);
    say_control(SAMI_RECORD_ABORT, 0, 0);
    say(flow(1001, 100), 0); /* nothing follows it */
    CU_ASSERT_TRUE(replay_target_finish(target, NULL));
    CU_ASSERT_EQUAL(time_of(1000), 0);
    CU_ASSERT_EQUAL(time_of(1001), 0);
    CU_ASSERT_TRUE(target->is_aborted);
    CU_ASSERT_EQUAL(target->removal.n_removed, 1);
    end();
}

/* A Message that breaks off has said nothing. */
static void
test_dropped(void)
{
    SamiRecord record = flow(1000, 100);
    begin(REPLAY_TRUST_OWN);
    replay_target_add(target, &record, 0);
    replay_target_drop(target);
    say(flow(1001, 100), 0);
    CU_ASSERT_TRUE(replay_target_finish(target, NULL));
    CU_ASSERT_EQUAL(time_of(1000), 0);
    CU_ASSERT_EQUAL(time_of(1001), 100);
    end();
}

/* Our own table has what no peer may bring; what is forced is held to the rules of records. */
static void
test_trust(void)
{
    static const struct {
        ReplayTrust trust;
        guint n_taken;
    } cases[] = { { REPLAY_TRUST_OWN, 3 }, { REPLAY_TRUST_FORCED, 2 } };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        SamiRecord zoned = flow(1000, 100), own = flow(1001, 100), broken = flow(1002, 100);
        begin(cases[i].trust);
        zoned.session.key.zone = 60000;
        own.session.key.orig.src.octets[0] = 127;
        sami_flow_key_mirror(&own.session.key, &own.session.reply);
        broken.session.has &= ~(guint32) SAMI_HAS_TIMEOUT;
        say(zoned, 0);
        say(own, 0);
        say(broken, 0);
        say(flow(1003, 100), 0);
        CU_ASSERT_TRUE(replay_target_finish(target, NULL));
        CU_ASSERT_EQUAL(sami_apply_present(target->apply), cases[i].n_taken);
        CU_ASSERT_EQUAL(target->apply->refused[SAMI_REASON_FIELD_MISSING], 1);
        CU_ASSERT_EQUAL(n_listed, 4 - cases[i].n_taken);
        end();
    }
}

/* The file of record. */

static void
count_record(const SamiRecord *record, gpointer user_data)
{
    ((guint *) user_data)[record->kind]++;
}

static gboolean
write_file(const gchar *path, SamiKey *key, guint n, gboolean is_finished)
{
    g_autoptr(ReplayOutput) output = replay_output_new(path, key, NULL);
    gboolean is_good = output != NULL;
    for (guint i = 0; is_good && i < n; i++) {
        SamiRecord record = flow((guint16) (1000 + i), 100);
        is_good = replay_output_add(output, &record, NULL);
    }
    return is_good && (!is_finished || replay_output_finish(output, NULL));
}

static void
test_file(void)
{
    guint n_kinds[SAMI_N_RECORD_KINDS] = { 0 }, n_messages = 0;
    g_autofree gchar *path = g_build_filename(directory, "f.ipfix", NULL), *part = g_strconcat(path, ".part", NULL);
    SamiKey *key = sami_key_generate();
    struct stat there;
    CU_ASSERT_TRUE(write_file(path, key, 10, FALSE));
    CU_ASSERT(access(path, F_OK) != 0 && access(part, F_OK) != 0);
    CU_ASSERT_TRUE(write_file(path, key, 5000, TRUE));
    CU_ASSERT(stat(path, &there) == 0 && (there.st_mode & 07777) == 0600 && access(part, F_OK) != 0);
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiInput) input = sami_input_open(path, &(SamiInputOptions){ 0 }, &error);
    SamiInputMessage message;
    SamiSignature signature = { 0 };
    SamiDecoder *decoder = sami_decoder_new(SAMI_DOMAIN_FORWARD);
    CU_ASSERT_PTR_NOT_NULL_FATAL(input);
    while (sami_input_next(input, &message, &error) == SAMI_INPUT_MESSAGE) {
        CU_ASSERT_TRUE(sami_signature_read(message.octets, message.length, &signature, NULL));
        CU_ASSERT_EQUAL(signature.role, SAMI_ROLE_FILE);
        CU_ASSERT_EQUAL(signature.counter, n_messages++);
        CU_ASSERT_TRUE(sami_signature_verify(key, message.octets, message.length));
        CU_ASSERT_TRUE(sami_decoder_read(decoder, (guint8 *) message.octets, message.length, count_record, n_kinds, NULL));
    }
    CU_ASSERT_PTR_NULL(error);
    CU_ASSERT_EQUAL(signature.flags, SAMI_SIGNATURE_LAST);
    CU_ASSERT_EQUAL(n_kinds[SAMI_RECORD_SESSION], 5000);
    CU_ASSERT(n_messages > 1);
    sami_decoder_free(decoder);
    sami_key_free(key);
    unlink(path);
}

/* Stands before libc's: another process puts its file in place between our open() and our lock. */
static const gchar *finished_part, *finished_path;
static guint n_finished;

int
flock(int fd, int operation)
{
    if (n_finished > 0)
        CU_ASSERT(n_finished-- && rename(finished_part, finished_path) == 0);
    return (int) syscall(SYS_flock, fd, operation);
}

static void
test_overtaken(void)
{
    g_autofree gchar *path = g_build_filename(directory, "f.ipfix", NULL), *part = g_strconcat(path, ".part", NULL), *other = NULL, *text = NULL;
    SamiKey *key = sami_key_generate();
    CU_ASSERT(g_file_set_contents(part, "whole", -1, NULL));
    other = g_build_filename(directory, "other.ipfix", NULL);
    finished_part = part;
    finished_path = other;
    n_finished = 1;
    CU_ASSERT_TRUE(write_file(path, key, 10, TRUE));
    CU_ASSERT_EQUAL(n_finished, 0);
    CU_ASSERT(g_file_get_contents(other, &text, NULL, NULL) && g_str_equal(text, "whole"));
    CU_ASSERT(access(path, F_OK) == 0 && access(part, F_OK) != 0);
    n_finished = G_MAXUINT; /* again and again: no loop without end */
    g_autoptr(GError) error = NULL;
    CU_ASSERT_PTR_NULL(replay_output_new(path, key, &error));
    CU_ASSERT(error && strstr(error->message, "one after the other"));
    n_finished = 0;
    sami_key_free(key);
    unlink(path);
    unlink(other);
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "is it a namespace of its own", test_namespace },
        { "the last word about a flow holds", test_order },
        { "time runs on", test_time },
        { "re-dumps, markers, abort", test_stream },
        { "a Message that breaks off", test_dropped },
        { "what trust lets in", test_trust },
        { "a recorded file is whole or not there", test_file },
        { "a file that another process has just finished", test_overtaken },
    };
    return sami_test_main("inject", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
