/* Flows that were there before, against the fake kernel: kept, merged, replaced. */
#include <errno.h>
#include <netinet/in.h>

#include "tests/unit/apply-lab.h"
#include "tests/unit/harness.h"

/* A flow that is here with another translation, and mark 9; the peer's has mark 1. */
static SamiSession
begin_replacing(void)
{
    SamiSession old = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), s = old;
    apply_begin();
    apply->on_conflict = SAMI_CONFLICT_REPLACE;
    old.reply.dst.octets[3] = 99;
    old.has |= SAMI_HAS_MARK;
    old.mark = 9;
    apply_add_foreign(old);
    s.has |= SAMI_HAS_MARK;
    s.mark = 1;
    apply_say(s, SAMI_ACTION_CREATED);
    return s;
}

static guint32
mark_of(const SamiSession *s)
{
    SamiSession found;
    return apply_get(s, &found) ? found.mark : 0;
}

/* Until the marker it is only planned: what the peer says last is what comes, and nothing if the flow has ended there. */
static void
test_plan(void)
{
    SamiSession s = begin_replacing();
    s.mark = 2;
    apply_say(s, SAMI_ACTION_UPDATE);
    CU_ASSERT_EQUAL(mark_of(&s), 9);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL(mark_of(&s), 2);
    CU_ASSERT_EQUAL(apply->n_replaced, 1);
    apply_end();
    for (guint has_event = 0; has_event < 2; has_event++) {
        s = begin_replacing();
        if (has_event)
            apply_say(s, SAMI_ACTION_DELETED);
        else /* a dump does not name it any more */
            sami_apply_epoch_begin(apply, 1);
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
        CU_ASSERT_EQUAL(mark_of(&s), 9);
        CU_ASSERT_EQUAL(apply->n_replaced, 0);
        CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
        apply_end();
    }
}

/* The same flow was here, is merged, and ends at the peer: then it was not merged. */
static void
test_merged_and_ended(void)
{
    SamiSession s = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), found;
    apply_begin();
    apply->on_conflict = SAMI_CONFLICT_KEEP;
    apply_add_foreign(s);
    apply_say(s, SAMI_ACTION_CREATED);
    CU_ASSERT_EQUAL(apply->n_merged, 1);
    CU_ASSERT_EQUAL(apply->n_kept, 1);
    apply_say(s, SAMI_ACTION_DELETED);
    CU_ASSERT_EQUAL(apply->n_merged, 0);
    CU_ASSERT_EQUAL(apply->n_kept, 0);
    CU_ASSERT_TRUE(apply_get(&s, &found));
    apply_end();
}

/* The kernel's socket fails at the look before the replacement, at the replacement, at the return of the old entry where the new one is refused, or at its return in the rollback: whatever was done
 * by then, the old one is there in the end. */
static void
test_replacement_fails(void)
{
    static const struct {
        int answer;
        guint n_good;
    } rows[] = { { 0, 0 }, { 0, 1 }, { ENOMEM, 2 }, { ENOMEM, 1 } };
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
        apply_end();
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
        apply_end();
    }
}

/* What `one` has in the kernel goes. */
static SamiRemoval
roll_back(SamiApply *one)
{
    SamiRemoval removal = { 0 };
    for (guint at = 0; at < sami_ledger_size(one->ledger);)
        CU_ASSERT_TRUE_FATAL(sami_apply_rollback(one, &at, &removal, NULL));
    return removal;
}

static void
forget_start(SamiSession *s)
{
    s->has &= ~(guint32) SAMI_HAS_START;
    s->start_ns = 0;
}

/* What was to be replaced has ended since, or is not to be any more. What has come instead stays, though it has the same id; nothing is brought
 * back that was not taken away. */
