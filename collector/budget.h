/* How many entries may be in the kernel because of migrations that still run: one budget for the whole collector, one for each signer.
 *
 * An entry is counted from the decision to create it until it is deleted, found gone, or its migration ends: afterwards it is an entry of
 * this firewall like any other. The injecting thread counts, so that the sum holds whatever is in flight; the main loop sets limits and
 * reads. */
#pragma once

#include <glib.h>

#define SAMI_BUDGET_UNLIMITED G_MAXUINT64

typedef struct {
    _Atomic guint64 limit;
    _Atomic guint64 used;
} SamiBudget;

/* Unlimited. */
SamiBudget *sami_budget_new(void);
SamiBudget *sami_budget_ref(SamiBudget *budget); /* NULL is NULL: the signer of a migration from before a restart is revoked */
void sami_budget_unref(SamiBudget *budget); /* NULL is fine */
/* Entries that may still be created; 0 also when a limit was lowered below what is used. */
guint64 sami_budget_room(const SamiBudget *budget);
guint64 sami_budget_used(const SamiBudget *budget);
void sami_budget_set_limit(SamiBudget *budget, guint64 limit);
/* n may be negative: entries that went. */
void sami_budget_add(SamiBudget *budget, gint64 n);
