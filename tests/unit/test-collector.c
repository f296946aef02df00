/* Parts of the collector that need no kernel: announcements, budgets, old journals. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <time.h>
#include <utime.h>

#include "collector/budget.h"
#include "collector/collector.h"
#include "collector/expect.h"
#include "collector/journal.h"
#include "common/limits.h"
#include "tests/unit/harness.h"

static gchar *directory, *path;

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-collector-XXXXXX", NULL);
    path = g_build_filename(directory, "expected", NULL);
    return directory ? 0 : 1;
}

static int
tear_down(void)
{
    g_unlink(path);
    g_rmdir(directory);
    g_free(path);
    g_free(directory);
    return 0;
}

static SamiPrefix
prefix(const gchar *text)
{
    SamiPrefix ret = { 0 };
    CU_ASSERT_TRUE_FATAL(sami_prefix_parse(text, &ret, NULL));
    return ret;
}

static gboolean
covers(SamiExpect *expect, const gchar *vm, const gchar *signer, gint64 now_s)
{
    SamiPrefix p = prefix(vm);
    return sami_expect_covers(expect, &p, signer, now_s);
}

static gboolean
add(SamiExpect *expect, const gchar *vm, const gchar *from, gint64 until_s, gint64 now_s)
{
    SamiPrefix p = prefix(vm);
    return sami_expect_add(expect, &p, from, until_s, now_s, NULL);
}

static void
test_covers(void)
{
    g_autoptr(SamiExpect) expect = sami_expect_new(path, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(expect);
    CU_ASSERT_FALSE(covers(expect, "10.0.0.1", "a.example", 100));
    CU_ASSERT_TRUE(add(expect, "10.0.0.1", "a.example", 200, 100));
    CU_ASSERT_TRUE(covers(expect, "10.0.0.1", "a.example", 199));
    CU_ASSERT_FALSE(covers(expect, "10.0.0.1", "a.example", 200)); /* its time is over */
    CU_ASSERT_FALSE(covers(expect, "10.0.0.1", "b.example", 199));
    CU_ASSERT_FALSE(covers(expect, "10.0.0.0/31", "a.example", 199)); /* more than was announced */
    CU_ASSERT_TRUE(add(expect, "2001:db8::/64", NULL, 300, 100));
    CU_ASSERT_TRUE(covers(expect, "2001:db8::7", "whoever.example", 250));
    CU_ASSERT_TRUE(add(expect, "10.0.0.1", "a.example", 400, 150)); /* longer, not twice */
    CU_ASSERT_EQUAL(sami_expect_list(expect)->len, 2);
    CU_ASSERT_TRUE(covers(expect, "10.0.0.1", "a.example", 399));
    SamiPrefix p = prefix("10.0.0.1");
    CU_ASSERT_EQUAL(sami_expect_remove(expect, &p, "b.example", FALSE), 0);
    CU_ASSERT_EQUAL(sami_expect_remove(expect, &p, NULL, TRUE), 0);
    CU_ASSERT_EQUAL(sami_expect_remove(expect, &p, NULL, FALSE), 1);
    CU_ASSERT_FALSE(covers(expect, "10.0.0.1", "a.example", 199));
}

static void
test_file(void)
{
    g_autoptr(SamiExpect) first = sami_expect_new(path, NULL);
    CU_ASSERT_TRUE(add(first, "10.0.0.1", "a.example", 200, 100));
    CU_ASSERT_TRUE(add(first, "2001:db8::/64", NULL, 300, 100));
    CU_ASSERT_TRUE(add(first, "10.0.0.2", "a.example", 150, 100));
    CU_ASSERT_TRUE_FATAL(sami_expect_save(first, 160, NULL));
    GStatBuf status;
    CU_ASSERT_EQUAL(g_stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
    g_autoptr(SamiExpect) second = sami_expect_new(path, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    CU_ASSERT_EQUAL(sami_expect_list(second)->len, 2); /* one had ended */
    CU_ASSERT_TRUE(covers(second, "10.0.0.1", "a.example", 199));
    CU_ASSERT_TRUE(covers(second, "2001:db8::1", "b.example", 199));
    static const gchar *const broken[] = { "200 a.example\n", "soon a.example 10.0.0.1\n", "200 a.example 10.0.0.1/8\n", "-1 * 10.0.0.1\n" };
    for (gsize i = 0; i < G_N_ELEMENTS(broken); i++) {
        g_autoptr(GError) error = NULL;
        CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, broken[i], -1, NULL));
        SamiExpect *none = sami_expect_new(path, &error);
        CU_ASSERT_PTR_NULL(none);
        CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
        sami_expect_free(none);
    }
    g_unlink(path);
}

