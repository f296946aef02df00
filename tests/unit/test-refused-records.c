/* Records that are well-formed and allowed, and still refused: by what is in the table, by a limit, by a kernel that fails, by what has happened meanwhile.
 * Against the fake kernel, and the parts of a collector that each needs. */
#include <errno.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <string.h>

#include "collector/apply-internal.h"
#include "collector/collector.h"
#include "collector/replica.h"
#include "common/limits.h"
#include "firewall/fake.h"
#include "tests/unit/harness.h"
#include "transport/pki.h"

static SamiFirewall *world;
static SamiBudget *all, *budget;
static SamiOrigin *origin;
static SamiApply *apply;
static GPtrArray *others;
static gchar *directory;
static const SamiPrefix vm = { .address = { { 10, 0, 0, 13 } }, .family = 4, .length = 32 };

/* A signer, and another one that may bring cumulative data too; the journal has no place, and so has no kind its log. */
static const gchar *const files[][2] = {
    { "sami.conf", "[sami]\nname=fw2.example\njournal-dir=/nowhere\nrun-dir=/nowhere\nmax-migrations=1\n" },
    { "signers.d/a.example.conf", "[signer]\nkeys=../a.pub\nallow-prefixes=10.0.0.0/24\n" },
    { "signers.d/b.example.conf", "[signer]\nkeys=../b.pub\nallow-prefixes=10.0.0.0/24\nkinds=session,cumulative\n" },
    { "a.key", NULL }, { "a.pub", NULL }, { "b.key", NULL }, { "b.pub", NULL },
};

/* (transfer full) */
static gchar *
in(const gchar *name)
{
    return g_build_filename(directory, name, NULL);
}

static gboolean
make_key(const gchar *secret, const gchar *public)
{
    g_autofree gchar *key_file = in(secret), *public_file = in(public);
    return sami_pki_make_signing_key(key_file, public_file, NULL, NULL);
}

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-refused-XXXXXX", NULL);
    g_autofree gchar *signers = in("signers.d");
    gboolean is_made = g_mkdir(signers, 0700) == 0 && make_key("a.key", "a.pub") && make_key("b.key", "b.pub");
    for (guint i = 0; is_made && i < G_N_ELEMENTS(files); i++) {
        g_autofree gchar *path = in(files[i][0]);
        is_made = !files[i][1] || g_file_set_contents_full(path, files[i][1], -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL);
    }
    return is_made ? 0 : 1;
}

static int
tear_down(void)
{
    g_autofree gchar *signers = in("signers.d");
    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree gchar *path = in(files[i][0]);
        g_unlink(path);
    }
    gboolean is_gone = g_rmdir(signers) == 0 && g_rmdir(directory) == 0;
    g_free(directory);
    return is_gone ? 0 : 1;
}

static void
begin(gboolean is_replica)
{
    g_autofree gchar *path = in("origin");
    world = sami_firewall_fake_new(0);
    all = sami_budget_new();
    budget = sami_budget_new();
    origin = is_replica ? sami_origin_new(path, NULL) : NULL;
    g_unlink(path);
    apply = is_replica ? sami_replica_new(90, origin, NULL, budget) : sami_apply_new(60, all, budget);
    sami_apply_set_vm(apply, &vm, 1);
    if (is_replica)
        apply->replica->n_peers = 1;
    others = g_ptr_array_new();
    g_ptr_array_add(others, apply);
    apply->firewall = world;
    apply->batch = sami_apply_batch_new();
    apply->others = others;
}

static void
end(void)
{
    sami_apply_batch_free(apply->batch);
    sami_apply_free(apply);
    g_ptr_array_unref(others);
    sami_origin_free(origin);
    sami_firewall_free(world);
    sami_budget_unref(budget);
    sami_budget_unref(all);
}

static SamiSession
flow(guint i)
{
    SamiSession s = { .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY | SAMI_HAS_MARK, .action = SAMI_ACTION_CREATED,
                      .status = SAMI_IPS_CONFIRMED, .timeout_s = 30, .mark = 1 };
    s.key = (SamiFlowKey){ .family = 4, .protocol = IPPROTO_UDP, .orig = { .src = { { 10, 0, 0, 13 } }, .dst = { { 198, 51, 100, 1 } } } };
    s.key.orig.src_port = (guint16) (1000 + i);
    s.key.orig.dst_port = 53;
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}

