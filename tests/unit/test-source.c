/* The exporter's source against a model of its receiver: random interleavings of kernel changes, events, dump parts, look-ups and
 * lost events. LIFECYCLE §3: at a barrier with nothing dirty, what the records say is what the kernel has - no flow that ended is
 * resurrected, none that lives is missing. */
#include <netinet/in.h>
#include <string.h>

#include "exporter/exporter.h"
#include "exporter/source.h"
#include "firewall/expect.h"
#include "firewall/fake.h"
#include "tests/unit/harness.h"

#define N_FLOWS 14u
#define N_RUNS 4000u
#define N_STEPS 120u

typedef struct {
    GRand *rand;
    SamiFirewall *world; /* another user of the kernel, and packets */
    SamiSource *source;
    GHashTable *model;   /* SamiFlowKey -> SamiSession: what a receiver of the records has */
    GHashTable *seen;    /* keys since the epoch began; NULL outside one */
    guint n_records, n_overruns, n_dumps;
    gboolean is_full;
    gboolean is_dump_needed;
} Run;

static SamiPrefix vm = { .family = 4, .length = 32, .address = { { 10, 0, 0, 13 } } };

/* A third of the flows are opened from the other side, one in seven is somebody else's. */
static SamiSession
flow(GRand *rand, guint i)
{
    SamiSession s = { .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_TCP | SAMI_HAS_MARK,
                      .status = SAMI_IPS_CONFIRMED | SAMI_IPS_SEEN_REPLY, .timeout_s = 1000 };
    SamiAddress us = vm.address, them = { { 198, 51, 100, 1 } };
    if (i % 7 == 6)
        us.octets[3] = 99;
    s.key.family = 4;
    s.key.protocol = IPPROTO_TCP;
    s.key.orig = (SamiTuple){ .src = i % 3 ? us : them, .dst = i % 3 ? them : us, .src_port = (guint16) (1000 + i), .dst_port = 80 };
    s.tcp_state = SAMI_TCP_STATE_ESTABLISHED;
    s.mark = (guint32) g_rand_int_range(rand, 1, 1 << 30); /* tells the generations of a tuple apart */
    return s;
}

static gboolean
record(const SamiSession *s, SamiAction action, gpointer user_data)
{
    Run *run = user_data;
    run->n_records++;
    if (action == SAMI_ACTION_DELETED) {
        g_hash_table_remove(run->model, &s->key);
        return TRUE;
    }
    SamiSession *copy = g_memdup2(s, sizeof *s);
    g_hash_table_replace(run->model, &copy->key, copy);
    if (run->seen)
        g_hash_table_add(run->seen, g_memdup2(&s->key, sizeof s->key));
    return TRUE;
}

static void
start_dump(Run *run)
{
    run->is_dump_needed = FALSE;
    g_clear_pointer(&run->seen, g_hash_table_unref);
    run->seen = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, g_free, NULL);
    CU_ASSERT_TRUE_FATAL(sami_source_dump(run->source, NULL));
    run->n_dumps++;
}

static gboolean
is_unseen(gpointer key, gpointer value, gpointer user_data)
{
    return !g_hash_table_contains(((Run *) user_data)->seen, key);
}

/* The end of an epoch: the receiver drops what it did not name. */
static void
dumped(gpointer user_data)
{
    Run *run = user_data;
    CU_ASSERT_TRUE(sami_source_send_dirty(run->source, TRUE));
    g_hash_table_foreach_remove(run->model, is_unseen, run);
    g_clear_pointer(&run->seen, g_hash_table_unref);
}

static void
overrun(gpointer user_data)
{
    Run *run = user_data;
    run->n_overruns++;
    run->is_dump_needed = TRUE;
}

static void
nothing(gpointer user_data)
{
}

static void
failed(const gchar *text, gpointer user_data)
{
    CU_FAIL(text);
}

static gboolean
is_full(gpointer user_data)
{
    return ((Run *) user_data)->is_full;
}

static void
change_kernel(Run *run)
{
    SamiSession s = flow(run->rand, (guint) g_rand_int_range(run->rand, 0, N_FLOWS));
    SamiOp op = { .kind = SAMI_OP_CREATE, .session = &s };
    switch (g_rand_int_range(run->rand, 0, 5)) {
    case 0: sami_firewall_fake_delete(run->world, &s.key); break;
    case 1: sami_firewall_fake_set_state(run->world, &s.key, (guint8) g_rand_int_range(run->rand, 1, 9)); break;
    case 2: /* closed and opened again, with the same id (LIFECYCLE §2) */
        sami_firewall_fake_delete(run->world, &s.key);
        sami_firewall_apply(run->world, &op, 1, NULL);
        break;
    default: sami_firewall_apply(run->world, &op, 1, NULL); break;
    }
}

