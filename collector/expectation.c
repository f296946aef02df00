/* Expectations at the destination: created at the freeze marker, when all sessions are there, and ended again by a rollback. */
#include <errno.h>
#include <string.h>

#include "collector/apply-internal.h"
#include "common/limits.h"
#include "firewall/expect.h"

#define SLACK_S 2u /* of a remaining time that is read back: the kernel cuts seconds off, and so do we */

typedef struct {
    SamiExpectation expectation;
    guint64 until_ms; /* monotonic clock: its time runs on while it waits */
    guint64 counter;
    guint8 facts; /* sami_expectation_facts() */
    gboolean is_sent;    /* the kernel has said yes */
    gboolean is_created; /* by us, and seen; then `expectation` has the id of it */
} Expected;

static guint64
now_ms(void)
{
    return (guint64) g_get_monotonic_time() / 1000;
}

static guint32
left_s(const Expected *x)
{
    guint64 now = now_ms();
    return x->until_ms > now ? (guint32) ((x->until_ms - now) / 1000) : 0;
}

static Expected *
at(SamiApply *apply, guint i)
{
    return &g_array_index(apply->expectations, Expected, i);
}

void
sami_apply_judge_expectation(const SamiMap *map, const SamiPolicy *policy, const SamiExpectation *record, SamiExpectationItem *ret)
{
    *ret = (SamiExpectationItem){ .expectation = *record };
    ret->reason = (guint16) sami_map_expectation(map, &ret->expectation);
    if (ret->reason == SAMI_REASON_NONE)
        ret->reason = (guint16) sami_validate_expectation(&ret->expectation, policy);
    ret->facts = sami_expectation_facts(&ret->expectation, policy);
}

static void
forget_one(SamiApply *apply, const SamiExpectation *e)
{
    for (guint i = apply->expectations->len; i-- > 0;)
        if (!at(apply, i)->is_created && sami_flow_key_equal(&at(apply, i)->expectation.key, &e->key))
            g_array_remove_index(apply->expectations, i);
}

/* After every change of the list: what of it is counted in the signer's budget. */
void
sami_apply_count_expected(SamiApply *apply)
{
    guint n = apply->expectations && !apply->has_ended ? apply->expectations->len : 0;
    if (apply->expectation_budget)
        sami_budget_add(apply->expectation_budget, (gint64) n - (gint64) apply->n_expected);
    apply->n_expected = n;
}

static gboolean
has_room(const SamiApply *apply)
{
    return !apply->expectation_budget || sami_budget_room(apply->expectation_budget) > 0;
}

static void
expect_one(SamiApply *apply, const SamiExpectationItem *item, guint64 counter, guint64 signed_ms)
{
    const SamiExpectation *e = &item->expectation;
    Expected x = { *e, signed_ms + (guint64) e->timeout_s * 1000, counter, item->facts, FALSE, FALSE };
    apply->expected.n_records++;
    SamiReason reason = item->reason != SAMI_REASON_NONE ? (SamiReason) item->reason : apply->is_ready ? SAMI_REASON_PROTOCOL : SAMI_REASON_NONE;
    if (reason == SAMI_REASON_NONE)
        forget_one(apply, e); /* this is newer */
    if (reason == SAMI_REASON_NONE && apply->expectations->len >= SAMI_EXPECTATIONS_MAX)
        reason = SAMI_REASON_LIMIT;
    sami_apply_count_expected(apply);
    if (reason == SAMI_REASON_NONE && e->action != SAMI_ACTION_DELETED && !has_room(apply))
        reason = SAMI_REASON_MAX_EXPECTATIONS;
    if (reason != SAMI_REASON_NONE)
        sami_apply_refuse_expected(apply, reason, e, counter, NULL);
    else if (e->action != SAMI_ACTION_DELETED)
        g_array_append_val(apply->expectations, x);
    sami_apply_count_expected(apply);
}

void
sami_apply_expect(SamiApply *apply, const SamiExpectationItem *items, guint n, guint64 counter, guint64 signed_ms)
{
    if (!apply->expectations)
        apply->expectations = g_array_new(FALSE, FALSE, sizeof(Expected));
    for (guint i = 0; i < n; i++)
        expect_one(apply, &items[i], counter, signed_ms);
}

static void
take(const SamiExpectation *e, gpointer user_data)
{
    g_array_append_vals(user_data, e, 1);
}

/* What the kernel has of this one's master. (transfer full) */
static GArray *
look(SamiApply *apply, const SamiExpectation *e, GError **error)
{
    g_autoptr(GArray) there = g_array_new(FALSE, FALSE, sizeof(SamiExpectation));
    return sami_firewall_expectations(apply->firewall, &e->master, take, there, error) ? g_steal_pointer(&there) : NULL;
}