static void
test_replaced_since(void)
{
    enum { ANEW, NOTHING, NOT_ALLOWED, NO_START, NEVER_START };
    static const struct {
        guint n_replaced, n_refused;
        guint32 frozen, rolled_back; /* marks */
    } rows[] = { [ANEW] = { 0, 1, 7, 7 }, [NOTHING] = { 0, 0, 1, 0 }, [NOT_ALLOWED] = { 0, 1, 9, 9 }, [NO_START] = { 0, 1, 9, 9 },
                 [NEVER_START] = { 1, 0, 1, 9 } };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        SamiSession s = begin_replacing(), anew;
        CU_ASSERT_TRUE_FATAL(apply_get(&s, &anew));
        anew.mark = 7;
        if (i == NEVER_START)
            apply_say(s, SAMI_ACTION_DELETED);
        if (i >= NO_START)
            CU_ASSERT_TRUE(sami_firewall_fake_change(world, &s.key, forget_start));
        if (i == NEVER_START)
            apply_say(s, SAMI_ACTION_CREATED);
        if (i <= NOTHING)
            CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s.key));
        if (i == ANEW)
            apply_add_foreign(anew);
        if (i == NOT_ALLOWED)
            sami_apply_set_vm(apply, NULL, 0);
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
        CU_ASSERT_EQUAL(apply->n_replaced, rows[i].n_replaced);
        CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_NAT_MISMATCH], rows[i].n_refused);
        CU_ASSERT_EQUAL(mark_of(&s), rows[i].frozen);
        roll_back(apply);
        CU_ASSERT_EQUAL(mark_of(&s), rows[i].rolled_back);
        CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
        apply_end();
    }
}

/* `by` says this of the flow. */
static void
say_by(SamiApply *by, SamiSession s, SamiAction action)
{
    apply = by;
    apply_say(s, action);
}

/* One migration has brought a flow that another one merged, and has ended it. Now a third has brought one with these addresses. */
static void
begin_stale(const SamiSession *s, SamiApply *ret[3])
{
    apply_begin();
    ret[0] = apply;
    for (guint i = 1; i < 3; i++) {
        apply_begin_another();
        ret[i] = apply;
    }
    say_by(ret[0], *s, SAMI_ACTION_CREATED);
    say_by(ret[1], *s, SAMI_ACTION_CREATED);
    CU_ASSERT_EQUAL(ret[1]->n_merged, 1);
    say_by(ret[0], *s, SAMI_ACTION_DELETED);
    say_by(ret[2], *s, SAMI_ACTION_CREATED);
    CU_ASSERT_EQUAL(sami_apply_present(ret[2]), 1);
}

static void
be_strict(SamiSession *s)
{
    s->tcp_flags[0] = s->tcp_flags[1] = 0;
}

/* What it merged is over: the other's entry does not become its own, neither by its READY nor by the end of the other, and no deletion of its
 * reaches it. */
static void
test_stale_claim(void)
{
    SamiSession s = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), found;
    SamiApply *all[3];
    begin_stale(&s, all);
    CU_ASSERT_TRUE(sami_firewall_fake_change(world, &s.key, be_strict));
    CU_ASSERT_TRUE(sami_apply_freeze(all[1], NULL));
    CU_ASSERT_EQUAL(sami_apply_present(all[1]), 0);
    CU_ASSERT_EQUAL(sami_apply_present(all[2]), 1);
    CU_ASSERT_TRUE(apply_get(&s, &found));
    CU_ASSERT_EQUAL(found.tcp_flags[0] | found.tcp_flags[1], 0); /* it is not made lenient, and said not to have been moved */
    CU_ASSERT_EQUAL(all[1]->refused[SAMI_REASON_UNVERIFIED], 1);
    CU_ASSERT_EQUAL(all[1]->n_merged, 0);
    CU_ASSERT_TRUE(sami_apply_thaw(all[1], NULL));
    say_by(all[1], s, SAMI_ACTION_DELETED);
    CU_ASSERT_TRUE(apply_get(&s, &found));
    CU_ASSERT_EQUAL(roll_back(all[1]).n_removed, 0);
    CU_ASSERT_TRUE(apply_get(&s, &found));
    apply_end();
    begin_stale(&s, all);
    SamiRemoval removal = roll_back(all[2]);
    CU_ASSERT_EQUAL(removal.n_removed, 1);
    CU_ASSERT_EQUAL(removal.n_passed, 0);
    CU_ASSERT_FALSE(apply_get(&s, &found));
    CU_ASSERT_EQUAL(sami_apply_present(all[1]), 0);
    apply_end();
    begin_stale(&s, all); /* nor does it hide who has merged what is there */
    apply_begin_another();
    apply_say(s, SAMI_ACTION_CREATED);
    removal = roll_back(all[2]);
    CU_ASSERT_EQUAL(removal.n_removed, 0);
    CU_ASSERT_EQUAL(removal.n_passed, 1);
    CU_ASSERT_TRUE(apply_get(&s, &found));
    CU_ASSERT_EQUAL(sami_apply_present(apply), 1);
    CU_ASSERT_EQUAL(roll_back(apply).n_removed, 1);
    CU_ASSERT_FALSE(apply_get(&s, &found));
    apply_end();
}