static void
step(Run *run)
{
    switch (g_rand_int_range(run->rand, 0, 12)) {
    case 0:
    case 1: sami_source_read_events(run->source, (guint) g_rand_int_range(run->rand, 1, 4)); break;
    case 2:
    case 3:
        if (sami_source_is_dumping(run->source))
            sami_source_read_dump(run->source);
        break;
    case 4:
    case 5:
        run->is_full = g_rand_boolean(run->rand);
        sami_source_send_dirty(run->source, g_rand_boolean(run->rand));
        break;
    case 6:
        if (g_rand_int_range(run->rand, 0, 20) == 0)
            sami_firewall_fake_overrun(run->world);
        if (g_rand_int_range(run->rand, 0, 20) == 0)
            start_dump(run);
        break;
    default: change_kernel(run); break;
    }
    if (run->is_dump_needed)
        start_dump(run);
}

static void
collect(const SamiSession *s, gpointer user_data)
{
    SamiSession *copy = g_memdup2(s, sizeof *s);
    g_hash_table_replace(user_data, &copy->key, copy);
}

static void
compare(Run *run, guint seed)
{
    SamiDumpFilter filter = { .prefixes = &vm, .n_prefixes = 1 };
    g_autoptr(GHashTable) kernel = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, NULL, g_free);
    g_autoptr(SamiFirewallDump) dump = sami_firewall_dump_new(run->world, &filter, NULL);
    GHashTableIter iter;
    gpointer key, value;
    while (sami_firewall_dump_next(dump, collect, kernel, NULL) == SAMI_DUMP_MORE)
        ;
    gboolean is_equal = g_hash_table_size(kernel) == g_hash_table_size(run->model);
    g_hash_table_iter_init(&iter, kernel);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        const SamiSession *is = value, *said = g_hash_table_lookup(run->model, key);
        is_equal &= said && said->mark == is->mark && said->tcp_state == is->tcp_state;
    }
    if (!is_equal)
        g_printerr("seed %u: kernel %u, records %u\n", seed, g_hash_table_size(kernel), g_hash_table_size(run->model));
    CU_ASSERT_TRUE(is_equal);
}

static Run
run_once(guint seed)
{
    static const SamiSourceOps ops = { record, nothing, dumped, overrun, failed, is_full };
    SamiSourceScope scope = { .vm = &vm, .n_vm = 1 };
    Run run = { .rand = g_rand_new_with_seed(seed) };
    run.world = sami_firewall_fake_new(0);
    sami_firewall_fake_set_part(run.world, (guint) g_rand_int_range(run.rand, 1, 5));
    run.model = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, NULL, g_free);
    for (guint i = 0; i < 10; i++)
        change_kernel(&run);
    run.source = sami_source_new(sami_firewall_fake_share(run.world), &scope, &ops, &run, NULL);
    start_dump(&run);
    for (guint i = 0; i < N_STEPS; i++)
        step(&run);
    /* The freeze: the dump to its end, the barrier, what is dirty. */
    do {
        if (run.is_dump_needed)
            start_dump(&run);
        while (sami_source_is_dumping(run.source) && sami_source_read_dump(run.source))
            ;
    } while (run.is_dump_needed || !sami_source_barrier(run.source));
    CU_ASSERT_TRUE(sami_source_send_dirty(run.source, TRUE));
    CU_ASSERT_EQUAL(sami_source_n_dirty(run.source), 0);
    compare(&run, seed);
    sami_source_free(run.source);
    g_clear_pointer(&run.seen, g_hash_table_unref);
    g_hash_table_unref(run.model);
    sami_firewall_free(run.world);
    g_rand_free(run.rand);
    return run;
}

static void
test_interleavings(void)
{
    guint n_records = 0, n_overruns = 0;
    for (guint seed = 0; seed < N_RUNS; seed++) {
        Run run = run_once(seed);
        n_records += run.n_records;
        n_overruns += run.n_overruns;
    }
    CU_ASSERT_TRUE(n_records > N_RUNS * 20); /* the runs do something */
    CU_ASSERT_TRUE(n_overruns > N_RUNS / 20);
}

