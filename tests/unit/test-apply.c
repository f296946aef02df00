/* What records do to the kernel, against the fake one: flows that grow, begin anew, are merged, and are taken back. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "collector/apply.h"
#include "common/limits.h"
#include "firewall/expect.h"
#include "firewall/fake.h"
#include "tests/unit/harness.h"

static SamiFirewall *world;
static SamiApply *apply;
static GPtrArray *others;
static const SamiPrefix vm[] = { { .address = { { 10, 0, 0, 13 } }, .family = 4, .length = 32 } };

static int
set_up(void)
{
    return 0;
}

static void
begin(void)
{
    SamiBudget *all = sami_budget_new(), *signer = sami_budget_new();
    world = sami_firewall_fake_new(0);
    apply = sami_apply_new(60, all, signer);
    sami_apply_set_vm(apply, vm, G_N_ELEMENTS(vm));
    sami_budget_unref(all);
    sami_budget_unref(signer);
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
    sami_firewall_free(world);
}

static SamiSession
flow(guint8 protocol, guint32 status)
{
    SamiSession s = { .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY, .action = SAMI_ACTION_CREATED, .status = SAMI_IPS_CONFIRMED | status,
                      .timeout_s = 30 };
    s.key.family = 4;
    s.key.protocol = protocol;
    s.key.orig = (SamiTuple){ .src = { { 10, 0, 0, 13 } }, .dst = { { 198, 51, 100, 1 } }, .src_port = 1000, .dst_port = 53 };
    sami_flow_key_mirror(&s.key, &s.reply);
    if (protocol == IPPROTO_TCP) {
        s.has |= SAMI_HAS_TCP;
        s.tcp_state = SAMI_TCP_STATE_ESTABLISHED;
    }
    return s;
}

/* is_redumping: the collector expects entries to be there and builds no messages ahead. */
static void
say_while(SamiSession s, SamiAction action, gboolean is_redumping)
{
    SamiApplyItem item = { .session = s };
    item.session.action = (guint8) action;
    g_autofree guint8 *messages = sami_apply_build(&item, 1, 60, is_redumping);
    CU_ASSERT_TRUE(sami_apply_records(apply, &item, 1, 1, 0, NULL));
}

static void
say(SamiSession s, SamiAction action)
{
    say_while(s, action, FALSE);
}

static gboolean
get(const SamiSession *s, SamiSession *ret)
{
    gboolean is_found = FALSE;
    CU_ASSERT_TRUE(sami_firewall_get(world, &s->key, 1, ret, &is_found, NULL));
    return is_found;
}

/* Opened while the VM is followed: first seen without a reply, then with it. What arrives must let the next packet of either side pass. */
static void
check_growth(guint8 protocol, gboolean is_after_marker)
{
    SamiSession young = flow(protocol, 0), grown = flow(protocol, SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED), found;
    begin();
    say(young, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(get(&young, &found));
    CU_ASSERT_EQUAL(found.status & SAMI_IPS_SEEN_REPLY, 0);
    if (is_after_marker) /* the audit */
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    say(grown, is_after_marker ? SAMI_ACTION_CREATED : SAMI_ACTION_UPDATE);
    CU_ASSERT_TRUE(get(&grown, &found));
    CU_ASSERT_EQUAL(found.status & (SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED), SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED);
    CU_ASSERT_EQUAL(apply->n_accepted, 1);
    end();
}

static void
test_growth(void)
{
    static const guint8 protocols[] = { IPPROTO_TCP, IPPROTO_UDP };
    for (guint i = 0; i < G_N_ELEMENTS(protocols); i++) {
        check_growth(protocols[i], FALSE);
        check_growth(protocols[i], TRUE);
    }
}

/* What packets have made of it here is not overwritten. */
static void
test_touched(void)
{
    SamiSession young = flow(IPPROTO_TCP, 0), closing = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), found;
    begin();
    say(young, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_touch(world, &young.key, 0, 100));
    closing.tcp_state = 7;
    say(closing, SAMI_ACTION_UPDATE);
    CU_ASSERT_TRUE(get(&young, &found));
    CU_ASSERT_EQUAL(found.tcp_state, SAMI_TCP_STATE_ESTABLISHED);
    end();
}

/* The same addresses, but another window scale: a new flow without an event between, which no update can make of the old one. */
static void
test_anew(void)
{
    SamiSession s = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), found;
    begin();
    say(s, SAMI_ACTION_CREATED);
    s.has |= SAMI_HAS_WSCALE;
    s.tcp_flags[0] = s.tcp_flags[1] = SAMI_TCP_FLAG_WINDOW_SCALE;
    s.tcp_wscale[0] = s.tcp_wscale[1] = 7;
    say(s, SAMI_ACTION_UPDATE);
    CU_ASSERT_TRUE(get(&s, &found));
    CU_ASSERT_TRUE(found.has & SAMI_HAS_WSCALE);
    CU_ASSERT_EQUAL(found.tcp_wscale[1], 7);
    end();
}

