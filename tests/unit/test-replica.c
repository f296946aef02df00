/* A replication's rules against the fake kernel (LIFECYCLE §11): one owner a flow, packets and takeovers decide who it is, nothing that is ours is
 * written over; and the file that tells both daemons whose a flow is. */
#include <errno.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <string.h>

#include "collector/replica.h"
#include "firewall/fake.h"
#include "tests/unit/harness.h"

static gchar *directory, *path;
static SamiOrigin *origin;
static SamiBudget *budget;
static SamiFirewall *firewall, *world;
static SamiApply *apply;
static GPtrArray *others;

static int
set_up(void)
{
    directory = g_dir_make_tmp("sami-replica-XXXXXX", NULL);
    path = g_build_filename(directory, "origin", NULL);
    return 0;
}

static int
tear_down(void)
{
    g_rmdir(directory);
    g_free(path);
    g_free(directory);
    return 0;
}

static const SamiPrefix vm = { .address = { { 10, 0, 0, 13 } }, .family = 4, .length = 32 };

static void
begin(void)
{
    g_unlink(path);
    origin = sami_origin_new(path, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(origin);
    budget = sami_budget_new();
    firewall = sami_firewall_fake_new(0);
    world = sami_firewall_fake_share(firewall);
    others = g_ptr_array_new();
    apply = sami_replica_new(90, origin, NULL, budget);
    sami_apply_set_vm(apply, &vm, 1);
    apply->replica->n_peers = 1;
    apply->replica->is_peer = TRUE;
    apply->firewall = firewall;
    apply->others = others;
    g_ptr_array_add(others, apply);
}

static void
end(void)
{
    sami_apply_free(apply);
    g_ptr_array_unref(others);
    sami_firewall_free(world);
    sami_firewall_free(firewall);
    sami_budget_unref(budget);
    sami_origin_free(origin);
    g_unlink(path);
}

static SamiSession
flow(guint i, SamiAction action)
{
    SamiSession s = { .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_TCP | SAMI_HAS_MARK | SAMI_HAS_REPLY, .action = (guint8) action,
                      .status = SAMI_IPS_CONFIRMED, .timeout_s = 30, .tcp_state = 1, .mark = 1 };
    s.key.family = 4;
    s.key.protocol = IPPROTO_TCP;
    s.key.orig = (SamiTuple){ .src = { { 10, 0, 0, 13 } }, .dst = { { 198, 51, 100, 1 } }, .src_port = (guint16) (1000 + i), .dst_port = 80 };
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}

static void
run(SamiJobKind kind)
{
    SamiJob job = { .kind = kind, .apply = apply };
    CU_ASSERT_TRUE_FATAL(sami_replica_run(apply, &job));
    CU_ASSERT_PTR_NULL_FATAL(job.error);
}

static void
say(const SamiSession *sessions, guint n)
{
    g_autofree SamiApplyItem *items = g_new0(SamiApplyItem, n);
    for (guint i = 0; i < n; i++)
        items[i].session = sessions[i];
    g_autofree guint8 *messages = sami_apply_build(items, n, 90, FALSE);
    SamiJob job = { .kind = SAMI_JOB_RECORDS, .apply = apply, .items = items, .n = n, .counter = 1 };
    CU_ASSERT_TRUE_FATAL(sami_replica_run(apply, &job));
    CU_ASSERT_PTR_NULL_FATAL(job.error);
}

static void
say_one(guint i, SamiAction action)
{
    SamiSession s = flow(i, action);
    say(&s, 1);
}

static gboolean
get(guint i, SamiSession *ret)
{
    SamiSession s = flow(i, SAMI_ACTION_CREATED);
    gboolean is_found = FALSE;
    CU_ASSERT_TRUE_FATAL(sami_firewall_get(world, &s.key, 1, ret, &is_found, NULL));
    return is_found;
}

static void
make_ours(guint i)
{
    SamiSession s = flow(i, SAMI_ACTION_CREATED);
    s.mark = 9;
    SamiOp op = { .kind = SAMI_OP_CREATE, .session = &s };
    CU_ASSERT_TRUE_FATAL(sami_firewall_apply(world, &op, 1, NULL));
    CU_ASSERT_EQUAL(op.result, 0);
}

/* What was removed stays the peer's until its destroy event has been seen: two signs of life. */
static gboolean
is_the_peers(guint i)
{
    for (guint k = 0; k < 2; k++)
        run(SAMI_JOB_SNAPSHOT);
    SamiSession s = flow(i, SAMI_ACTION_CREATED);
    return sami_origin_contains(origin, &s.key);
}

static void
test_follow(void)
{
    SamiSession found, s[3];
    begin();
    run(SAMI_JOB_EPOCH_BEGIN);
    say_one(1, SAMI_ACTION_CREATED);
    run(SAMI_JOB_EPOCH_END);
    CU_ASSERT_TRUE_FATAL(get(1, &found));
    CU_ASSERT_EQUAL(found.timeout_s, 90); /* not shorter than what lies between two dumps */
    CU_ASSERT_TRUE(is_the_peers(1));
    s[0] = flow(1, SAMI_ACTION_UPDATE); /* what grows, grows; what changes, changes */
    s[0].status |= SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED;
    s[0].tcp_state = SAMI_TCP_STATE_ESTABLISHED;
    s[0].timeout_s = 432000;
    s[0].mark = 5;
    say(s, 1);
    CU_ASSERT_TRUE_FATAL(get(1, &found));
    CU_ASSERT_EQUAL(found.tcp_state, SAMI_TCP_STATE_ESTABLISHED);
    CU_ASSERT_EQUAL(found.timeout_s, 432000);
    CU_ASSERT_EQUAL(found.mark, 5);
    CU_ASSERT_EQUAL(found.status & (SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED), SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED);
    s[0] = flow(1, SAMI_ACTION_DELETED); /* an end and a new one with the same addresses, in one Message */
    s[0].has = 0;
    s[1] = flow(1, SAMI_ACTION_UPDATE);
    s[1].mark = 6;
    s[2] = flow(2, SAMI_ACTION_CREATED);
    say(s, 3);
    CU_ASSERT_TRUE(get(1, &found) && found.mark == 6 && found.tcp_state == 1);
    CU_ASSERT_TRUE(get(2, &found));
    run(SAMI_JOB_EPOCH_BEGIN); /* an epoch that does not name it ends it */
    say_one(2, SAMI_ACTION_CREATED);
    run(SAMI_JOB_EPOCH_END);
    CU_ASSERT_FALSE(get(1, &found));
    CU_ASSERT_FALSE(is_the_peers(1));
    CU_ASSERT_TRUE(get(2, &found) && is_the_peers(2));
    CU_ASSERT_EQUAL(apply->n_held, 1);
    say_one(2, SAMI_ACTION_DELETED);
    s[0] = flow(2, SAMI_ACTION_DELETED);
    CU_ASSERT_TRUE(sami_origin_contains(origin, &s[0].key));
    CU_ASSERT_FALSE(get(2, &found) || is_the_peers(2));
    CU_ASSERT_EQUAL(apply->n_held, 0);
    end();
}

/* A flow of somebody else is nobody's master here. */
static void
test_masters(void)
{
    SamiSession found, other = flow(7, SAMI_ACTION_CREATED), children[] = { flow(1, SAMI_ACTION_CREATED), flow(2, SAMI_ACTION_CREATED) };
    SamiOp op = { .kind = SAMI_OP_CREATE, .session = &other };
    begin();
    other.key.orig.src.octets[3] = 77;
    sami_flow_key_mirror(&other.key, &other.reply);
    CU_ASSERT_TRUE(sami_firewall_apply(world, &op, 1, NULL) && op.result == 0);
    make_ours(8);
    for (guint i = 0; i < 2; i++) {
        children[i].has |= SAMI_HAS_MASTER;
        children[i].master = i == 0 ? other.key : flow(8, SAMI_ACTION_CREATED).key;
    }
    say(children, 2);
    CU_ASSERT_TRUE(get(1, &found));
    CU_ASSERT_FALSE(found.has & SAMI_HAS_MASTER);
    CU_ASSERT_TRUE(get(2, &found));
    CU_ASSERT_TRUE(found.has & SAMI_HAS_MASTER);
    end();
}

/* Brought before a restart by another peer, which has not come again: translated to another VM, so not one that this peer has brought. */
static void
test_inherited_of_others(void)
{
    SamiSession mine = flow(1, SAMI_ACTION_CREATED), other, found;
    SamiOp op = { .kind = SAMI_OP_CREATE, .session = &other };
    gboolean is_found = FALSE;
    begin();
    mine.key.orig = (SamiTuple){ .src = { { 198, 51, 100, 1 } }, .dst = { { 192, 0, 2, 9 } }, .src_port = 1000, .dst_port = 80 };
    sami_flow_key_mirror(&mine.key, &mine.reply);
    other = mine;
    mine.reply.src = vm.address;
    other.reply.src = (SamiAddress){ { 10, 0, 0, 77 } };
    other.mark = 9;
    sami_origin_add(origin, &other.key);
    CU_ASSERT_TRUE(sami_firewall_apply(world, &op, 1, NULL) && op.result == 0);
    say(&mine, 1);
    mine.action = SAMI_ACTION_DELETED;
    say(&mine, 1);
    CU_ASSERT_TRUE(sami_firewall_get(world, &mine.key, 1, &found, &is_found, NULL));
    CU_ASSERT_TRUE(is_found && found.mark == 9);
    CU_ASSERT_EQUAL(apply->replica->n_kept, 1);
    end();
}

/* What is left from before a restart is over when every peer has spoken, and for the end of another VM's stream it is not over at all. */
static void
test_left_of_others(void)
{
    const SamiPrefix another = { .address = { { 10, 0, 0, 14 } }, .family = 4, .length = 32 };
    static const struct {
        guint n_peers;
        gboolean is_peer, is_its_vm, stays;
    } rows[] = { { 0, FALSE, FALSE, TRUE }, { 1, FALSE, TRUE, TRUE }, { 0, FALSE, TRUE, FALSE }, { 1, TRUE, TRUE, FALSE } };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        SamiSession left = flow(1, SAMI_ACTION_CREATED), found;
        begin();
        make_ours(1);
        sami_origin_add(origin, &left.key);
        apply->replica->n_peers = rows[i].n_peers;
        apply->replica->is_peer = rows[i].is_peer;
        sami_apply_set_vm(apply, rows[i].is_its_vm ? &vm : &another, 1);
        run(SAMI_JOB_EPOCH_BEGIN);
        run(SAMI_JOB_EPOCH_END);
        CU_ASSERT_EQUAL(get(1, &found), rows[i].stays);
        end();
    }
}

