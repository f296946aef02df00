/* Reasons that only a kernel gives, or what is read back from it, against the fake one: each from what it stands for, and none beside it. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "collector/apply.h"
#include "firewall/fake.h"
#include "tests/unit/harness.h"

typedef struct {
    SamiFirewall *firewall;
    SamiApply *apply;
    GPtrArray *others;
} World;

static World *
world_new(void)
{
    World *w = g_new0(World, 1);
    SamiBudget *all = sami_budget_new(), *signer = sami_budget_new();
    w->firewall = sami_firewall_fake_new(0);
    w->apply = sami_apply_new(60, all, signer);
    sami_budget_unref(all);
    sami_budget_unref(signer);
    w->others = g_ptr_array_new();
    g_ptr_array_add(w->others, w->apply);
    w->apply->firewall = w->firewall;
    w->apply->batch = sami_apply_batch_new();
    w->apply->others = w->others;
    return w;
}

static void
world_free(World *w)
{
    sami_apply_batch_free(w->apply->batch);
    sami_apply_free(w->apply);
    g_ptr_array_unref(w->others);
    sami_firewall_free(w->firewall);
    g_free(w);
}

static SamiAddress
address(guint8 a, guint8 b, guint8 c, guint8 d)
{
    return (SamiAddress){ { a, b, c, d } };
}

static SamiSession
flow(guint8 protocol)
{
    SamiSession s = { .has = SAMI_HAS_STATUS | SAMI_HAS_TIMEOUT | SAMI_HAS_REPLY, .action = SAMI_ACTION_CREATED, .timeout_s = 100,
                      .status = SAMI_IPS_CONFIRMED | SAMI_IPS_SEEN_REPLY };
    s.key.family = 4;
    s.key.protocol = protocol;
    s.key.orig = (SamiTuple){ address(10, 0, 0, 13), address(198, 51, 100, 1), 1000, 53 };
    sami_flow_key_mirror(&s.key, &s.reply);
    if (protocol == IPPROTO_TCP) {
        s.has |= SAMI_HAS_TCP;
        s.tcp_state = SAMI_TCP_STATE_ESTABLISHED;
    }
    return s;
}

static SamiSession tcp(void) { return flow(IPPROTO_TCP); }
static SamiSession udp(void) { return flow(IPPROTO_UDP); }
static SamiSession gre_without_keys(void)
{
    SamiSession s = flow(IPPROTO_GRE);
    s.key.orig.src_port = s.key.orig.dst_port = 0;
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}
static SamiSession gre_of_pptp(void) { return flow(IPPROTO_GRE); }
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
static SamiSession ftp(void)
{
    SamiSession s = tcp();
    s.has |= SAMI_HAS_HELPER;
    g_strlcpy(s.helper, "ftp", sizeof s.helper);
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
read_back(World *w)
{
    SamiReadBack reading = { 0 };
    guint at = 0;
    while (at < sami_ledger_size(w->apply->ledger))
        CU_ASSERT_TRUE_FATAL(sami_apply_read_back(w->apply, &at, &reading, NULL));
    sami_read_back_clear(&reading);
}

static void
say(World *w, const SamiSession *s)
{
    SamiApplyItem item = { .session = *s };
    g_autofree guint8 *messages = sami_apply_build(&item, 1, 60, FALSE);
    CU_ASSERT_TRUE_FATAL(sami_apply_records(w->apply, &item, 1, 1, 0, NULL));
}

static void
test_records(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        World *w = world_new();
        SamiSession s = cases[i].flow(), here = cases[i].here ? cases[i].here() : s;
        SamiOp op = { .kind = SAMI_OP_CREATE, .session = &here };
        if (cases[i].here)
            CU_ASSERT_TRUE_FATAL(sami_firewall_apply(w->firewall, &op, 1, NULL) && op.result == 0);
        sami_firewall_fake_answer(w->firewall, cases[i].answer);
        say(w, &s);
        if (cases[i].change)
            CU_ASSERT_TRUE_FATAL(sami_firewall_fake_change(w->firewall, &s.key, cases[i].change));
        CU_ASSERT_TRUE(sami_apply_freeze(w->apply, NULL));
        read_back(w);
        const guint64 *counts = cases[i].is_degraded ? w->apply->degraded : w->apply->refused;
        if (counts[cases[i].reason] != 1 || sum(w->apply->degraded) + sum(w->apply->refused) != 1) {
            g_printerr("%s: %" G_GUINT64_FORMAT " times, of %" G_GUINT64_FORMAT " refused and %" G_GUINT64_FORMAT " degraded\n",
                       sami_reason_id(cases[i].reason), counts[cases[i].reason], sum(w->apply->refused), sum(w->apply->degraded));
            CU_FAIL("another reason");
        }
        world_free(w);
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
        World *w = world_new();
        SamiSession master = ftp();
        SamiExpectationItem item = { .expectation = { .key = master.key, .master = master.key, .action = SAMI_ACTION_CREATED, .timeout_s = 100 } };
        memset(&item.expectation.mask_src, 0xff, 4);
        item.expectation.key.orig.src_port = 0;
        item.facts = SAMI_EXPECT_SRC_VM | SAMI_EXPECT_PORT_REMOTE;
        say(w, &master);
        sami_apply_expect(w->apply, &item, 1, 1, (guint64) g_get_monotonic_time() / 1000);
        sami_firewall_fake_answer(w->firewall, expected[i].answer);
        CU_ASSERT_TRUE(sami_apply_freeze(w->apply, NULL));
        CU_ASSERT_EQUAL(w->apply->refused[expected[i].reason], 1);
        CU_ASSERT_EQUAL(sum(w->apply->refused), 1);
        CU_ASSERT_EQUAL(w->apply->expected.n_refused, 1);
        world_free(w);
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
