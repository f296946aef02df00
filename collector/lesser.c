/* What the kernel cannot take whole goes in with less, and is degraded. */
#include <errno.h>

#include "collector/apply-internal.h"

/* A creation that fails for want of something which the flow can go on without. */
static const struct {
    int result;
    guint32 without; /* SamiHas: of these, what it has */
    guint32 flag;    /* SAMI_LEDGER_*, for the read-back */
} rows[] = {
    { EOPNOTSUPP, SAMI_HAS_HELPER | SAMI_HAS_HELPER_INFO, SAMI_LEDGER_NO_HELPER },
    { ENOENT, SAMI_HAS_MASTER, SAMI_LEDGER_NO_MASTER },
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

static gboolean
send_lesser(SamiApply *apply, SamiOp *op, SamiLedgerEntry *entry, GError **error)
{
    SamiSession lesser = *op->session;
    SamiOp again = { .kind = SAMI_OP_CREATE, .session = &lesser, .result = op->result };
    if (op->message) /* which has a timeout of its own */
        lesser.timeout_s = sami_apply_creation_timeout(&lesser, apply->lease_s);
    for (guint row = find_row(&again); row < G_N_ELEMENTS(rows); row = find_row(&again)) {
        lesser.has &= ~rows[row].without;
        entry->flags |= rows[row].flag;
        if (!sami_firewall_apply(apply->firewall, &again, 1, error))
            return FALSE;
    }
    op->result = again.result;
    return TRUE;
}

gboolean
sami_apply_send(SamiApply *apply, SamiOp *ops, const guint *at, guint n, GError **error)
{
    if (!sami_firewall_apply(apply->firewall, ops, n, error))
        return FALSE;
    for (guint i = 0; i < n; i++)
        if (find_row(&ops[i]) < G_N_ELEMENTS(rows) && !send_lesser(apply, &ops[i], sami_ledger_at(apply->ledger, at[i]), error))
            return FALSE;
    return TRUE;
}
