/* What helpers wait for, against the fake kernel: made at the marker, refused, taken back. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "firewall/expect.h"
#include "tests/unit/apply-lab.h"
#include "tests/unit/harness.h"

static SamiExpectation
expectation(guint16 port)
{
    SamiSession master = apply_master();
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
    apply_begin();
    say_expected(expectation(40000), 0);
    say_expected(expectation(40000), 10); /* said again, by a session that was resumed */
    CU_ASSERT_EQUAL(n_expected(&found), 0);
    apply_say(apply_master(), SAMI_ACTION_CREATED);
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
    apply_end();
}

/* One that a helper here made anew has its whole time. */
static void
test_expected_anew(void)
{
    SamiExpectation e = expectation(40000), found;
    SamiExpectOp ops[] = { { .kind = SAMI_EXPECT_DELETE, .expectation = &e }, { .kind = SAMI_EXPECT_CREATE, .expectation = &e } };
    SamiRemoval removal = { 0 };
    apply_begin();
    apply_say(apply_master(), SAMI_ACTION_CREATED);
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
    apply_end();
}

static void
check_refused(SamiSession master, gboolean is_ours, SamiExpectation e, guint32 age_s, SamiReason reason)
{
    SamiExpectation found;
    apply_begin();
    if (is_ours)
        apply_say(master, SAMI_ACTION_CREATED);
    else
        apply_add_foreign(master);
    say_expected(e, age_s);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL(n_expected(&found), 0);
    check_counts(0, 0, reason);
    apply_end();
}

static void
test_refused_expectations(void)
{
    SamiSession helpless = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
    SamiExpectation elsewhere = expectation(40000);
    elsewhere.key.orig.dst.octets[3] = 77; /* listed for its NAT by the policy, and not what this flow is translated to */
    check_refused(apply_master(), FALSE, expectation(40000), 0, SAMI_REASON_EXPECTATION_MASTER);
    check_refused(helpless, TRUE, expectation(40000), 0, SAMI_REASON_EXPECTATION_HELPER);
    check_refused(apply_master(), TRUE, expectation(40000), 101, SAMI_REASON_EXPECTATION_LATE);
    check_refused(apply_master(), TRUE, elsewhere, 0, SAMI_REASON_ADDRESS_NOT_ALLOWED);
    SamiExpectation by_another = expectation(40000), found;
    by_another.has |= SAMI_EXPECT_HAS_HELPER;
    memcpy(by_another.helper, "sip", 4);
    check_refused(apply_master(), TRUE, by_another, 0, SAMI_REASON_EXPECTATION_HELPER);
    SamiSession ended = apply_master(); /* and traffic has made another one */
    apply_begin();
    apply_say(ended, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &ended.key));
    g_usleep(2000);
    apply_add_foreign(ended);
    say_expected(expectation(40000), 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL(n_expected(&found), 0);
    check_counts(0, 0, SAMI_REASON_EXPECTATION_MASTER);
    apply_end();
}

/* Where it goes is what its function makes of the master that is here, not what the record says. */
static void
test_aimed_expectations(void)
{
    const guint8 before = facts;
    SamiSession master = apply_master(), found;
    SamiExpectation e = expectation(40000), mine;
    master.reply.dst = e.key.orig.dst = (SamiAddress){ { 192, 0, 2, 9 } };
    memset(&e.key.orig.src, 0, sizeof e.key.orig.src);
    memset(&e.mask_src, 0, sizeof e.mask_src);
    facts = SAMI_EXPECT_PORT_VM | SAMI_EXPECT_PORT_REMOTE | SAMI_EXPECT_DST_LISTED;
    check_refused(master, TRUE, e, 0, SAMI_REASON_ADDRESS_NOT_ALLOWED);
    e.has |= SAMI_EXPECT_HAS_FUNCTION | SAMI_EXPECT_HAS_NAT;
    g_strlcpy(e.function, "nat-follow-master", sizeof e.function);
    e.nat_address = apply_flow(IPPROTO_TCP, 0).key.orig.src; /* the VM */
    check_refused(master, TRUE, e, 0, SAMI_REASON_ADDRESS_NOT_ALLOWED); /* to the server */
    e.nat_direction = 1;
    facts &= (guint8) ~SAMI_EXPECT_PORT_VM;
    check_refused(master, TRUE, e, 0, SAMI_REASON_PORT_NOT_ALLOWED);
    facts = SAMI_EXPECT_PORT_VM | SAMI_EXPECT_PORT_REMOTE;
    check_refused(master, TRUE, e, 0, SAMI_REASON_NAT_ADDRESS);
    facts |= SAMI_EXPECT_DST_LISTED;
    apply_begin();
    apply_say(master, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(apply_get(&master, &found));
    say_expected(e, 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL(n_expected(&mine), 1);
    apply_end();
    facts = before;
}

/* The flow was here, and its helper waits for something that packets here have announced: that stays. */
static void
test_present_expectation(void)
{
    SamiExpectation mine = expectation(50000), found;
    SamiExpectOp op = { .kind = SAMI_EXPECT_CREATE, .expectation = &mine };
    apply_begin();
    apply_add_foreign(apply_master());
    CU_ASSERT_TRUE(sami_firewall_expect(world, &op, 1, NULL));
    apply_say(apply_master(), SAMI_ACTION_CREATED);
    CU_ASSERT_EQUAL(apply->n_merged, 1);
    say_expected(expectation(40000), 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL_FATAL(n_expected(&found), 1);
    CU_ASSERT_EQUAL(found.key.orig.dst_port, 50000);
    check_counts(0, 1, SAMI_REASON_NONE);
    CU_ASSERT_TRUE(sami_apply_thaw(apply, NULL));
    CU_ASSERT_EQUAL(n_expected(&found), 1);
    apply_end();
}

/* The kernel gives one flow of ftp one expectation: what was evicted is not said to be there. */
static void
test_evicted_expectation(void)
{
    SamiExpectation found;
    apply_begin();
    apply_say(apply_master(), SAMI_ACTION_CREATED);
    say_expected(expectation(40000), 0);
    say_expected(expectation(40001), 0);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL_FATAL(n_expected(&found), 1);
    CU_ASSERT_EQUAL(apply->expected.n_applied, 1);
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_UNVERIFIED], 1);
    apply_end();
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "expectations come at the marker, and go", test_expectations },
        { "an expectation that was made anew stays", test_expected_anew },
        { "refused expectations", test_refused_expectations },
        { "where expectations go to", test_aimed_expectations },
        { "what is expected already stays", test_present_expectation },
        { "what was evicted is not there", test_evicted_expectation },
    };
    return sami_test_main("expectations of helpers", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