static void
test_ours(void)
{
    SamiSession found, s;
    begin();
    make_ours(1);
    say_one(1, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(get(1, &found) && found.mark == 9);
    CU_ASSERT_FALSE(is_the_peers(1));
    say_one(1, SAMI_ACTION_DELETED);
    CU_ASSERT_TRUE(get(1, &found));
    CU_ASSERT_EQUAL(apply->replica->n_kept, 1);
    say_one(2, SAMI_ACTION_CREATED); /* packets make an entry ours */
    s = flow(2, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE_FATAL(sami_firewall_fake_touch(world, &s.key, 0, 100));
    s.mark = 4;
    say(&s, 1);
    CU_ASSERT_TRUE(get(2, &found) && found.mark == 1);
    say_one(2, SAMI_ACTION_DELETED);
    run(SAMI_JOB_EPOCH_BEGIN);
    run(SAMI_JOB_EPOCH_END);
    CU_ASSERT_TRUE(get(2, &found));
    CU_ASSERT_FALSE(is_the_peers(2));
    CU_ASSERT_EQUAL(apply->replica->n_passed, 1);
    end();
}

static void
test_takeover(void)
{
    SamiSession found;
    begin();
    for (guint i = 0; i < 5000; i++)
        say_one(i, SAMI_ACTION_CREATED);
    CU_ASSERT_EQUAL(sami_origin_n(origin), 5000);
    guint32 term = sami_origin_term(origin);
    run(SAMI_JOB_TAKEOVER);
    CU_ASSERT_EQUAL(sami_origin_n(origin), 0);
    CU_ASSERT_NOT_EQUAL(sami_origin_term(origin), term);
    say_one(7, SAMI_ACTION_DELETED); /* what was on its way */
    run(SAMI_JOB_EPOCH_BEGIN);
    run(SAMI_JOB_EPOCH_END);
    CU_ASSERT_TRUE(get(7, &found));
    end();
}

static void
test_yield(void)
{
    SamiSession found;
    begin();
    make_ours(1);
    CU_ASSERT_TRUE_FATAL(get(1, &found));
    CU_ASSERT_TRUE(sami_origin_is_ours(origin, &found));
    sami_origin_yield(origin, found.start_ns + 1);
    CU_ASSERT_FALSE(sami_origin_is_ours(origin, &found));
    say_one(1, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(get(1, &found) && found.mark == 1);
    CU_ASSERT_TRUE(is_the_peers(1));
    CU_ASSERT_EQUAL(apply->replica->n_replaced, 1);
    say_one(1, SAMI_ACTION_DELETED);
    CU_ASSERT_FALSE(get(1, &found));
    make_ours(2);
    CU_ASSERT_TRUE_FATAL(get(2, &found));
    sami_origin_yield(origin, found.start_ns); /* begun since: ours all the same */
    CU_ASSERT_TRUE(sami_origin_is_ours(origin, &found));
    say_one(2, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(get(2, &found) && found.mark == 9);
    end();
}

/* The daemon is started anew: the ledger is gone, the file is not. */
static void
test_restart(void)
{
    SamiSession found;
    begin();
    say_one(1, SAMI_ACTION_CREATED);
    say_one(2, SAMI_ACTION_CREATED);
    g_ptr_array_set_size(others, 0);
    sami_apply_free(apply);
    sami_origin_free(origin);
    origin = sami_origin_new(path, NULL);
    CU_ASSERT_EQUAL(sami_origin_n(origin), 2);
    apply = sami_replica_new(90, origin, NULL, budget);
    sami_apply_set_vm(apply, &vm, 1);
    apply->replica->n_peers = 1;
    apply->replica->is_peer = TRUE;
    apply->firewall = firewall;
    apply->others = others;
    g_ptr_array_add(others, apply);
    run(SAMI_JOB_EPOCH_BEGIN);
    say_one(1, SAMI_ACTION_CREATED);
    run(SAMI_JOB_EPOCH_END);
    CU_ASSERT_TRUE(get(1, &found) && is_the_peers(1));
    CU_ASSERT_FALSE(get(2, &found) || is_the_peers(2)); /* ended meanwhile */
    CU_ASSERT_EQUAL(apply->replica->n_kept, 0);
    say_one(1, SAMI_ACTION_DELETED);
    CU_ASSERT_FALSE(get(1, &found));
    end();
}

/* Endless: the ledger is no larger than what there is. */
static void
test_endless(void)
{
    begin();
    for (guint round = 0; round < 20; round++) {
        run(SAMI_JOB_EPOCH_BEGIN);
        for (guint i = 0; i < 500; i++)
            say_one(round * 500 + i, SAMI_ACTION_CREATED);
        for (guint i = 0; i < 490; i++)
            say_one(round * 500 + i, SAMI_ACTION_DELETED);
        run(SAMI_JOB_EPOCH_END);
    }
    run(SAMI_JOB_EPOCH_BEGIN);
    run(SAMI_JOB_EPOCH_END);
    run(SAMI_JOB_SNAPSHOT);
    run(SAMI_JOB_SNAPSHOT);
    CU_ASSERT_TRUE(sami_ledger_size(apply->ledger) < 1000);
    CU_ASSERT_EQUAL(sami_origin_n(origin), 0);
    CU_ASSERT_EQUAL(apply->n_held, 0);
    end();
}

/* The reader sees what the writer did, over growth and over many that come and go. */
static void
test_origin(void)
{
    begin();
    SamiOrigin *reader = sami_origin_watch(path);
    GRand *rand = g_rand_new_with_seed(7);
    g_autoptr(GHashTable) model = g_hash_table_new(NULL, NULL);
    guint n_wrong = 0;
    for (guint step = 0; step < 200000; step++) {
        guint i = (guint) g_rand_int_range(rand, 0, 20000);
        SamiSession s = flow(i, SAMI_ACTION_CREATED);
        if (g_rand_int_range(rand, 0, 5) > 1) {
            gboolean is_new = sami_origin_add(origin, &s.key);
            n_wrong += is_new != g_hash_table_add(model, GUINT_TO_POINTER(i + 1));
        } else {
            sami_origin_remove(origin, &s.key);
            g_hash_table_remove(model, GUINT_TO_POINTER(i + 1));
        }
        s = flow((guint) g_rand_int_range(rand, 0, 20000), SAMI_ACTION_CREATED);
        i = s.key.orig.src_port - 1000u;
        n_wrong += sami_origin_contains(reader, &s.key) != g_hash_table_contains(model, GUINT_TO_POINTER(i + 1));
    }
    CU_ASSERT_EQUAL(n_wrong, 0);
    CU_ASSERT_EQUAL(sami_origin_n(reader), g_hash_table_size(model));
    sami_origin_clear(origin);
    CU_ASSERT_EQUAL(sami_origin_n(reader), 0);
    sami_origin_free(reader);
    g_rand_free(rand);
    /* Of another boot, or no such file at all: made anew. */
    sami_origin_free(origin);
    CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, "no such file", -1, NULL));
    origin = sami_origin_new(path, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(origin);
    CU_ASSERT_EQUAL(sami_origin_n(origin), 0);
    end();
}

/* Its time was over here: what the peer still has comes again, and what it has not goes without a word. */
static void
test_vanished(void)
{
    SamiSession found, s = flow(1, SAMI_ACTION_UPDATE);
    begin();
    say_one(1, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s.key));
    s.mark = 5;
    say(&s, 1);
    CU_ASSERT_TRUE(get(1, &found) && found.mark == 5);
    CU_ASSERT_EQUAL(apply->n_held, 1);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s.key));
    say_one(1, SAMI_ACTION_DELETED);
    CU_ASSERT_EQUAL(apply->n_held, 0);
    CU_ASSERT_FALSE(is_the_peers(1));
    run(SAMI_JOB_EPOCH_BEGIN); /* an epoch sees it as well: one has gone, another one lives here */
    say_one(2, SAMI_ACTION_CREATED);
    say_one(3, SAMI_ACTION_CREATED);
    s = flow(2, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s.key));
    s = flow(3, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_touch(world, &s.key, 0, 100));
    run(SAMI_JOB_EPOCH_END);
    CU_ASSERT_EQUAL(apply->n_held, 0);
    CU_ASSERT_EQUAL(apply->replica->n_passed, 1);
    CU_ASSERT_TRUE(get(3, &found));
    CU_ASSERT_FALSE(is_the_peers(2) || is_the_peers(3));
    end();
}

