/* What records do to the kernel, against the fake one: flows that grow, begin anew, are merged, and are taken back. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "common/limits.h"
#include "tests/unit/apply-lab.h"
#include "tests/unit/harness.h"

/* Opened while the VM is followed: first seen without a reply, then with it. What arrives must let the next packet of either side pass. */
static void
check_growth(guint8 protocol, gboolean is_after_marker)
{
    SamiSession young = apply_flow(protocol, 0), grown = apply_flow(protocol, SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED), found;
    apply_begin();
    apply_say(young, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(apply_get(&young, &found));
    CU_ASSERT_EQUAL(found.status & SAMI_IPS_SEEN_REPLY, 0);
    if (is_after_marker) /* the audit */
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    apply_say(grown, is_after_marker ? SAMI_ACTION_CREATED : SAMI_ACTION_UPDATE);
    CU_ASSERT_TRUE(apply_get(&grown, &found));
    CU_ASSERT_EQUAL(found.status & (SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED), SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED);
    CU_ASSERT_EQUAL(apply->n_accepted, 1);
    apply_end();
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
    SamiSession young = apply_flow(IPPROTO_TCP, 0), closing = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), found;
    apply_begin();
    apply_say(young, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_touch(world, &young.key, 0, 100));
    closing.tcp_state = 7;
    apply_say(closing, SAMI_ACTION_UPDATE);
    CU_ASSERT_TRUE(apply_get(&young, &found));
    CU_ASSERT_EQUAL(found.tcp_state, SAMI_TCP_STATE_ESTABLISHED);
    apply_end();
}

/* The same addresses, but another window scale: a new flow without an event between, which no update can make of the old one. */
static void
test_anew(void)
{
    SamiSession s = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), found;
    apply_begin();
    apply_say(s, SAMI_ACTION_CREATED);
    s.has |= SAMI_HAS_WSCALE;
    s.tcp_flags[0] = s.tcp_flags[1] = SAMI_TCP_FLAG_WINDOW_SCALE;
    s.tcp_wscale[0] = s.tcp_wscale[1] = 7;
    apply_say(s, SAMI_ACTION_UPDATE);
    CU_ASSERT_TRUE(apply_get(&s, &found));
    CU_ASSERT_TRUE(found.has & SAMI_HAS_WSCALE);
    CU_ASSERT_EQUAL(found.tcp_wscale[1], 7);
    apply_end();
}

/* Created behind the freeze marker, it keeps the time that it has at the source and not the lease's, in the audit as before it. */
static void
test_late(void)
{
    apply_begin();
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    for (guint is_redumping = 0; is_redumping < 2; is_redumping++) {
        SamiSession s = apply_flow(IPPROTO_TCP, 0), found;
        s.key.orig.src_port = s.reply.dst_port = (guint16) (2000 + is_redumping);
        s.timeout_s = 500;
        s.flags |= SAMI_SESSION_LATE;
        apply_say_while(s, SAMI_ACTION_CREATED, is_redumping != 0);
        CU_ASSERT_TRUE(apply_get(&s, &found));
        CU_ASSERT_EQUAL(found.timeout_s, 500);
    }
    apply_end();
}

/* In doubt no audit comes: an open flow keeps the time that its record had, not the lease, unless packets have given it another. */
static void
test_in_doubt(void)
{
    SamiReadBack reading = { 0 };
    SamiSession s[2], found;
    guint at = 0;
    apply_begin();
    for (guint i = 0; i < 2; i++) {
        s[i] = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
        s[i].key.orig.src_port = s[i].reply.dst_port = (guint16) (3000 + i);
        s[i].timeout_s = 5000;
        apply_say(s[i], SAMI_ACTION_CREATED);
    }
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE(sami_firewall_fake_touch(world, &s[1].key, 0, 100));
    for (guint i = 0; at < sami_ledger_size(apply->ledger) && i < 10; i++)
        CU_ASSERT_TRUE(sami_apply_read_back(apply, &at, &reading, NULL));
    sami_read_back_clear(&reading);
    CU_ASSERT_TRUE(apply_get(&s[0], &found));
    CU_ASSERT_EQUAL(found.timeout_s, 5000);
    CU_ASSERT_TRUE(apply_get(&s[1], &found));
    CU_ASSERT_NOT_EQUAL(found.timeout_s, 5000);
    apply_end();
}