static void
test_late(void)
{
    static const SamiSourceOps ops = { record, nothing, nothing, overrun, failed, is_full };
    SamiSourceScope scope = { .vm = &vm, .n_vm = 1, .events_since_ns = G_MAXUINT64 };
    Run run = { .rand = g_rand_new_with_seed(1), .world = sami_firewall_fake_new(0) };
    run.model = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, NULL, g_free);
    SamiSession old = flow(run.rand, 1), new = flow(run.rand, 2);
    SamiOp create_old = { .kind = SAMI_OP_CREATE, .session = &old }, create_new = { .kind = SAMI_OP_CREATE, .session = &new };
    sami_firewall_apply(run.world, &create_old, 1, NULL);
    run.source = sami_source_new(sami_firewall_fake_share(run.world), &scope, &ops, &run, NULL);
    CU_ASSERT_TRUE(sami_source_dump(run.source, NULL));
    while (sami_source_is_dumping(run.source))
        CU_ASSERT_TRUE(sami_source_read_dump(run.source));
    CU_ASSERT_EQUAL(sami_source_n_silent(run.source), 1);
    CU_ASSERT_EQUAL(run.n_records, 1);
    /* After the freeze marker idle entries expire at the source, and that says nothing (LIFECYCLE §3.8). */
    sami_source_set_mode(run.source, SAMI_SOURCE_LATE);
    sami_firewall_fake_set_state(run.world, &old.key, 7);
    sami_firewall_fake_delete(run.world, &old.key);
    sami_firewall_apply(run.world, &create_new, 1, NULL);
    CU_ASSERT_TRUE(sami_source_barrier(run.source));
    CU_ASSERT_TRUE(sami_source_send_dirty(run.source, TRUE));
    CU_ASSERT_EQUAL(run.n_records, 2);
    CU_ASSERT_TRUE(g_hash_table_contains(run.model, &old.key));
    CU_ASSERT_TRUE(g_hash_table_contains(run.model, &new.key));
    sami_source_free(run.source);
    g_hash_table_unref(run.model);
    sami_firewall_free(run.world);
    g_rand_free(run.rand);
}

static guint64
dump_all(Run *run)
{
    CU_ASSERT_TRUE(sami_source_dump(run->source, NULL));
    while (sami_source_is_dumping(run->source))
        CU_ASSERT_TRUE(sami_source_read_dump(run->source));
    return sami_source_n_not_vm_end(run->source);
}

/* Whose address the VM's is only before a translation is counted while the whole table is read: by the first dump, and by all of a VM
 * that has much of the table. */
static void
count_once(guint n_others, guint64 expected)
{
    static const SamiSourceOps ops = { record, nothing, nothing, overrun, failed, is_full };
    SamiSourceScope scope = { .vm = &vm, .n_vm = 1 };
    Run run = { .rand = g_rand_new_with_seed(1), .world = sami_firewall_fake_new(0) };
    run.model = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, NULL, g_free);
    SamiSession own = flow(run.rand, 1), translated = flow(run.rand, 3);
    translated.has |= SAMI_HAS_REPLY;
    translated.status |= SAMI_IPS_DST_NAT;
    translated.reply = (SamiTuple){ .src = { { 10, 0, 0, 99 } }, .dst = translated.key.orig.src, .src_port = 80, .dst_port = 1003 };
    SamiOp create[2] = { { .kind = SAMI_OP_CREATE, .session = &own }, { .kind = SAMI_OP_CREATE, .session = &translated } };
    CU_ASSERT_TRUE(sami_firewall_apply(run.world, create, 2, NULL));
    CU_ASSERT_EQUAL(create[1].result, 0);
    for (guint i = 0; i < n_others; i++) {
        SamiSession other = flow(run.rand, 6 + 7 * i);
        SamiOp op = { .kind = SAMI_OP_CREATE, .session = &other };
        sami_firewall_apply(run.world, &op, 1, NULL);
    }
    run.source = sami_source_new(sami_firewall_fake_share(run.world), &scope, &ops, &run, NULL);
    CU_ASSERT_EQUAL(dump_all(&run), 1);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(run.world, &translated.key));
    CU_ASSERT_EQUAL(dump_all(&run), expected);
    CU_ASSERT_EQUAL(dump_all(&run), expected);
    CU_ASSERT_EQUAL(run.n_records, 3); /* the VM's own, each time */
    sami_source_free(run.source);
    g_hash_table_unref(run.model);
    sami_firewall_free(run.world);
    g_rand_free(run.rand);
}

static void
test_count(void)
{
    count_once(10, 1);
    count_once(1, 0);
}

