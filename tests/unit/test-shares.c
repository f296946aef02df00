/* What other firewalls have brought to an element, in a file that two processes share. */
#include <glib/gstdio.h>
#include <string.h>

#include "firewall/shares.h"
#include "tests/unit/harness.h"

static gchar *directory, *path;
static SamiShares *writer;

static SamiShare
share(const gchar *origin, guint64 packets)
{
    SamiShare s = { .packets = packets, .octets = packets * 60 };
    sami_share_origin(origin, s.origin);
    return s;
}

static gboolean
set(guint32 key, const gchar *origin, guint64 packets)
{
    SamiShare s = share(origin, packets);
    return sami_shares_set(writer, "syn", (const guint8 *) &key, sizeof key, &s);
}

static guint64
sum(SamiShares *shares, guint32 key)
{
    SamiShare all[SAMI_SHARES_A_KEY];
    guint64 packets = 0;
    guint n = sami_shares_get(shares, "syn", (const guint8 *) &key, sizeof key, all);
    for (guint i = 0; i < n; i++)
        packets += all[i].packets;
    return packets;
}

static void
test_shares(void)
{
    guint8 longer[5] = { 1 };
    SamiShare all[SAMI_SHARES_A_KEY];
    CU_ASSERT_TRUE(set(1, "fw1", 10) && set(1, "fw2", 5) && set(2, "fw1", 3));
    CU_ASSERT_EQUAL(sum(writer, 1), 15);
    CU_ASSERT_EQUAL(sum(writer, 2), 3);
    CU_ASSERT_EQUAL(sum(writer, 3), 0);
    CU_ASSERT_EQUAL(sami_shares_get(writer, "syn", longer, 5, all), 0);
    CU_ASSERT_EQUAL(sami_shares_get(writer, "dns", (const guint8 *) "\1\0\0", 4, all), 0);
    CU_ASSERT_TRUE(set(1, "fw1", 11));
    CU_ASSERT_EQUAL(sum(writer, 1), 16);
    CU_ASSERT_TRUE(set(1, "fw1", 0)); /* none */
    CU_ASSERT_EQUAL(sum(writer, 1), 5);
    CU_ASSERT_EQUAL(sami_shares_n(writer), 2);
    sami_shares_forget(writer, "syn", (const guint8 *) "\1\0\0", 4);
    CU_ASSERT_EQUAL(sum(writer, 1), 0);
    for (guint i = 0; i < SAMI_SHARES_A_KEY; i++) {
        g_autofree gchar *name = g_strdup_printf("fw%u", i);
        CU_ASSERT_TRUE(set(4, name, 1));
    }
    CU_ASSERT_FALSE(set(4, "one more", 1));
    CU_ASSERT_TRUE(set(4, "fw0", 2));
}

/* A reader that was there before the writer's file grew, and one before there was any. */
static void
test_reader(void)
{
    g_autoptr(SamiShares) reader = sami_shares_watch(path), early = NULL;
    g_autofree gchar *other = g_build_filename(directory, "other", NULL);
    early = sami_shares_watch(other);
    sami_shares_lock(early);
    CU_ASSERT_EQUAL(sum(early, 1), 0);
    sami_shares_unlock(early);
    sami_shares_lock(writer);
    CU_ASSERT_TRUE(set(7, "fw1", 70));
    sami_shares_unlock(writer);
    sami_shares_lock(reader);
    CU_ASSERT_EQUAL(sum(reader, 7), 70);
    sami_shares_unlock(reader);
    for (guint i = 100; i < 20100; i++)
        CU_ASSERT_TRUE_FATAL(set(i, "fw1", i));
    sami_shares_lock(reader);
    CU_ASSERT_EQUAL(sum(reader, 7), 70);
    CU_ASSERT_EQUAL(sum(reader, 20099), 20099);
    sami_shares_unlock(reader);
    /* A restart of the writer goes on with what is there. */
    sami_shares_free(writer);
    writer = sami_shares_new(path, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(writer);
    CU_ASSERT_EQUAL(sum(writer, 20099), 20099);
}

static void
test_sweep(void)
{
    SamiShare s = share("fw1", 9);
    CU_ASSERT_TRUE(sami_shares_set(writer, "dns", (const guint8 *) "abcd", 4, &s));
    sami_shares_sweep_begin(writer);
    for (guint32 i = 100; i < 200; i++)
        sami_shares_mark(writer, "syn", (const guint8 *) &i, sizeof i);
    sami_shares_sweep_end(writer, "syn");
    CU_ASSERT_EQUAL(sami_shares_n(writer), 101);
    CU_ASSERT_EQUAL(sum(writer, 150), 150);
    CU_ASSERT_EQUAL(sum(writer, 250), 0);
    CU_ASSERT_TRUE(set(250, "fw1", 1));
    CU_ASSERT_EQUAL(sum(writer, 250), 1);
}

static int
make_writer(void)
{
    directory = g_dir_make_tmp("sami-shares.XXXXXX", NULL);
    path = g_build_filename(directory, "shares", NULL);
    return (writer = sami_shares_new(path, NULL)) ? 0 : 1;
}

static int
remove_all(void)
{
    static const gchar *const names[] = { "shares", "shares.lock", "shares.new" };
    sami_shares_free(writer);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree gchar *name = g_build_filename(directory, names[i], NULL);
        g_unlink(name);
    }
    g_rmdir(directory);
    g_free(directory);
    g_free(path);
    return 0;
}

int
main(void)
{
    static const SamiTest tests[] = { { "shares", test_shares }, { "a reader", test_reader }, { "sweep", test_sweep } };
    return sami_test_main("shares", tests, G_N_ELEMENTS(tests), make_writer, remove_all);
}