/* Exactly what was created goes; what traffic has made since, with the same addresses, stays. */
static void
test_rollback(void)
{
    SamiSession s = apply_flow(IPPROTO_TCP, 0), other = apply_flow(IPPROTO_UDP, 0), found;
    SamiRemoval removal = { 0 };
    SamiOp again = { .kind = SAMI_OP_CREATE, .session = &other };
    guint at = 0;
    apply_begin();
    apply_say(s, SAMI_ACTION_CREATED);
    apply_say(other, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &other.key));
    g_usleep(2000); /* past the window of its batch */
    CU_ASSERT_TRUE(sami_firewall_apply(world, &again, 1, NULL));
    CU_ASSERT_TRUE(sami_apply_rollback(apply, &at, &removal, NULL));
    CU_ASSERT_FALSE(apply_get(&s, &found));
    CU_ASSERT_TRUE(apply_get(&other, &found));
    CU_ASSERT_EQUAL(removal.n_removed, 1);
    CU_ASSERT_EQUAL(removal.n_left, 1);
    CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
    apply_end();
}

/* The i-th of a control connection. */
static SamiSession
child_flow(guint i)
{
    SamiSession s = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
    s.has |= SAMI_HAS_MASTER;
    s.master = s.key;
    s.key.orig.src_port = (guint16) (2000 + i);
    sami_flow_key_mirror(&s.key, &s.reply);
    return s;
}

