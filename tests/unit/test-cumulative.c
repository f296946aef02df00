/* The cumulative kind between three firewalls, source and sink as the daemons have them: three sets of one network namespace stand for the firewalls', and
 * records go from one to the other without a session. */
#define _GNU_SOURCE 1 /* unshare */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/kinds.h"
#include "exporter/kinds.h"
#include "firewall/sets.h"
#include "tests/unit/harness.h"

#define EXIT_SKIP 77
#define N 3u

typedef struct {
    SamiConfig config;
    SamiConfigCumulative group;
    SamiSet *set;
} Firewall;

static gchar *directory;
static Firewall firewalls[N];
static GArray *prefixes; /* of SamiPrefix: the VM */
static GArray *records;  /* of SamiCumulative: what the source sends */

/* Takes the place of the exporter's: what is sent is kept. */
gboolean
sami_kinds_send(SamiMigration *m, const SamiRecord *record)
{
    g_array_append_val(records, record->cumulative);
    return TRUE;
}

static gboolean
run_nft(const gchar *rules)
{
    const gchar *argv[] = { "nft", rules, NULL };
    int status = -1;
    return g_spawn_sync(NULL, (gchar **) argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status, NULL) &&
           status == 0;
}

static void
load(const gchar *of_all)
{
    run_nft("flush ruleset");
    CU_ASSERT_TRUE_FATAL(run_nft("add table inet f"));
    for (guint i = 0; i < N; i++) {
        g_autofree gchar *rules = g_strdup_printf("add set inet f s%u { %s }", i, of_all);
        g_autofree gchar *path = g_build_filename(firewalls[i].config.run_dir, "shares", NULL);
        CU_ASSERT_TRUE_FATAL(run_nft(rules));
        g_unlink(path);
        firewalls[i].group.kind = (gchar *) "counter";
        firewalls[i].group.select = (gchar *) "all";
        firewalls[i].group.max_elements = 1000;
    }
}
#define COUNTERS "type ipv4_addr; flags dynamic,timeout; timeout 10m;"

static SamiSetElement
key(guint n)
{
    SamiSetElement e = { .key = { 192, 0, (guint8) (n >> 8), (guint8) n }, .key_length = 4 };
    return e;
}

/* The element as it is; packets 0 where there is none. */
static SamiSetElement
at(guint firewall, guint n)
{
    SamiSetElement e = key(n);
    SamiSetInfo info;
    gboolean found;
    CU_ASSERT_EQUAL_FATAL(sami_set_look(firewalls[firewall].set, &info, NULL), SAMI_SET_FINE);
    CU_ASSERT_TRUE(sami_set_get(firewalls[firewall].set, &info, &e, 1, &e, &found, NULL));
    e.timeout_ms += found ? 0 : G_MAXUINT32; /* tells one that is not there */
    return e;
}

static gboolean
is_there(guint firewall, guint n)
{
    return at(firewall, n).timeout_ms < G_MAXUINT32;
}

/* Packets come. */
static void
count(guint firewall, guint n, guint64 packets)
{
    SamiSetElement e = at(firewall, n);
    SamiSetInfo info;
    gboolean is_old = is_there(firewall, n);
    SamiSetWrite write = { &e, is_old, FALSE };
    CU_ASSERT_EQUAL_FATAL(sami_set_look(firewalls[firewall].set, &info, NULL), SAMI_SET_FINE);
    e.has |= SAMI_SET_HAS_COUNTER | (info.has_timeouts ? SAMI_SET_HAS_TIMEOUT : 0);
    e.packets += packets;
    e.octets += packets * 60;
    e.timeout_ms = e.remaining_ms = 600000;
    CU_ASSERT_EQUAL(sami_set_write(firewalls[firewall].set, &info, &write, 1, NULL), 0);
}

static void
expire(guint firewall, guint n)
{
    g_autofree gchar *rules = g_strdup_printf("delete element inet f s%u { 192.0.%u.%u }", firewall, n >> 8, n & 255);
    CU_ASSERT_TRUE(run_nft(rules));
}

/* One migration: what its source sends, and the state of its sink. */
typedef struct {
    SamiMigration m;
    gpointer source, sink;
    SamiKindContext context;
    SamiKindCounts counts;
} Move;

