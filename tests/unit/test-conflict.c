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

int
main(void)
{
    static const SamiTest tests[] = {
        { "a replacement that is planned", test_plan },
        { "a merged flow that ends", test_merged_and_ended },
        { "a replacement that fails", test_replacement_fails },
    };
    return sami_test_main("conflict", tests, G_N_ELEMENTS(tests), NULL, NULL);
}