static void
test_full(void)
{
    g_autoptr(SamiExpect) expect = sami_expect_new(path, NULL);
    for (guint i = 0; i < SAMI_EXPECT_MAX; i++) {
        g_autofree gchar *text = g_strdup_printf("10.0.%u.%u", i / 256, i % 256);
        CU_ASSERT_TRUE_FATAL(add(expect, text, NULL, 200, 100));
    }
    CU_ASSERT_FALSE(add(expect, "10.9.9.9", NULL, 200, 100));
    CU_ASSERT_TRUE(add(expect, "10.0.0.1", NULL, 300, 100)); /* the same one again is none more */
    CU_ASSERT_TRUE(add(expect, "10.9.9.9", NULL, 300, 200)); /* the others have ended */
}

static void
test_budget(void)
{
    SamiBudget *budget = sami_budget_new();
    CU_ASSERT_EQUAL(sami_budget_room(budget), SAMI_BUDGET_UNLIMITED);
    sami_budget_set_limit(budget, 2);
    sami_budget_add(budget, 1);
    CU_ASSERT_EQUAL(sami_budget_room(budget), 1);
    sami_budget_add(budget, 1);
    CU_ASSERT_EQUAL(sami_budget_room(budget), 0);
    sami_budget_set_limit(budget, 1); /* lowered below what is used */
    CU_ASSERT_EQUAL(sami_budget_room(budget), 0);
    sami_budget_add(budget, -2);
    CU_ASSERT_EQUAL(sami_budget_room(budget), 1);
    CU_ASSERT_EQUAL(sami_budget_used(budget), 0);
    sami_budget_unref(budget);
}

/* Files of ten octets each, `days` old. */
static void
put_file(const gchar *dir, const gchar *name, guint days)
{
    g_autofree gchar *file = g_build_filename(dir, name, NULL);
    struct utimbuf times = { time(NULL) - days * 86400, time(NULL) - days * 86400 };
    CU_ASSERT_TRUE(g_file_set_contents(file, "0123456789", 10, NULL));
    CU_ASSERT_EQUAL(g_utime(file, &times), 0);
}

static gboolean
is_precious(const gchar *name, gpointer user_data)
{
    return g_str_has_prefix(name, "precious");
}

static void
test_prune(void)
{
    static const gchar *const names[] = { "precious.ipfix", "old.ipfix", "old.answers", "middle.ipfix", "new.ipfix", "x.ledger", "notes" };
    static const guint days[] = { 30, 20, 19, 3, 1, 40, 50 };
    g_autofree gchar *dir = g_dir_make_tmp("sami-journal-XXXXXX", NULL);
    guint n = 0, n_left = 0;
    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        put_file(dir, names[i], days[i]);
    CU_ASSERT_EQUAL(sami_journal_size(dir), 70); /* ledgers and all */
    CU_ASSERT_EQUAL(sami_journal_prune(dir, 7 * 86400, 1000, 100, is_precious, NULL, &n), 30);
    CU_ASSERT_EQUAL(n, 2); /* by age, but for what is needed */
    CU_ASSERT_EQUAL(sami_journal_prune(dir, 7 * 86400, 20, 100, is_precious, NULL, &n), 20);
    CU_ASSERT_EQUAL(n, 1); /* the oldest, by size */
    CU_ASSERT_EQUAL(sami_journal_prune(dir, 7 * 86400, 20, 100, is_precious, NULL, &n), 20);
    CU_ASSERT_EQUAL(n, 0);
    CU_ASSERT_EQUAL(sami_journal_size(dir), 40);
    CU_ASSERT_EQUAL(sami_journal_prune(dir, 7 * 86400, 1000, 1, is_precious, NULL, &n), 10);
    CU_ASSERT_EQUAL(n, 1); /* what is needed counts, and stays */
    CU_ASSERT_EQUAL(sami_journal_size("/nowhere/at/all"), 0);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree gchar *file = g_build_filename(dir, names[i], NULL);
        n_left += g_unlink(file) == 0;
    }
    CU_ASSERT_EQUAL(n_left, 3);
    g_rmdir(dir);
}

