/* The ledger on disk: what was written is read, whatever the point at which the process died. */
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "collector/ledger-file.h"
#include "tests/unit/harness.h"

#define N 5u

static gchar *directory;

typedef struct {
    guint n_open, n_created, n_open_ended, n_gone, n_merged, n_phases, n_freezes, n_replaced;
    guint8 phase;
    guint64 counter, n_records, window[2];
    gchar signer[32];
} Said;

static SamiFlowKey
key(guint16 port)
{
    SamiFlowKey k = { .family = 4, .protocol = IPPROTO_TCP, .zone = 7 };
    k.orig.src.octets[0] = 10;
    k.orig.src_port = port;
    return k;
}

static void
on_open(const SamiLedgerOpen *open, gpointer user_data)
{
    Said *said = user_data;
    said->n_open++;
    CU_ASSERT_EQUAL(open->lease_s, 120);
    CU_ASSERT_EQUAL(open->n_vm, 1);
    CU_ASSERT_EQUAL(open->vm[0].length, 24);
    CU_ASSERT_STRING_EQUAL(open->peer, "fw1.example");
    g_strlcpy(said->signer, open->signer, sizeof said->signer);
}

static void
on_created(const SamiFlowKey *k, const guint64 window[2], gpointer user_data)
{
    Said *said = user_data;
    said->n_created++;
    said->n_open_ended += window[1] == G_MAXUINT64;
    CU_ASSERT_EQUAL(k->zone, 7);
    memcpy(said->window, window, sizeof said->window);
}

static void
on_gone(const SamiFlowKey *k, gpointer user_data)
{
    ((Said *) user_data)->n_gone++;
}

static void
on_merged(const SamiFlowKey *k, const guint8 flags[2], gpointer user_data)
{
    ((Said *) user_data)->n_merged += flags[0] == 3 && flags[1] == 1;
}

static void
on_phase(guint8 phase, guint64 counter, guint64 n_records, guint64 time_ns, gpointer user_data)
{
    Said *said = user_data;
    said->n_phases++;
    said->phase = phase;
    said->counter = counter;
    said->n_records = n_records;
}

static void
on_freeze(const guint8 boot_id[16], guint64 counter, gpointer user_data)
{
    Said *said = user_data;
    guint8 now[16];
    sami_ledger_file_boot_id(now);
    said->n_freezes++;
    CU_ASSERT_TRUE(memcmp(boot_id, now, sizeof now) == 0);
    CU_ASSERT_EQUAL(counter, 77);
}

static SamiSession
replaced(void)
{
    SamiSession s = { .key = key(2), .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY | SAMI_HAS_TCP | SAMI_HAS_MARK | SAMI_HAS_WSCALE,
                      .status = SAMI_IPS_CONFIRMED | SAMI_IPS_SEEN_REPLY, .timeout_s = 432000, .mark = 7, .tcp_state = 3,
                      .tcp_flags = { 0x23, 0x01 }, .tcp_wscale = { 7, 9 } };
    s.key.orig.dst.octets[0] = 198;
    s.key.orig.dst_port = 443;
    sami_flow_key_mirror(&s.key, &s.reply);
    s.reply.dst.octets[0] = 192; /* translated */
    s.status |= SAMI_IPS_SRC_NAT;
    return s;
}

static void
on_replaced(const SamiFlowKey *k, const SamiSession *old, guint64 time_ns, gpointer user_data)
{
    SamiSession want = replaced();
    ((Said *) user_data)->n_replaced++;
    CU_ASSERT_EQUAL(k->orig.src_port, 2);
    CU_ASSERT_EQUAL(time_ns, 350);
    CU_ASSERT_TRUE(sami_flow_key_equal(&old->key, &want.key));
    CU_ASSERT_TRUE(memcmp(&old->reply, &want.reply, sizeof want.reply) == 0);
    CU_ASSERT_EQUAL(old->timeout_s, want.timeout_s);
    CU_ASSERT_EQUAL(old->mark, 7);
    CU_ASSERT_EQUAL(old->tcp_state, 3);
    CU_ASSERT_EQUAL(old->tcp_wscale[1], 9);
    CU_ASSERT_EQUAL(old->tcp_flags[0], 0x23);
    CU_ASSERT_EQUAL(old->status, want.status);
}

static const SamiLedgerFileReader reader = { on_open, on_created, on_gone, on_merged, on_phase, on_freeze, on_replaced };