/* (nullable) The kernel may name the master the other way round, so it is not compared: `there` is of that flow. */
static const SamiExpectation *
find(const GArray *there, const SamiExpectation *e)
{
    for (guint i = 0; i < there->len; i++) {
        const SamiExpectation *other = &g_array_index(there, SamiExpectation, i);
        if (sami_flow_key_equal(&other->key, &e->key) && memcmp(&other->mask_src, &e->mask_src, sizeof e->mask_src) == 0 &&
            other->mask_src_port == e->mask_src_port)
            return other;
    }
    return NULL;
}

/* An address that is neither the VM's nor one that the master was opened with has to be what the master is translated to. */
static gboolean
is_end_of(const SamiExpectation *e, const SamiSession *master, const SamiAddress *address)
{
    static const SamiAddress nothing;
    return memcmp(address, &nothing, sizeof nothing) == 0 || sami_expectation_is_of_master(e, address) ||
           memcmp(address, &master->reply.src, sizeof *address) == 0 || memcmp(address, &master->reply.dst, sizeof *address) == 0;
}

/* Where the kernel sends it. It may have seen the master's other side first. */
static const SamiAddress *
target_of(const SamiExpectation *e, const SamiSession *master)
{
    gboolean is_turned = !sami_flow_key_equal(&master->key, &e->master);
    switch (sami_expectation_target(e)) {
    case SAMI_EXPECT_TO_MASTER: return (e->nat_direction != 0) != is_turned ? &master->key.orig.src : &master->reply.src;
    case SAMI_EXPECT_TO_SAVED: return &e->nat_address;
    default: return &e->key.orig.dst;
    }
}

/* What of the master speaks against it. */
static SamiReason
check_master(SamiApply *apply, const Expected *x, const SamiSession *master, gboolean is_found)
{
    const SamiExpectation *e = &x->expectation;
    const SamiAddress *ends[] = { &e->key.orig.src, &e->key.orig.dst, &e->nat_address };
    guint8 family = e->key.family;
    const SamiLedgerEntry *entry = is_found && sami_apply_is_master(apply, &e->master) ? sami_ledger_find(apply->ledger, &e->master) : NULL;
    if (!entry || ((entry->flags & SAMI_LEDGER_CREATED) && !sami_apply_is_ours(apply, entry, master)))
        return SAMI_REASON_EXPECTATION_MASTER;
    /* The kernel takes class and policy from the master's helper, and the signer's policy has judged the one that is named. */
    gboolean is_named = (e->has & SAMI_EXPECT_HAS_HELPER) != 0;
    if (!(master->has & SAMI_HAS_HELPER) || (is_named && strncmp(master->helper, e->helper, sizeof e->helper) != 0))
        return SAMI_REASON_EXPECTATION_HELPER;
    for (guint i = 0; i < G_N_ELEMENTS(ends); i++)
        if (!sami_apply_is_vm(apply, family, ends[i]) && !is_end_of(e, master, ends[i]))
            return SAMI_REASON_ADDRESS_NOT_ALLOWED;
    const SamiAddress *target = target_of(e, master);
    return sami_expectation_judge(x->facts, sami_apply_is_vm(apply, family, target), memcmp(target, &e->key.orig.dst, sizeof *target) != 0);
}

static SamiReason
reason_of(int result)
{
    switch (result) {
    case ENOENT: return SAMI_REASON_EXPECTATION_MASTER;
    case EOPNOTSUPP: return SAMI_REASON_EXPECTATION_HELPER;
    case EINVAL: return SAMI_REASON_EXPECTATION_FUNCTION;
    case EEXIST:
    case EBUSY: return SAMI_REASON_EXPECTATION_CLASH;
    case EMFILE: return SAMI_REASON_LIMIT;
    default: return SAMI_REASON_KERNEL;
    }
}

/* A flow that was here has what its helper made of packets here, which is newer: another creation would end it without a word. */
static gboolean
has_its_own(SamiApply *apply, const SamiExpectation *e, gboolean *ret_has, GError **error)
{
    const SamiLedgerEntry *entry = sami_ledger_find(apply->ledger, &e->master);
    *ret_has = FALSE;
    if (!entry || !(entry->flags & SAMI_LEDGER_MERGED))
        return TRUE;
    g_autoptr(GArray) there = look(apply, e, error);
    for (guint i = 0; there && i < there->len; i++)
        *ret_has |= g_array_index(there, SamiExpectation, i).expect_class == e->expect_class;
    return there != NULL;
}