/* A migration that has ended, with one refusal of each of two reasons, and an apply that was merged and thought better of. */
static void
add_ended(SamiCollector *collector, guint i)
{
    SamiLedgerOpen open = { .signer = "a.example", .peer = "a.example", .lease_s = 60 };
    memcpy(open.id, &i, sizeof i);
    SamiCollectorMigration *m = sami_collector_migration_recall(collector, &open);
    m->is_forgotten = TRUE;
    m->apply->n_accepted = 10;
    m->apply->n_refused = 3;
    m->apply->refused[SAMI_REASON_NAT_CLASH] = 1;
    m->apply->refused[SAMI_REASON_VM_NOT_ALLOWED] = 2;
    m->apply->n_merged = 1;
}

static void
test_totals(void)
{
    const guint n = 1005;
    SamiTotals before, after;
    SamiConfig *config = g_new0(SamiConfig, 1);
    SamiCollector collector = { .config = config, .budget = sami_budget_new(), .signers = g_ptr_array_new(), .kinds = sami_collector_kinds_start() };
    config->n_refs = n + 1; /* never the last one */
    collector.migrations = g_ptr_array_new_with_free_func((GDestroyNotify) sami_collector_migration_free);
    for (guint i = 0; i < n; i++)
        add_ended(&collector, i);
    sami_collector_totals(&collector, &before);
    CU_ASSERT_EQUAL(before.n_accepted, 10 * n);
    CU_ASSERT_EQUAL(before.refused[SAMI_REASON_NAT_CLASH], n);
    CU_ASSERT_EQUAL(before.refused[SAMI_REASON_VM_NOT_ALLOWED], 2 * n);
    sami_collector_migration_trim(&collector);
    CU_ASSERT_EQUAL(collector.migrations->len, 1000);
    sami_collector_totals(&collector, &after);
    CU_ASSERT_EQUAL(memcmp(&before, &after, sizeof before), 0);
    SamiCollectorMigration *m = g_ptr_array_index(collector.migrations, 0);
    m->apply->n_merged--; /* the plan was given up */
    m->apply->refused[SAMI_REASON_NAT_CLASH]++;
    sami_collector_totals(&collector, &after);
    CU_ASSERT_EQUAL(after.n_merged, before.n_merged);
    CU_ASSERT_EQUAL(after.refused[SAMI_REASON_NAT_CLASH], n + 1);
    g_ptr_array_set_size(collector.migrations, 0);
    sami_collector_totals(&collector, &before);
    CU_ASSERT_EQUAL(memcmp(&before, &after, sizeof before), 0);
    g_ptr_array_unref(collector.migrations);
    g_ptr_array_unref(collector.signers);
    sami_collector_kinds_stop(collector.kinds);
    sami_budget_unref(collector.budget);
    g_free(config);
}

static const SamiTest tests[] = {
    { "who is expected from whom, until when", test_covers },
    { "the file of announcements", test_file },
    { "not more than the limit", test_full },
    { "budget", test_budget },
    { "counters stay when migrations are forgotten", test_totals },
    { "journals are let go by age, size and number", test_prune },
};

int
main(void)
{
    return sami_test_main("collector", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