/* What a helper does to a translated stream has no event: such flows are read once more, and no others. */
static void
test_adjusted(void)
{
    static const SamiSourceOps ops = { record, nothing, nothing, overrun, failed, is_full };
    SamiSourceScope scope = { .vm = &vm, .n_vm = 1 };
    Run run = { .rand = g_rand_new_with_seed(1), .world = sami_firewall_fake_new(0) };
    run.model = g_hash_table_new_full(sami_flow_key_hash, sami_flow_key_equal, NULL, g_free);
    SamiSession s[] = { flow(run.rand, 1), flow(run.rand, 2), flow(run.rand, 4), flow(run.rand, 5) };
    for (guint i = 0; i < G_N_ELEMENTS(s); i++) {
        SamiOp op = { .kind = SAMI_OP_CREATE, .session = &s[i] };
        s[i].has |= SAMI_HAS_REPLY | (i > 0 ? SAMI_HAS_HELPER : 0);
        memcpy(s[i].helper, "ftp", 4);
        sami_flow_key_mirror(&s[i].key, &s[i].reply);
        if (i != 1) /* two of them have both, and one of these ends */
            s[i].reply.dst.octets[3] = 77;
        CU_ASSERT_TRUE(sami_firewall_apply(run.world, &op, 1, NULL));
        CU_ASSERT_EQUAL(op.result, 0);
    }
    run.source = sami_source_new(sami_firewall_fake_share(run.world), &scope, &ops, &run, NULL);
    dump_all(&run);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(run.world, &s[3].key));
    CU_ASSERT_TRUE(sami_source_barrier(run.source));
    run.n_records = 0;
    sami_source_mark_adjusted(run.source);
    CU_ASSERT_EQUAL(sami_source_n_dirty(run.source), 1);
    CU_ASSERT_TRUE(sami_source_send_dirty(run.source, TRUE));
    CU_ASSERT_EQUAL(run.n_records, 1);
    sami_source_free(run.source);
    g_hash_table_unref(run.model);
    sami_firewall_free(run.world);
    g_rand_free(run.rand);
}

static void
take_expected(const SamiExpectation *e, const SamiSession *master, gpointer user_data)
{
    CU_ASSERT_EQUAL(e->key.zone, master->key.zone);
    CU_ASSERT_EQUAL(e->master.zone, master->key.zone);
    g_array_append_val((GArray *) user_data, *e);
}

/* The kernel says no zone: it is that of the master, and where several have the same addresses, of the one that expects it. */
static void
test_expected_zones(void)
{
    static const guint16 all[] = { 0, 7, 9 };
    g_autoptr(SamiFirewall) world = sami_firewall_fake_new(0);
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    g_autoptr(GArray) zones = g_array_new(FALSE, FALSE, sizeof(guint16)), found = g_array_new(FALSE, FALSE, sizeof(SamiExpectation));
    SamiExpectation e[3];
    for (guint i = 0; i < G_N_ELEMENTS(e); i++) {
        SamiSession master = flow(rand, i == 2 ? 2 : 1);
        SamiOp op = { .kind = SAMI_OP_CREATE, .session = &master };
        master.key.zone = all[i];
        master.has |= SAMI_HAS_HELPER;
        memcpy(master.helper, "ftp", 4);
        CU_ASSERT_TRUE(sami_firewall_apply(world, &op, 1, NULL));
        CU_ASSERT_EQUAL(op.result, 0);
        e[i] = (SamiExpectation){ .key = master.key, .master = master.key };
        e[i].key.orig.dst_port = 4000;
        SamiExpectOp expect = { .kind = SAMI_EXPECT_CREATE, .expectation = &e[i] };
        CU_ASSERT_TRUE(i == 0 || (sami_firewall_expect(world, &expect, 1, NULL) && expect.result == 0));
    }
    g_array_append_vals(zones, all, 2);
    CU_ASSERT_TRUE(sami_expectations_find(world, zones, take_expected, found, NULL));
    CU_ASSERT_EQUAL_FATAL(found->len, 1); /* zone 9 is not one of ours */
    CU_ASSERT_TRUE(sami_expectation_is_same(&g_array_index(found, SamiExpectation, 0), &e[1]));
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "records follow the kernel in any interleaving", test_interleavings },
        { "after the freeze marker only creations", test_late },
        { "streams that a helper changes are read again", test_adjusted },
        { "whose an expectation is, by zone", test_expected_zones },
        { "others that name the VM are counted by the first dump", test_count },
    };
    return sami_test_main("source", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