/* Created behind the freeze marker, it keeps the time that it has at the source and not the lease's, in the audit as before it. */
static void
test_late(void)
{
    begin();
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    for (guint is_redumping = 0; is_redumping < 2; is_redumping++) {
        SamiSession s = flow(IPPROTO_TCP, 0), found;
        s.key.orig.src_port = s.reply.dst_port = (guint16) (2000 + is_redumping);
        s.timeout_s = 500;
        s.flags |= SAMI_SESSION_LATE;
        say_while(s, SAMI_ACTION_CREATED, is_redumping != 0);
        CU_ASSERT_TRUE(get(&s, &found));
        CU_ASSERT_EQUAL(found.timeout_s, 500);
    }
    end();
}

/* In doubt no audit comes: an open flow keeps the time that its record had, not the lease, unless packets have given it another. */
static void
test_in_doubt(void)
{
    SamiReadBack reading = { 0 };
    SamiSession s[2], found;
    guint at = 0;
    begin();
    for (guint i = 0; i < 2; i++) {
        s[i] = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
        s[i].key.orig.src_port = s[i].reply.dst_port = (guint16) (3000 + i);
        s[i].timeout_s = 5000;
        say(s[i], SAMI_ACTION_CREATED);
    }
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE(sami_firewall_fake_touch(world, &s[1].key, 0, 100));
    for (guint i = 0; at < sami_ledger_size(apply->ledger) && i < 10; i++)
        CU_ASSERT_TRUE(sami_apply_read_back(apply, &at, &reading, NULL));
    sami_read_back_clear(&reading);
    CU_ASSERT_TRUE(get(&s[0], &found));
    CU_ASSERT_EQUAL(found.timeout_s, 5000);
    CU_ASSERT_TRUE(get(&s[1], &found));
    CU_ASSERT_NOT_EQUAL(found.timeout_s, 5000);
    end();
}

/* Exactly what was created goes; what traffic has made since, with the same addresses, stays. */
static void
test_rollback(void)
{
    SamiSession s = flow(IPPROTO_TCP, 0), other = flow(IPPROTO_UDP, 0), found;
    SamiRemoval removal = { 0 };
    SamiOp again = { .kind = SAMI_OP_CREATE, .session = &other };
    guint at = 0;
    begin();
    say(s, SAMI_ACTION_CREATED);
    say(other, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &other.key));
    g_usleep(2000); /* past the window of its batch */
    CU_ASSERT_TRUE(sami_firewall_apply(world, &again, 1, NULL));
    CU_ASSERT_TRUE(sami_apply_rollback(apply, &at, &removal, NULL));
    CU_ASSERT_FALSE(get(&s, &found));
    CU_ASSERT_TRUE(get(&other, &found));
    CU_ASSERT_EQUAL(removal.n_removed, 1);
    CU_ASSERT_EQUAL(removal.n_left, 1);
    CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
    end();
}

/* A control connection, and the i-th child or expectation of it. */
static SamiSession
master_flow(void)
{
    SamiSession s = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED);
    s.has |= SAMI_HAS_HELPER;
    memcpy(s.helper, "ftp", 4);
    return s;
}

static SamiSession
child_flow(guint i)
{
    SamiSession s = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
    s.has |= SAMI_HAS_MASTER;
    s.master = s.key;
    s.key.orig.src_port = (guint16) (2000 + i);
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}

static void
add_foreign(SamiSession s)
{
    SamiOp op = { .kind = SAMI_OP_CREATE, .session = &s };
    CU_ASSERT_TRUE(sami_firewall_apply(world, &op, 1, NULL));
    CU_ASSERT_EQUAL(op.result, 0);
}

/* Before its master, in one Message or in another. */
static void
test_children(void)
{
    SamiSession found, child = child_flow(0);
    SamiApplyItem items[] = { { .session = child_flow(1) }, { .session = master_flow() }, { .session = child_flow(2) } };
    begin();
    say(child, SAMI_ACTION_CREATED);
    CU_ASSERT_FALSE(get(&child, &found));
    CU_ASSERT_EQUAL(apply->n_records, 1);
    g_autofree guint8 *messages = sami_apply_build(items, G_N_ELEMENTS(items), 60, FALSE);
    CU_ASSERT_TRUE(sami_apply_records(apply, items, G_N_ELEMENTS(items), 2, 0, NULL));
    for (guint i = 0; i < 3; i++) {
        SamiSession s = child_flow(i);
        CU_ASSERT_TRUE_FATAL(get(&s, &found));
        CU_ASSERT_TRUE(found.has & SAMI_HAS_MASTER);
    }
    CU_ASSERT_EQUAL(apply->n_records, 4);
    CU_ASSERT_EQUAL(apply->n_accepted, 4);
    SamiRemoval removal = { 0 };
    guint at = 0;
    while (at < sami_ledger_size(apply->ledger))
        CU_ASSERT_TRUE(sami_apply_rollback(apply, &at, &removal, NULL));
    CU_ASSERT_EQUAL(removal.n_removed, 4);
    CU_ASSERT_EQUAL(removal.n_gone, 0);
    end();
}

