/* What the kernel cannot take whole goes in with less, and is degraded. */
#include <errno.h>
#include <string.h>

#include "collector/apply-internal.h"

enum { HELPER, MASTER };

/* A creation that fails for want of something which the flow can go on without. */
static const struct {
    int result;
    guint32 without; /* SamiHas: of these, what it has */
    guint32 flag;    /* SAMI_LEDGER_*, for the read-back */
} rows[] = {
    [HELPER] = { EOPNOTSUPP, SAMI_HAS_HELPER | SAMI_HAS_HELPER_INFO, SAMI_LEDGER_NO_HELPER },
    [MASTER] = { ENOENT, SAMI_HAS_MASTER, SAMI_LEDGER_NO_MASTER },
};

guint32
sami_apply_without(const SamiLedgerEntry *entry)
{
    guint32 without = 0;
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        if (entry->flags & rows[i].flag)
            without |= rows[i].without;
    return without;
}

/* Its row, G_N_ELEMENTS(rows) if there is nothing to leave out. */
static guint
find_row(const SamiOp *op)
{
    guint i = 0;
    while (i < G_N_ELEMENTS(rows) && (op->kind != SAMI_OP_CREATE || op->result != rows[i].result || !(op->session->has & rows[i].without)))
        i++;
    return i;
}

/* As the kernel looks for it. */
static SamiMissingHelper
helper_of(const SamiSession *s)
{
    SamiMissingHelper helper = { .family = s->key.family, .protocol = s->key.protocol };
    memcpy(helper.name, s->helper, sizeof helper.name);
    return helper;
}

/* Each creation that names one makes the kernel look for a module, which takes milliseconds. So a record whose helper was not here is not tried again with it,
 * and where that many were not, none is. */
static gboolean
is_missing(const SamiApply *apply, const SamiSession *s)
{
    guint n = apply->missing_helpers->len;
    SamiMissingHelper helper = helper_of(s);
    gboolean is_known = n >= SAMI_MISSING_HELPERS_MAX;
    for (guint i = 0; i < n && !is_known; i++)
        is_known = memcmp(&g_array_index(apply->missing_helpers, SamiMissingHelper, i), &helper, sizeof helper) == 0;
    return is_known;
}

/* A copy to be made smaller. A message that is built already has a timeout of its own. */
static SamiSession
copy_of(const SamiApply *apply, const SamiOp *op)
{
    SamiSession copy = *op->session;
    if (op->message)
        copy.timeout_s = sami_apply_creation_timeout(&copy, apply->lease_s);
    return copy;
}

/* Returns the copies (nullable) that the operations have now. */
static SamiSession *
leave_out_helpers(const SamiApply *apply, SamiOp *ops, const guint *at, guint n)
{
    SamiSession *bare = NULL;
    for (guint i = 0; i < n && apply->missing_helpers->len > 0; i++) {
        const SamiSession *s = ops[i].session;
        if (ops[i].kind != SAMI_OP_CREATE || !(s->has & SAMI_HAS_HELPER) || !is_missing(apply, s))
            continue;
        if (!bare)
            bare = g_new(SamiSession, n);
        bare[i] = copy_of(apply, &ops[i]);
        bare[i].has &= ~rows[HELPER].without;
        ops[i] = (SamiOp){ .kind = SAMI_OP_CREATE, .session = &bare[i] };
        sami_ledger_at(apply->ledger, at[i])->flags |= rows[HELPER].flag;
    }
    return bare;
}

static gboolean
send_lesser(SamiApply *apply, SamiOp *op, SamiLedgerEntry *entry, GError **error)
{
    SamiSession lesser = copy_of(apply, op);
    SamiOp again = { .kind = SAMI_OP_CREATE, .session = &lesser, .result = op->result };
    for (guint row = find_row(&again); row < G_N_ELEMENTS(rows); row = find_row(&again)) {
        lesser.has &= ~rows[row].without;
        entry->flags |= rows[row].flag;
        if (!sami_firewall_apply(apply->firewall, &again, 1, error))
            return FALSE;
        if (row == HELPER && again.result != EOPNOTSUPP && !is_missing(apply, op->session)) {
            SamiMissingHelper helper = helper_of(op->session);
            g_array_append_val(apply->missing_helpers, helper);
        }
    }
    op->result = again.result;
    return TRUE;
}

gboolean
sami_apply_send(SamiApply *apply, SamiOp *ops, const guint *at, guint n, GError **error)
{
    g_autofree SamiSession *bare = leave_out_helpers(apply, ops, at, n);
    if (!sami_firewall_apply(apply->firewall, ops, n, error))
        return FALSE;
    for (guint i = 0; i < n; i++)
        if (find_row(&ops[i]) < G_N_ELEMENTS(rows) && !send_lesser(apply, &ops[i], sami_ledger_at(apply->ledger, at[i]), error))
            return FALSE;
    return TRUE;
}