/* Somebody else's, with mark 9. */
static void
put(SamiSession s)
{
    SamiOp op = { .kind = SAMI_OP_CREATE, .session = &s };
    s.mark = 9;
    CU_ASSERT_TRUE(sami_firewall_apply(world, &op, 1, NULL));
    CU_ASSERT_EQUAL(op.result, 0);
}

static guint32
mark_of(const SamiSession *s)
{
    SamiSession found = { .mark = 0 };
    gboolean is_found = FALSE;
    CU_ASSERT_TRUE(sami_firewall_get(world, &s->key, 1, &found, &is_found, NULL));
    return is_found ? found.mark : 0;
}

static void
say(SamiSession s)
{
    SamiApplyItem item = { .session = s };
    g_autofree guint8 *messages = sami_apply_build(&item, 1, 60, FALSE);
    if (apply->replica) {
        SamiJob job = { .kind = SAMI_JOB_RECORDS, .apply = apply, .items = &item, .n = 1, .counter = 1 };
        CU_ASSERT_TRUE(sami_replica_run(apply, &job) && !job.error);
    } else
        CU_ASSERT_TRUE(sami_apply_records(apply, &item, 1, 1, 0, NULL));
}

/* Another flow's reply tuple, a full table, a limit: refused, and nothing of it is believed to be there. */
static void
test_replica(void)
{
    SamiSession other = flow(1), s = flow(1);
    begin(TRUE);
    other.key.orig.src.octets[3] = 99; /* translated onto the same */
    put(other);
    say(s);
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_NAT_CLASH], 1);
    sami_firewall_fake_answer(world, ENOMEM);
    say(flow(2));
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_TABLE_FULL], 1);
    CU_ASSERT_EQUAL(apply->n_held, 0);
    sami_budget_set_limit(budget, 1);
    say(flow(3));
    say(flow(4));
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_MAX_SESSIONS], 1);
    CU_ASSERT_EQUAL(apply->n_refused, 3);
    CU_ASSERT_EQUAL(apply->n_held, 1);
    end();
}

/* on-conflict=replace: the new one cannot be made, so the old one comes back; and there is an end to how many wait. */
static void
test_replacements(void)
{
    SamiSession other = flow(1), s = flow(1), more = flow(2);
    begin(FALSE);
    apply->on_conflict = SAMI_CONFLICT_REPLACE;
    other.reply.dst.octets[3] = 99; /* translated otherwise */
    put(other);
    say(s);
    sami_firewall_fake_answer(world, ENOMEM);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_TABLE_FULL], 1);
    CU_ASSERT_EQUAL(apply->n_replaced, 0);
    CU_ASSERT_EQUAL(mark_of(&other), 9);
    end();
    begin(FALSE);
    apply->on_conflict = SAMI_CONFLICT_REPLACE;
    more.reply.dst.octets[3] = 99;
    put(more);
    g_array_set_size(apply->replacements, G_MAXUINT16 + 1u);
    say(flow(2));
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_NAT_MISMATCH], 1);
    CU_ASSERT_EQUAL(mark_of(&more), 9);
    end();
}

static void
test_expectations(void)
{
    begin(FALSE);
    for (guint i = 0; i <= SAMI_EXPECTATIONS_MAX; i++) {
        SamiSession master = flow(0);
        SamiExpectationItem item = { .expectation = { .key = master.key, .master = master.key, .action = SAMI_ACTION_CREATED, .timeout_s = 100 } };
        item.expectation.key.orig.dst_port = (guint16) (40000 + i);
        sami_apply_expect(apply, &item, 1, 1, (guint64) g_get_monotonic_time() / 1000);
    }
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_LIMIT], 1);
    CU_ASSERT_EQUAL(apply->expectations->len, SAMI_EXPECTATIONS_MAX);
    end();
}

/* Gone when it is read back, or another one by then. */
static void
test_unverified(void)
{
    SamiReadBack reading = { 0 };
    SamiSession s[] = { flow(1), flow(2), flow(3) };
    guint at = 0;
    begin(FALSE);
    for (guint i = 0; i < G_N_ELEMENTS(s); i++)
        say(s[i]);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s[0].key) && sami_firewall_fake_delete(world, &s[1].key));
    g_usleep(2000); /* past the window of its batch */
    put(s[1]);
    while (at < sami_ledger_size(apply->ledger))
        CU_ASSERT_TRUE_FATAL(sami_apply_read_back(apply, &at, &reading, NULL));
    sami_read_back_clear(&reading);
    CU_ASSERT_EQUAL(apply->degraded[SAMI_REASON_UNVERIFIED], 2);
    CU_ASSERT_EQUAL(apply->n_degraded, 2);
    end();
}