/* It does not come; and what has its addresses here is somebody else's. */
static void
test_orphans(void)
{
    SamiSession found, child = child_flow(0), ended = child_flow(1), late = child_flow(2);
    begin();
    add_foreign(master_flow());
    say(child, SAMI_ACTION_CREATED);
    say(ended, SAMI_ACTION_CREATED);
    say(ended, SAMI_ACTION_DELETED);
    CU_ASSERT_FALSE(get(&child, &found));
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE(get(&child, &found));
    CU_ASSERT_FALSE(found.has & SAMI_HAS_MASTER);
    CU_ASSERT_FALSE(get(&ended, &found));
    late.flags = SAMI_SESSION_LATE;
    say(late, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(get(&late, &found));
    CU_ASSERT_FALSE(found.has & SAMI_HAS_MASTER);
    SamiReadBack reading = { 0 };
    guint at = 0;
    while (at < sami_ledger_size(apply->ledger))
        CU_ASSERT_TRUE(sami_apply_read_back(apply, &at, &reading, NULL));
    sami_read_back_clear(&reading);
    CU_ASSERT_EQUAL(apply->degraded[SAMI_REASON_NO_MASTER], 2);
    end();
}

/* The queue is bounded: beyond it they go in alone. */
static void
test_many_children(void)
{
    SamiSession found;
    begin();
    for (guint i = 0; i <= SAMI_CHILDREN_MAX; i++)
        say(child_flow(i), SAMI_ACTION_CREATED);
    SamiSession first = child_flow(0), last = child_flow(SAMI_CHILDREN_MAX);
    CU_ASSERT_FALSE(get(&first, &found));
    CU_ASSERT_TRUE(get(&last, &found));
    say(master_flow(), SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(get(&first, &found));
    CU_ASSERT_EQUAL(apply->n_accepted, SAMI_CHILDREN_MAX + 2);
    CU_ASSERT_EQUAL(apply->n_records, SAMI_CHILDREN_MAX + 2);
    end();
}

static SamiExpectation
expectation(guint16 port)
{
    SamiSession master = master_flow();
    SamiExpectation e = { .key = master.key, .master = master.key, .action = SAMI_ACTION_CREATED, .timeout_s = 100 };
    memset(&e.mask_src, 0xff, 4);
    e.key.orig.src_port = 0;
    e.key.orig.dst_port = port;
    return e;
}

/* As of a signer that may have every port, and no address but the VM's. */
static guint8 facts = SAMI_EXPECT_SRC_VM | SAMI_EXPECT_PORT_VM | SAMI_EXPECT_PORT_REMOTE;

static void
say_expected(SamiExpectation e, guint32 age_s)
{
    SamiExpectationItem item = { .expectation = e, .facts = facts };
    sami_apply_expect(apply, &item, 1, 1, (guint64) g_get_monotonic_time() / 1000 - age_s * 1000);
}

static void
take(const SamiExpectation *e, gpointer user_data)
{
    g_array_append_vals(user_data, e, 1);
}

static guint
n_expected(SamiExpectation *ret_first)
{
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(SamiExpectation));
    CU_ASSERT_TRUE(sami_firewall_expectations(world, NULL, take, found, NULL));
    if (found->len > 0)
        *ret_first = g_array_index(found, SamiExpectation, 0);
    return found->len;
}

static void
check_counts(guint64 n_created, guint64 n_present, SamiReason reason)
{
    CU_ASSERT_EQUAL(apply->expected.n_applied, n_created);
    CU_ASSERT_EQUAL(apply->expected.n_unchanged, n_present);
    CU_ASSERT_EQUAL(apply->expected.n_refused, reason == SAMI_REASON_NONE ? 0 : 1);
    CU_ASSERT_EQUAL(apply->n_refused, 0); /* which is of sessions */
    CU_ASSERT_TRUE(reason == SAMI_REASON_NONE || apply->refused[reason] == 1);
}

/* At the marker, with what is left of its time; taken back by a thaw, and by a rollback if it is still ours. */
static void
test_expectations(void)
{
    SamiExpectation found;
    SamiRemoval removal = { 0 };
    begin();
    say_expected(expectation(40000), 0);
    say_expected(expectation(40000), 10); /* said again, by a session that was resumed */
    CU_ASSERT_EQUAL(n_expected(&found), 0);
    say(master_flow(), SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL_FATAL(n_expected(&found), 1);
    CU_ASSERT_TRUE(found.timeout_s >= 88 && found.timeout_s <= 90);
    check_counts(1, 0, SAMI_REASON_NONE);
    CU_ASSERT_TRUE(sami_apply_thaw(apply, NULL));
    CU_ASSERT_EQUAL(n_expected(&found), 0);
    say_expected(expectation(40001), 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL_FATAL(n_expected(&found), 1);
    CU_ASSERT_EQUAL(found.key.orig.dst_port, 40001);
    guint at = 0;
    CU_ASSERT_TRUE(sami_apply_rollback(apply, &at, &removal, NULL));
    CU_ASSERT_EQUAL(removal.n_expectations, 1);
    CU_ASSERT_EQUAL(removal.n_removed, 1);
    CU_ASSERT_EQUAL(n_expected(&found), 0);
    end();
}

/* One that a helper here made anew has its whole time. */
static void
test_expected_anew(void)
{
    SamiExpectation e = expectation(40000), found;
    SamiExpectOp ops[] = { { .kind = SAMI_EXPECT_DELETE, .expectation = &e }, { .kind = SAMI_EXPECT_CREATE, .expectation = &e } };
    SamiRemoval removal = { 0 };
    begin();
    say(master_flow(), SAMI_ACTION_CREATED);
    say_expected(e, 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE(sami_firewall_expect(world, ops, 2, NULL));
    CU_ASSERT_EQUAL(ops[1].result, 0);
    CU_ASSERT_TRUE(sami_apply_thaw(apply, NULL));
    CU_ASSERT_EQUAL(n_expected(&found), 1);
    say_expected(e, 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    guint at = 0;
    CU_ASSERT_TRUE(sami_apply_rollback(apply, &at, &removal, NULL));
    CU_ASSERT_EQUAL(removal.n_expectations_left + removal.n_expectations, 0); /* the second one was not created by us */
    end();
}

static void
check_refused(SamiSession master, gboolean is_ours, SamiExpectation e, guint32 age_s, SamiReason reason)
{
    SamiExpectation found;
    begin();
    if (is_ours)
        say(master, SAMI_ACTION_CREATED);
    else
        add_foreign(master);
    say_expected(e, age_s);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL(n_expected(&found), 0);
    check_counts(0, 0, reason);
    end();
}

static void
test_refused_expectations(void)
{
    SamiSession helpless = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
    SamiExpectation elsewhere = expectation(40000);
    elsewhere.key.orig.dst.octets[3] = 77; /* listed for its NAT by the policy, and not what this flow is translated to */
    check_refused(master_flow(), FALSE, expectation(40000), 0, SAMI_REASON_EXPECTATION_MASTER);
    check_refused(helpless, TRUE, expectation(40000), 0, SAMI_REASON_EXPECTATION_HELPER);
    check_refused(master_flow(), TRUE, expectation(40000), 101, SAMI_REASON_EXPECTATION_LATE);
    check_refused(master_flow(), TRUE, elsewhere, 0, SAMI_REASON_ADDRESS_NOT_ALLOWED);
    SamiExpectation by_another = expectation(40000), found;
    by_another.has |= SAMI_EXPECT_HAS_HELPER;
    memcpy(by_another.helper, "sip", 4);
    check_refused(master_flow(), TRUE, by_another, 0, SAMI_REASON_EXPECTATION_HELPER);
    SamiSession ended = master_flow(); /* and traffic has made another one */
    begin();
    say(ended, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &ended.key));
    g_usleep(2000);
    add_foreign(ended);
    say_expected(expectation(40000), 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL(n_expected(&found), 0);
    check_counts(0, 0, SAMI_REASON_EXPECTATION_MASTER);
    end();
}

/* Where it goes is what its function makes of the master that is here, not what the record says. */
static void
test_aimed_expectations(void)
{
    const guint8 before = facts;
    SamiSession master = master_flow(), found;
    SamiExpectation e = expectation(40000), mine;
    master.reply.dst = e.key.orig.dst = (SamiAddress){ { 192, 0, 2, 9 } };
    memset(&e.key.orig.src, 0, sizeof e.key.orig.src);
    memset(&e.mask_src, 0, sizeof e.mask_src);
    facts = SAMI_EXPECT_PORT_VM | SAMI_EXPECT_PORT_REMOTE | SAMI_EXPECT_DST_LISTED;
    check_refused(master, TRUE, e, 0, SAMI_REASON_ADDRESS_NOT_ALLOWED);
    e.has |= SAMI_EXPECT_HAS_FUNCTION | SAMI_EXPECT_HAS_NAT;
    g_strlcpy(e.function, "nat-follow-master", sizeof e.function);
    e.nat_address = vm[0].address;
    check_refused(master, TRUE, e, 0, SAMI_REASON_ADDRESS_NOT_ALLOWED); /* to the server */
    e.nat_direction = 1;
    facts &= (guint8) ~SAMI_EXPECT_PORT_VM;
    check_refused(master, TRUE, e, 0, SAMI_REASON_PORT_NOT_ALLOWED);
    facts = SAMI_EXPECT_PORT_VM | SAMI_EXPECT_PORT_REMOTE;
    check_refused(master, TRUE, e, 0, SAMI_REASON_NAT_ADDRESS);
    facts |= SAMI_EXPECT_DST_LISTED;
    begin();
    say(master, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(get(&master, &found));
    say_expected(e, 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL(n_expected(&mine), 1);
    end();
    facts = before;
}

/* The flow was here, and its helper waits for something that packets here have announced: that stays. */
static void
test_present_expectation(void)
{
    SamiExpectation mine = expectation(50000), found;
    SamiExpectOp op = { .kind = SAMI_EXPECT_CREATE, .expectation = &mine };
    begin();
    add_foreign(master_flow());
    CU_ASSERT_TRUE(sami_firewall_expect(world, &op, 1, NULL));
    say(master_flow(), SAMI_ACTION_CREATED);
    CU_ASSERT_EQUAL(apply->n_merged, 1);
    say_expected(expectation(40000), 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL_FATAL(n_expected(&found), 1);
    CU_ASSERT_EQUAL(found.key.orig.dst_port, 50000);
    check_counts(0, 1, SAMI_REASON_NONE);
    CU_ASSERT_TRUE(sami_apply_thaw(apply, NULL));
    CU_ASSERT_EQUAL(n_expected(&found), 1);
    end();
}

/* The kernel gives one flow of ftp one expectation: what was evicted is not said to be there. */
static void
test_evicted_expectation(void)
{
    SamiExpectation found;
    begin();
    say(master_flow(), SAMI_ACTION_CREATED);
    say_expected(expectation(40000), 0);
    say_expected(expectation(40001), 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL_FATAL(n_expected(&found), 1);
    CU_ASSERT_EQUAL(apply->expected.n_applied, 1);
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_UNVERIFIED], 1);
    end();
}

/* From outside, translated by firewalls to somebody behind an address that several share. */
static SamiSession
shared_flow(guint8 behind, guint32 mark)
{
    SamiSession s = flow(IPPROTO_UDP, SAMI_IPS_SEEN_REPLY);
    s.key.orig = (SamiTuple){ .src = { { 198, 51, 100, 1 } }, .dst = { { 192, 0, 2, 9 } }, .src_port = 1000, .dst_port = 53 };
    sami_flow_key_mirror(&s.key, &s.reply);
    s.reply.src = (SamiAddress){ { 10, 0, 0, behind } };
    s.has |= SAMI_HAS_MARK;
    s.mark = mark;
    return s;
}

/* Ours has ended here, and another VM has a flow with these addresses: no record changes or ends that one. */
static void
test_not_ours_any_more(void)
{
    SamiSession mine = shared_flow(13, 1), other = shared_flow(77, 9), found;
    SamiReadBack reading = { 0 };
    guint at = 0;
    begin();
    say(mine, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &mine.key));
    g_usleep(2000); /* past the window of its batch */
    other.timeout_s = 20;
    add_foreign(other);
    mine.mark = 2;
    say(mine, SAMI_ACTION_UPDATE);
    CU_ASSERT_TRUE_FATAL(get(&mine, &found));
    CU_ASSERT_EQUAL(found.mark, 9);
    CU_ASSERT_EQUAL(found.reply.src.octets[3], 77);
    say(mine, SAMI_ACTION_DELETED);
    CU_ASSERT_TRUE_FATAL(get(&mine, &found));
    CU_ASSERT_EQUAL(found.mark, 9);
    CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
    end();
    begin();
    say(mine, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &mine.key));
    g_usleep(2000);
    add_foreign(other);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    mine.timeout_s = 200;
    say(mine, SAMI_ACTION_CREATED); /* the audit */
    CU_ASSERT_TRUE(sami_apply_renew(apply, &at, NULL));
    CU_ASSERT_TRUE_FATAL(get(&mine, &found));
    CU_ASSERT_TRUE(found.timeout_s <= 20);
    for (at = 0; at < sami_ledger_size(apply->ledger);)
        CU_ASSERT_TRUE_FATAL(sami_apply_read_back(apply, &at, &reading, NULL));
    sami_read_back_clear(&reading);
    CU_ASSERT_EQUAL(apply->degraded[SAMI_REASON_UNVERIFIED], 1);
    end();
}

/* A merged flow has ended, and another migration has brought one with its addresses: the rollback does not make that one strict. */
static void
test_merged_no_more(void)
{
    SamiSession here = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED), other = here, found;
    SamiRemoval removal = { 0 };
    guint at = 0;
    begin();
    add_foreign(here);
    say(here, SAMI_ACTION_CREATED);
    CU_ASSERT_EQUAL(apply->n_merged, 1);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &here.key));
    g_usleep(2000);
    other.tcp_flags[0] = other.tcp_flags[1] = SAMI_TCP_FLAG_BE_LIBERAL;
    add_foreign(other);
    while (at < sami_ledger_size(apply->ledger))
        CU_ASSERT_TRUE_FATAL(sami_apply_rollback(apply, &at, &removal, NULL));
    CU_ASSERT_EQUAL(removal.n_left, 1);
    CU_ASSERT_EQUAL(removal.n_restored, 0);
    CU_ASSERT_TRUE_FATAL(get(&here, &found));
    CU_ASSERT_TRUE(found.tcp_flags[0] & found.tcp_flags[1] & SAMI_TCP_FLAG_BE_LIBERAL);
    end();
}

/* on-conflict=replace is about the VM's own flows. */
static void
test_replace_others(void)
{
    SamiSession mine = shared_flow(13, 1), other = shared_flow(77, 9), elsewhere = shared_flow(13, 9), found;
    begin();
    apply->on_conflict = SAMI_CONFLICT_REPLACE;
    add_foreign(other);
    say(mine, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE_FATAL(get(&mine, &found));
    CU_ASSERT_EQUAL(found.reply.src.octets[3], 77);
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_NAT_MISMATCH], 1);
    end();
    begin();
    apply->on_conflict = SAMI_CONFLICT_REPLACE;
    elsewhere.reply.src_port = 5353;
    add_foreign(elsewhere);
    say(mine, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE_FATAL(get(&mine, &found));
    CU_ASSERT_EQUAL(found.reply.src_port, 53);
    CU_ASSERT_EQUAL(apply->n_replaced, 1);
    end();
}

/* A window that ends before what was made in it proves nothing. */
static void
test_clock(void)
{
    guint n_early = 0;
    for (guint i = 0; i < 1000; i++) {
        struct timespec made;
        clock_gettime(CLOCK_REALTIME, &made);
        n_early += sami_ledger_now() < (guint64) made.tv_sec * 1000000000u + (guint64) made.tv_nsec;
    }
    CU_ASSERT_EQUAL(n_early, 0);
}

/* The end of a flow and its next beginning in one batch, in order. */
static void
test_ends_in_a_batch(void)
{
    SamiApplyItem items[6];
    SamiSession s = flow(IPPROTO_UDP, SAMI_IPS_SEEN_REPLY), other = s, found;
    static const SamiAction actions[] = { SAMI_ACTION_CREATED, SAMI_ACTION_DELETED, SAMI_ACTION_CREATED, SAMI_ACTION_CREATED, SAMI_ACTION_DELETED,
                                          SAMI_ACTION_DELETED };
    begin();
    other.key.orig.src_port = 1001;
    sami_flow_key_mirror(&other.key, &other.reply);
    for (guint i = 0; i < G_N_ELEMENTS(items); i++) {
        items[i] = (SamiApplyItem){ .session = i < 3 ? s : other };
        items[i].session.action = (guint8) actions[i];
        items[i].session.mark = i;
        items[i].session.has |= i > 0 ? SAMI_HAS_MARK : 0;
    }
    g_autofree guint8 *messages = sami_apply_build(items, G_N_ELEMENTS(items), 60, FALSE);
    CU_ASSERT_TRUE(sami_apply_records(apply, items, G_N_ELEMENTS(items), 1, 0, NULL));
    CU_ASSERT_TRUE(get(&s, &found));
    CU_ASSERT_EQUAL(found.mark, 2);
    CU_ASSERT_FALSE(get(&other, &found));
    CU_ASSERT_EQUAL(apply->n_accepted, 3);
    CU_ASSERT_EQUAL(sami_apply_present(apply), 1);
    end();
}

/* A peer whose flows come and go without end, each another one: what is left of them in memory has a bound, and those that stay are still known. */
static void
test_fleeting(void)
{
    enum { STAY = 10, ROUND = 500, ROUNDS = 600 };
    g_autofree SamiApplyItem *items = g_new0(SamiApplyItem, 2 * ROUND);
    SamiRemoval removal = { 0 };
    SamiSession found;
    guint at = 0;
    begin();
    for (guint i = 0; i < STAY; i++) {
        SamiSession s = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
        s.key.orig.src_port = (guint16) (1 + i);
        sami_flow_key_mirror(&s.key, &s.reply);
        say(s, SAMI_ACTION_CREATED);
    }
    for (guint round = 0; round < ROUNDS; round++) {
        for (guint i = 0; i < ROUND; i++) {
            SamiSession s = flow(IPPROTO_UDP, SAMI_IPS_SEEN_REPLY);
            s.key.orig.src_port = (guint16) (1000 + i);
            s.key.orig.dst_port = (guint16) (1 + round);
            sami_flow_key_mirror(&s.key, &s.reply);
            items[i] = items[ROUND + i] = (SamiApplyItem){ .session = s };
            items[ROUND + i].session.action = SAMI_ACTION_DELETED;
        }
        g_autofree guint8 *messages = sami_apply_build(items, 2 * ROUND, 60, FALSE);
        sami_apply_compact(apply); /* as the injecting thread does it */
        CU_ASSERT_TRUE(sami_apply_records(apply, items, 2 * ROUND, 1, 0, NULL));
    }
    CU_ASSERT_EQUAL(apply->n_accepted, STAY + ROUND * ROUNDS);
    CU_ASSERT_EQUAL(apply->n_held, STAY);
    CU_ASSERT_TRUE(sami_ledger_size(apply->ledger) <= SAMI_LEDGER_COMPACT + ROUND);
    CU_ASSERT_TRUE(sami_apply_octets(apply) < 10 * 1024 * 1024);
    while (at < sami_ledger_size(apply->ledger))
        CU_ASSERT_TRUE_FATAL(sami_apply_rollback(apply, &at, &removal, NULL));
    CU_ASSERT_EQUAL(removal.n_removed, STAY); /* each still with the window that proves whose it is */
    CU_ASSERT_EQUAL(removal.n_left + removal.n_unproved, 0);
    SamiSession first = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
    first.key.orig.src_port = 1;
    CU_ASSERT_FALSE(get(&first, &found));
    end();
}

/* More is refused than can be listed, or remembered: all of it is counted. */
static void
test_endless_refusals(void)
{
    enum { MORE = 1000 };
    begin();
    for (guint i = 0; i < SAMI_REFUSED_MAX + MORE; i++) {
        SamiApplyItem item = { .session = flow(IPPROTO_UDP, 0), .reason = SAMI_REASON_ADDRESS_NOT_ALLOWED };
        item.session.key.orig.src_port = (guint16) i;
        item.session.key.orig.dst_port = (guint16) (1 + i / 65536);
        CU_ASSERT_TRUE_FATAL(sami_apply_records(apply, &item, 1, 1, 0, NULL));
    }
    CU_ASSERT_EQUAL(apply->n_refused, SAMI_REFUSED_MAX + MORE);
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_ADDRESS_NOT_ALLOWED], SAMI_REFUSED_MAX + MORE);
    CU_ASSERT_EQUAL(apply->refusals->len, SAMI_REFUSALS_PER_RULE);
    CU_ASSERT_TRUE(apply->is_truncated);
    CU_ASSERT_EQUAL(g_hash_table_size(apply->refused_keys), SAMI_REFUSED_MAX);
    CU_ASSERT_TRUE(sami_apply_octets(apply) < 16 * 1024 * 1024);
    end();
}