/* The id is what a rollback knows it by. */
static gboolean
verify(SamiApply *apply, Expected *x, GError **error)
{
    g_autoptr(GArray) there = look(apply, &x->expectation, error);
    if (!there)
        return FALSE;
    const SamiExpectation *found = find(there, &x->expectation);
    if (!found) { /* the next one of this master may have ended it */
        sami_apply_refuse_expected(apply, SAMI_REASON_UNVERIFIED, &x->expectation, x->counter, NULL);
        return TRUE;
    }
    x->expectation.id = found->id;
    x->expectation.has |= SAMI_EXPECT_HAS_ID;
    x->is_created = TRUE;
    apply->expected.n_applied++;
    return TRUE;
}

static gboolean
create_one(SamiApply *apply, Expected *x, GError **error)
{
    SamiExpectation *e = &x->expectation;
    /* The kernel gives a new one the whole time of its class, and looks at ours in an update only. */
    SamiExpectOp ops[] = { { .kind = SAMI_EXPECT_CREATE, .expectation = e }, { .kind = SAMI_EXPECT_SET_TIMEOUT, .expectation = e } };
    SamiSession master;
    gboolean is_found = FALSE, has_own = FALSE;
    if (!sami_firewall_get(apply->firewall, &e->master, 1, &master, &is_found, error))
        return FALSE;
    SamiReason reason = left_s(x) == 0 ? SAMI_REASON_EXPECTATION_LATE : check_master(apply, x, &master, is_found);
    if (reason != SAMI_REASON_NONE) {
        sami_apply_refuse_expected(apply, reason, e, x->counter, NULL);
        return TRUE;
    }
    if (!has_its_own(apply, e, &has_own, error))
        return FALSE;
    if (has_own) {
        apply->expected.n_unchanged++;
        return TRUE;
    }
    if (!sami_flow_key_equal(&master.key, &e->master)) /* this firewall saw the master's other side first */
        e->nat_direction ^= 1;
    e->timeout_s = MAX(left_s(x), 1);
    if (!sami_firewall_expect(apply->firewall, ops, 1, error))
        return FALSE;
    x->is_sent = ops[0].result == 0;
    if (x->is_sent)
        return sami_firewall_expect(apply->firewall, &ops[1], 1, error);
    sami_apply_refuse_expected(apply, reason_of(ops[0].result), e, x->counter, g_strerror(ops[0].result));
    return TRUE;
}

gboolean
sami_apply_expectations_create(SamiApply *apply, GError **error)
{
    for (guint i = 0; apply->expectations && i < apply->expectations->len; i++)
        if (!at(apply, i)->is_created && !create_one(apply, at(apply, i), error))
            return FALSE;
    for (guint i = 0; apply->expectations && i < apply->expectations->len; i++) /* when all are there: one may have ended another */
        if (at(apply, i)->is_sent && !at(apply, i)->is_created && !verify(apply, at(apply, i), error))
            return FALSE;
    for (guint i = apply->expectations ? apply->expectations->len : 0; i-- > 0;)
        if (!at(apply, i)->is_created)
            g_array_remove_index(apply->expectations, i);
    sami_apply_count_expected(apply);
    return TRUE;
}

/* Tuple, master and id are those of ours, and it has no more time than ours would: a helper that makes one anew gives it its whole time. In doubt it stays,
 * as the master's end or its own time ends it: so does one of which the kernel was not heard to say the id. */
static gboolean
remove_one(SamiApply *apply, Expected *x, SamiRemoval *removal, GError **error)
{
    SamiExpectOp op = { .kind = SAMI_EXPECT_DELETE, .expectation = &x->expectation };
    g_autoptr(GArray) there = look(apply, &x->expectation, error);
    if (!there)
        return FALSE;
    const SamiExpectation *found = find(there, &x->expectation);
    if (!found) /* it was used, or its time is over */
        return TRUE;
    if (!x->is_created || found->id != x->expectation.id || found->timeout_s > left_s(x) + SLACK_S) {
        removal->n_expectations_left++;
        return TRUE;
    }
    if (!sami_firewall_expect(apply->firewall, &op, 1, error))
        return FALSE;
    removal->n_expectations += op.result == 0;
    return TRUE;
}

gboolean
sami_apply_expectations_remove(SamiApply *apply, SamiRemoval *removal, GError **error)
{
    while (apply->expectations && apply->expectations->len > 0) {
        guint last = apply->expectations->len - 1;
        if (at(apply, last)->is_sent && !remove_one(apply, at(apply, last), removal, error))
            return FALSE;
        g_array_set_size(apply->expectations, last);
        sami_apply_count_expected(apply);
    }
    return TRUE;
}