static GPtrArray *siblings;

static void
copy(Move *move, SamiPass pass)
{
    g_array_set_size(records, 0);
    sami_source_cumulative.start(move->source, pass);
    while (sami_source_cumulative.step(move->source))
        ;
    for (guint i = 0; i < records->len; i += 50)
        sami_sink_cumulative.apply(move->sink, &g_array_index(records, SamiCumulative, i), MIN(50, records->len - i), 0, 1, &move->counts);
}

static void
move_begin(Move *move, guint from, guint to, const gchar *log_path)
{
    g_autoptr(GError) error = NULL;
    *move = (Move){ .m = { .config = &firewalls[from].config, .vm = prefixes } };
    move->context = (SamiKindContext){ .config = &firewalls[to].config, .peer = firewalls[from].config.name, .vm = (SamiPrefix *) (void *) prefixes->data,
                                       .n_vm = prefixes->len, .log_path = log_path, .siblings = siblings };
    move->source = sami_source_cumulative.open(&move->m);
    move->sink = sami_sink_cumulative.open(&move->context, &error);
    CU_ASSERT_TRUE_FATAL(move->source && move->sink);
    g_ptr_array_add(siblings, move->sink);
    copy(move, SAMI_PASS_SNAPSHOT);
}

static void
move_end(Move *move)
{
    g_ptr_array_remove(siblings, move->sink);
    sami_sink_cumulative.close(move->sink);
    sami_source_cumulative.close(move->source);
    g_clear_pointer(&move->counts.refusals, g_array_unref);
}

/* Without the log of what it adds, nothing could be taken back. */
static void
test_no_log(void)
{
    g_autoptr(GError) error = NULL;
    const SamiKindContext context = { .config = &firewalls[1].config, .peer = firewalls[0].config.name, .log_path = "/nowhere/log", .siblings = siblings };
    CU_ASSERT_PTR_NULL(sami_sink_cumulative.open(&context, &error));
    CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_FAILED) && g_str_has_prefix(error->message, "/nowhere/log: "));
}

static void
move_whole(guint from, guint to)
{
    Move move;
    move_begin(&move, from, to, NULL);
    copy(&move, SAMI_PASS_SETTLE);
    CU_ASSERT_EQUAL(move.counts.n_refused, 0);
    move_end(&move);
}

/* Whatever the way, each packet is counted once. */
static void
test_ways(void)
{
    load(COUNTERS);
    count(0, 1, 100);
    move_whole(0, 1);
    CU_ASSERT_EQUAL(at(1, 1).packets, 100);
    CU_ASSERT_EQUAL(at(1, 1).octets, 6000);
    count(1, 1, 20);
    move_whole(1, 2);
    count(2, 1, 10);
    CU_ASSERT_EQUAL(at(2, 1).packets, 130);
    for (guint round = 0; round < 3; round++) {
        move_whole(2, 0);
        CU_ASSERT_EQUAL(at(0, 1).packets, 130);
        move_whole(0, 1);
        CU_ASSERT_EQUAL(at(1, 1).packets, 130);
        move_whole(1, 2);
        CU_ASSERT_EQUAL(at(2, 1).packets, 130);
    }
    move_whole(2, 1); /* the other way round */
    move_whole(1, 0);
    CU_ASSERT_EQUAL(at(0, 1).packets, 130);
    count(0, 1, 1);
    count(2, 1, 2);
    move_whole(0, 1);
    move_whole(2, 1);
    CU_ASSERT_EQUAL(at(1, 1).packets, 133);
}