/* Before its master, in one Message or in another. */
static void
test_children(void)
{
    SamiSession found, child = child_flow(0);
    SamiApplyItem items[] = { { .session = child_flow(1) }, { .session = apply_master() }, { .session = child_flow(2) } };
    apply_begin();
    apply_say(child, SAMI_ACTION_CREATED);
    CU_ASSERT_FALSE(apply_get(&child, &found));
    CU_ASSERT_EQUAL(apply->n_records, 1);
    g_autofree guint8 *messages = sami_apply_build(items, G_N_ELEMENTS(items), 60, FALSE);
    CU_ASSERT_TRUE(sami_apply_records(apply, items, G_N_ELEMENTS(items), 2, 0, NULL));
    for (guint i = 0; i < 3; i++) {
        SamiSession s = child_flow(i);
        CU_ASSERT_TRUE_FATAL(apply_get(&s, &found));
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
    apply_end();
}

/* It does not come; and what has its addresses here is somebody else's. */
static void
test_orphans(void)
{
    SamiSession found, child = child_flow(0), ended = child_flow(1), late = child_flow(2);
    apply_begin();
    apply_add_foreign(apply_master());
    apply_say(child, SAMI_ACTION_CREATED);
    apply_say(ended, SAMI_ACTION_CREATED);
    apply_say(ended, SAMI_ACTION_DELETED);
    CU_ASSERT_FALSE(apply_get(&child, &found));
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE(apply_get(&child, &found));
    CU_ASSERT_FALSE(found.has & SAMI_HAS_MASTER);
    CU_ASSERT_FALSE(apply_get(&ended, &found));
    late.flags = SAMI_SESSION_LATE;
    apply_say(late, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(apply_get(&late, &found));
    CU_ASSERT_FALSE(found.has & SAMI_HAS_MASTER);
    SamiReadBack reading = { 0 };
    guint at = 0;
    while (at < sami_ledger_size(apply->ledger))
        CU_ASSERT_TRUE(sami_apply_read_back(apply, &at, &reading, NULL));
    sami_read_back_clear(&reading);
    CU_ASSERT_EQUAL(apply->degraded[SAMI_REASON_NO_MASTER], 2);
    apply_end();
}

/* The queue is bounded: beyond it they go in alone. */
static void
test_many_children(void)
{
    SamiSession found;
    apply_begin();
    for (guint i = 0; i <= SAMI_CHILDREN_MAX; i++)
        apply_say(child_flow(i), SAMI_ACTION_CREATED);
    SamiSession first = child_flow(0), last = child_flow(SAMI_CHILDREN_MAX);
    CU_ASSERT_FALSE(apply_get(&first, &found));
    CU_ASSERT_TRUE(apply_get(&last, &found));
    apply_say(apply_master(), SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(apply_get(&first, &found));
    CU_ASSERT_EQUAL(apply->n_accepted, SAMI_CHILDREN_MAX + 2);
    CU_ASSERT_EQUAL(apply->n_records, SAMI_CHILDREN_MAX + 2);
    apply_end();
}

/* From outside, translated by firewalls to somebody behind an address that several share. */
static SamiSession
shared_flow(guint8 behind, guint32 mark)
{
    SamiSession s = apply_flow(IPPROTO_UDP, SAMI_IPS_SEEN_REPLY);
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
    apply_begin();
    apply_say(mine, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &mine.key));
    g_usleep(2000); /* past the window of its batch */
    other.timeout_s = 20;
    apply_add_foreign(other);
    mine.mark = 2;
    apply_say(mine, SAMI_ACTION_UPDATE);
    CU_ASSERT_TRUE_FATAL(apply_get(&mine, &found));
    CU_ASSERT_EQUAL(found.mark, 9);
    CU_ASSERT_EQUAL(found.reply.src.octets[3], 77);
    apply_say(mine, SAMI_ACTION_DELETED);
    CU_ASSERT_TRUE_FATAL(apply_get(&mine, &found));
    CU_ASSERT_EQUAL(found.mark, 9);
    CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
    apply_end();
    apply_begin();
    apply_say(mine, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &mine.key));
    g_usleep(2000);
    apply_add_foreign(other);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    mine.timeout_s = 200;
    apply_say(mine, SAMI_ACTION_CREATED); /* the audit */
    CU_ASSERT_TRUE(sami_apply_renew(apply, &at, NULL));
    CU_ASSERT_TRUE_FATAL(apply_get(&mine, &found));
    CU_ASSERT_TRUE(found.timeout_s <= 20);
    for (at = 0; at < sami_ledger_size(apply->ledger);)
        CU_ASSERT_TRUE_FATAL(sami_apply_read_back(apply, &at, &reading, NULL));
    sami_read_back_clear(&reading);
    CU_ASSERT_EQUAL(apply->degraded[SAMI_REASON_UNVERIFIED], 1);
    apply_end();
}

/* A merged flow has ended, and another migration has brought one with its addresses: the rollback does not make that one strict. */
static void
test_merged_no_more(void)
{
    SamiSession here = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY | SAMI_IPS_ASSURED), other = here, found;
    SamiRemoval removal = { 0 };
    guint at = 0;
    apply_begin();
    apply_add_foreign(here);
    apply_say(here, SAMI_ACTION_CREATED);
    CU_ASSERT_EQUAL(apply->n_merged, 1);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &here.key));
    g_usleep(2000);
    other.tcp_flags[0] = other.tcp_flags[1] = SAMI_TCP_FLAG_BE_LIBERAL;
    apply_add_foreign(other);
    while (at < sami_ledger_size(apply->ledger))
        CU_ASSERT_TRUE_FATAL(sami_apply_rollback(apply, &at, &removal, NULL));
    CU_ASSERT_EQUAL(removal.n_left, 1);
    CU_ASSERT_EQUAL(removal.n_restored, 0);
    CU_ASSERT_TRUE_FATAL(apply_get(&here, &found));
    CU_ASSERT_TRUE(found.tcp_flags[0] & found.tcp_flags[1] & SAMI_TCP_FLAG_BE_LIBERAL);
    apply_end();
}