/* A helper that was not here is asked for again with the next dump: somebody has loaded it. */
static void
test_missing_helper(void)
{
    SamiSession found, s = flow(1, SAMI_ACTION_CREATED);
    s.has |= SAMI_HAS_HELPER;
    g_strlcpy(s.helper, "ftp", sizeof s.helper);
    begin();
    sami_firewall_fake_answer(world, EOPNOTSUPP);
    say(&s, 1);
    CU_ASSERT_TRUE(get(1, &found) && !(found.has & SAMI_HAS_HELPER));
    run(SAMI_JOB_EPOCH_BEGIN);
    s.key.orig.src_port++;
    s.reply.dst_port++;
    say(&s, 1);
    run(SAMI_JOB_EPOCH_END);
    CU_ASSERT_TRUE(get(2, &found) && (found.has & SAMI_HAS_HELPER));
    end();
}

/* A VM that is moved to the standby: from READY on its flows are not the other firewall's, whatever that says of them. */
static void
test_moved_here(void)
{
    SamiBudget *all = sami_budget_new();
    SamiSession found, s = flow(1, SAMI_ACTION_UPDATE);
    SamiApplyItem item = { .session = flow(1, SAMI_ACTION_CREATED) };
    begin();
    SamiApply *move = sami_apply_new(60, all, budget);
    g_ptr_array_add(others, move);
    move->firewall = firewall;
    move->others = others;
    move->batch = sami_apply_batch_new();
    say_one(1, SAMI_ACTION_CREATED);
    g_autofree guint8 *messages = sami_apply_build(&item, 1, 60, FALSE);
    CU_ASSERT_TRUE(sami_apply_records(move, &item, 1, 1, 0, NULL));
    CU_ASSERT_EQUAL(move->n_merged, 1);
    CU_ASSERT_TRUE(sami_apply_freeze(move, NULL));
    CU_ASSERT_EQUAL(move->n_held, 1);
    CU_ASSERT_EQUAL(apply->n_held, 0);
    s.mark = 5;
    say(&s, 1);
    CU_ASSERT_TRUE(get(1, &found) && found.mark == 1);
    CU_ASSERT_EQUAL(apply->replica->n_passed, 1);
    CU_ASSERT_FALSE(is_the_peers(1));
    say_one(1, SAMI_ACTION_DELETED);
    CU_ASSERT_TRUE(get(1, &found));
    sami_apply_batch_free(move->batch);
    sami_apply_free(move);
    end();
    sami_budget_unref(all);
}