static SamiConfig *
load(void)
{
    g_autofree gchar *path = in("sami.conf");
    g_autoptr(GError) error = NULL;
    SamiConfig *config = sami_config_load(path, &error);
    if (!config)
        g_printerr("%s\n", error->message);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    return config;
}

static guint64
count_refused(SamiCollectorMigration *m, SamiReason reason)
{
    guint64 reasons[SAMI_N_REASONS] = { 0 };
    sami_collector_kinds_add_reasons(m, SAMI_SCOPE_RECORD, reasons);
    return reasons[reason];
}

static void
bring(SamiCollectorMigration *m, SamiSigner *ruler, SamiCollectorPhase phase)
{
    const SamiRecord record = { .kind = SAMI_RECORD_CUMULATIVE, .cumulative = { .set = "syn4", .key_type = 7, .key_length = 4, .key = { 10, 0, 0, 13 } } };
    m->ruler = ruler;
    m->phase = phase;
    for (guint i = 0; i < 2; i++)
        CU_ASSERT_TRUE(sami_collector_kinds_take(m, &record));
    sami_collector_kinds_flush(m, 1);
    while (m->n_jobs > 0)
        g_main_context_iteration(NULL, TRUE);
}

static void
test_kinds(void)
{
    SamiConfig *config = load();
    begin(FALSE);
    SamiCollector collector = { .config = config, .kinds = sami_collector_kinds_start(), .signers = sami_signers_load(config, NULL, NULL) };
    SamiCollectorMigration m = { .collector = &collector, .apply = apply, .peer = "fw1.example", .vm = g_array_new(FALSE, TRUE, sizeof(SamiPrefix)) };
    CU_ASSERT_PTR_NOT_NULL_FATAL(collector.signers);
    SamiSigner *a = sami_signers_by_name(collector.signers, "a.example"), *b = sami_signers_by_name(collector.signers, "b.example");
    sami_collector_kinds_begin(&m);
    bring(&m, a, SAMI_PHASE_FOLLOW); /* and what was taken from it by a reload */
    CU_ASSERT_EQUAL(count_refused(&m, SAMI_REASON_KIND_NOT_ALLOWED), 2);
    bring(&m, b, SAMI_PHASE_ROLLBACK);
    CU_ASSERT_EQUAL(count_refused(&m, SAMI_REASON_ABORTED), 2);
    bring(&m, b, SAMI_PHASE_READY); /* its VM was taken from it by a reload, too late to undo it */
    CU_ASSERT_EQUAL(count_refused(&m, SAMI_REASON_VM_NOT_ALLOWED), 2);
    m.policy.n_vm = 1;
    bring(&m, b, SAMI_PHASE_FOLLOW);
    CU_ASSERT_EQUAL(count_refused(&m, SAMI_REASON_KERNEL), 2);
    sami_collector_kinds_stop(collector.kinds);
    sami_collector_kinds_free(&m);
    g_array_unref(m.vm);
    g_ptr_array_unref(collector.signers);
    sami_config_unref(config);
    end();
}

/* What is asked of a collector that has no room, or no gate. */
static void
test_collector(void)
{
    SamiConfig *config = load();
    g_autoptr(GError) error = NULL;
    SamiConfigSigner signer = { .name = "a.example" };
    SamiCollector collector = { .config = config, .migrations = g_ptr_array_new() };
    SamiCollectorMigration m = { .collector = &collector, .phase = SAMI_PHASE_FOLLOW, .signer_name = "a.example" };
    CU_ASSERT_EQUAL(sami_collector_may_have_more(&collector, &signer), SAMI_REASON_NONE);
    g_ptr_array_add(collector.migrations, &m);
    CU_ASSERT_EQUAL(sami_collector_may_have_more(&collector, &signer), SAMI_REASON_LIMIT);
    signer.max_migrations = 1;
    CU_ASSERT_EQUAL(sami_collector_may_have_more(&collector, &signer), SAMI_REASON_MAX_MIGRATIONS);
    CU_ASSERT_FALSE(sami_collector_gate_close(&m, 1000, &error));
    CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_USAGE));
    g_ptr_array_unref(collector.migrations);
    sami_config_unref(config);
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "a replication's", test_replica }, { "replacements", test_replacements }, { "too many expectations", test_expectations },
        { "read back", test_unverified },    { "kinds", test_kinds },               { "a collector's", test_collector },
    };
    return sami_test_main("refused records", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