/* What was merged, or only kept, is not there any more. If it has ended at the source, too, nothing is amiss. */
static void
test_merged_is_gone(void)
{
    for (guint i = 0; i < 4; i++) {
        SamiSession s = apply_flow(i % 2 ? IPPROTO_UDP : IPPROTO_TCP, SAMI_IPS_SEEN_REPLY);
        gboolean has_ended = i >= 2;
        apply_begin();
        apply->on_conflict = i == 1 ? SAMI_CONFLICT_KEEP : SAMI_CONFLICT_MERGE;
        apply_add_foreign(s);
        apply_say(s, SAMI_ACTION_CREATED);
        CU_ASSERT_TRUE(sami_firewall_fake_delete(world, &s.key));
        if (has_ended)
            sami_apply_epoch_begin(apply, 1);
        CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
        CU_ASSERT_EQUAL(apply->refused[SAMI_REASON_UNVERIFIED], !has_ended);
        CU_ASSERT_EQUAL(apply->n_merged, 0);
        CU_ASSERT_EQUAL(apply->n_kept, 0);
        apply_end();
    }
}

/* Both ends of a flow move, each known from its own side or from the same one. The entry is the later READY's, there and back, and its alone. */
static void
test_both_ends(void)
{
    for (guint is_mirrored = 0; is_mirrored < 2; is_mirrored++) {
        SamiSession s = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), seen = s, found;
        apply_begin();
        if (is_mirrored) {
            seen.key.orig = s.reply;
            seen.reply = s.key.orig;
        }
        apply_say(s, SAMI_ACTION_CREATED);
        SamiApply *first = apply_begin_another(), *second = apply;
        apply_say(seen, SAMI_ACTION_CREATED);
        CU_ASSERT_EQUAL(second->n_merged, 1);
        for (guint round = 0; round < 2; round++) {
            CU_ASSERT_TRUE(sami_apply_freeze(second, NULL));
            CU_ASSERT_EQUAL(sami_apply_present(first), 0);
            CU_ASSERT_EQUAL(sami_apply_present(second), 1);
            CU_ASSERT_TRUE(sami_apply_freeze(first, NULL));
            CU_ASSERT_EQUAL(sami_apply_present(first), 1);
            CU_ASSERT_EQUAL(sami_apply_present(second), 0);
            CU_ASSERT_TRUE(sami_apply_thaw(first, NULL));
            CU_ASSERT_TRUE(sami_apply_thaw(second, NULL));
        }
        CU_ASSERT_TRUE(sami_apply_freeze(second, NULL));
        say_by(first, s, SAMI_ACTION_DELETED);
        CU_ASSERT_TRUE(apply_get(&s, &found));
        CU_ASSERT_EQUAL(first->n_merged, 0);
        CU_ASSERT_EQUAL(second->n_merged, 1);
        CU_ASSERT_EQUAL(roll_back(second).n_removed, 1);
        CU_ASSERT_FALSE(apply_get(&s, &found));
        apply_end();
    }
}

/* Without start times nothing tells what was merged from what came later: it becomes nobody's, and stays while somebody may count on it. */
static void
test_claim_without_start(void)
{
    SamiSession s = apply_flow(IPPROTO_TCP, SAMI_IPS_SEEN_REPLY), found;
    apply_begin();
    apply_say(s, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_firewall_fake_change(world, &s.key, forget_start));
    SamiApply *first = apply_begin_another();
    apply_say(s, SAMI_ACTION_CREATED);
    CU_ASSERT_TRUE(sami_apply_freeze(apply, NULL));
    CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
    CU_ASSERT_EQUAL(sami_apply_present(first), 1);
    SamiRemoval removal = roll_back(first);
    CU_ASSERT_EQUAL(removal.n_passed, 1);
    CU_ASSERT_EQUAL(removal.n_removed, 0);
    CU_ASSERT_TRUE(apply_get(&s, &found));
    CU_ASSERT_EQUAL(sami_apply_present(apply), 0);
    CU_ASSERT_EQUAL(roll_back(apply).n_removed, 0);
    CU_ASSERT_TRUE(apply_get(&s, &found));
    apply_end();
}

int
main(void)
{
    static const SamiTest tests[] = {
        { "a replacement that is planned", test_plan },
        { "a merged flow that ends", test_merged_and_ended },
        { "a replacement that fails", test_replacement_fails },
        { "what was to be replaced is another by now", test_replaced_since },
        { "a claim to what is over", test_stale_claim },
        { "a merged flow that is gone at the marker", test_merged_is_gone },
        { "both ends of a flow move", test_both_ends },
        { "a claim without start times", test_claim_without_start },
    };
    return sami_test_main("conflict", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