/* Two peers, and one of them is taken over: what is of the other one stays the other one's. */
static void
test_two(void)
{
    SamiSession s = flow(1, SAMI_ACTION_CREATED);
    begin();
    SamiApply *first = apply, *second = sami_replica_new(90, origin, NULL, budget);
    second->firewall = firewall;
    second->others = others;
    g_ptr_array_add(others, second);
    say_one(1, SAMI_ACTION_CREATED);
    apply = second;
    say_one(2, SAMI_ACTION_CREATED);
    say_one(1, SAMI_ACTION_CREATED); /* both have it: it is the first one's */
    CU_ASSERT_EQUAL(second->n_held, 1);
    CU_ASSERT_EQUAL(second->replica->n_kept, 1);
    apply = first;
    run(SAMI_JOB_TAKEOVER);
    CU_ASSERT_FALSE(sami_origin_contains(origin, &s.key));
    s = flow(2, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_origin_contains(origin, &s.key));
    say_one(1, SAMI_ACTION_DELETED); /* it says nothing about ours any more */
    CU_ASSERT_TRUE(get(1, &s));
    sami_apply_free(second);
    end();
}

static const SamiTest tests[] = {
    { "a flow whose time was over", test_vanished },
    { "a flow that is moved here", test_moved_here },
    { "one of two is taken over", test_two },
    { "the table follows the peer's", test_follow },
    { "what is ours stays ours", test_ours }, { "masters", test_masters },
    { "what another peer had brought", test_inherited_of_others },
    { "what is left of others", test_left_of_others },
    { "takeover", test_takeover },
    { "a helper that was not here", test_missing_helper },
    { "a backup takes the other's state for its own", test_yield },
    { "a restart of the daemon", test_restart },
    { "the ledger of an endless stream", test_endless },
    { "whose flows there are", test_origin },
};

int
main(void)
{
    return sami_test_main("replica", tests, G_N_ELEMENTS(tests), set_up, tear_down);
}