static void
read_back(void)
{
    SamiReadBack reading = { 0 };
    for (guint at = 0, i = 0; at < sami_ledger_size(apply->ledger) && i < 10; i++)
        CU_ASSERT_TRUE(sami_apply_read_back(apply, &at, &reading, NULL));
    sami_read_back_clear(&reading);
}

/* What this kernel has not, a flow goes on without: a helper, a master that has ended here. With a message that was built ahead, and without. */
static void
test_lesser(void)
{
    for (guint is_redumping = 0; is_redumping < 2; is_redumping++) {
        SamiSession s = master_flow(), child = child_flow(0), found;
        begin();
        sami_firewall_fake_answer(world, EOPNOTSUPP);
        say_while(s, SAMI_ACTION_CREATED, is_redumping != 0);
        CU_ASSERT_TRUE(get(&s, &found));
        CU_ASSERT_FALSE(found.has & SAMI_HAS_HELPER);
        CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s.key));
        say_while(child, SAMI_ACTION_CREATED, is_redumping != 0);
        CU_ASSERT_TRUE(get(&child, &found));
        CU_ASSERT_FALSE(found.has & SAMI_HAS_MASTER);
        CU_ASSERT_EQUAL(apply->n_accepted, 2);
        CU_ASSERT_EQUAL(apply->n_refused, 0);
        add_foreign(s); /* traffic made it anew, so it is not ours */
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
        read_back();
        CU_ASSERT_EQUAL(apply->degraded[SAMI_REASON_NO_MASTER], 1);
        CU_ASSERT_EQUAL(apply->degraded[SAMI_REASON_UNVERIFIED] + apply->degraded[SAMI_REASON_NO_HELPER], 1);
        end();
    }
}