/* Elements expire, and are made anew. */
static void
test_ends(void)
{
    load(COUNTERS);
    count(0, 1, 100);
    move_whole(0, 1);
    count(1, 1, 20);
    expire(0, 1);
    move_whole(1, 0); /* the whole of it, what came from there too */
    CU_ASSERT_EQUAL(at(0, 1).packets, 120);
    move_whole(1, 0);
    CU_ASSERT_EQUAL(at(0, 1).packets, 120);
    expire(1, 1);
    count(1, 1, 3); /* what firewall 0 brought is not in it any more; of its own it is known that there were 20 */
    move_whole(0, 1);
    CU_ASSERT_EQUAL(at(1, 1).packets, 120);
    /* At the source: far less than it had told of itself before. */
    load(COUNTERS);
    count(0, 1, 100);
    move_whole(0, 1);
    expire(0, 1);
    count(0, 1, 5);
    move_whole(0, 1);
    CU_ASSERT_EQUAL(at(1, 1).packets, 105);
    move_whole(0, 1);
    CU_ASSERT_EQUAL(at(1, 1).packets, 105);
}

/* The same records again, as after a resume; and what has changed in SETTLE only. */
static void
test_repeats(void)
{
    Move move;
    load(COUNTERS);
    for (guint i = 0; i < 300; i++)
        count(0, i, i + 1);
    move_begin(&move, 0, 1, NULL);
    CU_ASSERT_EQUAL(move.counts.n_applied, 300);
    sami_source_cumulative.forget(move.source);
    copy(&move, SAMI_PASS_SNAPSHOT);
    CU_ASSERT_EQUAL(move.counts.n_unchanged, 300);
    count(0, 7, 5);
    count(0, 301, 9);
    copy(&move, SAMI_PASS_SETTLE);
    CU_ASSERT_TRUE(records->len >= 2 && records->len < 100); /* an end of time may fall into the next second */
    CU_ASSERT_EQUAL(at(1, 7).packets, 13);
    CU_ASSERT_EQUAL(at(1, 301).packets, 9);
    CU_ASSERT_EQUAL(at(1, 299).packets, 300);
    move_end(&move);
}