/* One that has ended, and another one came under its addresses: window tracking of that one is its own. */
static void
test_strict_again(void)
{
    for (guint is_ours = 0; is_ours < 2; is_ours++) {
        SamiSession s = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), found;
        guint64 n_left = 0;
        guint at = 0;
        apply_begin();
        apply_say(s, SAMI_ACTION_CREATED);
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
        if (!is_ours) {
            CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s.key));
            g_usleep(2000); /* past the window of its batch */
            apply_add_foreign(s);
        }
        while (at < sami_ledger_size(apply->ledger))
            CU_ASSERT_TRUE_FATAL(sami_apply_strict(apply, &at, TRUE, &n_left, NULL));
        CU_ASSERT_EQUAL(n_left, 0);
        CU_ASSERT_TRUE_FATAL(apply_get(&s, &found));
        CU_ASSERT_EQUAL((found.tcp_flags[0] & SAMI_TCP_FLAG_BE_LIBERAL) == 0, is_ours);
        apply_end();
    }
}

/* on-conflict=replace is about the VM's own flows. */
static void
test_replace_others(void)
{
    SamiSession mine = shared_flow(13, 1), other = shared_flow(77, 9), elsewhere = shared_flow(13, 9), found;
    apply_begin();
    apply->on_conflict = SAMI_CONFLICT_REPLACE;
    apply_add_foreign(other);
    apply_say(mine, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE_FATAL(apply_get(&mine, &found));
    CU_ASSERT_EQUAL(found.reply.src.octets[3], 77);
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_NAT_MISMATCH], 1);
    apply_end();
    apply_begin();
    apply->on_conflict = SAMI_CONFLICT_REPLACE;
    elsewhere.reply.src_port = 5353;
    apply_add_foreign(elsewhere);
    apply_say(mine, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE_FATAL(apply_get(&mine, &found));
    CU_ASSERT_EQUAL(found.reply.src_port, 53);
    CU_ASSERT_EQUAL(apply->n_replaced, 1);
    apply_end();
    apply_begin(); /* it was the VM's when it was seen, and has ended since: the id is that of whoever has the addresses */
    apply->on_conflict = SAMI_CONFLICT_REPLACE;
    apply_add_foreign(elsewhere);
    apply_say(mine, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &mine.key));
    apply_add_foreign(other);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_TRUE_FATAL(apply_get(&mine, &found));
    CU_ASSERT_EQUAL(found.reply.src.octets[3], 77);
    CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_NAT_MISMATCH], 1);
    CU_ASSERT_EQUAL(apply->n_replaced, 0);
    apply_end();
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
    SamiSession s = apply_flow(IPPROTO_UDP, SAMI_IPS_SEEN_REPLY), other = s, found;
    static const SamiAction actions[] = { SAMI_ACTION_CREATED, SAMI_ACTION_DELETED, SAMI_ACTION_CREATED, SAMI_ACTION_CREATED, SAMI_ACTION_DELETED,
                                          SAMI_ACTION_DELETED };
    apply_begin();
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
    CU_ASSERT_TRUE(apply_get(&s, &found));
    CU_ASSERT_EQUAL(found.mark, 2);
    CU_ASSERT_FALSE(apply_get(&other, &found));
    CU_ASSERT_EQUAL(apply->n_accepted, 3);
    CU_ASSERT_EQUAL(sami_apply_present(apply), 1);
    apply_end();
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
    apply_begin();
    for (guint i = 0; i < STAY; i++) {
        SamiSession s = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
        s.key.orig.src_port = (guint16) (1 + i);
        sami_flow_key_mirror(&s.key, &s.reply);
        apply_say(s, SAMI_ACTION_CREATED);
    }
    for (guint round = 0; round < ROUNDS; round++) {
        for (guint i = 0; i < ROUND; i++) {
            SamiSession s = apply_flow(IPPROTO_UDP, SAMI_IPS_SEEN_REPLY);
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
    SamiSession first = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
    first.key.orig.src_port = 1;
    CU_ASSERT_FALSE(apply_get(&first, &found));
    apply_end();
}

/* More is refused than can be listed, or remembered: all of it is counted. */
static void
test_endless_refusals(void)
{
    enum { MORE = 1000 };
    apply_begin();
    for (guint i = 0; i < SAMI_REFUSED_MAX + MORE; i++) {
        SamiApplyItem item = { .session = apply_flow(IPPROTO_UDP, 0), .reason = SAMI_REASON_ADDRESS_NOT_ALLOWED };
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
    apply_end();
}

/* What this kernel has not, a flow goes on without: a helper, a master that has ended here. With a message that was built ahead, and without. */
static void
test_lesser(void)
{
    for (guint is_redumping = 0; is_redumping < 2; is_redumping++) {
        SamiSession s = apply_master(), child = child_flow(0), found;
        apply_begin();
        sami_firewall_fake_answer(world, EOPNOTSUPP);
        apply_say_while(s, SAMI_ACTION_CREATED, is_redumping != 0);
        CU_ASSERT_TRUE(apply_get(&s, &found));
        CU_ASSERT_FALSE(found.has & SAMI_HAS_HELPER);
        CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s.key));
        apply_say_while(child, SAMI_ACTION_CREATED, is_redumping != 0);
        CU_ASSERT_TRUE(apply_get(&child, &found));
        CU_ASSERT_FALSE(found.has & SAMI_HAS_MASTER);
        CU_ASSERT_EQUAL(apply->n_accepted, 2);
        CU_ASSERT_EQUAL(apply->n_refused, 0);
        apply_add_foreign(s); /* traffic made it anew, so it is not ours */
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
        apply_read_back();
        CU_ASSERT_EQUAL(apply->degraded[SAMI_REASON_NO_MASTER], 1);
        CU_ASSERT_EQUAL(apply->degraded[SAMI_REASON_UNVERIFIED] + apply->degraded[SAMI_REASON_NO_HELPER], 1);
        apply_end();
    }
}