/* Its time was over here before the peer said more of it. */
static void
test_vanished(void)
{
    SamiSession s = flow(IPPROTO_TCP, 0), found;
    begin();
    say(s, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s.key));
    s.status |= SAMI_IPS_SEEN_REPLY;
    say(s, SAMI_ACTION_UPDATE);
    CU_ASSERT_TRUE(get(&s, &found));
    CU_ASSERT_TRUE(found.status & SAMI_IPS_SEEN_REPLY);
    CU_ASSERT_EQUAL(sami_apply_present(apply), 1);
    end();
}

/* A flow that is here with another translation, and mark 9; the peer's has mark 1. */
static SamiSession
begin_replacing(void)
{
    SamiSession old = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), s = old;
    begin();
    apply->on_conflict = SAMI_CONFLICT_REPLACE;
    old.reply.dst.octets[3] = 99;
    old.has |= SAMI_HAS_MARK;
    old.mark = 9;
    add_foreign(old);
    s.has |= SAMI_HAS_MARK;
    s.mark = 1;
    say(s, SAMI_ACTION_CREATED);
    return s;
}

static guint32
mark_of(const SamiSession *s)
{
    SamiSession found;
    return get(s, &found) ? found.mark : 0;
}

/* Until the marker it is only planned: what the peer says last is what comes, and nothing if the flow has ended there. */
static void
test_plan(void)
{
    SamiSession s = begin_replacing();
    s.mark = 2;
    say(s, SAMI_ACTION_UPDATE);
    CU_ASSERT_EQUAL(mark_of(&s), 9);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL(mark_of(&s), 2);
    CU_ASSERT_EQUAL(apply->n_replaced, 1);
    end();
    for (guint has_event = 0; has_event < 2; has_event++) {
        s = begin_replacing();
        if (has_event)
            say(s, SAMI_ACTION_DELETED);
        else /* a dump does not name it any more */
            sami_apply_epoch_begin(apply, 1);
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
        CU_ASSERT_EQUAL(mark_of(&s), 9);
        CU_ASSERT_EQUAL(apply->n_replaced, 0);
        CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
        end();
    }
}