/* What was added goes, what was made goes with it, what came since stays: at once, or after a restart by the log. */
/* The process is started anew. */
static void
reopen(Move *move)
{
    g_ptr_array_remove(siblings, move->sink);
    sami_sink_cumulative.close(move->sink);
    move->sink = sami_sink_cumulative.open(&move->context, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(move->sink);
    g_ptr_array_add(siblings, move->sink);
}

static void
undo_case(gboolean is_restarted, const gchar *kind)
{
    g_autofree gchar *path = g_build_filename(directory, "log", NULL);
    gboolean is_blacklist = g_str_equal(kind, "blacklist");
    Move move;
    load(COUNTERS);
    firewalls[1].group.kind = (gchar *) kind;
    for (guint i = 0; i < 400; i++)
        count(0, i, 10);
    for (guint i = 0; i < 200; i++)
        count(1, i, 7);
    move_begin(&move, 0, 1, path);
    CU_ASSERT_EQUAL(at(1, 0).packets, 17);
    count(0, 3, 5);
    copy(&move, SAMI_PASS_SETTLE);
    CU_ASSERT_EQUAL(at(1, 3).packets, 22);
    count(1, 300, 4); /* made by the move, and counted in since */
    expire(1, 5);
    if (is_restarted) {
        int fd = open(path, O_WRONLY | O_APPEND); /* a torn end */
        CU_ASSERT_EQUAL(write(fd, "SAMI", 4), 4);
        close(fd);
        reopen(&move);
    }
    sami_sink_cumulative.undo(move.sink, &move.counts);
    guint n_right = 0;
    for (guint i = 0; i < 400; i++)
        n_right += i == 5 ? !is_there(1, i) : i < 200 ? at(1, i).packets == 7
                   : i == 300 ? (is_blacklist ? !is_there(1, i) : at(1, i).packets == 4) : !is_there(1, i);
    CU_ASSERT_EQUAL(n_right, 400);
    sami_sink_cumulative.undo(move.sink, &move.counts); /* once */
    CU_ASSERT_EQUAL(at(1, 0).packets, 7);
    count(1, 0, 100);
    reopen(&move); /* nor is there anything left of it in the log */
    sami_sink_cumulative.undo(move.sink, &move.counts);
    CU_ASSERT_EQUAL(at(1, 0).packets, 107);
    move_end(&move);
    g_unlink(path);
    firewalls[1].group.kind = (gchar *) "counter";
    move_whole(0, 1); /* nothing is remembered of what was taken back */
    CU_ASSERT_EQUAL(at(1, 0).packets, 117);
    CU_ASSERT_EQUAL(at(1, 3).packets, 22);
}

static void
test_undo(void)
{
    undo_case(FALSE, "counter");
    undo_case(FALSE, "blacklist");
    undo_case(TRUE, "counter");
    undo_case(TRUE, "blacklist");
}

/* The migration brings a client into the blacklist, then a rule here does: the abort lets him not out again. */
static void
test_undo_renewed(void)
{
    Move move;
    load(COUNTERS);
    firewalls[1].group.kind = (gchar *) "blacklist";
    for (guint i = 1; i <= 3; i++) {
        SamiSetElement e = at(0, i);
        SamiSetInfo info;
        SamiSetWrite write = { &e, FALSE, FALSE };
        CU_ASSERT_EQUAL_FATAL(sami_set_look(firewalls[0].set, &info, NULL), SAMI_SET_FINE);
        e.has |= SAMI_SET_HAS_TIMEOUT;
        e.timeout_ms = e.remaining_ms = 100000;
        CU_ASSERT_EQUAL(sami_set_write(firewalls[0].set, &info, &write, 1, NULL), 0);
    }
    move_begin(&move, 0, 1, NULL);
    CU_ASSERT_TRUE(is_there(1, 1) && is_there(1, 2) && is_there(1, 3));
    count(1, 1, 1);
    expire(1, 2);
    count(1, 2, 1);
    sami_sink_cumulative.undo(move.sink, &move.counts);
    CU_ASSERT_TRUE(is_there(1, 1));
    CU_ASSERT_TRUE(is_there(1, 2));
    CU_ASSERT_FALSE(is_there(1, 3));
    move_end(&move);
    firewalls[1].group.kind = (gchar *) "counter";
}

/* Two migrations bring one entry: it stays until the last of them is taken back. */
static void
test_two(void)
{
    Move a, b;
    load(COUNTERS);
    firewalls[2].group.kind = (gchar *) "blacklist";
    count(0, 1, 1);
    count(1, 1, 2);
    move_begin(&a, 0, 2, NULL);
    move_begin(&b, 1, 2, NULL);
    CU_ASSERT_EQUAL(at(2, 1).packets, 3);
    sami_sink_cumulative.undo(a.sink, &a.counts);
    CU_ASSERT_EQUAL(at(2, 1).packets, 2);
    sami_sink_cumulative.undo(b.sink, &b.counts);
    CU_ASSERT_FALSE(is_there(2, 1));
    move_end(&a);
    move_end(&b);
}

/* What the set here cannot take is refused by name, and stops nothing else. */
static void
test_refusals(void)
{
    static const struct {
        const gchar *rules;
        SamiReason reason;
    } cases[] = {
        { "delete set inet f s1", SAMI_REASON_SET_MISSING },
        { "delete set inet f s1; add set inet f s1 { type ipv6_addr; flags dynamic,timeout; }", SAMI_REASON_SET_TYPE },
        { "delete set inet f s1; add set inet f s1 { type ipv4_addr; flags dynamic; }", SAMI_REASON_SET_TYPE },
        { "delete set inet f s1; add set inet f s1 { type ipv4_addr; flags interval, timeout; }", SAMI_REASON_SET_TYPE },
        { "delete set inet f s1; add set inet f s1 { type ipv4_addr; flags dynamic,timeout; limit rate 1/second; }", SAMI_REASON_SET_TYPE },
        { "delete set inet f s1; add set inet f s1 { type ipv4_addr; size 3; flags dynamic,timeout; }", SAMI_REASON_SET_FULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        Move move;
        load(COUNTERS);
        for (guint k = 0; k < 10; k++)
            count(0, k, 1);
        CU_ASSERT_TRUE(run_nft(cases[i].rules));
        move_begin(&move, 0, 1, NULL);
        guint n = cases[i].reason == SAMI_REASON_SET_FULL ? 7 : 10;
        CU_ASSERT_EQUAL(move.counts.refused[cases[i].reason], n);
        CU_ASSERT_EQUAL(move.counts.n_applied, 10 - n);
        CU_ASSERT_TRUE(move.counts.refusals && move.counts.refusals->len == 1); /* one stands for all */
        move_end(&move);
    }
    Move move;
    load(COUNTERS);
    for (guint k = 0; k < 10; k++)
        count(0, k, 1);
    firewalls[1].group.max_elements = 4;
    move_begin(&move, 0, 1, NULL);
    CU_ASSERT_EQUAL(move.counts.n_applied, 4);
    CU_ASSERT_EQUAL(move.counts.refused[SAMI_REASON_SET_FULL], 6);
    move_end(&move);
    load(COUNTERS);
    count(0, 7, 1);  /* 192.0.0.7 is the VM */
    count(0, 8, 1);
    firewalls[1].group.select = (gchar *) "vm";
    move_begin(&move, 0, 1, NULL);
    CU_ASSERT_EQUAL(move.counts.n_applied, 1);
    CU_ASSERT_EQUAL(move.counts.refused[SAMI_REASON_KEY_NOT_VM], 1);
    move_end(&move);
    load(COUNTERS);
    count(0, 7, 1);
    count(0, 8, 1);
    firewalls[0].group.select = (gchar *) "vm";
    move_begin(&move, 0, 1, NULL);
    CU_ASSERT_EQUAL(move.counts.n_records, 1);
    move_end(&move);
    /* Values that would not fit are no counters. */
    load(COUNTERS);
    count(0, 1, 1);
    move_begin(&move, 0, 1, NULL);
    SamiCumulative wrong = g_array_index(records, SamiCumulative, 0);
    wrong.packets = G_MAXUINT64;
    sami_sink_cumulative.apply(move.sink, &wrong, 1, 0, 1, &move.counts);
    CU_ASSERT_EQUAL(move.counts.refused[SAMI_REASON_STATE_RANGE], 1);
    g_strlcpy(wrong.set, "nonsense", sizeof wrong.set);
    sami_sink_cumulative.apply(move.sink, &wrong, 1, 0, 1, &move.counts);
    CU_ASSERT_EQUAL(move.counts.refused[SAMI_REASON_SET_MISSING], 1);
    CU_ASSERT_EQUAL(at(1, 1).packets, 1);
    move_end(&move);
}

/* Firewalls that were made up say each as much as a number holds: the count goes up, and an abort takes that back. */
static void
test_sums(void)
{
    Move move;
    load(COUNTERS);
    count(0, 1, 1);
    count(1, 1, 7);
    move_begin(&move, 0, 1, NULL);
    CU_ASSERT_EQUAL(at(1, 1).packets, 8);
    SamiCumulative claim = g_array_index(records, SamiCumulative, 0);
    claim.packets = claim.octets = (guint64) 1 << 62;
    guint64 before = 8;
    for (guint i = 0; i < 8; i++) {
        memset(claim.origin, 0x40 + (gint) i, sizeof claim.origin);
        sami_sink_cumulative.apply(move.sink, &claim, 1, 0, 1, &move.counts);
        CU_ASSERT_TRUE(at(1, 1).packets >= before);
        before = at(1, 1).packets;
    }
    CU_ASSERT_EQUAL(before, (guint64) 1 << 62);
    CU_ASSERT_EQUAL(at(1, 1).octets, (guint64) 1 << 62);
    count(1, 1, 5);
    sami_sink_cumulative.undo(move.sink, &move.counts);
    CU_ASSERT_EQUAL(at(1, 1).packets, 12);
    move_end(&move);
}

/* Quotas, elements that stay, and what the set here has no place for. */
static void
test_forms(void)
{
    Move move;
    SamiSetInfo info;
    SamiSetElement e = key(1), stays = key(2);
    load("type ipv4_addr; flags dynamic,timeout;");
    e.has = SAMI_SET_HAS_QUOTA | SAMI_SET_HAS_TIMEOUT | SAMI_SET_QUOTA_OVER;
    e.quota_used = 500, e.quota_limit = 5000, e.timeout_ms = e.remaining_ms = 60000;
    SamiSetWrite writes[] = { { &e, FALSE, FALSE }, { &stays, FALSE, FALSE } };
    CU_ASSERT_EQUAL_FATAL(sami_set_look(firewalls[0].set, &info, NULL), SAMI_SET_FINE);
    CU_ASSERT_EQUAL(sami_set_write(firewalls[0].set, &info, writes, 2, NULL), 0);
    move_whole(0, 1);
    SamiSetElement got = at(1, 1);
    CU_ASSERT_EQUAL(got.has, e.has);
    CU_ASSERT_EQUAL(got.quota_used, 500);
    CU_ASSERT_EQUAL(got.quota_limit, 5000);
    CU_ASSERT_TRUE(got.remaining_ms > 50000 && got.remaining_ms <= 60000);
    CU_ASSERT_FALSE(at(1, 2).has & SAMI_SET_HAS_TIMEOUT);
    move_whole(1, 0);
    CU_ASSERT_EQUAL(at(0, 1).quota_used, 500);
    CU_ASSERT_TRUE(run_nft("add set inet f s1 { type ipv4_addr; flags dynamic,timeout; }; delete set inet f s1; "
                           "add set inet f s1 { type ipv4_addr; flags dynamic,timeout; counter; }"));
    move_begin(&move, 0, 1, NULL);
    CU_ASSERT_EQUAL(move.counts.degraded[SAMI_REASON_COUNT_LOST], 1);
    CU_ASSERT_EQUAL(at(1, 1).has, SAMI_SET_HAS_COUNTER | SAMI_SET_HAS_TIMEOUT);
    move_end(&move);
}

static void
make_firewalls(void)
{
    SamiPrefix vm;
    g_assert(sami_prefix_parse("192.0.0.7", &vm, NULL));
    directory = g_dir_make_tmp("sami-cumulative.XXXXXX", NULL);
    prefixes = g_array_new(FALSE, FALSE, sizeof(SamiPrefix));
    g_array_append_val(prefixes, vm);
    records = g_array_new(FALSE, FALSE, sizeof(SamiCumulative));
    siblings = g_ptr_array_new();
    for (guint i = 0; i < N; i++) {
        Firewall *f = &firewalls[i];
        f->config.name = g_strdup_printf("fw%u.example", i);
        f->config.run_dir = g_build_filename(directory, f->config.name, NULL);
        g_mkdir(f->config.run_dir, 0700);
        f->group = (SamiConfigCumulative){ .name = (gchar *) "syn", .table = (gchar *) "inet f", .set = g_strdup_printf("s%u", i) };
        f->config.cumulatives = g_ptr_array_new();
        g_ptr_array_add(f->config.cumulatives, &f->group);
        f->set = sami_set_new("inet f", f->group.set, NULL);
    }
}

static void
remove_firewalls(void)
{
    static const gchar *const names[] = { "shares", "shares.lock" };
    for (guint i = 0; i < N; i++) {
        Firewall *f = &firewalls[i];
        for (guint k = 0; k < G_N_ELEMENTS(names); k++) {
            g_autofree gchar *path = g_build_filename(f->config.run_dir, names[k], NULL);
            g_unlink(path);
        }
        g_rmdir(f->config.run_dir);
        g_ptr_array_unref(f->config.cumulatives);
        g_free(f->group.set);
        g_free(f->config.name);
        g_free(f->config.run_dir);
        sami_set_free(f->set);
    }
    g_rmdir(directory);
    g_free(directory);
    g_array_unref(prefixes);
    g_array_unref(records);
    g_ptr_array_unref(siblings);
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "ways of a VM", test_ways }, { "elements that end", test_ends }, { "repeats", test_repeats },      { "undo", test_undo },
        { "undo of what was renewed", test_undo_renewed },
        { "two migrations", test_two }, { "refusals", test_refusals },     { "sums", test_sums },     { "quotas, permanent elements, lost counts", test_forms },
        { "no log", test_no_log },
    };
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        puts("SKIP: needs root and a network namespace of its own");
        return EXIT_SKIP;
    }
    if (!run_nft("add table inet f")) {
        puts("SKIP: nftables cannot be used here");
        return EXIT_SKIP;
    }
    make_firewalls();
    int status = sami_test_main("cumulative", tests, G_N_ELEMENTS(tests), NULL, NULL);
    remove_firewalls();
    return status;
}