/* A kernel that has no such helper is not asked for it with every flow; nor for ever new ones. */
static void
test_missing_helpers(void)
{
    for (guint is_redumping = 0; is_redumping < 2; is_redumping++) {
        SamiSession s = apply_master(), found;
        guint n_without = 0;
        apply_begin();
        for (guint i = 0; i < 40; i++) {
            s.key.orig.src_port = s.reply.dst_port = (guint16) (2000 + i);
            if (i < 20) /* one name */
                g_strlcpy(s.helper, "nosuch", sizeof s.helper);
            else
                g_snprintf(s.helper, sizeof s.helper, "nosuch-%u", i);
            if (i == 0 || (i >= 20 && i < 20 + SAMI_MISSING_HELPERS_MAX - 1))
                sami_firewall_fake_answer(world, EOPNOTSUPP); /* of the others nothing is asked; this kernel would have them */
            apply_say_while(s, SAMI_ACTION_CREATED, is_redumping != 0);
            CU_ASSERT_TRUE(apply_get(&s, &found));
            n_without += !(found.has & SAMI_HAS_HELPER);
        }
        CU_ASSERT_EQUAL(n_without, 40);
        CU_ASSERT_EQUAL(apply->n_refused, 0);
        sami_apply_epoch_begin(apply, 1);
        s.key.orig.src_port = s.reply.dst_port = 3000;
        apply_say_while(s, SAMI_ACTION_CREATED, is_redumping != 0);
        CU_ASSERT_TRUE(apply_get(&s, &found) && (found.has & SAMI_HAS_HELPER));
        apply_end();
    }
}

/* Its time was over here before the peer said more of it. */
static void
test_vanished(void)
{
    SamiSession s = apply_flow(IPPROTO_TCP, 0), found;
    apply_begin();
    apply_say(s, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s.key));
    s.status |= SAMI_IPS_SEEN_REPLY;
    apply_say(s, SAMI_ACTION_UPDATE);
    CU_ASSERT_TRUE(apply_get(&s, &found));
    CU_ASSERT_TRUE(found.status & SAMI_IPS_SEEN_REPLY);
    CU_ASSERT_EQUAL(sami_apply_present(apply), 1);
    apply_end();
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
        { "what is not ours any more", test_not_ours_any_more },
        { "replace is no way to others' flows", test_replace_others },
        { "what was merged is another one", test_merged_no_more },
        { "what is made strict again is ours", test_strict_again },
        { "flows that come and go leave nothing", test_fleeting },
        { "refusals without end", test_endless_refusals },
        { "what cannot be taken whole", test_lesser }, { "helpers that are not here", test_missing_helpers },
        { "a flow whose time was over", test_vanished },
    };
    return sami_test_main("apply", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