static gchar *
write_one(void)
{
    SamiPrefix vm = { .family = 4, .length = 24, .address = { { 10, 0, 0 } } };
    SamiLedgerOpen open = { .id = { 0xab }, .lease_s = 120, .signer = "fw1.example", .peer = "fw1.example", .vm = &vm, .n_vm = 1 };
    SamiFlowKey keys[N];
    guint8 outcomes[N] = { 0, 0, SAMI_OUTCOME_NOT, 0, 0 }, flags[2] = { 3, 1 };
    g_autofree gchar *path = g_strdup_printf("%s/ab000000000000000000000000000000.ledger", directory);
    for (guint16 i = 0; i < N; i++)
        keys[i] = key(i);
    g_autoptr(GError) error = NULL;
    g_autoptr(SamiLedgerFile) file = sami_ledger_file_new(directory, &open, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_PTR_NULL(sami_ledger_file_new(directory, &open, &error)); /* never over an existing one */
    CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FAILED));
    CU_ASSERT_TRUE(sami_ledger_file_intent(file, 100, keys, N, NULL));
    CU_ASSERT_TRUE(sami_ledger_file_result(file, 200, outcomes, N, NULL));
    CU_ASSERT_TRUE(sami_ledger_file_gone(file, keys, 1, NULL));
    CU_ASSERT_TRUE(sami_ledger_file_merged(file, &keys[2], flags, NULL));
    SamiSession old = replaced();
    CU_ASSERT_TRUE(sami_ledger_file_replaced(file, 350, &old.key, &old, NULL));
    CU_ASSERT_TRUE(sami_ledger_file_freeze(file, 77, NULL));
    CU_ASSERT_TRUE(sami_ledger_file_phase(file, 3, 77, 12, 300, NULL));
    CU_ASSERT_TRUE(sami_ledger_file_intent(file, 400, keys, N, NULL)); /* and here the process died */
    return g_steal_pointer(&path);
}

static void
test_round_trip(void)
{
    Said said = { 0 };
    g_autofree gchar *path = write_one();
    CU_ASSERT_TRUE(sami_ledger_file_read(path, &reader, &said, NULL));
    CU_ASSERT_EQUAL(said.n_open, 1);
    CU_ASSERT_STRING_EQUAL(said.signer, "fw1.example");
    CU_ASSERT_EQUAL(said.n_created, N - 1 + N);
    CU_ASSERT_EQUAL(said.n_open_ended, N);
    CU_ASSERT_EQUAL(said.window[0], 400);
    CU_ASSERT_EQUAL(said.n_gone, 1);
    CU_ASSERT_EQUAL(said.n_merged, 1);
    CU_ASSERT_EQUAL(said.n_replaced, 1);
    CU_ASSERT_EQUAL(said.phase, 3);
    CU_ASSERT_EQUAL(said.n_freezes, 1);
    CU_ASSERT_EQUAL(said.counter, 77);
    CU_ASSERT_EQUAL(said.n_records, 12);
    g_autoptr(SamiLedgerFile) again = sami_ledger_file_reopen(path, NULL);
    CU_ASSERT_TRUE(sami_ledger_file_phase(again, 7, 77, 12, 500, NULL));
    CU_ASSERT_TRUE(sami_ledger_file_read(path, &reader, &said, NULL));
    CU_ASSERT_EQUAL(said.phase, 7);
    g_autofree gchar *closed = g_strdup_printf("%s/ab000000000000000000000000000000.closed", directory);
    Said end = { 0 };
    CU_ASSERT_FALSE(sami_ledger_file_is_closed(directory, (const guint8[16]) { 0xab }));
    CU_ASSERT_TRUE(sami_ledger_file_finish(again, 5, 78, 13, 600, NULL));
    CU_ASSERT_TRUE(sami_ledger_file_is_closed(directory, (const guint8[16]) { 0xab }));
    CU_ASSERT_FALSE(g_file_test(path, G_FILE_TEST_EXISTS));
    CU_ASSERT_TRUE(sami_ledger_file_read(closed, &reader, &end, NULL));
    CU_ASSERT_EQUAL(end.n_open + end.n_created, 1);
    CU_ASSERT_EQUAL(end.phase, 5);
    CU_ASSERT_EQUAL(end.counter, 78);
    CU_ASSERT_EQUAL(end.n_records, 13);
    g_unlink(closed);
}

/* Cut anywhere: no crash, and never more than what was written; what a lost result may have created is handed out. */
static void
test_torn(void)
{
    g_autofree gchar *path = write_one();
    g_autofree gchar *whole = NULL;
    gsize size;
    CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &whole, &size, NULL));
    for (gsize cut = 0; cut <= size; cut++) {
        Said said = { 0 };
        CU_ASSERT_TRUE(g_file_set_contents(path, whole, (gssize) cut, NULL));
        gboolean is_read = sami_ledger_file_read(path, &reader, &said, NULL);
        CU_ASSERT_EQUAL(is_read, said.n_open == 1);
        CU_ASSERT_TRUE(said.n_created <= N - 1 + N);
        CU_ASSERT_TRUE(said.n_phases <= 1);
    }
    g_autofree gchar *bad = g_memdup2(whole, size);
    g_autoptr(GError) error = NULL;
    Said said = { 0 };
    bad[0] = 9; /* no such record */
    CU_ASSERT_TRUE(g_file_set_contents(path, bad, (gssize) size, NULL));
    CU_ASSERT_FALSE(sami_ledger_file_read(path, &reader, &said, &error));
    CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_MALFORMED));
    g_unlink(path);
}

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-ledger-XXXXXX", NULL);
    return directory ? 0 : 1;
}

static int
tear_down(void)
{
    g_rmdir(directory);
    g_free(directory);
    return 0;
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "what was written is read", test_round_trip },
        { "torn and damaged files", test_torn },
    };
    return sami_test_main("ledger file", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