/* The same flow was here, is merged, and ends at the peer: then it was not merged. */
static void
test_merged_and_ended(void)
{
    SamiSession s = flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), found;
    begin();
    apply->on_conflict = SAMI_CONFLICT_KEEP;
    add_foreign(s);
    say(s, SAMI_ACTION_CREATED);
    CU_ASSERT_EQUAL(apply->n_merged, 1);
    CU_ASSERT_EQUAL(apply->n_kept, 1);
    say(s, SAMI_ACTION_DELETED);
    CU_ASSERT_EQUAL(apply->n_merged, 0);
    CU_ASSERT_EQUAL(apply->n_kept, 0);
    CU_ASSERT_TRUE(get(&s, &found));
    end();
}

/* The kernel's socket fails at the replacement, at the return of the old entry where the new one is refused, or at its return in the rollback: whatever was done
 * by then, the old one is there in the end. */
static void
test_replacement_fails(void)
{
    static const struct {
        int answer;
        guint n_good;
    } rows[] = { { 0, 0 }, { ENOMEM, 1 }, { ENOMEM, 0 } };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        SamiSession s = begin_replacing();
        SamiRemoval removal = { 0 };
        g_autoptr(GError) error = NULL;
        guint at = 0;
        sami_firewall_fake_answer(world, rows[i].answer);
        sami_firewall_fake_fail(world, rows[i].n_good, 1);
        CU_ASSERT_FALSE(sami_apply_freeze(apply, &error));
        CU_ASSERT_TRUE(g_error_matches(error, SAMI_ERROR, SAMI_ERROR_KERNEL));
        CU_ASSERT_TRUE(sami_apply_rollback(apply, &at, &removal, NULL));
        CU_ASSERT_EQUAL(mark_of(&s), 9);
        CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
        end();
    }
    for (guint n_good = 0; n_good < 3; n_good++) {
        SamiSession s = begin_replacing();
        SamiRemoval removal = { 0 };
        guint at = 0;
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
        CU_ASSERT_EQUAL(mark_of(&s), 1);
        if (n_good == 2) /* and it is not done, either */
            sami_firewall_fake_answer(world, ENOMEM);
        sami_firewall_fake_fail(world, n_good, 1);
        CU_ASSERT_FALSE(sami_apply_rollback(apply, &at, &removal, NULL));
        at = 0;
        CU_ASSERT_TRUE(sami_apply_rollback(apply, &at, &removal, NULL));
        CU_ASSERT_EQUAL(mark_of(&s), 9);
        CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
        end();
    }
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "the ledger's clock is as fine as the kernel's", test_clock },
        { "ends of flows in a batch", test_ends_in_a_batch },
        { "a flow that grows gets its status bits", test_growth },
        { "packets win over records", test_touched },
        { "a flow that began anew is created anew", test_anew },
        { "a late flow has its own time", test_late },
        { "in doubt, a flow has the time of its record", test_in_doubt },
        { "a rollback takes exactly its own", test_rollback },
        { "masters come before their children", test_children },
        { "children without a master", test_orphans },
        { "more children than can wait", test_many_children },
        { "expectations come at the marker, and go", test_expectations },
        { "an expectation that was made anew stays", test_expected_anew },
        { "refused expectations", test_refused_expectations },
        { "what is not ours any more", test_not_ours_any_more },
        { "replace is no way to others' flows", test_replace_others },
        { "what was merged is another one", test_merged_no_more },
        { "where expectations go to", test_aimed_expectations },
        { "what is expected already stays", test_present_expectation },
        { "what was evicted is not there", test_evicted_expectation },
        { "flows that come and go leave nothing", test_fleeting },
        { "refusals without end", test_endless_refusals },
        { "what cannot be taken whole", test_lesser },
        { "a flow whose time was over", test_vanished },
        { "a replacement that is planned", test_plan },
        { "a merged flow that ends", test_merged_and_ended },
        { "a replacement that fails", test_replacement_fails },
    };
    return sami_test_main("apply", tests, G_N_ELEMENTS(tests), set_up, NULL);
}
