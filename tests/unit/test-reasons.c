/* Reasons that only a kernel gives, or what is read back from it, against the fake one: each from what it stands for, and none beside it. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "tests/unit/apply-lab.h"
#include "tests/unit/harness.h"

static SamiAddress
address(guint8 a, guint8 b, guint8 c, guint8 d)
{
    return (SamiAddress){ { a, b, c, d } };
}

static SamiSession tcp(void) { return apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY); }
static SamiSession udp(void) { return apply_flow(IPPROTO_UDP, SAMI_IPS_SEEN_REPLY); }
static SamiSession gre_of_pptp(void) { return apply_flow(IPPROTO_GRE, SAMI_IPS_SEEN_REPLY); }
static SamiSession gre_without_keys(void)
{
    SamiSession s = gre_of_pptp();
    s.key.orig.src_port = s.key.orig.dst_port = 0;
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}
static SamiSession translated(void)
{
    SamiSession s = tcp();
    s.reply.dst = address(203, 0, 113, 1);
    s.status |= SAMI_IPS_SRC_NAT;
    return s;
}
static SamiSession labelled(void)
{
    SamiSession s = tcp();
    s.has |= SAMI_HAS_LABELS;
    s.labels[0] = 1;
    return s;
}
static SamiSession fixed(void)
{
    SamiSession s = udp();
    s.status |= SAMI_IPS_FIXED_TIMEOUT;
    return s;
}
static SamiSession offloaded(void)
{
    SamiSession s = tcp();
    s.status |= SAMI_IPS_OFFLOAD;
    return s;
}
/* --- what is there already --- */

static SamiSession here_translated(void)
{
    SamiSession s = tcp();
    s.reply.dst = address(203, 0, 113, 7);
    return s;
}
static SamiSession here_with_reply_tuple(void)
{
    SamiSession s = tcp();
    s.key.orig.src = address(10, 0, 0, 14); /* both are translated onto the same address and port */
    s.reply.dst = address(203, 0, 113, 1);
    return s;
}
static SamiSession here_from_the_other_side(void)
{
    SamiSession s = tcp();
    SamiTuple own = s.key.orig;
    s.key.orig = (SamiTuple){ own.dst, address(203, 0, 113, 9), own.dst_port, own.src_port };
    s.reply = own; /* the VM behind its public address, as the flow's responder */
    return s;
}

/* --- what becomes of it afterwards --- */

static void lose_translation(SamiSession *s) { s->status &= ~(guint32) (SAMI_IPS_SRC_NAT | SAMI_IPS_DST_NAT); }
static void lose_labels(SamiSession *s) { s->has &= ~(guint32) SAMI_HAS_LABELS; }
static void change_mark(SamiSession *s) { s->has |= SAMI_HAS_MARK; s->mark = 99; }

static const struct {
    SamiReason reason;
    SamiSession (*flow)(void);
    SamiSession (*here)(void);            /* was there before it */
    int answer;                           /* of the kernel, to its creation */
    void (*change)(SamiSession *session); /* before it is read back */
    gboolean is_degraded;
} cases[] = {
    { SAMI_REASON_TABLE_FULL, tcp, NULL, ENOMEM, NULL, FALSE },
    { SAMI_REASON_CHAIN_TOO_LONG, tcp, NULL, ENOSPC, NULL, FALSE },
    { SAMI_REASON_KERNEL, tcp, NULL, EIO, NULL, FALSE },
    { SAMI_REASON_NAT_MISMATCH, translated, here_translated, 0, NULL, FALSE },
    { SAMI_REASON_NAT_CLASH, translated, here_with_reply_tuple, 0, NULL, FALSE },
    { SAMI_REASON_REVERSED, tcp, here_from_the_other_side, 0, NULL, FALSE },
    { SAMI_REASON_NO_NAT_HOOK, translated, NULL, 0, lose_translation, TRUE },
    { SAMI_REASON_LABELS_LOST, labelled, NULL, 0, lose_labels, TRUE },
    { SAMI_REASON_TIMEOUT_CLAMPED, fixed, NULL, 0, NULL, TRUE }, /* no kernel has it from a creation, but from an update later */
    { SAMI_REASON_DIFFERS, tcp, NULL, 0, change_mark, TRUE },
    { SAMI_REASON_GRE_TIMEOUT, gre_without_keys, NULL, 0, NULL, TRUE },
    { SAMI_REASON_GRE_KEYMAP, gre_of_pptp, NULL, 0, NULL, TRUE },
    { SAMI_REASON_OFFLOADED, offloaded, NULL, 0, NULL, TRUE },
};

static guint64
sum(const guint64 *counts)
{
    guint64 n = 0;
    for (guint i = 0; i < SAMI_N_REASONS; i++)
        n += counts[i];
    return n;
}

static void
test_records(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        apply_begin();
        SamiSession s = cases[i].flow();
        if (cases[i].here)
            apply_add_foreign(cases[i].here());
        sami_firewall_fake_answer(world, cases[i].answer);
        apply_say(s, SAMI_ACTION_CREATED);
        if (cases[i].change)
            CU_ASSERT_TRUE_FATAL(sami_firewall_fake_change(world, &s.key, cases[i].change));
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
        apply_read_back();
        const guint64 *counts = cases[i].is_degraded ? apply->degraded : apply->refused;
        if (counts[cases[i].reason] != 1 || sum(apply->degraded) + sum(apply->refused) != 1) {
            g_printerr("%s: %" G_GUINT64_FORMAT " times, of %" G_GUINT64_FORMAT " refused and %" G_GUINT64_FORMAT " degraded\n",
                       sami_reason_id(cases[i].reason), counts[cases[i].reason], sum(apply->refused), sum(apply->degraded));
            CU_FAIL("another reason");
        }
        apply_end();
    }
}

static void
test_expectations(void)
{
    static const struct {
        SamiReason reason;
        int answer;
    } expected[] = {
        { SAMI_REASON_EXPECTATION_MASTER, ENOENT },  { SAMI_REASON_EXPECTATION_HELPER, EOPNOTSUPP }, { SAMI_REASON_EXPECTATION_FUNCTION, EINVAL },
        { SAMI_REASON_EXPECTATION_CLASH, EBUSY },    { SAMI_REASON_LIMIT, EMFILE },                  { SAMI_REASON_KERNEL, EIO },
    };
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        apply_begin();
        SamiSession master = apply_master();
        SamiExpectationItem item = { .expectation = { .key = master.key, .master = master.key, .action = SAMI_ACTION_CREATED, .timeout_s = 100 } };
        memset(&item.expectation.mask_src, 0xff, 4);
        item.expectation.key.orig.src_port = 0;
        item.facts = SAMI_EXPECT_SRC_VM | SAMI_EXPECT_PORT_REMOTE;
        apply_say(master, SAMI_ACTION_CREATED);
        sami_apply_expect(apply, &item, 1, 1, (guint64) g_get_monotonic_time() / 1000);
        sami_firewall_fake_answer(world, expected[i].answer);
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
        CU_ASSERT_EQUAL(apply->refused[expected[i].reason], 1);
        CU_ASSERT_EQUAL(sum(apply->refused), 1);
        CU_ASSERT_EQUAL(apply->expected.n_refused, 1);
        apply_end();
    }
}

static const SamiTest tests[] = {
    { "records", test_records },
    { "expectations", test_expectations },
};

int
main(void)
{
    return sami_test_main("reasons", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
